"""`results.jsonl`: everything that is known about an image, one image a line."""

from __future__ import annotations

import json
from typing import Any

from functions.compile.member import View
from trapline.records import StageNote

_ANEW = ("deployment", "kept", "id", "eventId", "review")  # what is not of the image's own record
_LINE_BREAKS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}  # some readers split lines at these


def line(fields: dict[str, Any]) -> bytes:
    """One line: its fields in a fixed order, the stages as they came, what is inside them sorted."""
    known = {**fields, "stages": _Written(_object(fields["stages"]))}
    return (_object(known) + "\n").translate(_LINE_BREAKS).encode()


def fields(view: View) -> dict[str, Any]:
    """What a line holds."""
    record = view.member.record
    always: dict[str, Any] = {
        "rel": view.member.entry.rel,
        "key": view.key,
        "state": view.state,
        "revision": view.revision,
        "station": view.station,
        "source": _source(view),
        "image": view.known.get("image"),
        "detections": view.known.get("detections"),
        "stages": {name: _note(note) for name, note in record.stages.items()} if record else {},
    }
    return always | _sometimes(view)


def again(line: dict[str, Any], view: View) -> dict[str, Any]:
    """A line of an earlier revision as this one says it: all that its record says is as it was."""
    kept = {name: value for name, value in line.items() if name not in _ANEW}
    said: dict[str, Any] = {**kept, "revision": view.revision, "station": view.station}
    return said | _of_the_job(view)


def _note(note: StageNote) -> dict[str, Any]:
    """What a stage did; the files that it wrote, whether it named, what it went without: only where it did."""
    left_out = {name for name in ("files", "named", "missing") if getattr(note, name) is None}
    return note.model_dump(mode="json", exclude=left_out)


def _source(view: View) -> dict[str, Any]:
    """The image's identity. The etag stays out: it is the store's own, and another after a copy."""
    stored = view.member.record or view.member.dead_letter
    size = stored.source.size if stored and stored.source.size >= 0 else view.member.entry.size
    return {"key": view.key, "size": size if size >= 0 else None, "sha256": view.sha256 or None}


def _sometimes(view: View) -> dict[str, Any]:
    """The fields that a line has only where there is something to say."""
    record = view.member.record
    fields = {
        "failure": view.failure,
        "missing": list(record.missing or ()) if record else [],
        "known": {name: value for name, value in view.known.items() if name not in ("image", "detections")},
    }
    return {name: value for name, value in fields.items() if value} | _of_the_job(view)


def _of_the_job(view: View) -> dict[str, Any]:
    """What manifest and roll say of an image, which no record does; last in a line."""
    entry = view.member.entry
    fields = {"deployment": view.deployment, "kept": entry.kept, "id": entry.id, "eventId": entry.event_id}
    return {name: value for name, value in fields.items() if value}


class _Written(str):
    """JSON already."""


def _object(fields: dict[str, Any]) -> str:
    return "{" + ",".join(f"{_json(name)}:{_json(value)}" for name, value in fields.items()) + "}"


def _json(value: Any) -> str:
    if isinstance(value, _Written):
        return value
    text = _as_it_is(value)
    return text if _is_unicode(text) else json.dumps(value, sort_keys=True, separators=(",", ":"))


_as_it_is = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can carry and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
