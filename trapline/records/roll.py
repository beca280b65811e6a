"""The roll of a job: one line of JSON per member, as a gather must find it."""

from __future__ import annotations

import json
from typing import NamedTuple, get_args

from trapline.records.states import MemberState


class RollEntry(NamedTuple):
    """One member of a job, as a gather must find it. Light: a roll may have a hundred thousand of them."""

    rel: str
    state: MemberState
    stage: str = ""  # the stage of the deepest record, or of the dead letter
    recipe: str = ""
    etag: str = ""
    size: int = -1
    sha256: str = ""
    code: str = ""
    kept: bool = False  # the image itself is gone; its record stays
    id: str = ""  # the manifest's id
    event_id: str = ""
    letter: str = ""  # the key of its dead letter, where the store refuses the usual one
    missing: str = ""  # stages that a join went on without, comma between them
    skipped: str = ""  # earlier stages that had nothing to look at, likewise

    def line(self) -> str:
        """The entry as a line of JSON, without what is as usual."""
        said = {name: value for name, value in zip(self._fields, self, strict=True) if value != _USUAL.get(name)}
        return _compact(said) + "\n"

    @classmethod
    def read(cls, line: bytes) -> RollEntry:
        """The entry of a line. Raises `ValueError` where it is none."""
        try:
            said = json.loads(line)
        except RecursionError:
            said = None
        known = {name: said[name] for name in _KINDS if name in said} if isinstance(said, dict) else {}
        if known.get("state") not in _STATES or any(type(value) is not _KINDS[name] for name, value in known.items()):
            raise ValueError(f"no member: {line[:80]!r}")
        if "rel" not in known:
            raise ValueError(f"no member's name: {line[:80]!r}")
        return cls(**known)


_USUAL = RollEntry._field_defaults

_KINDS = {"rel": str, "state": str} | {name: type(value) for name, value in _USUAL.items()}

_STATES = get_args(MemberState)

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
