"""Text in tables that people open in spreadsheets: none is taken for a formula, and each can be read back."""

from __future__ import annotations

_FORMULA = tuple("=+-@＝＋－＠")
_MARK = "'"  # before text that a spreadsheet would run, and before text that begins with it: readers drop one
_FIRST = ("\t", "\r", _MARK)


def marked(text: str) -> str:
    """Text as a table has it."""
    return f"{_MARK}{text}" if text[:1] in _FIRST or text.lstrip()[:1] in _FORMULA else text


def plain(cell: str) -> str:
    """The text of a table's cell."""
    return cell.removeprefix(_MARK)
