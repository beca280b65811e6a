"""What a network's outputs mean: arrays to boxes, scores to shares. Pure numpy; no network is run here.

Every head reads a whole batch, and what it reads of one picture never depends on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trapline.models.boxes import Boxes, Floats, corners, distinct, overlaps

__all__ = ["DETECTORS", "Ask", "Detection", "Peaks", "overlaps", "peaks", "sigmoid", "softmax", "unit_length"]


@dataclass(frozen=True)
class Detection:
    """One thing found."""

    box: tuple[float, float, float, float]  # x1, y1, x2, y2; full pixels of the picture as displayed, clipped to it
    label: str  # one of the card's labels
    confidence: float  # 0 to 1


@dataclass(frozen=True)
class Peaks:
    """What was found in one picture, best first."""

    boxes: Boxes  # n x 4 corners, input pixels
    labels: NDArray[np.intp]  # n channel numbers
    scores: Floats  # n, 0 to 1


@dataclass(frozen=True)
class Ask:
    """What a head is asked for."""

    threshold: float  # least confidence
    width: int  # of the input, pixels
    height: int
    labels: int  # how many the card has
    iou: float  # boxes that share more than this are one thing; 1 = none are
    per_label: bool = True  # of one label only
    most: int = 1000  # detections kept of one picture


Outputs = Mapping[str, Floats]  # by role, batch first

MOST = 1000  # detections kept of one picture
SAME = 0.55  # boxes of one label in a heatmap that overlap more than this are one insect


# -- detectors


def peaks(
    heat: Floats,
    size: Floats,
    offset: Floats,
    threshold: float,
    cell: tuple[float, float],
    *,
    iou: float = SAME,
    per_label: bool = True,
    most: int = MOST,
) -> Peaks:
    """Read one picture's maps: `heat` labels x h x w, `size` and `offset` 2 x h x w, `cell` input pixels per cell."""
    channel, row, column = np.nonzero((heat >= threshold) & (heat == _greatest_around(heat)))
    scores = heat[channel, row, column]
    best = np.lexsort((column, row, -scores))[:most]
    channel, row, column, scores = channel[best], row[best], column[best], scores[best]
    x = (column + offset[0, row, column]) * cell[0]
    y = (row + offset[1, row, column]) * cell[1]
    half_w, half_h = size[0, row, column] / 2, size[1, row, column] / 2
    boxes = np.stack([x - half_w, y - half_h, x + half_w, y + half_h], axis=1)
    kept = distinct(boxes, scores, channel, iou=iou, per_label=per_label, most=most)
    return Peaks(boxes[kept], channel[kept], scores[kept])


def _heatmap(outputs: Outputs, ask: Ask) -> list[Peaks]:
    heats = outputs["heatmap"]
    cell = (ask.width / heats.shape[3], ask.height / heats.shape[2])
    rules: dict[str, Any] = {"iou": ask.iou, "per_label": ask.per_label, "most": ask.most}
    maps = zip(heats, outputs["size"], outputs["offset"], strict=True)
    return [peaks(heat, size, offset, ask.threshold, cell, **rules) for heat, size, offset in maps]


def _yolov5(outputs: Outputs, ask: Ask) -> list[Peaks]:
    """Each row: centre, size, objectness, one share per label; confidence is their product."""
    rows = outputs["predictions"]
    picture, box = np.nonzero(rows[:, :, 4] >= ask.threshold)
    likely = rows[picture, box]
    scores = likely[:, 5:] * likely[:, 4:5]
    return _sorted_out(picture, corners(likely[:, :4]), scores, len(rows), ask)


def _yolov8(outputs: Outputs, ask: Ask) -> list[Peaks]:
    """Each column: centre, size, one confidence per label."""
    columns = outputs["predictions"]
    picture, box = np.nonzero(columns[:, 4:].max(axis=1) >= ask.threshold)
    likely = columns[picture, :, box]
    return _sorted_out(picture, corners(likely[:, :4]), likely[:, 4:], len(columns), ask)


def _end2end(outputs: Outputs, ask: Ask) -> list[Peaks]:
    """Each row: corners, confidence, channel number."""
    rows = outputs["predictions"]
    return [_numbered(one[:, :4], one[:, 4], one[:, 5], ask) for one in rows]


