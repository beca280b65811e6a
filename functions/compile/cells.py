"""Cells of a CSV file (RFC 4180), safe to open in a spreadsheet: none is taken for a formula."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trapline.records.naming import number
from trapline.records.spreadsheets import marked

_QUOTED = frozenset('",\r\n')


def row(cells: Iterable[Any]) -> bytes:
    """Values as a whole row."""
    return f"{line(map(cell, cells))}\r\n".encode("utf-8", "backslashreplace")


def line(cells: Iterable[str]) -> str:
    """Cells as a part of a row."""
    return ",".join(map(quoted, cells))


def quoted(cell: str) -> str:
    """A cell as RFC 4180 writes it."""
    if not _QUOTED.isdisjoint(cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def cell(value: Any) -> str:
    """A number as it is; text so that no spreadsheet takes it for a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        if isinstance(value, bool):
            return "true" if value else "false"
        if number(value) is not None or isinstance(value, float):
            return numeral(value)
        value = str(value)
    return marked(value)


def numeral(value: Any) -> str:
    """A finite number as text; empty for anything else."""
    return "" if number(value) is None else str(value)
