"""A review: the table in which a person says what is on a job's images. It is `observations.csv`, edited.

Reads what spreadsheets make of such a table. One wrong row costs one row, and is named.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from functions.compile.book import opened, stored
from functions.compile.picture import BLANK, UNKNOWN, Mapping, corners, ident, mapping
from trapline.records.naming import classification, label_of, number
from trapline.records.spreadsheets import plain

ROWS = 1_000_000
MISSED = 1_000  # rows about one image beyond one for each of its detections
NAMED = 50  # problems that are told one by one
LABEL = 500  # letters of a label
_LONGEST = 1_000_000  # letters of a row
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how .xlsx and .ods begin, and .xls
_SAME = 0.5  # boxes that overlap by so much of both together are of one animal
_BOX = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    line: int  # as a text editor counts them
    file: str
    detection: str  # its id, or empty
    box: tuple[float, ...] | None  # x1, y1, x2, y2 in pixels, or None
    label: str
    reviewer: str


_TABLE = "CREATE TABLE rows (line INTEGER, file TEXT, detection TEXT, x1, y1, x2, y2, label TEXT, reviewer TEXT);"
_INDEX = "CREATE INDEX by_file ON rows (file, line)"
_COLUMNS = "line, file, detection, x1, y1, x2, y2, label, reviewer"
_ABOUT = f"SELECT {_COLUMNS} FROM rows WHERE file IN (?, ?) ORDER BY line"


class Review:
    """The rows of a table, by image, and what was wrong with others. They lie in a file: a table may be large."""

    def __init__(self, folder: Path) -> None:
        self._book = opened(folder, "review", _TABLE)
        self._book.execute("BEGIN")
        self.count = 0  # rows with a label
        self.problems: list[Mapping] = []  # {line, why}, the first ones
        self.problem_count = 0

    def add(self, row: Row) -> None:
        box = row.box or (None,) * len(_BOX)
        values = (row.line, stored(row.file), stored(row.detection), *box, stored(row.label), stored(row.reviewer))
        self._book.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        self.count += 1

    def complete(self) -> None:
        """All rows are there."""
        self._book.execute(_INDEX)

    def wrong(self, line: int, why: str) -> None:
        """Note that a row cannot be used."""
        self.problem_count += 1
        if len(self.problems) < NAMED:
            self.problems.append({"line": line, "why": why})

    def said(self, rel: str, job: str, fields: Mapping) -> Mapping | None:
        """What the table says of an image whose line these are; None where it says nothing that counts."""
        if fields["state"] != "done":
            self._unread(rel, job, fields)
            return None
        matched, most = None, 0
        for before, row in enumerate(self._taken(stored(rel), stored(rel.removeprefix(job + "/")))):
            if matched is None:
                detections = _detections(fields)
                matched, most = _Matched(self, detections, _size(fields)), len(detections) + MISSED
            if before < most:
                matched.take(row)
            else:
                self.wrong(row.line, f"More than {most} rows are about this image.")
        return matched.said() if matched else None

    def ended(self) -> None:
        """Every image was seen: the rows that are left are of none."""
        for line, file in self._book.execute("SELECT line, file FROM rows ORDER BY line"):
            self.wrong(line, f"The job has no image {file[:200]!r}.")
        self._book.execute("DELETE FROM rows")

    def _unread(self, rel: str, job: str, fields: Mapping) -> None:
        """Rows about an image that is in no count: what a person says of it would be in some files alone."""
        code = mapping(fields.get("failure")).get("code") or fields["state"]
        why = f"The image was not read to its end ({code}): retry it, or leave the row out."
        for row in self._taken(stored(rel), stored(rel.removeprefix(job + "/"))):
            self.wrong(row.line, why)

    def close(self) -> None:
        self._book.close()

    def __enter__(self) -> Review:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken(self, *names: str) -> Iterator[Row]:
        """The rows of an image by its two names, in the table's order; they are its own from now on."""
        for line, file, detection, *box, label, reviewer in self._book.execute(_ABOUT, names):
            yield Row(line, file, detection, tuple(box) if None not in box else None, label, reviewer)
        self._book.execute("DELETE FROM rows WHERE file IN (?, ?)", names)


