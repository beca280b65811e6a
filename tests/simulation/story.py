"""What happened in a world, for a person to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LONGEST = 110  # characters of what was written


class Broken(AssertionError):
    """A promise did not hold."""

    def __init__(self, promise: str, what: str = "") -> None:
        super().__init__(f"{promise}: {what}" if what else promise)
        self.promise = promise  # the same for the same kind of failure, whatever the names
        self.world: Any = None  # the world in which it happened


@dataclass
class Story:
    """Who did what when, in order. Lines are put into words only when somebody wants to read them."""

    clock: Callable[[], float]
    lines: list[tuple[float, str, str, bytes | None]] = field(default_factory=list)

    def add(self, who: str, what: str, data: bytes | None = None) -> None:
        self.lines.append((self.clock(), who, what, data))

    def text(self, last: int | None = None) -> str:
        """The timeline: seconds, who, what."""
        return "\n".join(self._line(*line) for line in self.lines[-(last or len(self.lines)) :])

    def _line(self, at: float, who: str, what: str, data: bytes | None) -> str:
        return f"{at:10.2f}  {who:<14} {what}{_gist(what, data)}"


def _gist(what: str, data: bytes | None) -> str:
    """What was written, in short."""
    if data is None or what.startswith("put logs/"):
        return ""  # logs tell the machine's own time, which is no part of the world
    try:
        raw = json.loads(data)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        return f"  {data[:60]!r}"
    kept = {key: raw[key] for key in _TELLING.get(raw.get("type", ""), ()) if key in raw}
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else ""
    return f"  {text[:LONGEST]}"


_TELLING = {
    "trapline.image": ("outcome", "recipe"),
    "trapline.failure": ("code", "attempts"),
    "trapline.summary": ("state", "final", "revision", "images"),
    "trapline.status": ("state", "closed", "images", "revision", "message"),
    "trapline.receipt": ("revision", "outcome"),
    "trapline.job": ("answered", "closed_listing", "quiet_seconds"),
    "trapline.seen": ("finished", "listing"),
    "trapline.inflight": ("unclean_stops", "tasks"),
}
