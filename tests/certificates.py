"""Keys and certificates for brokers and devices of this machine, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl")


def make_keys(folder: Path) -> Path:
    """Two authorities (`authority`, `stranger`), and by the first one: `broker`, `expired`, and `device`."""
    for name in ("authority", "stranger"):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", *files)
    _certificate(folder, "broker", "authority")
    _certificate(folder, "expired", "authority", "-days", "-1")
    _certificate(folder, "device", "authority")
    return folder


def tls_lines(keys: Path, name: str, *lines: str) -> str:
    """What makes a mosquitto speak TLS with the certificate of this name."""
    files = (f"cafile {keys}/authority.pem", f"certfile {keys}/{name}.pem", f"keyfile {keys}/{name}.key")
    return "\n".join((*files, "allow_anonymous true", *lines))


def _certificate(folder: Path, name: str, signer: str, *options: str) -> None:
    """A key and a certificate for 127.0.0.1, signed by `signer`."""
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName = IP:127.0.0.1\n")
    files = ["-keyout", f"{name}.key", "-out", f"{name}.csr"]
    _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", *files)
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial"]
    _openssl(folder, *sign, "-extfile", "extensions", "-out", f"{name}.pem", *(options or ("-days", "2")))


def _openssl(folder: Path, *arguments: str) -> None:
    assert OPENSSL, "openssl is not installed"
    subprocess.run([OPENSSL, *arguments], cwd=folder, check=True, capture_output=True)
