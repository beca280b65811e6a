"""Which images of a job belong together: bursts by capture time, and the events that the manifest names."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby
from pathlib import Path

from functions.compile.picture import Picture, label_of, zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_SEEN = "done"  # the state of an image that was looked at: the others show nothing and form no event
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE images (rel TEXT PRIMARY KEY, at INTEGER, given TEXT, event TEXT);
CREATE TABLE found (rel TEXT, label TEXT, n INTEGER);
CREATE TABLE bursts (rel TEXT PRIMARY KEY, event TEXT) WITHOUT ROWID;
"""
_INDEXES = """
CREATE INDEX by_time ON images (at, rel) WHERE given IS NULL AND at IS NOT NULL;
"""
_SUMS = """
BEGIN;
UPDATE images SET event = coalesce(given, (SELECT event FROM bursts WHERE bursts.rel = images.rel), rel);
CREATE TABLE events AS
  SELECT event AS id, min(at) AS first, max(at) AS last, count(*) AS images FROM images GROUP BY event;
CREATE INDEX by_start ON events (first IS NULL, first, id);
CREATE TABLE largest (event TEXT, label TEXT, n INTEGER, PRIMARY KEY (event, label)) WITHOUT ROWID;
INSERT INTO largest
  SELECT images.event, found.label, max(found.n) FROM found JOIN images USING (rel) GROUP BY images.event, found.label;
COMMIT;
"""
_ROWS = """
SELECT events.id, first, last, images, label, n FROM events LEFT JOIN largest ON largest.event = events.id
ORDER BY first IS NULL, first, id, label
"""


@dataclass(frozen=True)
class Largest:
    """How many of a label were seen at once in an event. An event without any has one row, of label None."""

    id: str
    start: datetime | None  # the first image's capture time; None where no image has one
    end: datetime | None
    images: int  # that were looked at
    label: str | None
    most: int  # in one image


@dataclass(frozen=True)
class Event:
    """Images that show one thing happening."""

    id: str
    start: datetime | None  # the first image's capture time, in the station's time zone; None where no image has one
    end: datetime | None
    images: int  # that were looked at
    counts: dict[str, int] = field(default_factory=dict)  # label → the largest count in one image of the event


class Bursts:
    """The events of a job, in a file: memory does not grow with the job.

    Images whose capture times are at most `gap` apart, each from the one before, are one event, named for the job and
    the time of its first image. What is added elsewhere in the job changes no name. Times are compared as instants;
    those without an offset are the time zone's, or UTC. The manifest's `eventId` wins, and such images bind no others.
    An image without a time is an event of its own, named by its path. An image that was not looked at (failed,
    blocked, pending) forms none.
    """

    def __init__(self, job: str, pictures: Iterable[Picture], gap: timedelta, folder: Path) -> None:
        path = folder / "bursts.sqlite"
        path.unlink(missing_ok=True)
        self._job = job
        self._zone: tzinfo = UTC
        self._book = sqlite3.connect(path, isolation_level=None)
        self._book.executescript(_TABLES)
        with self._at_once():
            self._fill(pictures)
        self._book.executescript(_INDEXES)
        with self._at_once():
            self._book.executemany("INSERT INTO bursts VALUES (?, ?)", self._named(gap // _TICK))
        self._book.executescript(_SUMS)

    def event_of(self, rel: str) -> str | None:
        """The id of an image's event; None where it was not looked at and no manifest names one."""
        row = self._book.execute("SELECT event FROM images WHERE rel = ?", (_stored(rel),)).fetchone()
        return row[0] if row else None

    def largest(self) -> Iterator[Largest]:
        """The largest count in one image by event and label: events by their start, those without a time last."""
        for ident, first, last, images, label, count in self._book.execute(_ROWS):
            yield Largest(ident, self._when(first), self._when(last), images, label, count or 0)

    def events(self) -> Iterator[Event]:
        """The events, by their start; those without a time last."""
        for ident, group in groupby(self.largest(), key=lambda row: row.id):
            rows = list(group)
            counts = {row.label: row.most for row in rows if row.label is not None}
            yield Event(ident, rows[0].start, rows[0].end, rows[0].images, counts)

    def close(self) -> None:
        self._book.close()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """What is put in by the block, in one transaction."""
        self._book.execute("BEGIN")
        yield
        self._book.execute("COMMIT")

    def _fill(self, pictures: Iterable[Picture]) -> None:
        for picture in pictures:
            if picture.state != _SEEN:
                continue
            self._zone = zone(picture.timezone) or self._zone
            rel, given = _stored(picture.rel), picture.event and _stored(picture.event)
            self._book.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, NULL)", (rel, _ticks(picture), given))
            labels = Counter(_stored(label_of(*named)) for named in picture.named)
            self._book.executemany("INSERT INTO found VALUES (?, ?, ?)", ((rel, *seen) for seen in labels.items()))

    def _named(self, gap: int) -> Iterator[tuple[str, str]]:
        """Each image that has a time and no event of the manifest's, with its burst's name."""
        name, before = "", None
        query = "SELECT rel, at FROM images WHERE given IS NULL AND at IS NOT NULL ORDER BY at, rel"
        for rel, at in self._book.execute(query):
            if before is None or at - before > gap:
                name = _stored(f"{self._job}/{_readable(self._when(at))}")
            before = at
            yield rel, name

    def _when(self, ticks: int | None) -> datetime | None:
        if ticks is None:
            return None
        try:
            return (_EPOCH + ticks * _TICK).astimezone(self._zone)
        except OverflowError:  # at the calendar's very ends
            return _EPOCH + ticks * _TICK


def _ticks(picture: Picture) -> int | None:
    """When an image was taken, in microseconds since 1970 UTC."""
    return None if picture.taken is None else (picture.taken - _EPOCH) // _TICK


def _readable(when: datetime | None) -> str:
    """A time as part of a name, such as 20261120T220000+0100; with its fraction where it has one."""
    if when is None:
        return ""
    fraction = f".{when.microsecond:06d}" if when.microsecond else ""
    return f"{when:%Y%m%dT%H%M%S}{fraction}{when:%z}"


def _stored(text: str) -> str:
    """Text that a file can hold: half a surrogate pair as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
