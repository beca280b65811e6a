"""Classify: each detection of an image to the kinds it may be. Where they are was found before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from trapline.errors import Failure
from trapline.images import RGB, Image
from trapline.models import Model


class Context(Protocol):
    """What the runtime hands to `setup`."""

    model: Model
    parameters: dict[str, Any]


class Item(Protocol):
    """One image, the detections to look at, and the parameters for them."""

    image: Image
    detections: list[dict[str, Any]]
    parameters: dict[str, Any]


class Classify:
    """Names detections with the model it is given."""

    def setup(self, context: Context) -> None:
        """Load the model."""
        self.model = context.model
        self.model.session()

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order. An image without detections is not even decoded."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any] | Failure:
        try:
            crops = self._crops(item)
        except Failure as failure:
            return failure
        ranked = self.model.classify(crops, top_k=item.parameters.get("top_k", 5))
        rows = zip(item.detections, ranked, strict=True)
        return {"detections": [{"id": detection["id"], "classifications": _row(best)} for detection, best in rows]}

    def _crops(self, item: Item) -> list[RGB]:
        return self.model.crops(item.image, [tuple(found["box"]) for found in item.detections])


def _row(ranked: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"label": label, "score": round(score, 4)} for label, score in ranked]
