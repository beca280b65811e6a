"""Sharpness: how much detail an image and each detection on it have. What the detections show is not its business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from trapline.errors import Failure
from trapline.images import RGB, Image

SIDE = 96  # pixels of the square to which each detection is scaled
VIEW = 480  # pixels along the shorter side at which the whole image is measured, at least


class Item(Protocol):
    """One image, the detections to look at, and the parameters for them."""

    image: Image
    detections: list[dict[str, Any]]
    parameters: dict[str, Any]


class Sharpness:
    """Measures with a filter that answers to edges: the second derivative of brightness."""

    def setup(self, context: object) -> None:
        """Choose where to compute, and put the filters there."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        grey = torch.tensor([0.299, 0.587, 0.114], device=self.device)
        self.grey = grey.view(1, 3, 1, 1)
        self.edges = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], device=self.device).view(
            1, 1, 3, 3
        )

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any] | Failure:
        try:
            whole = item.image.pixels(min_side=VIEW).array
            crops = item.image.crops([tuple(found["box"]) for found in item.detections], SIDE)
        except Failure as failure:
            return failure
        limit = item.parameters["blurred"]
        scores = self.measure(crops)
        rows = [
            {"id": found["id"], "sharpness": score, "blurred": score < limit}
            for found, score in zip(item.detections, scores, strict=True)
        ]
        return {"sharpness": self.measure([whole])[0], "detections": rows}

    def measure(self, pictures: Sequence[RGB]) -> list[float]:
        """The sharpness of pictures of one size (height × width × 3, 0–255), in steps of brightness; 0: plain ones."""
        if not pictures:
            return []
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2).float()
            brightness = functional.conv2d(batch, self.grey)
            found = functional.conv2d(brightness, self.edges).flatten(1).std(dim=1)
        return [round(float(score), 2) for score in found.cpu()]
