"""The conformance check in another environment: `python -m hooks.testing`, a request on stdin, the report on stdout."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from hooks.testing.conformance import check_plugin


def main() -> None:
    """Answer once."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what plugins print must not break the answer
    request = json.load(sys.stdin)
    files = [Path(file) for file in request.pop("files")]
    report = check_plugin(request.pop("plugin"), files=files, **request)
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump(asdict(report), stream)


if __name__ == "__main__":
    main()
