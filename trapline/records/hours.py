"""The hours of a day in the order in which they are told: a night in one piece."""

from __future__ import annotations

from collections.abc import Sequence

HOURS = 24
_NOON = 12


def in_order(effort: Sequence[int]) -> list[int]:
    """The hours from midnight; from noon where images were taken around midnight and none around noon.

    `effort` counts the images by hour.
    """
    nightly = effort[HOURS - 1] + effort[0] and not any(effort[_NOON - 1 : _NOON + 2])
    first = _NOON if nightly else 0
    return [(first + place) % HOURS for place in range(HOURS)]
