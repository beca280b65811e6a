"""What strangers' JSON may hold, and the first thing wrong with it in one line. What it means is not known here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError


def check_values(raw: Any, depth: int) -> None:
    """Raise `ValueError` for what JSON can say and records cannot: they are written again, field by field."""
    level: list[Any] = [raw]
    for _ in range(depth):
        level = [inner for value in level for inner in _inner(value)]
    if level:
        raise ValueError(f"it is nested more than {depth} deep")


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for key in value:
            _check_text(key)
        return value.values()
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number that JSON has")
    return value if isinstance(value, list) else ()


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half a character (a lone surrogate)") from None


def first_problem(error: Exception) -> str:
    """The first thing that pydantic (or json) found wrong, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, ValidationError):
        return str(error) or type(error).__name__
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'the document'}: {_in_json(first['msg'])}"


def _in_json(message: str) -> str:
    """A message of pydantic's in the words of who writes JSON."""
    said = message.removeprefix("Value error, ").replace(" after validation", "")
    said = _TUPLE.sub("list", _DICTIONARY.sub("object", said))
    return f"{said[:1].lower()}{said[1:]}"


_DICTIONARY = re.compile(r"dictionary( or instance of \w+)?", re.I)
_TUPLE = re.compile("tuple", re.I)
