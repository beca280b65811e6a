"""Which images of a job belong together: bursts by capture time, and the events that the manifest names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed
from itertools import groupby
from pathlib import Path
from typing import Any

from functions.compile.book import opened, stored
from functions.compile.picture import Picture, instant, real, zone
from trapline.records.deployments import identity
from trapline.records.naming import label_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_SEEN = "done"  # the state of an image that was looked at: the others show nothing and form no event
_TABLES = """
CREATE TABLE places (place TEXT PRIMARY KEY, latitude REAL, longitude REAL, timezone TEXT) WITHOUT ROWID;
CREATE TABLE images (rel TEXT PRIMARY KEY, place TEXT, at INTEGER, shift INTEGER, given TEXT, seen INTEGER, event TEXT);
CREATE TABLE found (rel TEXT, label TEXT, n INTEGER);
CREATE TABLE bursts (rel TEXT PRIMARY KEY, event TEXT) WITHOUT ROWID;
"""
_IN_BURSTS = "given IS NULL AND at IS NOT NULL"
_INDEXES = f"CREATE INDEX by_time ON images (place, at, rel) WHERE {_IN_BURSTS};"
_IN_ORDER = f"SELECT rel, place, at, shift FROM images WHERE {_IN_BURSTS} ORDER BY place, at, rel"
_SUMS = """
BEGIN;
UPDATE images SET event = coalesce(given, (SELECT event FROM bursts WHERE bursts.rel = images.rel), rel);
CREATE INDEX by_event ON images (event, at, rel) WHERE seen;
CREATE TABLE events AS
  SELECT event AS id, min(at) AS first, max(at) AS last, count(*) AS images,
    coalesce(min(CASE WHEN at IS NOT NULL THEN place END), min(place)) AS place,
    coalesce(min(CASE WHEN at IS NULL THEN rel END), '') AS file, NULL AS first_shift, NULL AS last_shift
  FROM images WHERE seen GROUP BY event;
UPDATE events SET (file, first_shift) =
  (SELECT rel, shift FROM images WHERE seen AND event = events.id AND at = first ORDER BY rel LIMIT 1)
  WHERE first IS NOT NULL;
UPDATE events SET last_shift =
  (SELECT shift FROM images WHERE seen AND event = events.id AND at = last ORDER BY rel DESC LIMIT 1)
  WHERE first IS NOT NULL;
CREATE INDEX by_start ON events (first IS NULL, first, id);
CREATE UNIQUE INDEX by_id ON events (id);
CREATE TABLE largest (event TEXT, label TEXT, n INTEGER, PRIMARY KEY (event, label)) WITHOUT ROWID;
INSERT INTO largest
  SELECT images.event, found.label, max(found.n) FROM found JOIN images USING (rel) GROUP BY images.event, found.label;
