"""What a function found, in words. Reads what functions return without trusting its shape."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from trapline.cli.words import safe
from trapline.images import Box

BEST = 3  # classifications of a detection that are shown
_USUAL = ("id", "box", "label", "confidence", "classifications")
_HARDLY = 0.005  # a score that reads 0.00
_FILE = frozenset(("key", "size", "sha256"))  # what `item.write` gives
_LONGEST = 160  # characters of one finding


def detections(known: dict[str, Any]) -> list[dict[str, Any]]:
    """The detections of a record; what is none is left out."""
    found = known.get("detections")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def boxed(known: dict[str, Any]) -> list[tuple[dict[str, Any], Box]]:
    """Each detection that has a box, with it."""
    return [(found, box) for found in detections(known) if (box := box_of(found)) is not None]


def box_of(found: dict[str, Any]) -> Box | None:
    """A detection's x1, y1, x2, y2; None where it has no four finite numbers."""
    box = found.get("box")
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_number(side) for side in box):
        return None
    x1, y1, x2, y2 = box
    return (float(x1), float(y1), float(x2), float(y2))


def ranked(found: dict[str, Any]) -> list[tuple[str, float | None]]:
    """A detection's classifications, as given."""
    rows = found.get("classifications")
    if not isinstance(rows, list):
        return []
    return [
        (str(row.get("label", "?")), float(row["score"]) if _is_number(row.get("score")) else None)
        for row in rows
        if isinstance(row, dict)
    ]


def label_of(found: dict[str, Any]) -> str:
    """What a detection is, as far as it is known: its best class, else its label."""
    best = ranked(found)[:1]
    return best[0][0] if best else str(found.get("label", ""))


def caption_of(found: dict[str, Any]) -> str:
    """`noctuid 0.97`."""
    best = ranked(found)[:1]
    score = best[0][1] if best else found.get("confidence")
    return f"{label_of(found)} {number(score)}".strip()


def classes(found: dict[str, Any]) -> str:
    """`noctuid 0.97, geometer 0.01`; what is hardly possible is left out, but for the best."""
    rows = ranked(found)
    told = [row for row in rows[1:BEST] if row[1] is None or row[1] >= _HARDLY]
    return ", ".join(f"{safe(label)} {number(score)}".strip() for label, score in [*rows[:1], *told])


def number(value: Any) -> str:
    """A share with two digits; empty for what is no number."""
    return f"{value:.2f}" if _is_number(value) else ""


def corners(found: dict[str, Any]) -> str:
    """`412, 88 – 502, 170`, in pixels."""
    box = box_of(found)
    return "no box" if box is None else "{:.0f}, {:.0f} – {:.0f}, {:.0f}".format(*box)


def others(found: Iterable[dict[str, Any]]) -> list[str]:
    """What else the detections hold, as names of columns."""
    return list(dict.fromkeys(key for one in found for key in one if key not in _USUAL))


def told(added: dict[str, Any]) -> list[str]:
    """What a function found beside detections, a line each: `sharpness: variance 812.4, blurred no`."""
    return [f"{safe(str(key))}: {shown(value)}" for key, value in added.items() if key not in ("detections", "image")]


def shown(value: Any, most: int = _LONGEST) -> str:
    """A value on one line, of `most` characters."""
    if isinstance(value, dict) and _FILE.issubset(value):
        text = str(value["key"]).rpartition("/")[2]  # a file beside the record
    elif isinstance(value, dict):
        text = ", ".join(f"{key} {_one(part)}" for key, part in value.items())
    elif isinstance(value, list):
        text = ", ".join(map(_one, value)) or "none"
    else:
        text = _one(value)
    text = safe(text)
    return text if len(text) <= most else f"{text[:most]}…"


def _one(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if value == [] or value == {}:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
