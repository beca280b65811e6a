"""Events on their way from the threads of triggers to the dispatcher's loop: the first at once, many together."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from trapline.events import ObjectEvent

TOGETHER = 0.01  # seconds for which events are collected after one was handed over


class Handover:
    """Wakes the loop for the first event, then for all that came within `TOGETHER`.

    Otherwise a thousand events a second wake it a thousand times, and the trigger's thread waits for it as often: both
    want the interpreter.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[ObjectEvent], None]) -> None:
        self._loop, self._take = loop, take
        self._waiting: deque[ObjectEvent] = deque()
        self._awake = False  # whether the loop will look by itself

    def hand(self, event: ObjectEvent) -> None:
        """May be called from any thread; returns at once."""
        self._waiting.append(event)
        if not self._awake:
            self._awake = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        if not self._waiting:
            self._awake = False
            if not self._waiting:  # else one came just before it went to sleep
                return
            self._awake = True
        while self._waiting:
            self._take(self._waiting.popleft())
        self._loop.call_later(TOGETHER, self._look)