def _detections(fields: Mapping) -> list[Mapping]:
    found = fields.get("detections")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _size(fields: Mapping) -> tuple[float, float]:
    """Width and height of an image in pixels; endless where nobody told."""
    width, height = (number(mapping(fields.get("image")).get(side)) or inf for side in ("width", "height"))
    return width, height


class _Matched:
    """The rows of one image, each brought to the detection it is about."""

    def __init__(self, review: Review, detections: list[Mapping], size: tuple[float, float]) -> None:
        self._review, self._size = review, size
        self._found = {ident(n, detection): detection for n, detection in enumerate(detections)}
        boxes = {name: found for name, detection in self._found.items() if (found := corners(detection))}
        self._boxed = list(boxes)
        self._boxes = np.array(list(boxes.values()), float).reshape(-1, len(_BOX))
        self._labels: dict[str, Mapping] = {}
        self._added: list[Mapping] = []

    def take(self, row: Row) -> None:
        name = self._name(row)
        if name is None:
            self._add(row)
        elif name == "":
            why = "It names none of the image's detections: give its detection_id, or its box as x1, y1, x2, y2."
            self._review.wrong(row.line, why)
        elif self._labels.setdefault(name, word := self._word(name, row))["label"] != word["label"]:
            self._review.wrong(row.line, f"The detection {name[:80]!r} has another label further up.")

    def said(self) -> Mapping | None:
        if not self._labels and not self._added:
            return None
        return {"detections": self._labels, "added": self._added}

    def _word(self, name: str, row: Row) -> Mapping:
        """What a row says of a detection. A label that was left as it was is the model's own, letter by letter."""
        found = self._found[name]
        machine = label_of(found, classification(found))
        return _word(row, machine if _returned(machine) == _returned(row.label) else row.label)

    def _name(self, row: Row) -> str | None:
        """The detection that a row is about; None: one that was missed; empty: none that there is."""
        if row.box is not None:
            return self._by_box(row.box, row.detection)
        if row.detection in self._found:
            return row.detection
        if not self._found:
            return None
        return next(iter(self._found)) if len(self._found) == 1 and not row.detection else ""

    def _by_box(self, box: tuple[float, ...], named: str) -> str | None:
        """The detection there: the one `named`, or else the closest. An id alone proves nothing: another model counts
        anew, and may call another animal so.
        """
        if named in self._found and named not in self._boxed:
            return named  # it is about the whole image
        shares = _overlaps(self._boxes, box)
        if not shares.size or shares.max() < _SAME:
            return None
        close = [self._boxed[n] for n in np.flatnonzero(shares >= _SAME)]
        return named if named in close else self._boxed[int(shares.argmax())]

    def _add(self, row: Row) -> None:
        """An animal that the detector missed; or nothing, where it found nothing."""
        (width, height), (x1, y1, x2, y2) = self._size, row.box or (0, 0, 1, 1)
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            self._review.wrong(row.line, f"Its box lies outside of the image, which has {width:g} x {height:g} pixels.")
        elif row.label != BLANK or not self._found:
            self._added.append({**_word(row, row.label), "box": list(row.box) if row.box else None})


def _word(row: Row, label: str) -> Mapping:
    return {"label": label, **({"reviewer": row.reviewer} if row.reviewer else {})}


def _returned(label: str) -> str:
    """A label as tables give it back: cells are trimmed, and some programs compose letters anew."""
    cell = unicodedata.normalize("NFC", label.strip())
    return cell.lower() if cell.lower() in (BLANK, UNKNOWN) else cell


