"""`python -m local_dev.samples`: draw the sample night again, and what is expected of it."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from functions.train.scenes import Look, Scene, make

HERE = Path(__file__).resolve().parent
CARD = "st7/2026-11-20/DCIM"
QUALITY = 80
DUSK, INTERVAL = datetime(2026, 11, 20, 17, 40, 12), timedelta(minutes=25, seconds=7)

# Insects at the sheet, picture by picture: dusk, a mild hour in which everything flies, and a cold end.
FLIGHT = (0, 3, 6, 11, 18, 26, 34, 52, 300, 78, 61, 47, 40, 35, 29, 24, 20, 16, 0, 13, 9, 12, 7, 5, 2, 0)
ORIENTATIONS = {4: 6, 11: 3, 15: 8, 20: 6}  # the camera was turned for these pictures
TRUNCATED, NO_IMAGE = 27, 28
_TURNED_BACK = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class Sample:
    """One file of the night."""

    path: str  # under night/
    data: bytes
    expected: dict[str, Any]  # state, and the code or the truth


def night(seed: int) -> list[Sample]:
    """The whole night; the same seed gives the same bytes."""
    samples = [_picture(number, count, seed) for number, count in enumerate(FLIGHT, start=1)]
    whole = _picture(TRUNCATED, 22, seed)
    cut = Sample(whole.path, whole.data[: len(whole.data) * 3 // 5], _failed("image_truncated"))
    note = b"Card swapped at 04:10, battery at 62 %.\r\nThe lamp flickered around midnight.\r\n"
    return [*samples, cut, Sample(_path(NO_IMAGE), note, _failed("image_unreadable"))]


def write(samples: list[Sample], folder: Path) -> None:
    """Write the files under `folder`/night and what is expected beside it."""
    for sample in samples:
        file = folder / "night" / sample.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(sample.data)
    expected = {"files": {sample.path: sample.expected for sample in samples}}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


def _picture(number: int, count: int, seed: int) -> Sample:
    turned = ORIENTATIONS.get(number, 1)
    portrait = turned in (6, 8)
    crowd = count > 150
    look = Look(
        1200 if portrait else 1600, 1600 if portrait else 1200, count,
        zoom=0.62 if crowd else 1.25 if portrait else 0.95,
        noise=1.2, warmth=0.35, exposure=0.97, overlap=0.06, clutter=count > 0,
    )  # fmt: skip
    scene = make(look, np.random.default_rng([seed, number]), np.random.default_rng([seed, 0]))
    return Sample(_path(number), _file(scene, number, turned), _done(scene))


def _path(number: int) -> str:
    return f"{CARD}/{100 + number // 15}MEDIA/IMG_{number:04d}.JPG"


def _file(scene: Scene, number: int, orientation: int) -> bytes:
    exif = Image.Exif()
    taken = (DUSK + INTERVAL * (number - 1)).strftime("%Y:%m:%d %H:%M:%S")
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0132] = "Trapcam", "TC-2", orientation, taken
    exif.get_ifd(0x8769)[0x9003] = taken
    picture = scene.picture
    if orientation in _TURNED_BACK:
        picture = picture.transpose(_TURNED_BACK[orientation])
    return Scene(picture, ()).jpeg(QUALITY, exif=exif.tobytes(), optimize=True)


def _done(scene: Scene) -> dict[str, Any]:
    kinds = Counter(insect.label for insect in scene.insects)
    return {"state": "done", "insects": len(scene.insects), "kinds": dict(sorted(kinds.items()))}


def _failed(code: str) -> dict[str, Any]:
    return {"state": "failed", "code": code}


def main() -> None:
    """Read the options and write the night."""
    parser = argparse.ArgumentParser(prog="python -m local_dev.samples", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder that gets night/ and expected.json")
    parser.add_argument("--seed", type=int, default=20261120, help="of the whole night (default %(default)s)")
    options = parser.parse_args()
    samples = night(options.seed)
    write(samples, options.out)
    print(f"{len(samples)} files, {sum(len(sample.data) for sample in samples)} bytes in {options.out}")


if __name__ == "__main__":
    main()
