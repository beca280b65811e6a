"""Which detection found which thing: by overlap, one picture and one label at a time, as COCO's own tools decide it.

Pure numpy. Boxes are x1, y1, x2, y2 in pixels of the picture as displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.intp]

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)  # overlaps from which a detection counts as the thing, COCO's ten
_AT_ONCE = 1_000_000  # pairs of boxes weighed at once
HALF = 0  # the place of 0.50 in them
MOST = 1000  # detections of one label that count on one picture, the most confident
EVERY = (0.0, 1e10)  # square pixels: things of every size
AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Truth:
    """What is on one picture."""

    boxes: Floats  # n x 4
    labels: Numbers  # n places in the list of labels
    crowd: Flags  # n; a region of many, which need not be found and in which nothing counts as false
    areas: Floats  # n; square pixels

    @classmethod
    def of(
        cls,
        boxes: ArrayLike,
        labels: ArrayLike,
        crowd: ArrayLike | None = None,
        areas: Sequence[float | None] | None = None,
    ) -> Truth:
        """From plain lists. An area that is not given is its box's."""
        made = np.asarray(boxes, np.float64).reshape(-1, 4)
        sizes = areas_of(made)
        for place, area in enumerate(areas or ()):
            sizes[place] = sizes[place] if area is None else area
        many = np.zeros(len(made), np.bool_) if crowd is None else np.asarray(crowd, np.bool_).reshape(-1)
        return cls(made, np.asarray(labels, np.intp).reshape(-1), many, sizes)


@dataclass(frozen=True)
class Found:
    """What a model says is on one picture."""

    boxes: Floats  # n x 4
    labels: Numbers  # n places in the list of labels
    scores: Floats  # n; 0 to 1

    @classmethod
    def of(cls, boxes: ArrayLike, labels: ArrayLike, scores: ArrayLike) -> Found:
        """From plain lists."""
        return cls(
            np.asarray(boxes, np.float64).reshape(-1, 4),
            np.asarray(labels, np.intp).reshape(-1),
            np.asarray(scores, np.float64).reshape(-1),
        )

    def best(self, most: int) -> Found:
        """The `most` most confident of each label."""
        order = np.argsort(-self.scores, kind="stable")
        kept = [order[self.labels[order] == label][:most] for label in np.unique(self.labels)]
        places = np.sort(np.concatenate(kept)) if kept else order
        return Found(self.boxes[places], self.labels[places], self.scores[places])


@dataclass(frozen=True)
class Matched:
    """Detections of one label on one picture, best first, and what became of them at each of T overlaps."""

    which: Numbers  # n places in the picture's `Found`
    truth: Numbers  # T x n places in the picture's `Truth`; -1: found nothing
    ignored: Flags  # T x n; neither right nor false: on a crowd, or of a size that is not asked for
    objects: int  # things to be found


def areas_of(boxes: Floats) -> Floats:
    """Square pixels: n x 4 to n."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas


def overlaps(found: Floats, truth: Floats, crowd: Flags | None = None) -> Floats:
    """Intersection over union of every pair, n x 4 and m x 4 to n x m; with a crowd: over the detection's own area."""
    step = max(1, _AT_ONCE // max(1, len(truth)))
    blocks = [_overlaps(found[start : start + step], truth, crowd) for start in range(0, len(found), step)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(truth)))


def _overlaps(found: Floats, truth: Floats, crowd: Flags | None) -> Floats:
    low = np.maximum(found[:, None, :2], truth[None, :, :2])
    high = np.minimum(found[:, None, 2:], truth[None, :, 2:])
    sides = np.clip(high - low, 0, None)
    common = sides[..., 0] * sides[..., 1]
    own = areas_of(found)[:, None]
    union = own + areas_of(truth)[None, :] - common
    if crowd is not None:
        union = np.where(crowd[None, :], own, union)
    shares: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shares


@dataclass(frozen=True)
class Pair:
    """One picture's truth and what was found on it, with what matching needs of both."""

    truth: Truth
    found: Found
    shares: Floats  # n x m overlaps of what was found (n) with the truth (m)
    own: Floats  # n areas of what was found, square pixels

    @classmethod
    def of(cls, truth: Truth, found: Found) -> Pair:
        return cls(truth, found, overlaps(found.boxes, truth.boxes, truth.crowd), areas_of(found.boxes))


def match(
    pair: Pair,
    label: int | None,
    thresholds: Floats = THRESHOLDS,
    area: tuple[float, float] = EVERY,
    most: int = MOST,
) -> Matched:
    """Match one picture's detections of `label` with its truth; of all labels together where it is None.

    The most confident detection chooses first and takes the thing that it overlaps most, each thing once.
    """
    truth, found = pair.truth, pair.found
    there = np.flatnonzero(truth.labels == label) if label is not None else np.arange(len(truth.labels))
    told = np.flatnonzero(found.labels == label) if label is not None else np.arange(len(found.labels))
    told = told[np.argsort(-found.scores[told], kind="stable")][:most]
    own = pair.own[told]
    elsewhere = (own < area[0]) | (own > area[1])
    if not len(there):
        shape = (len(thresholds), len(told))
        return Matched(told, np.full(shape, -1, np.intp), np.broadcast_to(elsewhere, shape), 0)
    sizes, crowd = truth.areas[there], truth.crowd[there]
    aside = crowd | (sizes < area[0]) | (sizes > area[1])
    picked = _pick(pair.shares[told[:, None], there], crowd, aside, np.minimum(thresholds, 1 - 1e-10))
    hit = picked >= 0
    ignored = np.where(hit, aside[picked], elsewhere)
    return Matched(told, np.where(hit, there[picked], -1), ignored, int((~aside).sum()))


def _pick(shares: Floats, crowd: Flags, aside: Flags, least: Floats) -> Numbers:
    """Per overlap and detection (best first) the place of the thing that it takes; -1: none. T x n."""
    picked = np.full((len(least), len(shares)), -1, np.intp)
    if not shares.size:
        return picked
    taken = np.zeros((len(least), shares.shape[1]), np.bool_)
    rows = np.arange(len(least))
    for number in np.flatnonzero(shares.max(axis=1) >= least.min()):
        row = shares[number]
        free = (row >= least[:, None]) & (~taken | crowd)
        best = _greatest(row, free & ~aside)  # what need not be found is taken only where nothing else is left
        best = np.where(best >= 0, best, _greatest(row, free & aside))
        hit = best >= 0
        taken[rows[hit], best[hit]] = True
        picked[:, number] = best
    return picked


def _greatest(row: Floats, allowed: Flags) -> Numbers:
    """Per line of `allowed` the place of the greatest value, the last of equals; -1: none is allowed."""
    values = np.where(allowed, row, -1.0)
    best = values.shape[1] - 1 - values[:, ::-1].argmax(axis=1)
    return np.where(allowed.any(axis=1), best, -1)
