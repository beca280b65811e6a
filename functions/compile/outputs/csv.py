"""The output `csv`: `observations.csv`, one row a detection, and `events.csv`, one row an event and label."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from functions.compile.bursts import Event
from functions.compile.cells import cell, line, numeral, quoted, row
from functions.compile.made import Made, maker
from functions.compile.picture import Mapping, Picture, corners
from functions.compile.results import Open, Results
from functions.compile.table import COLUMNS

EVENT_COLUMNS = (
    *("revision", "job", "eventID", "start", "end", "images", "label", "count"),
    *("latitude", "longitude", "timezone"),
)
_TYPE = "text/csv; charset=utf-8"
_NOWHERE = (None,) * 4
_NOBODY = "," * (len(vars(Made())) - 1)


def write(results: Results, open: Open) -> list[str]:
    """Write both tables. An image that is not pending has at least one row in `observations.csv`."""
    _observations(results, open)
    _events(results, open)
    return []


def _observations(results: Results, open: Open) -> None:
    job = line((cell(results.revision), cell(results.job)))
    with open("observations.csv", content_type=_TYPE) as stream:
        stream.write(row(COLUMNS))
        for picture in results.pictures():
            if picture.state != "pending":
                stream.write(_rows(picture, job, results.bursts.event_of(picture.rel)))


def _events(results: Results, open: Open) -> None:
    with open("events.csv", content_type=_TYPE) as stream:
        stream.write(row(EVENT_COLUMNS))
        for event, label, most in results.bursts.largest():
            stream.write(row((results.revision, results.job, *_event(event, label, most))))


def _event(event: Event, label: str | None, most: int) -> list[Any]:
    ends = [_written(event.start), _written(event.end)]
    return [event.id, *ends, event.images, label, most, event.latitude, event.longitude, event.timezone]


def _written(when: datetime | None) -> str | None:
    return when.isoformat() if when else None


def _rows(picture: Picture, job: str, event: str | None) -> bytes:
    """An image's rows: one a detection, at least one."""
    made = _Made(picture)
    before = f"{job},{line(_image_cells(picture, event))}"
    place = line((*map(numeral, picture.coordinates), cell(picture.timezone)))
    lines = [
        f"{before},{_detection(detection, top)},{made.cells(detection, first=True)},"
        f"{made.cells(top, first=False) if top else _NOBODY},{place}\r\n"
        for detection, top in picture.listed or [({}, {})]
    ]
    return "".join(lines).encode("utf-8", "backslashreplace")


# -- cells, in the order of the columns


def _image_cells(picture: Picture, event: str | None) -> list[str]:
    return [
        cell(picture.rel),
        cell(picture.id),
        cell(picture.sha256),
        cell(picture.image.get("captured_at")),
        cell(event),
        numeral(picture.image.get("width")),
        numeral(picture.image.get("height")),
        cell(picture.state),
        cell(picture.failure["code"] if picture.failure else None),
    ]


def _detection(detection: Mapping, top: Mapping) -> str:
    x1, y1, x2, y2 = map(numeral, corners(detection) or _NOWHERE)
    confidence, score = numeral(detection.get("confidence")), numeral(top.get("score"))
    words = detection.get("id"), detection.get("label"), top.get("label")
    ident, found, named = (quoted(cell(word)) for word in words)
    return f"{ident},{x1},{y1},{x2},{y2},{found},{confidence},{named},{score}"


class _Made:
    """Which function and model made a part of an image, as cells; worked out once for each stage."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._known: dict[tuple[str, str, bool], str] = {}

    def cells(self, part: Mapping, *, first: bool) -> str:
        key = (str(part.get("stage")), str(part.get("by")), first)
        if key not in self._known:
            self._known[key] = line(map(cell, vars(maker(self._picture, part, first=first)).values()))
        return self._known[key]
