"""Ranked answers to precision, recall and average precision, as COCO defines them: 101 points of recall.

Pure numpy. A ranking may be weighed by picture, which is how figures are taken again for their intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trapline.evaluation.matching import (
    EVERY,
    MOST,
    THRESHOLDS,
    Flags,
    Floats,
    Found,
    Matched,
    Numbers,
    Pair,
    Truth,
    match,
)

_Row = tuple[int, Floats, Matched]  # a picture, confidences, what became of them

RECALLS: Floats = np.linspace(0.0, 1.0, 101)
STEPS: Floats = np.linspace(0.0, 1.0, 101)  # thresholds at which curves are told


@dataclass(frozen=True)
class Ranking:
    """Answers over all pictures, best first, judged at each of T overlaps."""

    scores: Floats  # n
    right: Flags  # T x n
    counted: Flags  # T x n; what is not is neither right nor false
    pictures: Numbers  # n; the picture that each is of
    objects: Floats  # one per picture: things to be found on it

    @property
    def total(self) -> int:
        """Things to be found."""
        return int(self.objects.sum())

    def at(self, place: int) -> Ranking:
        """At one of the overlaps alone."""
        keep = self.counted[place]
        one = np.s_[place : place + 1]
        return Ranking(
            self.scores[keep], self.right[one][:, keep], self.counted[one][:, keep], self.pictures[keep], self.objects
        )


@dataclass(frozen=True)
class Working:
    """A threshold and what it gives."""

    threshold: float
    precision: float  # NaN where nothing is told
    recall: float  # NaN where there is nothing to find
    f1: float
    hits: int
    told: int
    total: int  # things to be found


def rankings(
    truths: Sequence[Truth],
    founds: Sequence[Found],
    labels: int,
    thresholds: Floats = THRESHOLDS,
    areas: Sequence[tuple[float, float]] = (EVERY,),
    most: int = MOST,
) -> list[list[Ranking]]:
    """Per range of sizes, the detections of each label on all pictures."""
    objects = np.zeros((len(areas), labels, len(truths)))
    rows: list[list[list[_Row]]] = [[[] for _ in range(labels)] for _ in areas]
    for number, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        pair = Pair.of(truth, found)
        for label in np.union1d(truth.labels, found.labels).tolist():
            for size, area in enumerate(areas):
                matched = match(pair, label, thresholds, area, most)
                objects[size, label, number] = matched.objects
                rows[size][label].append((number, found.scores[matched.which], matched))
    return [
        [_ranked(some, there, len(thresholds)) for some, there in zip(by_label, counts, strict=True)]
        for by_label, counts in zip(rows, objects, strict=True)
    ]


def pooled(rankings: Sequence[Ranking]) -> Ranking:
    """All labels' answers in one list, best first."""
    scores = np.concatenate([one.scores for one in rankings])
    order = np.argsort(-scores, kind="stable")
    return Ranking(
        scores[order],
        np.concatenate([one.right for one in rankings], axis=1)[:, order],
        np.concatenate([one.counted for one in rankings], axis=1)[:, order],
        np.concatenate([one.pictures for one in rankings])[order],
        np.sum([one.objects for one in rankings], axis=0),
    )


def precision_at_recalls(ranked: Ranking, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Precision at each of `RECALLS` (T x 101), made monotonic, and the greatest recall (T); NaN without truth."""
    weight = np.ones(len(ranked.objects)) if weights is None else weights
    total = float(ranked.objects @ weight)
    points = np.zeros((len(ranked.right), len(RECALLS)))
    if not total:
        return np.full_like(points, np.nan), np.full(len(points), np.nan)
    if not len(ranked.scores):
        return points, np.zeros(len(points))
    each = weight[ranked.pictures]
    hits = np.cumsum(ranked.right * each, axis=1)
    told = np.cumsum(ranked.counted * each, axis=1)
    precision = hits / (told + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for row, recall in enumerate(hits / total):
        at = np.searchsorted(recall, RECALLS, side="left")
        reached = at < len(recall)
        points[row, reached] = precision[row, at[reached]]
    return points, hits[:, -1] / total


def average_precision(ranked: Ranking, weights: Floats | None = None) -> Floats:
    """The mean of precision over `RECALLS`, at each overlap: T numbers, NaN where there is nothing to find."""
    average: Floats = precision_at_recalls(ranked, weights)[0].mean(axis=1)
    return average


def working_point(ranked: Ranking, threshold: float, weights: Floats | None = None) -> Working:
    """What is told from `threshold` up, at the first overlap."""
    weight = np.ones(len(ranked.objects)) if weights is None else weights
    each = weight[ranked.pictures] * (ranked.scores >= threshold)
    return _working(
        threshold, float(ranked.right[0] @ each), float(ranked.counted[0] @ each), float(ranked.objects @ weight)
    )


def best_point(ranked: Ranking) -> Working | None:
    """The threshold at which precision and recall are best together (F1); None where nothing right is told."""
    first = ranked.at(0)
    hits = np.cumsum(first.right[0])
    if not len(hits) or not hits[-1]:
        return None
    last = np.append(first.scores[1:] < first.scores[:-1], True)  # a threshold tells all of equal scores, or none
    f1 = np.where(last, 2 * hits / (np.arange(1, len(hits) + 1) + ranked.total), -1)
    return working_point(ranked, float(first.scores[int(f1.argmax())]))


def threshold_curve(ranked: Ranking) -> list[Working]:
    """What is told at each of `STEPS`, at the first overlap."""
    first = ranked.at(0)
    ascending = first.scores[::-1]
    hits = np.concatenate([[0], np.cumsum(first.right[0])])
    told = len(ascending) - np.searchsorted(ascending, STEPS, side="left")
    return [
        _working(float(step), float(hits[count]), float(count), float(ranked.total))
        for step, count in zip(STEPS, told, strict=True)
    ]


def _working(threshold: float, hits: float, told: float, total: float) -> Working:
    return Working(
        threshold,
        hits / told if told else float("nan"),
        hits / total if total else float("nan"),
        2 * hits / (told + total) if told + total else float("nan"),
        round(hits),
        round(told),
        round(total),
    )


def _ranked(rows: Sequence[_Row], objects: Floats, thresholds: int) -> Ranking:
    if not rows:
        none = np.zeros((thresholds, 0), np.bool_)
        return Ranking(np.zeros(0), none, none, np.zeros(0, np.intp), objects)
    scores = np.concatenate([scored for _, scored, _ in rows])
    order = np.argsort(-scores, kind="stable")
    counted = np.concatenate([~matched.ignored for _, _, matched in rows], axis=1)
    hit = np.concatenate([matched.truth >= 0 for _, _, matched in rows], axis=1)
    pictures = np.concatenate([np.full(len(scored), number, np.intp) for number, scored, _ in rows])
    return Ranking(scores[order], (hit & counted)[:, order], counted[:, order], pictures[order], objects)
