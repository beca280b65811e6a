"""How sharp an image is: the variance of its Laplacian, which is small where no edge is sharp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from trapline.errors import Failure
from trapline.images import RGB, Image

SIDE = 1000  # pixels along the longer side, at least: a small picture is decoded faster, and is sharp enough to tell


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """One image and the parameters for it."""

    image: Image
    parameters: dict[str, Any]


class NewFunction:
    """Tells blurred images from sharp ones."""

    def setup(self, context: Context) -> None:
        """Once per worker: load here what every image needs, such as a model."""

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any] | Failure:
        try:
            pixels = item.image.pixels(max_side=SIDE).array
        except Failure as failure:
            return failure  # an image that cannot be read fails alone
        variance = sharpness(pixels)
        told = {"variance": round(variance, 1), "blurred": variance < item.parameters["least"]}
        return {"new_function": told}


def sharpness(pixels: RGB) -> float:
    """The variance of the Laplacian of the grey values, 0 to 255."""
    grey = pixels.mean(axis=2, dtype=np.float32)
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())