COMMIT;
"""
_ABOUT = "events.id, first, first_shift, last, last_shift, images, file, events.place, latitude, longitude, timezone"
_ROWS = f"""
SELECT {_ABOUT}, label, n FROM events JOIN places USING (place) LEFT JOIN largest ON largest.event = events.id
ORDER BY first IS NULL, first, id, label
"""
_ONE = f"""
SELECT {_ABOUT} FROM images JOIN events ON events.id = images.event JOIN places ON places.place = events.place
WHERE rel = ?
"""


@dataclass(frozen=True)
class Event:
    """Images that show one thing happening."""

    id: str
    start: datetime | None  # the first image's, as `Picture.local` tells it; None where no image has a capture time
    end: datetime | None  # the last image's
    images: int  # that were looked at
    counts: dict[str, int] = field(default_factory=dict)  # label → the largest count in one image of the event
    place: str = ""  # its deployment in the manifest, where that has a name
    latitude: float | None = None  # degrees
    longitude: float | None = None
    timezone: str | None = None  # an IANA name
    file: str = ""  # the path under `incoming/` of its first image


class Bursts:
    """The events of a job, in a file: memory does not grow with the job.

    Images of one place whose capture times are at most `gap` apart, each from the one before, are one event. It is
    named for the job and the time of its first image: what is added elsewhere in the job changes no name. Times are
    compared as instants. The manifest's `eventId` wins, and such images bind no others. An image without a time is an
    event of its own, named by its path. An image that was not looked at (failed, blocked, pending) forms none.
    """

    def __init__(self, job: str, pictures: Iterable[Picture], gap: timedelta, folder: Path) -> None:
        self._job = job
        self._book = opened(folder, "bursts", _TABLES)
        with self._at_once():
            self._fill(pictures)
        self._book.executescript(_INDEXES)
        with self._at_once():
            self._book.executemany("INSERT INTO bursts VALUES (?, ?)", self._named(gap // _TICK))
        self._book.executescript(_SUMS)

    def event_of(self, rel: str) -> str | None:
        """The id of an image's event; None where it was not looked at and no manifest names one."""
        row = self._book.execute("SELECT event FROM images WHERE rel = ?", (stored(rel),)).fetchone()
        return row[0] if row else None

    def around(self, rel: str) -> Event | None:
        """The event that an image is part of, without its counts; None where it was not looked at."""
        row = self._book.execute(_ONE, (stored(rel),)).fetchone()
        return _event(*row) if row else None

    def largest(self) -> Iterator[tuple[Event, str | None, int]]:
        """Events (without their counts) by their start, those without one last; each label, the most in one image.

        An event that shows nothing comes once, with None and 0.
        """
        for *about, label, most in self._book.execute(_ROWS):
            yield _event(*about), label, most or 0

    def events(self) -> Iterator[Event]:
        """The events, by their start; those without one last."""
        for _, group in groupby(self.largest(), key=lambda row: row[0].id):
            rows = list(group)
            rows[0][0].counts.update({label: most for _, label, most in rows if label is not None})
            yield rows[0][0]

    def close(self) -> None:
        self._book.close()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """What the block puts in, in one transaction."""
        self._book.execute("BEGIN")
        yield
        self._book.execute("COMMIT")

    def _fill(self, pictures: Iterable[Picture]) -> None:
        for picture in pictures:
            seen = picture.state == _SEEN
            if not seen and not picture.event:
                continue
            rel, place = stored(picture.rel), stored(identity(picture.deployment))
            row = (rel, place, _ticks(picture), _shift(picture), picture.event and stored(picture.event), seen)
            self._book.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
            where = (*map(real, picture.coordinates), picture.timezone)
            self._book.execute("INSERT OR IGNORE INTO places VALUES (?, ?, ?, ?)", (place, *where))
            labels = Counter(stored(label_of(*named)) for named in picture.named) if seen else {}
            self._book.executemany("INSERT INTO found VALUES (?, ?, ?)", ((rel, *count) for count in labels.items()))

    def _named(self, gap: int) -> Iterator[tuple[str, str]]:
        """Each image of a burst, with the burst's name."""
        zones = dict(self._book.execute("SELECT place, timezone FROM places"))
        name, before = "", ("", 0)
        for rel, place, at, shift in self._book.execute(_IN_ORDER):
            if not name or place != before[0] or at - before[1] > gap:
                begun = _readable(_when(at, shift, zones[place]))
                name = "/".join(part for part in (stored(self._job), place, begun) if part)
            before = (place, at)
            yield rel, name


def _event(*about: Any) -> Event:
    ident, first, first_shift, last, last_shift, images, file, place, latitude, longitude, timezone = about
    ends = (_when(first, first_shift, timezone), _when(last, last_shift, timezone))
    return Event(ident, *ends, images, {}, place, latitude, longitude, timezone, file)


def _when(ticks: int | None, shift: int | None, timezone: str | None) -> datetime | None:
    """A moment by the clocks of its place; by the camera's own where nobody says where that is."""
    if ticks is None:
        return None
    at, there = _EPOCH + ticks * _TICK, zone(timezone)
    if there is None and shift is None:
        return at.replace(tzinfo=None)
    try:
        return at.astimezone(there or fixed(timedelta(seconds=shift or 0)))
    except OverflowError:  # at the calendar's very ends
        return at


def _ticks(picture: Picture) -> int | None:
    """When an image was taken, in microseconds since 1970 UTC."""
    return None if picture.taken is None else (picture.taken - _EPOCH) // _TICK


def _shift(picture: Picture) -> int | None:
    """How far the image's own clock is ahead of UTC, in seconds; None where neither it nor its place says so."""
    known = picture.captured if picture.captured and (picture.captured.tzinfo or picture.timezone) else None
    offset = instant(known, picture.timezone).utcoffset() if known else None
    return None if offset is None else int(offset.total_seconds())


def _readable(when: datetime | None) -> str:
    """A time as part of a name, such as 20261120T220000+0100; with fraction and offset where it has them."""
    if when is None:
        return ""
    fraction = f".{when.microsecond:06d}" if when.microsecond else ""
    return f"{when.year:04d}{when:%m%dT%H%M%S}{fraction}{when:%z}"
