"""`observations.csv`: RFC 4180, UTF-8, one row a detection; safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from functions.compile.member import View, classification, mapping, number
from trapline.records import StageNote

_MODEL = ("", "_version", "_model", "_model_version", "_model_sha256")
COLUMNS = (
    *("revision", "job", "file", "image_id", "image_sha256", "captured_at", "width", "height"),
    *("state", "failure_code", "detection_id", "x1", "y1", "x2", "y2"),
    *("detection_label", "detection_confidence", "label", "score"),
    *(f"detector{part}" for part in _MODEL),
    *(f"classifier{part}" for part in _MODEL),
    *("latitude", "longitude"),
)
_CORNERS = ("x1", "y1", "x2", "y2")
_FORMULA = "=+-@＝＋－＠"
_MARK = "'"  # before text that a spreadsheet would run, and before text that begins with it: readers drop one

Row = dict[str, Any]


def header() -> bytes:
    """The names of the columns."""
    return _csv([COLUMNS])


def rows(view: View) -> bytes:
    """A member's rows: one a detection, at least one; none while it is pending."""
    if view.state == "pending":
        return b""
    image = _image_cells(view)
    found = view.detections or [{}]
    return _csv([_cells(image | _detection_cells(view, detection)) for detection in found])


def _cells(row: Row) -> list[str]:
    return [_cell(row.get(column)) for column in COLUMNS]


def _cell(value: Any) -> str:
    """A number as it is; text so that no spreadsheet takes it for a formula."""
    if value is None or (isinstance(value, float) and number(value) is None):
        return ""
    text = str(value)
    if number(value) is not None:
        return text
    risky = text[:1] in ("\t", "\r", _MARK) or text.lstrip()[:1] in tuple(_FORMULA)
    return f"{_MARK}{text}" if risky else text


def _csv(lines: Any) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(lines)
    return buffer.getvalue().encode("utf-8", "backslashreplace")


# -- cells


def _image_cells(view: View) -> Row:
    latitude, longitude = view.coordinates
    return {
        "revision": view.revision,
        "job": view.job,
        "file": view.member.entry.rel,
        "image_id": view.member.entry.id,
        "image_sha256": view.sha256,
        "captured_at": view.image.get("captured_at"),
        "width": number(view.image.get("width")),
        "height": number(view.image.get("height")),
        "state": view.state,
        "failure_code": view.failure["code"] if view.failure else None,
        "latitude": number(latitude),
        "longitude": number(longitude),
    }


def _detection_cells(view: View, detection: dict[str, Any]) -> Row:
    top = classification(detection)
    cells: Row = {
        "detection_id": detection.get("id"),
        "detection_label": detection.get("label"),
        "detection_confidence": number(detection.get("confidence")),
        "label": top.get("label"),
        "score": number(top.get("score")),
    }
    cells |= _box(detection)
    cells |= dict(_made_by("detector", _note(view, detection, first=True)))
    return cells | dict(_made_by("classifier", _note(view, top, first=False) if top else None))


def _box(detection: dict[str, Any]) -> Row:
    """Pixel corners, from a mapping or a list."""
    box = detection.get("box", detection.get("bbox"))
    if isinstance(box, list | tuple) and len(box) == len(_CORNERS):
        box = dict(zip(_CORNERS, box, strict=True))
    return {corner: number(mapping(box).get(corner)) for corner in _CORNERS}


def _note(view: View, part: dict[str, Any], first: bool) -> StageNote | None:
    """The stage that made a detection or classification: the one it names, or else the record's first or last."""
    stages = view.member.record.stages if view.member.record else {}
    named = stages.get(str(part.get("stage")))
    if named is not None:
        return named
    notes = list(stages.values())
    ran = notes[:1] if first else [note for note in notes[1:] if note.outcome == "done"][-1:]
    return ran[0] if ran else None


def _made_by(role: str, note: StageNote | None) -> Iterator[tuple[str, Any]]:
    if note is None:
        return
    made, model = note.produced_by, note.produced_by.model
    values = (made.function, made.version, *((model.name, model.version, model.sha256) if model else ()))
    for part, value in zip(_MODEL, values, strict=False):
        yield f"{role}{part}", value