def _rtdetr(outputs: Outputs, ask: Ask) -> list[Peaks]:
    """Queries without a channel for nothing: with shares or a channel number in one array, or logits beside boxes."""
    if "logits" in outputs:
        return [_ranked(*one, ask) for one in zip(outputs["logits"], outputs["boxes"], strict=True)]
    return [_queries(one, ask) for one in outputs["predictions"]]


def _queries(rows: Floats, ask: Ask) -> Peaks:
    boxes, scores = _to_pixels(rows[:, :4], ask), rows[:, 4:]
    # With two labels both forms have six columns; shares are never all whole numbers.
    if rows.shape[1] == 6 and (ask.labels != 2 or bool((rows[:, 5] == np.round(rows[:, 5])).all())):
        return _numbered(boxes, rows[:, 4], rows[:, 5], ask)
    (found,) = _sorted_out(np.zeros(len(rows), np.intp), boxes, scores, 1, ask)
    return found


def _ranked(logits: Floats, boxes: Floats, ask: Ask) -> Peaks:
    """The best pairs of query and label, as many as there are queries; a query may come with several labels."""
    scores = sigmoid(logits).ravel()
    best = np.argsort(-scores, kind="stable")[: len(logits)]
    best = best[scores[best] >= ask.threshold]
    query, label = np.divmod(best, logits.shape[1])
    return _suppressed(_to_pixels(boxes[query], ask), label, scores[best], ask)


def _detr(outputs: Outputs, ask: Ask) -> list[Peaks]:
    """Queries whose last channel stands for nothing."""
    shares = softmax(outputs["logits"])[..., :-1]
    found = []
    for scores, boxes in zip(shares, outputs["boxes"], strict=True):
        found += _sorted_out(np.zeros(len(boxes), np.intp), _to_pixels(boxes, ask), scores, 1, ask)
    return found


DETECTORS: dict[str, Callable[[Outputs, Ask], list[Peaks]]] = {
    "heatmap": _heatmap,
    "yolov5": _yolov5,
    "yolov8": _yolov8,
    "end2end": _end2end,
    "rtdetr": _rtdetr,
    "detr": _detr,
}


def _sorted_out(picture: NDArray[np.intp], boxes: Boxes, scores: Floats, pictures: int, ask: Ask) -> list[Peaks]:
    """Boxes with a share for each label, each box by its best, to what is on each of the pictures."""
    labels = scores.argmax(axis=1)
    best = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    likely = ~(best < ask.threshold)  # NaN, which is refused later, is not passed for nothing
    members = [np.flatnonzero(likely & (picture == number)) for number in range(pictures)]
    return [_suppressed(boxes[one], labels[one], best[one], ask) for one in members]


def _numbered(boxes: Boxes, scores: Floats, numbers: Floats, ask: Ask) -> Peaks:
    likely = (scores >= ask.threshold) & (numbers >= 0)
    return _suppressed(boxes[likely], np.rint(numbers[likely]).astype(np.intp), scores[likely], ask)


def _suppressed(boxes: Boxes, labels: NDArray[np.intp], scores: Floats, ask: Ask) -> Peaks:
    kept = distinct(boxes, scores, labels, iou=ask.iou, per_label=ask.per_label, most=ask.most)
    return Peaks(boxes[kept], labels[kept], scores[kept])


def _to_pixels(boxes: Boxes, ask: Ask) -> Boxes:
    """Centre and size as shares of the input, to corners in its pixels."""
    return corners(boxes) * np.array([ask.width, ask.height] * 2, np.float32)


def _greatest_around(heat: Floats) -> Floats:
    """Each cell's greatest value among itself and its eight neighbours."""
    edged = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    wide = np.maximum(np.maximum(edged[:, :, :-2], edged[:, :, 1:-1]), edged[:, :, 2:])
    high: Floats = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    return high


# -- classifiers and embedders


def softmax(logits: Floats) -> Floats:
    """Shares that sum to 1 along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: Floats) -> Floats:
    """Shares between 0 and 1, each for itself."""
    shares: Floats = np.asarray((np.tanh(logits / 2) + 1) / 2, np.float32)
    return shares


def unit_length(vectors: Sequence[Any] | Floats) -> Floats:
    """Each row over its Euclidean length; a row of zeros stays one."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=-1, keepdims=True))
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
