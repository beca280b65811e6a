"""One member of a job as the files show it. Reads what functions returned without trusting its shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from trapline.errors import CODES
from trapline.records import DeadLetter, ImageRecord, RollEntry

_NUMBERS = (float, int)
_INFINITY = float("inf")


class Member(Protocol):
    """One line of the roll, with what is stored about it."""

    @property
    def entry(self) -> RollEntry:
        """Its state, as the gather was ordered."""

    @property
    def record(self) -> ImageRecord | None:
        """The deepest record there is."""

    @property
    def dead_letter(self) -> DeadLetter | None:
        """Why it failed, or what blocks it."""


@dataclass(frozen=True)
class View:
    """A member, and what holds for its whole job."""

    member: Member
    job: str
    revision: str
    station: dict[str, Any]
    deployment: dict[str, Any]  # the manifest's

    @property
    def state(self) -> str:
        """`done`, `failed`, `blocked` or `pending`; an image with nothing to name is done."""
        state = self.member.entry.state
        return "done" if state == "skipped" else state

    @cached_property
    def known(self) -> dict[str, Any]:
        return self.member.record.known if self.member.record else {}

    @cached_property
    def image(self) -> dict[str, Any]:
        return mapping(self.known.get("image"))

    @cached_property
    def detections(self) -> list[dict[str, Any]]:
        found = self.known.get("detections")
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    @cached_property
    def named(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Each detection with its best classification."""
        return [(detection, classification(detection)) for detection in self.detections]

    @cached_property
    def key(self) -> str | None:
        for stored in (self.member.record, self.member.dead_letter):
            if stored is not None and stored.source.key:
                return stored.source.key
        return None

    @cached_property
    def sha256(self) -> str:
        record, letter, entry = self.member.record, self.member.dead_letter, self.member.entry
        return (record.source.sha256 if record else "") or (letter.source.sha256 if letter else "") or entry.sha256

    @cached_property
    def failure(self) -> dict[str, str] | None:
        """Why the member failed: its dead letter, or what the roll alone knows."""
        letter, entry = self.member.dead_letter, self.member.entry
        if letter is not None:
            return {"stage": letter.stage, "code": letter.code, "message": letter.message, "remedy": letter.remedy}
        if self.state not in ("failed", "blocked"):
            return None
        code = CODES.get(entry.code)
        texts = (code.meaning, code.remedy) if code else ("", "")
        return {"stage": entry.stage, "code": entry.code, "message": texts[0], "remedy": texts[1]}

    @property
    def coordinates(self) -> tuple[Any, Any]:
        """Latitude and longitude: the manifest's, or else the station's."""
        where = self.deployment if self.deployment.get("latitude") is not None else self.station
        return where.get("latitude"), where.get("longitude")


def classification(detection: dict[str, Any]) -> dict[str, Any]:
    """A detection's classification with the highest score; empty when it has none."""
    found = detection.get("classifications")
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    if len(entries) == 1:
        return entries[0]
    return max(entries, key=lambda entry: number(entry.get("score")) or 0.0, default={})


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if type(value) not in _NUMBERS or not -_INFINITY < value < _INFINITY:
        return None
    return value  # type: ignore[no-any-return]


def mapping(value: Any) -> dict[str, Any]:
    """`value` where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}
