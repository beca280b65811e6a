"""Detect: an image to boxes. What the boxes show is named by the stages that follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from trapline.errors import Failure
from trapline.images import Image
from trapline.models import Detection, Model


class Context(Protocol):
    """What the runtime hands to `setup`."""

    model: Model
    parameters: dict[str, Any]


class Item(Protocol):
    """One image and the parameters for it."""

    image: Image
    parameters: dict[str, Any]


class Detect:
    """Finds insects with the model it is given."""

    def setup(self, context: Context) -> None:
        """Load the model."""
        self.model = context.model
        self.model.session()

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any] | Failure:
        # One at a time keeps one decoded picture in memory, and loses nothing: a CPU runs pictures singly anyway.
        try:
            (found,) = self.model.detect([item.image], threshold=item.parameters.get("threshold"))
            return record(item.image, found)
        except Failure as failure:
            return failure


def record(image: Image, found: Sequence[Detection]) -> dict[str, Any]:
    """What detection knows about an image, as it stands in the stage's record."""
    rows = sorted((_row(detection) for detection in found), key=lambda row: (-row["confidence"], row["box"]))
    return {
        "image": {
            "width": image.width,
            "height": image.height,
            "captured_at": image.captured_at,
            "format": image.format,
        },
        "detections": [{"id": f"d{number:04d}", **row} for number, row in enumerate(rows, start=1)],
    }


def _row(detection: Detection) -> dict[str, Any]:
    return {
        "box": [round(side, 1) for side in detection.box],
        "label": detection.label,
        "confidence": round(detection.confidence, 4),
    }