def _overlaps(boxes: NDArray[np.float64], box: tuple[float, ...]) -> NDArray[np.float64]:
    """The area that each of N boxes (N, 4) shares with one, as a part of the area of both together: (N,)."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.maximum(sides, 0).prod(axis=1)
    both = np.abs(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2] - box[0]) * (box[3] - box[1]) - shared
    found: NDArray[np.float64] = np.divide(shared, both, out=np.zeros(len(boxes)), where=both > 0)
    return found


# -- reading


def read_review(data: bytes, folder: Path) -> Review:
    """The rows of a table, laid by in a folder. A table that is none has one problem and no rows."""
    review, table = Review(folder), _Table(data)
    if data.startswith(_WORKBOOKS):
        review.wrong(1, "It is a workbook, and a review is CSV: save it as CSV (UTF-8) in the spreadsheet.")
        review.complete()
        return review
    try:
        for row in _rows(review, table):
            if review.count >= ROWS:
                review.wrong(row.line, f"A review may have {ROWS} rows; the rest was not read.")
                break
            review.add(row)
    except csv.Error as error:
        review.wrong(table.line, f"It is not CSV from here on ({error}).")
    review.complete()
    return review


class _Table:
    """The rows of a text as cells, read as they are asked for."""

    def __init__(self, data: bytes) -> None:
        self._text = _decoded(data)
        self._rows = csv.reader(self._lines(), delimiter=_delimiter(data))
        self._held = 0  # letters of the row that is being read

    @property
    def line(self) -> int:
        """The last line that was read, as a text editor counts them."""
        return self._rows.line_num

    def __iter__(self) -> Iterator[list[str]]:
        for cells in self._rows:
            self._held = 0
            yield cells

    def _lines(self) -> Iterator[str]:
        while line := self._text.readline(_LONGEST):
            self._held += len(line)
            if self._held >= _LONGEST:
                raise csv.Error(f"a row of {_LONGEST} letters or more")
            yield line


def _decoded(data: bytes) -> io.TextIOWrapper:
    """Text as spreadsheets save it: UTF-8 with or without a byte order mark, UTF-16, or the code page of Windows."""
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if wide else "utf-8-sig" if _is_utf8(data) else "cp1252"
    return io.TextIOWrapper(io.BytesIO(data), encoding, "replace", newline="")


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _LONGEST):
            decoder.decode(data[start : start + _LONGEST])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(data: bytes) -> str:
    """What separates the names of the columns: half of Europe's spreadsheets write semicolons."""
    head = _decoded(data[:_LONGEST]).readline()
    return max(",;\t", key=head.count)


def _rows(review: Review, table: _Table) -> Iterator[Row]:
    rows = iter(table)
    columns = [name.strip().lower() for name in next(rows, [])]
    names = {"image": "file"} if "file" not in columns else {}
    columns = [names.get(name, name) for name in columns]
    missing = [name for name in ("file", "label") if name not in columns]
    if missing:
        review.wrong(1, f"There is no column {missing[0]!r}. A review is observations.csv, with its `label` edited.")
        return
    for cells in rows:
        said = dict(zip(columns, cells, strict=False))
        if any(cells) and (row := _row(review, said, table.line)):
            yield row


def _row(review: Review, said: dict[str, str], line: int) -> Row | None:
    """A row with a label; None for one that says nothing."""
    text = {name: plain(said.get(name, "").strip()) for name in ("file", "detection_id", "label", "reviewer")}
    label = text["label"].lower() if text["label"].lower() in (BLANK, UNKNOWN) else text["label"]
    if not label:
        return None
    if len(label) > LABEL:
        review.wrong(line, f"Its label has {len(label)} letters; a label may have {LABEL}.")
        return None
    if not text["file"]:
        review.wrong(line, "It names no image: `file` is empty.")
        return None
    box = [_coordinate(said.get(name, "")) for name in _BOX]
    if any(said.get(name, "").strip() for name in _BOX) and not _is_box(box):
        review.wrong(line, "Its box is none: x1, y1, x2, y2 are pixels, x1 below x2 and y1 below y2.")
        return None
    whole = tuple(corner for corner in box if corner is not None)
    return Row(line, text["file"], text["detection_id"], whole or None, label, text["reviewer"][:200])


def _coordinate(cell: str) -> float | None:
    try:
        return number(float(cell.strip().replace(",", ".")))
    except ValueError:
        return None


def _is_box(box: list[float | None]) -> bool:
    x1, y1, x2, y2 = box
    return x1 is not None and y1 is not None and x2 is not None and y2 is not None and x1 < x2 and y1 < y2


def human(review: object, name: str) -> Mapping | None:
    """What a person says of a detection, from an image's `review`; None where nothing was said."""
    return mapping(mapping(mapping(review).get("detections")).get(name)) or None
