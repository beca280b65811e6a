"""How good a detector is: what it found, told against what there is. Pure numpy; no model is run here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from trapline.evaluation.calibration import calibration, histogram
from trapline.evaluation.intervals import RESAMPLES, intervals, resamples
from trapline.evaluation.matching import AREAS, EVERY, HALF, MOST, THRESHOLDS, Floats, Found, Pair, Truth, match
from trapline.evaluation.precision import (
    RECALLS,
    STEPS,
    Ranking,
    average_precision,
    best_point,
    pooled,
    precision_at_recalls,
    rankings,
    threshold_curve,
    working_point,
)

Document = dict[str, Any]

_75 = 5  # the place of 0.75 among the overlaps


def detector_figures(
    truths: Sequence[Truth],
    founds: Sequence[Found],
    labels: Sequence[str],
    threshold: float,
    *,
    most: int = MOST,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> Document:
    """Everything that is told of a detector, for `evaluation.json`; picture by picture, truth and what was found.

    `threshold` is the confidence at which the model is used; `most` the detections of a label that count per picture.
    NaN where a figure cannot be said.
    """
    founds = [one.best(most) for one in founds]
    every, *by_size = rankings(truths, founds, len(labels), areas=(EVERY, *AREAS.values()), most=most)
    halves = [one.at(HALF) for one in every]
    together = pooled(halves)
    points = [precision_at_recalls(one) for one in every]
    return {
        **_averages(points),
        "areas": {name: _of_a_size(ranked) for name, ranked in zip(AREAS, by_size, strict=True)},
        "at_threshold": asdict(working_point(together, threshold)),
        "best": _asdict(best_point(together)),
        **_intervals(every, together, threshold, draws, seed),
        "labels": [
            _label(label, half, point, threshold) for label, half, point in zip(labels, halves, points, strict=True)
        ],
        "confusion": confusion(truths, founds, labels, threshold),
        **told_curves(
            together, {label: half for label, half in zip(labels, halves, strict=True) if half.total}, threshold
        ),
    }


def told_curves(together: Ranking, by_label: Mapping[str, Ranking], least: float) -> Document:
    """Curves over recall, threshold and confidence, of answers judged at one overlap.

    `least` is the confidence from which the errors of calibration are taken.
    """
    steps = threshold_curve(together)
    right = together.right[0]
    return {
        "curves": {
            "recall": [round(float(one), 6) for one in RECALLS],
            "overall": precision_at_recalls(together)[0][0].tolist(),
            "labels": {label: precision_at_recalls(one)[0][0].tolist() for label, one in by_label.items()},
        },
        "thresholds": {
            "threshold": [round(float(one), 6) for one in STEPS],
            "precision": [one.precision for one in steps],
            "recall": [one.recall for one in steps],
            "f1": [one.f1 for one in steps],
        },
        "scores": histogram(together.scores, right),
        "calibration": asdict(calibration(together.scores, right, least)),
    }


def confusion(
    truths: Sequence[Truth], founds: Sequence[Found], labels: Sequence[str], threshold: float
) -> list[Document]:
    """What was taken for what, from `threshold` up, at an overlap of 0.5, whatever the label says.

    One line per pair that occurs: `truth` None is something told where nothing is, `told` None something missed.
    """
    cells: Counter[tuple[int, int]] = Counter()
    for truth, found in zip(truths, founds, strict=True):
        for there, told in pairs(truth, found, threshold):
            cells[
                int(truth.labels[there]) if there is not None else -1,
                int(found.labels[told]) if told is not None else -1,
            ] += 1
    names = [*labels, None]
    return [{"truth": names[a], "told": names[b], "count": count} for (a, b), count in sorted(cells.items())]


def pairs(truth: Truth, found: Found, threshold: float) -> list[tuple[int | None, int | None]]:
    """What is there with what was told of it, on one picture: places in both; None: told of nothing, or missed."""
    kept = np.flatnonzero(found.scores >= threshold)
    some = Found(found.boxes[kept], found.labels[kept], found.scores[kept])
    matched = match(Pair.of(truth, some), None, THRESHOLDS[:1], most=len(kept))
    result: list[tuple[int | None, int | None]] = []
    seen: set[int] = set()
    for which, there, ignored in zip(matched.which, matched.truth[0], matched.ignored[0], strict=True):
        if ignored:
            continue
        result.append((int(there) if there >= 0 else None, int(kept[which])))
        seen.add(int(there))
    missed = [int(number) for number in np.flatnonzero(~truth.crowd) if int(number) not in seen]
    return result + [(number, None) for number in missed]


def _averages(points: Sequence[tuple[Floats, Floats]]) -> Document:
    """The means over the labels that are there to be found."""
    shape = (len(points), len(THRESHOLDS))  # -1 would be no number where nothing is there to be found
    average = np.array([one[0].mean(axis=1) for one in points]).reshape(shape)
    recall = np.array([one[1] for one in points]).reshape(shape)
    return {
        "map": _mean(average),
        "map50": _mean(average[:, HALF]),
        "map75": _mean(average[:, _75]),
        "average_recall": _mean(recall),
    }


def _of_a_size(ranked: Sequence[Ranking]) -> Document:
    """Average precision and recall of things of one range of sizes."""
    told = _averages([precision_at_recalls(one) for one in ranked])
    objects = sum(one.total for one in ranked)
    return {"objects": objects, "map": told["map"], "map50": told["map50"], "average_recall": told["average_recall"]}


def _intervals(every: Sequence[Ranking], together: Ranking, threshold: float, draws: int, seed: int) -> Document:
    some = [one for one in every if one.total]
    count = resamples(sum(one.right.size for one in some), draws)

    def figures(weights: Floats) -> dict[str, float]:
        average = np.array([average_precision(one, weights) for one in some]).reshape(len(some), len(THRESHOLDS))
        point = working_point(together, threshold, weights)
        return {
            "map": _mean(average),
            "map50": _mean(average[:, HALF]),
            "precision": point.precision,
            "recall": point.recall,
            "f1": point.f1,
        }

    return {"intervals": intervals(figures, len(together.objects), count, seed), "resamples": count}


def _label(label: str, half: Ranking, point: tuple[Floats, Floats], threshold: float) -> Document:
    at, best = working_point(half, threshold), best_point(half)
    average = point[0].mean(axis=1)
    return {
        "label": label,
        "objects": half.total,
        "told": at.told,
        "map": float(average.mean()),
        "map50": float(average[HALF]),
        "precision": at.precision,
        "recall": at.recall,
        "f1": at.f1,
        "best_threshold": best.threshold if best else float("nan"),
        "best_f1": best.f1 if best else float("nan"),
    }


def _mean(values: Floats) -> float:
    sound = values[np.isfinite(values)]
    return float(sound.mean()) if sound.size else float("nan")


def _asdict(point: Any) -> Document | None:
    return None if point is None else asdict(point)
