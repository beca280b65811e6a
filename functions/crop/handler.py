"""Crop: a JPEG file of each detection and a small one of the whole image, stored beside the record."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from PIL import Image as Pillow

from trapline.errors import Failure, Permanent
from trapline.images import RGB, Box, Image, detected

THUMBNAIL = "thumbnail.jpg"
_JPEG = "image/jpeg"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,89}")  # an id that can name a file
_LARGEST = 8192  # pixels of a crop's longer side, whatever the parameters
_COLOURS = {"black": 0, "grey": 128, "white": 255}


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """One image, the detections to keep a picture of, and the parameters for them."""

    image: Image
    detections: list[dict[str, Any]]
    parameters: dict[str, Any]

    def write(self, name: str, data: bytes, content_type: str = ...) -> dict[str, Any]:
        """A file that belongs to the record: its key, size, sha256 and content type."""


@dataclass(frozen=True)
class Cut:
    """How one crop is made."""

    inside: Box  # what of the crop lies within the picture, in whole full pixels
    size: tuple[int, int]  # of that part in the crop, width and height
    around: tuple[int, int, int, int]  # pixels of the crop beyond the picture: left, top, right, bottom


class Crop:
    """Cuts, scales and writes. Needs no model."""

    def setup(self, context: Context) -> None:
        """Refuse parameters that contradict each other."""
        chosen = context.parameters
        if chosen.get("square") and chosen.get("padding") == "none":
            raise _contradiction(
                "`square: true` and `padding: none`: a crop that ends at the picture's edge is no square",
                "Set `padding` to edge or a colour, or leave `square` out.",
            )
        if chosen.get("most", 100) == 0 and chosen.get("thumbnail", 512) == 0:
            raise _contradiction(
                "`most: 0` and `thumbnail: 0`: nothing would be written", "Give one of them, or remove the stage."
            )

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order."""
        return [_one(item) for item in items]


def _one(item: Item) -> dict[str, Any] | Failure:
    try:
        rows, left_out = _crops(item)
        record: dict[str, Any] = {"crops": {"made": len(rows), "left_out": left_out}}
        if rows:
            record["detections"] = rows
        if side := item.parameters.get("thumbnail", 512):
            record["thumbnail"] = _thumbnail(item, side)
        return record
    except Failure as failure:
        return failure


def _crops(item: Item) -> tuple[list[dict[str, Any]], int]:
    """A row per detection that is kept, and how many are left out."""
    best = sorted(range(len(item.detections)), key=lambda n: -_confidence(item.detections[n]))
    kept = sorted(best[: item.parameters.get("most", 100)])
    found = detected(item.image, item.detections)
    cuts = [_cut(item.image, found[n][1], item.parameters) for n in kept]
    made = item.image.cuts([cut.inside for cut in cuts], [cut.size for cut in cuts])
    rows = []
    for number, cut, pixels in zip(kept, cuts, made, strict=True):
        ident = found[number][0]
        padded = _padded(pixels, cut, _padding(item.parameters))
        rows.append({"id": ident, "crop": _write(item, f"{_name(ident)}.jpg", padded)})
    return rows, len(found) - len(kept)


def _thumbnail(item: Item, side: int) -> dict[str, Any]:
    width, height = item.image.width, item.image.height
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    (pixels,) = item.image.cuts([(0, 0, width, height)], [size])
    return _write(item, THUMBNAIL, pixels)


def _write(item: Item, name: str, pixels: RGB) -> dict[str, Any]:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "JPEG", quality=item.parameters.get("quality", 88))
    stored = item.write(name, out.getvalue(), _JPEG)
    height, width = pixels.shape[:2]
    return {name: stored[name] for name in ("key", "sha256", "size")} | {"width": width, "height": height}


def _cut(image: Image, box: Box, parameters: dict[str, Any]) -> Cut:
    within = max(0.0, box[0]), max(0.0, box[1]), min(image.width, box[2]), min(image.height, box[3])
    x1, y1, x2, y2 = _window(within, parameters)
    inside = (max(0, x1), max(0, y1), min(image.width, x2), min(image.height, y2))
    if _padding(parameters) == "none":
        x1, y1, x2, y2 = inside
    scale = min(1.0, (parameters.get("size", 256) or _LARGEST) / max(x2 - x1, y2 - y1))
    width, height = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
    left, top = (
        min(round((inside[0] - x1) * scale), width - 1),
        min(round((inside[1] - y1) * scale), height - 1),
    )
    right, bottom = (
        min(round((x2 - inside[2]) * scale), width - 1 - left),
        min(round((y2 - inside[3]) * scale), height - 1 - top),
    )
    return Cut(inside, (width - left - right, height - top - bottom), (left, top, right, bottom))


def _window(box: Box, parameters: dict[str, Any]) -> tuple[int, int, int, int]:
    """The box with its margin, in whole pixels, a square where that is wanted. It may leave the picture."""
    x1, y1, x2, y2 = box
    margin = max(x2 - x1, y2 - y1) * parameters.get("margin", 0.1)
    x1, y1, x2, y2 = (math.floor(x1 - margin), math.floor(y1 - margin), math.ceil(x2 + margin), math.ceil(y2 + margin))
    if not parameters.get("square", False):
        return x1, y1, x2, y2
    side = max(x2 - x1, y2 - y1)
    left, top = x1 - (side - (x2 - x1)) // 2, y1 - (side - (y2 - y1)) // 2
    return left, top, left + side, top + side


def _padded(pixels: RGB, cut: Cut, padding: str) -> RGB:
    left, top, right, bottom = cut.around
    if not any(cut.around):
        return pixels
    around = ((top, bottom), (left, right), (0, 0))
    if padding == "edge":
        return np.pad(pixels, around, mode="edge")
    return np.pad(pixels, around, constant_values=_COLOURS[padding])


def _padding(parameters: dict[str, Any]) -> str:
    chosen: str | None = parameters.get("padding")
    return chosen or ("edge" if parameters.get("square", False) else "none")


def _confidence(detection: dict[str, Any]) -> float:
    """How sure the detector is; what does not say so comes last."""
    value = detection.get("confidence")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else -1.0


def _name(ident: str) -> str:
    """A file's name for an id: the id itself where it can be one."""
    if _PLAIN.fullmatch(ident) and ident != THUMBNAIL.removesuffix(".jpg"):
        return ident
    return f"id-{sha256(ident.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _contradiction(problem: str, remedy: str) -> Permanent:
    return Permanent(f"The parameters of crop contradict each other: {problem}.", remedy=remedy)
