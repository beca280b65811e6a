"""`observations.csv`: RFC 4180, UTF-8, one row a detection; safe to open in a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from functions.compile.member import View, mapping, number
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
_NOBODY = "," * (len(_MODEL) - 1)
_QUOTED = frozenset('",\r\n')
_FORMULA = tuple("=+-@＝＋－＠")
_MARK = "'"  # before text that a spreadsheet would run, and before text that begins with it: readers drop one
_FIRST = ("\t", "\r", _MARK)


def header() -> bytes:
    """The names of the columns."""
    return (_line(COLUMNS) + "\r\n").encode()


def rows(view: View) -> bytes:
    """A member's rows: one a detection, at least one; none while it is pending."""
    if view.state == "pending":
        return b""
    made = _Made(view)
    before = _line(_image_cells(view))
    place = _line(_number(where) for where in view.coordinates)
    lines = [
        f"{before},{_detection(detection, top)},{made.cells(detection, first=True)},"
        f"{made.cells(top, first=False) if top else _NOBODY},{place}\r\n"
        for detection, top in view.named or [({}, {})]
    ]
    return "".join(lines).encode("utf-8", "backslashreplace")


def _line(cells: Iterable[str]) -> str:
    """Cells as a part of a row. All rows of an image share most of theirs, which are put together once."""
    return ",".join(map(_quoted, cells))


def _quoted(cell: str) -> str:
    if not _QUOTED.isdisjoint(cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _cell(value: Any) -> str:
    """A number as it is; text so that no spreadsheet takes it for a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        if number(value) is not None or isinstance(value, float):
            return _number(value)
        value = str(value)
    risky = value[:1] in _FIRST or value.lstrip()[:1] in _FORMULA
    return f"{_MARK}{value}" if risky else value


def _number(value: Any) -> str:
    """A finite number as text; empty for anything else."""
    return "" if number(value) is None else str(value)


# -- cells, in the order of the columns


def _image_cells(view: View) -> list[str]:
    return [
        _cell(view.revision),
        _cell(view.job),
        _cell(view.member.entry.rel),
        _cell(view.member.entry.id),
        _cell(view.sha256),
        _cell(view.image.get("captured_at")),
        _number(view.image.get("width")),
        _number(view.image.get("height")),
        _cell(view.state),
        _cell(view.failure["code"] if view.failure else None),
    ]


def _detection(detection: dict[str, Any], top: dict[str, Any]) -> str:
    x1, y1, x2, y2 = _box(detection)
    confidence, score = _number(detection.get("confidence")), _number(top.get("score"))
    words = detection.get("id"), detection.get("label"), top.get("label")
    ident, found, named = (_quoted(_cell(word)) for word in words)
    return f"{ident},{x1},{y1},{x2},{y2},{found},{confidence},{named},{score}"


def _box(detection: dict[str, Any]) -> list[str]:
    """Pixel corners, from a mapping or a list."""
    box = detection.get("box", detection.get("bbox"))
    if isinstance(box, list | tuple) and len(box) == len(_CORNERS):
        return [_number(corner) for corner in box]
    return [_number(mapping(box).get(corner)) for corner in _CORNERS]


class _Made:
    """Which function and model made a part of a member, as cells; worked out once for each stage."""

    def __init__(self, view: View) -> None:
        self._stages = view.member.record.stages if view.member.record else {}
        self._known: dict[tuple[str, bool], str] = {}

    def cells(self, part: dict[str, Any], *, first: bool) -> str:
        key = (str(part.get("stage")), first)
        if key not in self._known:
            note = self._note(*key)
            self._known[key] = _line(map(_cell, _made_by(note))) if note else _NOBODY
        return self._known[key]

    def _note(self, named: str, first: bool) -> StageNote | None:
        """The stage that made a detection or classification: the one it names, or else the first, or the last to name.

        Records of releases that do not say which stages named leave the last that ran.
        """
        if named in self._stages:
            return self._stages[named]
        notes = list(self._stages.values())
        if first:
            return notes[0] if notes else None
        naming = [note for note in notes if note.named] or [note for note in notes[1:] if note.outcome == "done"]
        return naming[-1] if naming else None


def _made_by(note: StageNote) -> list[Any]:
    made, model = note.produced_by, note.produced_by.model
    return [made.function, made.version, *((model.name, model.version, model.sha256) if model else (None,) * 3)]
