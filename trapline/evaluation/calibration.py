"""Whether a confidence means what it says: of answers at 0.8, eight in ten should be right. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trapline.evaluation.matching import Flags, Floats

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers of about one confidence."""

    low: float  # confidences from here
    high: float  # … to here
    count: int
    confidence: float  # their mean; NaN where there are none
    right: float  # the share of them that is right; NaN where there are none


@dataclass(frozen=True)
class Calibration:
    """How far confidences can be believed. NaN where nothing was told."""

    bins: tuple[Bin, ...]
    ece: float  # expected calibration error: the mean distance of confidence and share right, by bins
    brier: float  # the mean squared distance of a confidence from what became true (0 or 1)


def calibration(scores: Floats, right: Flags, least: float = 0.0, bins: int = BINS) -> Calibration:
    """Of n answers with their confidences (0 to 1) and whether each was right.

    Bins are of all answers, the two errors of those from `least` up: the many that a detector holds for almost nothing,
    and nobody sees, would make any detector look well calibrated.
    """
    used = scores >= least
    told, _ = _binned(scores, right, bins)
    if not used.any():
        return Calibration(told, float("nan"), float("nan"))
    _, ece = _binned(scores[used], right[used], bins)
    return Calibration(told, ece, float(np.mean((scores[used] - right[used]) ** 2)))


def histogram(scores: Floats, right: Flags, bins: int = 2 * BINS) -> dict[str, list[float] | list[int]]:
    """How many right and wrong answers there are at which confidence."""
    edges = np.linspace(0, 1, bins + 1)
    return {
        "edges": [round(float(edge), 6) for edge in edges],
        "right": np.histogram(scores[right], edges)[0].tolist(),
        "wrong": np.histogram(scores[~right], edges)[0].tolist(),
    }


def _binned(scores: Floats, right: Flags, bins: int) -> tuple[tuple[Bin, ...], float]:
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    some = np.maximum(count, 1)
    mean = np.where(count, np.bincount(place, scores, bins) / some, np.nan)
    share = np.where(count, np.bincount(place, right.astype(np.float64), bins) / some, np.nan)
    told = tuple(
        Bin(float(low), float(high), int(n), float(m), float(s))
        for low, high, n, m, s in zip(edges[:-1], edges[1:], count, mean, share, strict=True)
    )
    return told, float(np.nansum(np.abs(mean - share) * count) / max(len(scores), 1))
