"""What is kept of a failure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import model_validator

from trapline.errors import CODES
from trapline.records.base import Record
from trapline.records.image import Received, Source


class DeadLetter(Record):
    """A failure that will not be tried again by itself. Deleting it is a retry."""

    type: Literal["trapline.failure"] = "trapline.failure"
    stage: str
    job: str
    source: Source = Source()
    recipe: str = ""
    missing: tuple[str, ...] | None = None  # stages that failed before, and that a join went on without
    code: str
    meaning: str = ""  # the code in words, as the documentation has them
    message: str  # what happened to this very item
    remedy: str = ""  # what to do: the code's, unless the function said better
    attempts: int = 1
    received: Received = Received()
    at: datetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _worded(cls, said: Any) -> Any:
        """What is not said is said in the code's own words."""
        if not isinstance(said, dict) or not isinstance(said.get("code"), str):
            return said
        return said | {name: said.get(name) or text for name, text in in_words(said["code"]).items()}


def in_words(code: str) -> dict[str, str]:
    """A failure code's meaning and remedy; empty for one that this release does not know."""
    known = CODES.get(code)
    return {"meaning": known.meaning, "remedy": known.remedy} if known else {"meaning": "", "remedy": ""}


def codes_in_words(codes: Iterable[str]) -> dict[str, dict[str, str]]:
    """Meaning and remedy of each of these codes."""
    return {code: in_words(code) for code in sorted(codes)}
