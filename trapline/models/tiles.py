"""Large pictures in overlapping tiles: where they are cut, and how what was found in each is joined. Pure numpy.

What a tile's edge cuts is seen whole by a neighbour, as far as the overlap is as wide as the thing; so a cut box gives
way to a whole one, and only where nobody saw it whole are its parts joined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapline.images import Box
from trapline.models.boxes import Boxes, Floats, areas, overlaps, shared
from trapline.models.card import Tiles

NEAR = 0.01  # share of a tile's side within which a box counts as touching the edge
INSIDE = 0.8  # share of the smaller box from which it counts as the same thing as the larger, seen from another tile
CUT_INSIDE = 0.5  # the same for a box that an edge cuts
SMALLEST = 0.25  # a whole box inside a larger one of less than this share of its area is something of its own
ALONG = 0.6  # share of the shorter side that two halves of a cut thing have in common along the cut
SAME = 0.5  # intersection over union from which whole boxes of two tiles are one thing, unless the card says less


@dataclass(frozen=True)
class Tile:
    """One part of a picture."""

    box: Box  # full pixels of the picture
    inner: tuple[bool, bool, bool, bool]  # which of its left, top, right, bottom edges cut the picture


@dataclass(frozen=True)
class Found:
    """What was found in one tile."""

    tile: Tile
    boxes: NDArray[np.float64]  # n x 4, full pixels of the picture
    labels: NDArray[np.intp]  # n channel numbers
    scores: Floats  # n


@dataclass(frozen=True)
class Joined:
    """What is on the whole picture, best first."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.intp]
    scores: Floats


def cut(width: int, height: int, plan: Tiles) -> list[Tile]:
    """The tiles of a picture of this size, in pixels, scale by scale, row by row. They cover all of it at each scale.

    A scale at which the picture fits into a tile gives one tile, the whole picture.
    """
    tiles = []
    for scale in plan.scales:
        columns, rows = (_spans(side, plan.size / scale, plan.overlap) for side in (width, height))
        for top, bottom in rows:
            for left, right in columns:
                inner = (left > 0, top > 0, right < width, bottom < height)
                tiles.append(Tile((left, top, right, bottom), inner))
    return list(dict.fromkeys(tiles))


def join(parts: Sequence[Found], *, iou: float | None, per_label: bool, most: int) -> Joined:
    """Tell each thing once. `iou`, `per_label` and `most` are those of the card's `nms`."""
    kept = [part for part in parts if len(part.boxes)]
    if not kept:
        return Joined(np.empty((0, 4)), np.empty(0, np.intp), np.empty(0, np.float32))
    pool = _Pool(kept, min(iou or SAME, SAME), per_label)
    chosen = pool.whole()
    boxes = pool.boxes.copy()
    for index in pool.cut_ones():
        pool.settle(index, chosen, boxes)
    order = sorted(chosen, key=lambda index: (-pool.scores[index], *boxes[index].tolist()))[:most]
    return Joined(boxes[order], pool.labels[order], pool.scores[order])


def _spans(length: int, side: float, overlap: float) -> list[tuple[float, float]]:
    """Evenly spread stretches of `side` that cover `length`, neighbours sharing at least `overlap` of a side."""
    if side >= length:
        return [(0.0, float(length))]
    count = math.ceil((length - side) / (side * (1 - overlap)) - 1e-9) + 1
    starts = [round(number * (length - side) / (count - 1)) for number in range(count)]
    return [(float(start), min(float(length), start + side)) for start in starts]


