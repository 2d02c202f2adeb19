"""Writes a trained model as a folder that open_clip loads with `local-dir:FOLDER`, or by name as any other model.

By name: `add_model_config(FOLDER / NAMED_CONFIG)`, then `create_model_and_transforms("tiny-clip", pretrained=WEIGHTS)`.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from tools.train_clip.bpe import Merge, vocabulary_size, write_merges
from tools.train_clip.model import model_config, preprocess_config

WEIGHTS, MERGES, CHECKSUMS = "open_clip_model.safetensors", "bpe.txt.gz", "SHA256SUMS"
FOLDER_CONFIG, NAMED_CONFIG = "open_clip_config.json", "tiny-clip.json"


def export(model: CLIP, merges: list[Merge], folder: Path) -> None:
    """Write fp16 weights, configurations, merges and `sha256sum`'s list into `folder`, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model_config(vocabulary_size(merges))
    _write_json(folder / FOLDER_CONFIG, {"model_cfg": config, "preprocess_cfg": preprocess_config()})
    _write_json(folder / NAMED_CONFIG, config)
    write_merges(merges, folder / MERGES)
    save_file(half_precision(model), folder / WEIGHTS, metadata={"format": "pt"})
    os.chmod(folder / WEIGHTS, 0o644)  # safetensors creates its files with mode 0600
    write_checksums(folder)


def half_precision(model: CLIP) -> dict[str, torch.Tensor]:
    """The weights as fp16; scalars (the logit scale, batch counters) keep their type."""
    return {
        name: (tensor.half() if tensor.is_floating_point() and tensor.ndim else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum --check SHA256SUMS` reads from inside the folder."""
    names = sorted((WEIGHTS, MERGES, FOLDER_CONFIG, NAMED_CONFIG))
    lines = [f"{checksum(folder / name)}  {name}\n" for name in names]
    (folder / CHECKSUMS).write_text("".join(lines))


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
