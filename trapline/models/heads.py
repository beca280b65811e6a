"""What a network's outputs mean: maps to boxes, scores to shares. Pure numpy; no network is run here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOST = 1000  # detections kept of one picture
SAME = 0.55  # boxes of one label that overlap more than this are one insect


@dataclass(frozen=True)
class Detection:
    """One thing found."""

    box: tuple[float, float, float, float]  # x1, y1, x2, y2; full pixels of the picture as displayed, clipped to it
    label: str  # one of the card's labels
    confidence: float  # 0 to 1


@dataclass(frozen=True)
class Peaks:
    """Candidates of one picture, best first."""

    boxes: Floats  # n x 4, input pixels
    labels: NDArray[np.intp]  # n channel numbers
    scores: Floats  # n


def peaks(heat: Floats, size: Floats, offset: Floats, threshold: float, cell: tuple[float, float]) -> Peaks:
    """Read one picture's maps: `heat` labels x h x w, `size` and `offset` 2 x h x w, `cell` input pixels per cell."""
    channel, row, column = np.nonzero((heat >= threshold) & (heat == _greatest_around(heat)))
    scores = heat[channel, row, column]
    best = np.lexsort((column, row, -scores))[:MOST]
    channel, row, column = channel[best], row[best], column[best]
    x = (column + offset[0, row, column]) * cell[0]
    y = (row + offset[1, row, column]) * cell[1]
    half_w, half_h = size[0, row, column] / 2, size[1, row, column] / 2
    boxes = np.stack([x - half_w, y - half_h, x + half_w, y + half_h], axis=1)
    kept = _without_repeats(boxes, channel)
    return Peaks(boxes[kept], channel[kept], scores[best][kept])


def softmax(logits: Floats) -> Floats:
    """Shares that sum to 1 along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _greatest_around(heat: Floats) -> Floats:
    """Each cell's greatest value among itself and its eight neighbours."""
    edged = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    wide = np.maximum(np.maximum(edged[:, :, :-2], edged[:, :, 1:-1]), edged[:, :, 2:])
    high: Floats = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    return high


def _without_repeats(boxes: Floats, labels: NDArray[np.intp]) -> list[int]:
    """Which of the boxes, best first, to keep so that no insect is told twice."""
    alike = (overlaps(boxes, boxes) > SAME) & (labels[:, None] == labels[None, :])
    kept: list[int] = []
    gone = np.zeros(len(boxes), bool)
    for index in range(len(boxes)):
        if not gone[index]:
            kept.append(index)
            gone |= alike[index]
    return kept


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every pair of boxes: n x 4 and m x 4 to n x m."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - common
    shares: Floats = common / np.maximum(union, 1e-9)
    return shares