class _Pool:
    """All boxes of all tiles: whole ones first, then those that an edge cuts, each best first."""

    def __init__(self, parts: Sequence[Found], iou: float, per_label: bool) -> None:
        boxes = np.concatenate([part.boxes for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        touching = np.concatenate([_touching(part) for part in parts])
        broken = touching.any(axis=1)
        order = np.lexsort((-scores, broken))
        self.boxes, self.scores, self.touching = boxes[order], scores[order], touching[order]
        self.labels = np.concatenate([part.labels for part in parts])[order]
        self.tiles = np.concatenate([np.full(len(part.boxes), at) for at, part in enumerate(parts)])[order]
        self.first_cut = int(len(order) - broken.sum())
        self._iou, self._per_label = iou, per_label

    def whole(self) -> list[int]:
        """Of the boxes that no edge cuts, those that no better one stands for."""
        left = np.arange(self.first_cut)
        chosen = []
        while len(left):
            best, left = int(left[0]), left[1:]
            chosen.append(best)
            left = left[~self._same_whole(best, left)]
        return chosen

    def cut_ones(self) -> range:
        """The boxes that an edge cuts."""
        return range(self.first_cut, len(self.boxes))

    def settle(self, index: int, chosen: list[int], boxes: Boxes) -> None:
        """Drop a cut box that another stands for, join it to another part of the same thing, or choose it."""
        others = np.array([one for one in chosen if self._may_be_one(index, one)], np.intp)
        if len(others):
            mine, theirs = boxes[index : index + 1], boxes[others]
            common = shared(mine, theirs)[0]
            smaller = np.minimum(areas(mine)[0], areas(theirs))
            if (common > CUT_INSIDE * np.maximum(smaller, 1e-9)).any() or (overlaps(mine, theirs)[0] > self._iou).any():
                wider = (common > CUT_INSIDE * np.maximum(smaller, 1e-9)) & (others >= self.first_cut)
                for other in others[wider & (areas(theirs) < areas(mine)[0])][:1]:
                    boxes[other] = _around(boxes[other], boxes[index])
                return
            for other in others[common > 0]:
                if other >= self.first_cut and self._halves(index, int(other), boxes):
                    boxes[other] = _around(boxes[other], boxes[index])
                    self.touching[other] &= self.touching[index]
                    return
        chosen.append(index)

    def _same_whole(self, best: int, others: NDArray[np.intp]) -> NDArray[np.bool_]:
        one, rest = self.boxes[best : best + 1], self.boxes[others]
        sizes = areas(one)[0], areas(rest)
        smaller, larger = np.minimum(*sizes), np.maximum(*sizes)
        inside = (shared(one, rest)[0] > INSIDE * np.maximum(smaller, 1e-9)) & (smaller >= SMALLEST * larger)
        same = (overlaps(one, rest)[0] > self._iou) | inside
        # What the network told apart in one look is two things.
        same &= self.tiles[others] != self.tiles[best]
        return same & (self.labels[others] == self.labels[best]) if self._per_label else same

    def _may_be_one(self, index: int, other: int) -> bool:
        labels = not self._per_label or bool(self.labels[index] == self.labels[other])
        return labels and bool(self.tiles[index] != self.tiles[other])

    def _halves(self, index: int, other: int, boxes: Boxes) -> bool:
        """Whether two boxes are cut at edges that face each other, and lie side by side along the cut."""
        mine, theirs = self.touching[index], self.touching[other]
        for axis in (0, 1):
            facing = (mine[axis] and theirs[axis + 2]) or (mine[axis + 2] and theirs[axis])
            across = 1 - axis
            low = max(boxes[index][across], boxes[other][across])
            high = min(boxes[index][across + 2], boxes[other][across + 2])
            lengths = [boxes[one][across + 2] - boxes[one][across] for one in (index, other)]
            if facing and high - low > ALONG * min(lengths):
                return True
        return False


def _touching(part: Found) -> NDArray[np.bool_]:
    """Which of the tile's inner edges each box touches: left, top, right, bottom."""
    x1, y1, x2, y2 = part.tile.box
    near = np.array([x2 - x1, y2 - y1] * 2) * NEAR
    distance = np.abs(part.boxes - np.array([x1, y1, x2, y2]))
    touching: NDArray[np.bool_] = (distance <= near) & np.array(part.tile.inner)
    return touching


def _around(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])
