"""Several classifiers' scores for one detection to one ranking. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import fsum

Scores = dict[str, float]  # label → score, 0 to 1; a label that is not told has 0
Heard = Mapping[str, Scores]  # stage → what it says; at least one


def joint(method: str, heard: Heard, weights: Mapping[str, float]) -> list[tuple[str, float]]:
    """Labels and joint scores, best first. Equal ones by their mean score, then by name, so that order is no chance.

    Only stages that were heard count: a missing one neither raises nor lowers a score.
    """
    share = _METHODS[method]
    labels = {label for scores in heard.values() for label in scores}
    ranked = [(share(label, heard, weights), _mean(label, heard, {}), label) for label in labels]
    ranked.sort(key=lambda entry: (-entry[0], -entry[1], entry[2]))
    return [(label, score) for score, _, label in ranked if score > 0 or method != "vote"]


def best(scores: Scores) -> tuple[str, float]:
    """A classifier's first choice and its score."""
    return min(scores.items(), key=lambda entry: (-entry[1], entry[0]))


def _mean(label: str, heard: Heard, weights: Mapping[str, float]) -> float:
    """The mean score; a classifier that does not tell the label gives it 0."""
    counts = {stage: weights.get(stage, 1.0) for stage in heard}
    total = fsum(scores.get(label, 0.0) * counts[stage] for stage, scores in heard.items())
    return total / fsum(counts.values())  # rounded once: the order of the stages changes nothing


def _max(label: str, heard: Heard, weights: Mapping[str, float]) -> float:
    return max(scores.get(label, 0.0) for scores in heard.values())


def _vote(label: str, heard: Heard, weights: Mapping[str, float]) -> float:
    """The share of classifiers whose first choice it is."""
    return sum(1 for scores in heard.values() if best(scores)[0] == label) / len(heard)


_METHODS: dict[str, Callable[[str, Heard, Mapping[str, float]], float]] = {
    "mean": _mean,
    "weights": _mean,
    "max": _max,
    "vote": _vote,
}
