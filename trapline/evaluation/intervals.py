"""How far a figure could be off by the choice of pictures: it is taken again on pictures drawn with repetition.

Pure numpy; the same seed gives the same intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from trapline.evaluation.matching import Floats

RESAMPLES = 200
_FEWEST = 50
_WORK = 1e8  # answers x resamples that are worth the wait
_SHARE = 0.95

Interval = tuple[float, float]
Figures = Callable[[Floats], Mapping[str, float]]  # from how often each picture counts


def resamples(answers: int, wanted: int = RESAMPLES) -> int:
    """How many to draw: fewer where there are very many answers to go through."""
    return max(min(wanted, _FEWEST), min(wanted, int(_WORK / max(answers, 1))))


def intervals(figures: Figures, pictures: int, count: int, seed: int) -> dict[str, Interval | None]:
    """Between which two values each figure lies in 95 of 100 draws; None where that cannot be said.

    Pictures are drawn whole, since what is on one picture is alike.
    """
    names = list(figures(np.ones(pictures)))
    if pictures < 2 or count < 1:
        return dict.fromkeys(names)
    rng = np.random.default_rng(seed)
    drawn = [
        figures(np.bincount(rng.integers(0, pictures, pictures), minlength=pictures).astype(np.float64))
        for _ in range(count)
    ]
    return {name: _middle(np.array([one[name] for one in drawn])) for name in names}


def _middle(values: Floats) -> Interval | None:
    sound = values[np.isfinite(values)]
    if not len(sound):
        return None
    low, high = np.quantile(sound, [(1 - _SHARE) / 2, (1 + _SHARE) / 2])
    return float(low), float(high)
