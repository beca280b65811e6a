"""What an ONNX file says of itself, read from its bytes: versions, and whether its weights are in it. Nothing is run.

Only the few fields that decide whether a file may be loaded are read, by the numbers that `onnx.proto` gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple

from trapline.errors import ConfigError

_DEEPEST = 64  # graphs within graphs

# Message to its fields that lead to tensors, and to the message they hold.
_LEADING: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_IR, _OPSETS, _EXTERNAL, _PLACE = 1, 8, 13, 14  # model.ir_version, .opset_import; tensor.external_data, .data_location


@dataclass(frozen=True)
class OnnxFile:
    """What is known before anything is loaded."""

    ir_version: int
    opsets: dict[str, int]  # domain ("" = ONNX's own) to version
    external: tuple[str, ...]  # places, relative to the file, where its author keeps weights; "" where none is named

    @property
    def outside(self) -> str | None:
        """The first of those places that leads out of the file's own folder."""
        return next((place for place in self.external if _leads_out(place)), None)


class _Field(NamedTuple):
    number: int
    value: int | memoryview


def read_onnx(data: bytes) -> OnnxFile:
    """Read what `OnnxFile` says. Raises `ValueError` where the bytes are no ONNX file."""
    model = memoryview(data)
    ir_version, opsets = 0, {}
    for number, value in _fields(model):
        if number == _IR and isinstance(value, int):
            ir_version = value
        elif number == _OPSETS and isinstance(value, memoryview):
            domain, version = _opset(value)
            opsets[domain] = version
    if not ir_version or not opsets:
        raise ValueError("it is no ONNX file")
    return OnnxFile(ir_version, opsets, tuple(dict.fromkeys(_external(model, "model", 0))))


def refuse_external(known: OnnxFile, name: str, file: str) -> None:
    """Refuse a file that keeps weights elsewhere. Nothing is read of what it points to."""
    if (place := known.outside) is not None:
        raise ConfigError(
            f"{name}: file: {file} points outside its folder, to {place[:80]!r}; nothing was read there.",
            remedy="Do not use this file; get it anew from its author, as one file with the weights inside.",
        )
    if known.external:
        place = known.external[0] or "another file"
        raise ConfigError(
            f"{name}: file: {file} keeps its weights in another file ({place[:80]}); a model is one file.",
            remedy="Export with external_data=False (torch). Or make it one, in its folder: pip install onnx, then "
            f"python -c \"import onnx; onnx.save(onnx.load('{file}'), 'whole.onnx')\". A card needs the new "
            "file's sha256.",
        )


def _leads_out(place: str) -> bool:
    parts = PurePosixPath(place.replace("\\", "/")).parts
    return ".." in parts or PurePosixPath(place).is_absolute() or bool(PureWindowsPath(place).anchor) or "\0" in place


def _external(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > 4 * _DEEPEST:
        raise ValueError("it is nested too deeply")
    if kind == "tensor":
        yield from _outside_of(message)
        return
    leading = _LEADING[kind]
    for number, value in _fields(message):
        if number in leading and isinstance(value, memoryview):
            yield from _external(value, leading[number], depth + 1)


def _outside_of(tensor: memoryview) -> Iterator[str]:
    elsewhere, places = False, []
    for number, value in _fields(tensor):
        if number == _PLACE and value == 1:
            elsewhere = True
        elif number == _EXTERNAL and isinstance(value, memoryview):
            elsewhere = True
            entry = {key: _text(text) for key, text in _fields(value) if isinstance(text, memoryview)}
            if entry.get(1) == "location":
                places.append(entry.get(2, ""))
    if elsewhere:
        yield from places or [""]


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in _fields(message):
        if number == 1 and isinstance(value, memoryview):
            domain = _text(value)
        elif number == 2 and isinstance(value, int):
            version = value
    return ("" if domain == "ai.onnx" else domain), version


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")


def _fields(message: memoryview) -> Iterator[_Field]:
    """The fields of one protobuf message: numbers as such, what has a length as a view. Raises `ValueError`."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield _Field(key >> 3, value)
        elif wire == 2:
            length, at = _varint(message, at)
            if at + length > end:
                raise ValueError("it ends early")
            yield _Field(key >> 3, message[at : at + length])
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("it is no ONNX file")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("it is no ONNX file")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
