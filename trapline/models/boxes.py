"""Boxes as arrays: how much two share, and which of many tell the same thing twice. Pure numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Boxes = NDArray[np.floating[Any]]  # n x 4: x1, y1, x2, y2

_CHUNK = 256  # boxes weighed against each other at once


def overlaps(first: Boxes, second: Boxes) -> Floats:
    """Intersection over union of every pair of boxes: n x 4 and m x 4 to n x m."""
    common = shared(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - common
    shares: Floats = common / np.maximum(union, 1e-9)
    return shares


def shared(first: Boxes, second: Boxes) -> Floats:
    """Area that every pair of boxes has in common: n x 4 and m x 4 to n x m."""
    columns = [np.ascontiguousarray(boxes.T) for boxes in (first, second)]
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = columns
    width = np.minimum(ax2[:, None], bx2) - np.maximum(ax1[:, None], bx1)
    height = np.minimum(ay2[:, None], by2) - np.maximum(ay1[:, None], by1)
    common: Floats = np.clip(width, 0, None, out=width)
    common *= np.clip(height, 0, None, out=height)
    return common


def areas(boxes: Boxes) -> Floats:
    """Area of each box, 0 where it is turned inside out."""
    sides: Floats = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    return sides


def corners(centred: Boxes) -> Boxes:
    """Centre x, centre y, width, height to corners, along the last axis."""
    half = centred[..., 2:4] / 2
    return np.concatenate([centred[..., :2] - half, centred[..., :2] + half], axis=-1)


def distinct(
    boxes: Boxes, scores: Floats, labels: NDArray[np.intp], *, iou: float, per_label: bool, most: int
) -> NDArray[np.intp]:
    """Non-maximum suppression: which boxes to keep, best first, so that none overlaps a better one by more than `iou`.

    Greedy and exact. With `per_label`, boxes of different labels never suppress each other. Where `iou` is 1, nothing
    is suppressed.
    """
    order = np.argsort(-scores, kind="stable")
    if iou >= 1:
        return order[:most]
    kept = np.empty(0, np.intp)
    for start in range(0, len(order), _CHUNK):
        if len(kept) >= most:
            break
        chunk = order[start : start + _CHUNK]
        if len(kept):
            chunk = chunk[~_alike(boxes, labels, chunk, kept, iou, per_label).any(axis=1)]
        kept = np.concatenate([kept, chunk[_greedy(_alike(boxes, labels, chunk, chunk, iou, per_label))]])
    return kept[:most]


def _alike(
    boxes: Boxes, labels: NDArray[np.intp], some: NDArray[np.intp], others: NDArray[np.intp], iou: float, each: bool
) -> NDArray[np.bool_]:
    alike = overlaps(boxes[some], boxes[others]) > iou
    if each:
        alike &= labels[some][:, None] == labels[others]
    return alike


def _greedy(alike: NDArray[np.bool_]) -> list[int]:
    """Of boxes in order, those that no kept one before them is alike."""
    kept: list[int] = []
    gone = np.zeros(len(alike), bool)
    for index in range(len(alike)):
        if not gone[index]:
            kept.append(index)
            gone |= alike[index]
    return kept
