"""Makes the networks and writes what the tests compare the heads with."""

from __future__ import annotations

import argparse
from pathlib import Path

from local_dev.exports import classifiers, detr, yolo
from local_dev.exports.case import pictures, prune, write

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "models"


def main() -> None:
    """Read the options and make what they name."""
    parser = argparse.ArgumentParser(prog="python -m local_dev.exports", description=main.__doc__)
    parser.add_argument("--into", type=Path, default=FOLDER, help="folder to write (default tests/models)")
    parser.add_argument("--only", action="append", help="name of one network; may be given several times")
    parser.add_argument("--networks", type=Path, help="folder in which to keep every ONNX file, the large ones too")
    options = parser.parse_args()
    drawn = pictures()
    making = {**yolo.cases(drawn), **detr.cases(drawn), **classifiers.cases(drawn)}
    options.into.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        picture.save(options.into / f"{name}.png", optimize=True)
    for name, make in making.items():
        if options.only and name not in options.only:
            continue
        case = make()
        print(write(case, options.into))
        if options.networks:
            options.networks.mkdir(parents=True, exist_ok=True)
            (options.networks / f"{case.name}.onnx").write_bytes(case.content)
    prune(options.into)


if __name__ == "__main__":
    main()
