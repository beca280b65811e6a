"""Which keys a store can address. What a key means to the pipeline is `trapline.keys`' business."""

from __future__ import annotations

import re

from trapline.errors import KeyUnusable
from trapline.store.base import KeyLimits

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # neither obstore nor XML can say these


def why_unusable(key: str, limits: KeyLimits) -> str:
    """What is wrong with a key, as a clause for a person; empty if nothing is."""
    if not key:
        return "is empty"
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if len(raw) > limits.key:
        return f"is {len(raw)} bytes long where at most {limits.key} fit"
    if _CONTROL.search(key):
        return "contains a control character"
    return _wrong_segment(raw.split(b"/"), limits.segment)


def check_key(key: str, limits: KeyLimits) -> None:
    """Raise `KeyUnusable`, with the remedy, unless the store can address this key."""
    if reason := why_unusable(key, limits):
        raise KeyUnusable(
            f"The key {printable(key)!r} {reason}.",
            remedy="Rename the file: no empty names (`//`), no `.` or `..`, no control characters, shorter names.",
        )


def printable(name: str) -> str:
    """A name with the bytes that are not UTF-8 written as `\\xNN`."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _wrong_segment(segments: list[bytes], limit: int | None) -> str:
    for segment in segments:
        if segment in (b"", b".", b".."):
            return "has an empty folder or file name" if not segment else f"has a segment {segment.decode()!r}"
        if limit is not None and len(segment) > limit:
            return f"has a folder or file name of {len(segment)} bytes where at most {limit} fit"
    return ""
