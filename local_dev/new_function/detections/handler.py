"""The length and the colour of each detection. Where they are was found before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from trapline.errors import Failure
from trapline.images import Box, Image

SIDE = 16  # pixels of the square that is cut out of each detection: enough for a mean colour


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """One image, the detections to look at, and the parameters for them."""

    image: Image
    detections: list[dict[str, Any]]
    parameters: dict[str, Any]


class NewFunction:
    """Measures detections."""

    def setup(self, context: Context) -> None:
        """Once per worker: load here what every image needs, such as a model."""

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order. An image without detections is not even decoded."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any] | Failure:
        boxes = [middle(found["box"]) for found in item.detections]
        try:
            crops = item.image.crops(boxes, SIDE)
        except Failure as failure:
            return failure  # an image that cannot be read fails alone
        scale = item.parameters["pixels_per_mm"]
        measured = []
        for found, crop in zip(item.detections, crops, strict=True):
            red, green, blue = crop.mean(axis=(0, 1)).round().astype(int).tolist()
            # With the same id, it is merged into what is known about that detection.
            measured.append({"id": found["id"], **length(found["box"], scale), "colour": [red, green, blue]})
        return {"detections": measured}


def middle(box: Sequence[float]) -> Box:
    """The square in the middle of a box, as wide as its shorter side: mostly the body, hardly the sheet around it."""
    x1, y1, x2, y2 = box
    x, y, half = (x1 + x2) / 2, (y1 + y2) / 2, min(x2 - x1, y2 - y1) / 2
    return (x - half, y - half, x + half, y + half)


def length(box: Sequence[float], pixels_per_mm: float | None) -> dict[str, float]:
    """The longer side of a box, in pixels of the picture as displayed, and in millimetres where the scale is known."""
    x1, y1, x2, y2 = box
    pixels = max(x2 - x1, y2 - y1)
    told = {"length_px": round(pixels, 1)}
    return told if pixels_per_mm is None else {**told, "length_mm": round(pixels / pixels_per_mm, 2)}
