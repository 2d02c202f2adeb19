"""`python -m tools.drawn_world DIR`: draw sample pictures and print what is in them, one JSON object a line."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tools.drawn_world.samples import SAMPLE_SIZE, write_samples


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.drawn_world", description="Draw labelled sample pictures.")
    parser.add_argument("folder", type=Path, help="where the PNG files go; made if missing")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=SAMPLE_SIZE, help="side in pixels")
    options = parser.parse_args()
    for sample in write_samples(options.folder, options.count, options.seed, options.size):
        print(json.dumps({"path": str(sample.path), "caption": sample.caption, "scene": asdict(sample.scene)}))


if __name__ == "__main__":
    main()
