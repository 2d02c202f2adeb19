#!/usr/bin/env bash
# Checks what pip cannot bring, and installs what is missing where apt-get is there.
# PYTHON names the interpreter to check (python3 unless told). With `tests` as the argument, what the tests need too.
set -euo pipefail

PYTHON=${PYTHON:-python3}

fail() {
    printf 'sensorium set-up: %s\n' "$*" >&2
    exit 1
}

has_compiler() { command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null; }
has_venv() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }
has_mosquitto() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v mosquitto >/dev/null; }
has_mosquitto_clients() { command -v mosquitto_pub >/dev/null && command -v mosquitto_rr >/dev/null; }
has_cairo() { "$PYTHON" -c 'import ctypes.util as u; raise SystemExit(u.find_library("cairo") is None)'; }
has_espeak() { command -v espeak-ng >/dev/null; }
has_headers() {
    "$PYTHON" -c 'import os, sysconfig as s; raise SystemExit(not os.path.isfile(s.get_path("include") + "/Python.h"))'
}

# One line for each need: the check that says it is met, the Debian package that meets it, what it is for.
NEEDS=(
    "has_compiler|g++|a C++ compiler, to build hnswlib"
    "has_venv|python3-venv|Python's venv module, for the virtual environment"
    "has_headers|python3-dev|Python's C headers, to build hnswlib"
)
if [ "${1:-}" = tests ]; then
    NEEDS+=(
        "has_mosquitto|mosquitto|the MQTT broker mosquitto, for the tests of MQTT"
        "has_mosquitto_clients|mosquitto-clients|mosquitto_pub and its like, for the examples in docs/mqtt.md"
        "has_cairo|libcairo2|the graphics library cairo, for the drawings in SVG that are tested"
        "has_espeak|espeak-ng|espeak-ng, for the speech that the tests of hearing are made of"
    )
fi

check_python() {
    command -v "$PYTHON" >/dev/null || fail "'$PYTHON' was not found. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12"
    "$PYTHON" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed, '$PYTHON' is $("$PYTHON" -V 2>&1). Name a newer one: make PYTHON=python3.12"
}

# Prints the lines of NEEDS whose check fails.
missing() {
    local need
    for need in "${NEEDS[@]}"; do
        "${need%%|*}" || echo "$need"
    done
}

describe() {
    awk -F'|' '{printf "\n  %s (Debian package: %s)", $3, $2}' <<<"$1"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "root or sudo is needed for: $*"
    fi
}

main() {
    check_python
    local needs packages
    needs=$(missing)
    [ -n "$needs" ] || return 0
    command -v apt-get >/dev/null || fail "missing:$(describe "$needs")
There is no apt-get here: install these with your system's package manager, then run make again."
    mapfile -t packages < <(cut -d'|' -f2 <<<"$needs")
    echo "Installing with apt-get: ${packages[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}"
    needs=$(missing)
    [ -z "$needs" ] || fail "still missing after apt-get:$(describe "$needs")"
}

main
