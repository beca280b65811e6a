"""The columns of `observations.csv`, what kind each is, and an image's rows as values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from functions.compile.book import stored
from functions.compile.made import maker
from functions.compile.picture import Mapping, Picture, corners, real
from trapline.records.naming import number

Kind = Literal["text", "time", "whole", "real"]

_MODEL = ("", "_version", "_model", "_model_version", "_model_sha256")
COLUMNS = (
    *("revision", "job", "file", "image_id", "image_sha256", "captured_at", "eventID", "width", "height"),
    *("state", "failure_code", "detection_id", "x1", "y1", "x2", "y2"),
    *("detection_label", "detection_confidence", "label", "score"),
    *(f"detector{part}" for part in _MODEL),
    *(f"classifier{part}" for part in _MODEL),
    *("latitude", "longitude", "timezone"),
)
_REAL = ("x1", "y1", "x2", "y2", "detection_confidence", "score", "latitude", "longitude")
_OTHERS: dict[str, Kind] = {"captured_at": "time", "width": "whole", "height": "whole", **dict.fromkeys(_REAL, "real")}
KINDS: dict[str, Kind] = {name: _OTHERS.get(name, "text") for name in COLUMNS}


def rows(picture: Picture, revision: str, job: str, event: str | None) -> Iterator[list[Any]]:
    """An image's rows, one a detection and at least one; None where there is no value of the column's kind."""
    image = (revision, job, picture.rel, picture.id, picture.sha256, picture.taken, event)
    sides = (_whole(picture.image.get(side)) for side in ("width", "height"))
    before = [*image, *sides, picture.state, picture.failure["code"] if picture.failure else None]
    place = [*map(real, picture.coordinates), picture.timezone]
    for detection, top in picture.listed or [({}, {})]:
        values = before + _detection(detection, top)
        values += _made(picture, detection, first=True) + (_made(picture, top, first=False) if top else [None] * 5)
        yield [stored(value) if isinstance(value, str) else value for value in (*values, *place)]


def _detection(detection: Mapping, top: Mapping) -> list[Any]:
    box = corners(detection) or (None,) * 4
    sure, score = real(detection.get("confidence")), real(top.get("score"))
    return [
        _word(detection.get("id")),
        *map(real, box),
        _word(detection.get("label")),
        sure,
        _word(top.get("label")),
        score,
    ]


def _made(picture: Picture, part: Mapping, *, first: bool) -> list[str | None]:
    return [word or None for word in vars(maker(picture, part, first=first)).values()]


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _whole(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None and found == int(found) else None
