"""What a job's events show, counted: the largest count of each kind in each event, added up over the events."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from functions.compile.book import stored
from functions.compile.bursts import Bursts, Event
from functions.compile.picture import UNKNOWN

EVENTS = 100  # rows


@dataclass
class Counted:
    """A job's events, counted: memory does not grow with their number."""

    count: int = 0
    with_something: int = 0  # events
    total: int = 0  # the largest counts of all kinds and events together
    _added: Counter[str] = field(default_factory=Counter)  # by label: the largest counts of all events together
    _at_once: dict[str, int] = field(default_factory=dict)  # by label: the largest count of all
    _events: Counter[str] = field(default_factory=Counter)  # by label: events that show it
    _most: list[tuple[int, int, Event]] = field(default_factory=list)

    def add(self, event: Event) -> None:
        counts = kinds(event)
        total = sum(counts.values())
        self.count += 1
        self.total += total
        self._added.update(counts)
        self._events.update(counts.keys())
        for label, count in counts.items():
            self._at_once[label] = max(count, self._at_once.get(label, 0))
        if event.counts:
            self.with_something += 1
        if total:
            entry = (total, -self.count, event)
            (heapq.heappush if len(self._most) < EVENTS else heapq.heappushpop)(self._most, entry)

    def added(self, label: str) -> int:
        """A kind's largest counts, added up over the events: what stays through two of them counts twice."""
        return self._added[stored(label)]

    def at_once(self, label: str) -> int:
        """The most of a kind in one image: so many there were, whatever stayed."""
        return self._at_once.get(stored(label), 0)

    def events(self, label: str) -> int:
        """How many events show a kind."""
        return self._events[stored(label)]

    @property
    def shown(self) -> list[Event]:
        """Those in which most was counted, in their order."""
        return [event for _, _, event in sorted(self._most, key=lambda entry: -entry[1])]


def kinds(event: Event) -> dict[str, int]:
    """What is counted of an event: what nobody can name is no kind."""
    return {label: count for label, count in event.counts.items() if label != UNKNOWN}


def counted(bursts: Bursts) -> Counted:
    """Count a job's events."""
    found = Counted()
    for event in bursts.events():
        found.add(event)
    return found
