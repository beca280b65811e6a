"""One member of a job as the gather hands it over, and what holds for its line in `results.jsonl`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from trapline.records import DeadLetter, ImageRecord, RollEntry, in_words


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
    """A member, and what its job says about it."""

    member: Member
    revision: str
    station: dict[str, Any]
    deployment: dict[str, Any]  # where it was taken, by the manifest

    @property
    def state(self) -> str:
        """`done`, `failed`, `blocked` or `pending`; an image with nothing to name is done."""
        state = self.member.entry.state
        return "done" if state == "skipped" else state

    @cached_property
    def known(self) -> dict[str, Any]:
        return self.member.record.known if self.member.record else {}

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
            told = {"message": letter.message, "remedy": letter.remedy}
            return {"stage": letter.stage, "code": letter.code, "meaning": letter.meaning, **told}
        if self.state not in ("failed", "blocked"):
            return None
        words = in_words(entry.code)
        return {"stage": entry.stage, "code": entry.code, **words, "message": words["meaning"]}
