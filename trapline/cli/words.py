"""How the command line writes: consoles, sizes, times and names for a terminal of 80 columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

_UNITS = ("B", "kB", "MB", "GB", "TB")


def console(*, stderr: bool = False) -> Console:
    """Where a command writes. Colours, boxes and bars go where the terminal takes them; NO_COLOR is honoured."""
    return Console(stderr=stderr, highlight=False, markup=False)


def say(out: Console, line: str = "", style: str = "") -> None:
    """One line, never wrapped: it may hold a path or a command to copy."""
    out.print(Text(line, style=style), soft_wrap=True)


def emit(document: Any) -> None:
    """A JSON document on stdout, on one line."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def safe(name: str) -> str:
    """A name from a bucket as a terminal may show it: no control characters, no odd bytes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def changes(said: Mapping[str, Any]) -> str:
    """What a revision has against the final one before it, as a sentence."""
    counts = [f"{said[kind]:,} {kind}" for kind in ("added", "changed", "removed") if said.get(kind)]
    return f"Against {safe(str(said.get('against', '')))}: {', '.join(counts) or 'the same images'}."


def plural(count: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def size(count: float) -> str:
    """Bytes for people: `1.4 MB`."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds for people: `40 s`, `5 min`, `2 h 10 min`, `3 days`."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{minutes // 1440} days"


def moment(at: datetime | None) -> str:
    """A time in the terminal's own zone: `2026-11-20 23:05:10`."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "?"


def ago(at: datetime | None) -> str:
    """How long ago: `40 s ago`."""
    return f"{duration((datetime.now(UTC) - at).total_seconds())} ago" if at else "at an unknown time"


def rate(per_second: float | None) -> str:
    """Images per second, or per minute where that reads better."""
    if not per_second:
        return ""
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"
