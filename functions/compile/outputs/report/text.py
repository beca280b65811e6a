"""Names, numbers and times as the page says them. What comes from outside may be anything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

_JOINERS = "\u200c\u200d"  # invisible, and part of words in several scripts
LISTED = 6  # names that are said one after the other
_NAME = 80  # letters of a name that are shown


def plain(text: Any) -> str:
    """A text in which nothing is invisible or turns the text around: such characters are written as their codes."""
    said = str(text)
    if said.isprintable():
        return said
    return "".join(char if char.isprintable() or char in _JOINERS else ascii(char)[1:-1] for char in said)


def shortened(text: Any, most: int = _NAME) -> str:
    """A text of at most so many letters: its beginning and its end."""
    said = str(text)
    if len(said) <= most:
        return said
    tail = (most - 1) // 2
    return f"{said[: most - 1 - tail]}…{said[-tail:]}"


def coded(text: str) -> Markup:
    """A text whose parts in backticks are set as code."""
    parts = plain(text).split("`")
    if len(parts) % 2 == 0:
        return escape(plain(text))
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def counted(count: int, thing: str, things: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def day(when: datetime) -> str:
    """`20 November 2026`."""
    return f"{when.day} {when:%B %Y}"


def clock(when: datetime) -> str:
    """`21:05`."""
    return f"{when:%H:%M}"


def span(first: datetime, last: datetime) -> str:
    """`20 November 2026, 21:05 to 04:30 on 21 November 2026`; a day is said once where it is the same."""
    if first.date() == last.date():
        return f"{day(first)}, {clock(first)}" + (f" to {clock(last)}" if clock(first) != clock(last) else "")
    return f"{day(first)}, {clock(first)}, to {day(last)}, {clock(last)}"


def duration(seconds: float) -> str:
    """`60 s`, `5 min`, `2 h`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds > size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


def place(latitude: Any, longitude: Any) -> str:
    """`55.60000° N, 12.50000° E`; empty where they are no coordinates."""
    numbers = [
        value for value in (latitude, longitude) if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) != 2:
        return ""
    north, east = "N" if numbers[0] >= 0 else "S", "E" if numbers[1] >= 0 else "W"
    return f"{abs(numbers[0]):.5f}° {north}, {abs(numbers[1]):.5f}° {east}"


def listed(names: Sequence[str], things: str) -> str:
    """`a; b`; where there are many, `12 places: a; b; c and 9 more`."""
    if len(names) <= LISTED:
        return "; ".join(names)
    return f"{len(names):,} {things}: {'; '.join(names[: LISTED - 1])} and {len(names) - LISTED + 1:,} more"
