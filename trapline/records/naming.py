"""What a detection is called, and how sure that is: one rule for tables, pictures and the terminal.

Trusts no shape of what functions returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NUMBERS = (float, int)
_MOST = 1e15  # no pixel, score or degree is larger; what is, is no number here


def label_of(detection: Mapping[str, Any], top: Mapping[str, Any]) -> str:
    """The most exact word for what was found: that of `top`, its classification, or else the detector's."""
    return str(top.get("label") or detection.get("label") or "")


def classification(detection: Mapping[str, Any]) -> dict[str, Any]:
    """A detection's classification with the highest score; empty when it has none."""
    entries = classifications(detection)
    if len(entries) == 1:
        return entries[0]
    return max(entries, key=lambda entry: number(entry.get("score")) or 0.0, default={})


def classifications(detection: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All that classifiers said of a detection, in their order."""
    found = detection.get("classifications")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def number(value: Any) -> float | None:
    """A number that can be reckoned with, or None."""
    if type(value) not in _NUMBERS or not -_MOST < value < _MOST:
        return None
    return value  # type: ignore[no-any-return]
