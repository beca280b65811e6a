"""How good a classifier is: what it named things, told against what they are. Pure numpy; no model is run here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trapline.evaluation.detecting import told_curves
from trapline.evaluation.intervals import RESAMPLES, intervals, resamples
from trapline.evaluation.matching import Floats, Numbers
from trapline.evaluation.precision import Ranking, average_precision, best_point

KEPT = 100  # names kept of one thing, the best


@dataclass(frozen=True)
class Named:
    """What n things are, and what a model named them."""

    truth: Numbers  # n places in the list of labels
    told: Numbers  # n x k labels, best first
    scores: NDArray[np.float64]  # n x k; 0 to 1
    pictures: Numbers  # n; the picture that each is on
    count: int  # of pictures


def classifier_figures(named: Named, labels: Sequence[str], *, seed: int = 0, draws: int = RESAMPLES) -> dict[str, Any]:
    """Everything that is told of a classifier, for `evaluation.json`. NaN where a figure cannot be said."""
    first = named.told[:, 0]
    right = first == named.truth
    within = (named.told[:, :5] == named.truth[:, None]).any(axis=1)
    together = _ranked(named.scores[:, 0], right, named.pictures, np.ones(len(right)), named)
    by_label = {label: _against_the_rest(named, number) for number, label in enumerate(labels)}
    rows = [_label(label, number, named, by_label[label]) for number, label in enumerate(labels)]

    def figures(weights: Floats) -> dict[str, float]:
        each = weights[named.pictures]
        return {
            "top1": _share(right, each),
            "top5": _share(within, each),
            "macro_f1": _macro_f1(named.truth, first, each, len(labels)),
        }

    count = resamples(len(right), draws)
    return {
        **figures(np.ones(named.count)),
        "intervals": intervals(figures, named.count, count, seed),
        "resamples": count,
        "best": asdict(point) if (point := best_point(together)) else None,
        "labels": rows,
        "confusion": _confusion(named.truth, first, labels),
        **told_curves(together, {label: one for label, one in by_label.items() if one.total}, 0.0),
    }


def _ranked(scores: Floats, right: NDArray[np.bool_], pictures: Numbers, objects: Floats, named: Named) -> Ranking:
    """`objects`: per thing 1 where it is to be found."""
    order = np.argsort(-scores, kind="stable")
    there = np.bincount(named.pictures, objects, named.count).astype(np.float64)
    return Ranking(scores[order], right[None, order], np.ones((1, len(order)), np.bool_), pictures[order], there)


def _against_the_rest(named: Named, label: int) -> Ranking:
    """All things by how much they are said to be of one label."""
    thing, place = np.nonzero(named.told == label)
    right = named.truth[thing] == label
    objects = (named.truth == label).astype(np.float64)
    return _ranked(named.scores[thing, place], right, named.pictures[thing], objects, named)


def _label(label: str, number: int, named: Named, ranked: Ranking) -> dict[str, Any]:
    first = named.told[:, 0]
    objects, told = int((named.truth == number).sum()), int((first == number).sum())
    hits = int(((first == number) & (named.truth == number)).sum())
    return {
        "label": label,
        "objects": objects,
        "told": told,
        "precision": hits / told if told else float("nan"),
        "recall": hits / objects if objects else float("nan"),
        "f1": 2 * hits / (told + objects) if told + objects else float("nan"),
        "average_precision": float(average_precision(ranked)[0]),
    }


def _confusion(truth: Numbers, told: Numbers, labels: Sequence[str]) -> list[dict[str, Any]]:
    cells = Counter(zip(truth.tolist(), told.tolist(), strict=True))
    return [{"truth": labels[a], "told": labels[b], "count": count} for (a, b), count in sorted(cells.items())]


def _macro_f1(truth: Numbers, told: Numbers, weights: Floats, labels: int) -> float:
    """The mean of F1 over the labels that occur among the things, each counting alike."""
    hits = np.bincount(truth, weights * (truth == told), labels)
    there, said = np.bincount(truth, weights, labels), np.bincount(told, weights, labels)
    some = there > 0
    return float((2 * hits[some] / (there + said)[some]).mean()) if some.any() else float("nan")


def _share(right: NDArray[np.bool_], weights: Floats) -> float:
    return float(right @ weights / weights.sum()) if weights.sum() else float("nan")
