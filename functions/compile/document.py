"""A JSON document that is written piece by piece: its lists may be as long as the job."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, Any

from functions.compile.book import stored


class Items:
    """The entries of a list, each written as it is made."""

    def __init__(self, entries: Iterable[Any]) -> None:
        self.entries = entries


class Pairs:
    """The names and values of an object, likewise."""

    def __init__(self, pairs: Iterable[tuple[object, Any]]) -> None:
        self.pairs = pairs


def write_document(stream: IO[bytes], fields: dict[str, Any]) -> None:
    """Write an object. A value that is a function is called when its turn has come, after those before it."""
    for number, (name, value) in enumerate(fields.items()):
        stream.write(f"{',' if number else '{'}\n{_text(name)}: ".encode())
        _write(stream, value() if callable(value) else value)
    stream.write(b"\n}\n")


def _write(stream: IO[bytes], value: Any) -> None:
    if isinstance(value, Items):
        _list(stream, "[]", (as_json(entry) for entry in value.entries))
    elif isinstance(value, Pairs):
        _list(stream, "{}", (_text(str(name)).encode() + b": " + as_json(entry) for name, entry in value.pairs))
    else:
        stream.write(as_json(value))


def _list(stream: IO[bytes], brackets: str, entries: Iterable[bytes]) -> None:
    before = brackets[:1].encode() + b"\n"
    for entry in entries:
        stream.write(before + entry)
        before = b",\n"
    stream.write(b"\n" + brackets[1:].encode() if before == b",\n" else brackets.encode())


def as_json(value: Any) -> bytes:
    """A value on one line; bytes are JSON already. Half a surrogate pair, which UTF-8 cannot hold, is an escape."""
    return value if isinstance(value, bytes) else stored(_text(value)).encode()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
