"""Embed: each detection of an image to a vector of what it looks like; an image's vectors are one `.npy` file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trapline.errors import Failure, Permanent
from trapline.images import Box, Image, detected
from trapline.models import Model

FILE = "vectors.npy"
_CROPS = 256  # cut and run at a time: an image may have thousands


class Context(Protocol):
    """What the runtime hands to `setup`."""

    model: Model | None
    parameters: dict[str, Any]


class Item(Protocol):
    """One image, the detections to look at, and the parameters for them."""

    image: Image
    detections: list[dict[str, Any]]
    parameters: dict[str, Any]

    def write(self, name: str, data: bytes, content_type: str = ...) -> dict[str, Any]:
        """A file that belongs to the record: its key, size, sha256 and content type."""


class Embed:
    """Makes vectors with the model it is given."""

    def setup(self, context: Context) -> None:
        """Load the model."""
        self.model = _embedder(context.model)
        self.model.session()

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order. An image without detections is not even decoded."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any] | Failure:
        try:
            return {"embeddings": self._embeddings(item)}
        except Failure as failure:
            return failure

    def _embeddings(self, item: Item) -> dict[str, Any]:
        found = detected(item.image, item.detections)
        boxes = [box for _, box in found]
        whole = bool(item.parameters.get("whole_image", False))
        if whole:
            boxes.append((0.0, 0.0, float(item.image.width), float(item.image.height)))
        dtype = item.parameters.get("dtype", "float32")
        card = self.model.card
        told: dict[str, Any] = {
            "model": {"name": card.name, "version": card.version, "sha256": card.sha256},
            "dimensions": card.dimensions,
            "dtype": dtype,
            "normalised": True,  # a model's vectors have the length 1
            "rows": len(boxes),
            "detections": [ident for ident, _ in found],
        }
        if whole:
            told["whole_image"] = len(found)
        if boxes:
            vectors = self._vectors(item.image, boxes)
            told["file"] = item.write(FILE, npy(vectors.astype(dtype)))
        return told

    def _vectors(self, image: Image, boxes: Sequence[Box]) -> NDArray[np.float32]:
        parts = (boxes[start : start + _CROPS] for start in range(0, len(boxes), _CROPS))
        vectors = np.concatenate([self.model.embed(self.model.crops(image, part)) for part in parts])
        if not np.isfinite(vectors).all():
            raise Permanent(
                f"{self.model.card.name} gives vectors that are not all finite numbers.",
                code="model_unusable",
                remedy="Export the model in float32, and check scale, mean and std on its card.",
            )
        return vectors


def npy(vectors: NDArray[Any]) -> bytes:
    """The file: `numpy.load` reads it."""
    out = io.BytesIO()
    np.save(out, vectors, allow_pickle=False)
    return out.getvalue()


def _embedder(model: Model | None) -> Model:
    if model is not None and model.card.kind == "embedder":
        return model
    found = f"{model.card.name} is a {model.card.kind}" if model is not None else "there is none"
    raise Permanent(
        f"embed needs a model of the kind embedder; {found}.",
        code="model_unusable",
        remedy="Name one under `model` of the stage, such as moth-embedder.",
    )
