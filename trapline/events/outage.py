"""What triggers that ask for events share: how long to wait after a failure, and what to say of an outage."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterable

log = logging.getLogger("trapline.engine")


class Outage:
    """Whether a source of events answers those who ask it. A line in the log when that, or its reason, changes."""

    def __init__(self, trigger: str, source: str) -> None:
        self._trigger = trigger
        self._source = source
        self._failing: set[str] = set()  # threads whose last request failed
        self._why = ""
        self._lost = False
        self._lock = threading.Lock()

    def failed(self, thread: str, why: str, *, lost: bool = True) -> None:
        """`lost`: whether events may have been lost meanwhile."""
        with self._lock:
            self._failing.add(thread)
            self._lost = self._lost or lost
            if why != self._why:
                self._why = why
                log.warning("event=%s.failing source=%s why=%s", self._trigger, self._source, why)

    def answered(self, thread: str) -> bool:
        """Whether this ended an outage in which events may have been lost."""
        with self._lock:
            self._failing.discard(thread)
            if self._failing or not self._why:
                return False
            lost, self._lost, self._why = self._lost, False, ""
        log.info("event=%s.working source=%s", self._trigger, self._source)
        return lost


class Gaps:
    """When to look a bucket over that several connections tell of: once, as soon as all who can listen again do so.

    What happened while one of them did not is lost to it alone. Both methods say whether the look is due now.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._deaf = set(names)  # who does not listen
        self._gaps: set[str] = set()  # who listens again, and has missed something since the last look
        self._awaited: set[str] = set()  # who has still to try, since the first of them came back
        self._lock = threading.Lock()

    def opened(self, name: str) -> bool:
        """It listens from now on."""
        with self._lock:
            self._deaf.discard(name)
            if not self._gaps:
                self._awaited = set(self._deaf)
            self._gaps.add(name)
            return self._due(name)

    def failed(self, name: str) -> bool:
        """It does not listen any more, or still not."""
        with self._lock:
            self._deaf.add(name)
            return self._due(name)

    def deaf(self) -> set[str]:
        """Who does not listen now."""
        with self._lock:
            return set(self._deaf)

    def _due(self, name: str) -> bool:
        self._awaited.discard(name)
        if not self._gaps or self._awaited:
            return False
        self._gaps.clear()
        return True


def pause(tries: int, first: float, longest: float) -> float:
    """Seconds until the next try, longer each time, and never the same for two."""
    return float(min(longest, first * 2 ** min(tries, 20))) * random.uniform(0.5, 1.0)
