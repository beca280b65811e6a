"""The pictures that are measured with: made from the sample night, so that there are insects on them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from trapline.errors import ConfigError
from trapline.template import template_root

SIZES = {"2MP": (1600, 1200), "12MP": (4000, 3000)}  # width, height
DIFFERENT = 12  # pictures of a size that are drawn; the files differ in a comment besides
_GRAIN = 4.0  # standard deviation of a large picture's noise: enlarging leaves none, and a camera's has some


def sample_night() -> list[Path]:
    """The sample night's good pictures. Raises `ConfigError` where this installation has none."""
    for place in ("samples/night", "local_dev/samples/night"):
        found = sorted((template_root() / place).rglob("IMG_00*.JPG"))[:DIFFERENT]
        if found:
            return found
    raise ConfigError("The sample night is not there.", remedy="Install Trapline anew, from a wheel or a clone.")


def pictures(size: str) -> list[bytes]:
    """JPEGs of one of `SIZES`."""
    return [_drawn(path, *SIZES[size]) for path in sample_night()]


def tiny() -> bytes:
    """A JPEG of about 2 kB, for what is measured without looking at a picture."""
    noise = np.random.default_rng(0).integers(0, 256, (36, 48, 3), np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(noise).save(out, "JPEG", quality=85)
    return out.getvalue()


def commented(jpeg: bytes, text: str) -> bytes:
    """The same picture in a file of its own: a comment segment behind the first marker."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def named(count: int) -> Iterator[str]:
    """Names as a camera gives them, a thousand to a folder."""
    for number in range(count):
        yield f"DCIM/{100 + number // 1000}MEDIA/IMG_{number % 1000:04d}.JPG"


def write(folder: Path, drawn: list[bytes], count: int) -> int:
    """Write `count` files made of some pictures. Returns their bytes."""
    size = 0
    for number, name in enumerate(named(count)):
        data = commented(drawn[number % len(drawn)], f"{folder.name} {number}")
        path = folder / name
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        size += len(data)
    return size


def _drawn(path: Path, width: int, height: int) -> bytes:
    with Pillow.open(path) as file:
        picture = file.convert("RGB")
    if picture.size != (width, height):
        picture = _grained(ImageOps.fit(picture, (width, height), Pillow.Resampling.BICUBIC))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    return out.getvalue()


def _grained(picture: Pillow.Image) -> Pillow.Image:
    noise = np.random.default_rng(1).normal(0.0, _GRAIN, (picture.height, picture.width, 1)).astype(np.float32)
    return Pillow.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
