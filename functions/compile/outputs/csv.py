"""The output `csv`: `observations.csv`, RFC 4180, UTF-8, one row a detection; safe to open in a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from functions.compile.picture import HUMAN, Mapping, Picture, mapping, number
from functions.compile.results import Open, Results

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


def write(results: Results, open: Open) -> list[str]:
    """Write `observations.csv`: a row for each detection, at least one for each image that is not pending."""
    job = _line((_cell(results.revision), _cell(results.job)))
    with open("observations.csv", content_type="text/csv; charset=utf-8") as stream:
        stream.write((_line(COLUMNS) + "\r\n").encode())
        for picture in results.pictures():
            if picture.state != "pending":
                stream.write(_rows(picture, job))
    return []


def _rows(picture: Picture, job: str) -> bytes:
    """An image's rows: one a detection, at least one."""
    made = _Made(picture)
    before = f"{job},{_line(_image_cells(picture))}"
    place = _line(_number(where) for where in picture.coordinates)
    lines = [
        f"{before},{_detection(detection, top)},{made.cells(detection, first=True)},"
        f"{made.cells(top, first=False) if top else _NOBODY},{place}\r\n"
        for detection, top in picture.listed or [({}, {})]
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


def _image_cells(picture: Picture) -> list[str]:
    return [
        _cell(picture.rel),
        _cell(picture.id),
        _cell(picture.sha256),
        _cell(picture.image.get("captured_at")),
        _number(picture.image.get("width")),
        _number(picture.image.get("height")),
        _cell(picture.state),
        _cell(picture.failure["code"] if picture.failure else None),
    ]


def _detection(detection: Mapping, top: Mapping) -> str:
    x1, y1, x2, y2 = _box(detection)
    confidence, score = _number(detection.get("confidence")), _number(top.get("score"))
    words = detection.get("id"), detection.get("label"), top.get("label")
    ident, found, named = (_quoted(_cell(word)) for word in words)
    return f"{ident},{x1},{y1},{x2},{y2},{found},{confidence},{named},{score}"


def _box(detection: Mapping) -> list[str]:
    """Pixel corners."""
    found = detection.get("box", detection.get("bbox"))
    if isinstance(found, list) and len(found) == len(_CORNERS):
        return [_number(corner) for corner in found]
    return [_number(mapping(found).get(corner)) for corner in _CORNERS]


class _Made:
    """Which function and model made a part of an image, as cells; worked out once for each stage."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._known: dict[tuple[str, bool, bool], str] = {}

    def cells(self, part: Mapping, *, first: bool) -> str:
        key = (str(part.get("stage")), first, part.get("by") == HUMAN)
        if key not in self._known:
            self._known[key] = self._made(part, first)
        return self._known[key]

    def _made(self, part: Mapping, first: bool) -> str:
        if part.get("by") == HUMAN:
            return HUMAN + _NOBODY
        note = self._picture.made(part, first=first)
        return _line(map(_cell, _made_by(note))) if note else _NOBODY


def _made_by(note: Mapping) -> list[Any]:
    made = mapping(note.get("produced_by"))
    model = mapping(made.get("model"))
    return [made.get("function"), made.get("version"), *(model.get(name) for name in ("name", "version", "sha256"))]
