"""What made a part of an image, in words: the function and the model of a stage's note, or a person."""

from __future__ import annotations

from dataclasses import dataclass

from functions.compile.picture import HUMAN, Mapping, Picture, mapping


@dataclass(frozen=True)
class Made:
    """A function and its model; empty where nobody said."""

    function: str = ""
    version: str = ""  # the function's
    model: str = ""
    model_version: str = ""
    model_sha256: str = ""

    @property
    def name(self) -> str:
        """The model with its version, or else the function with its own."""
        return f"{self.model} {self.model_version}".strip() or f"{self.function} {self.version}".strip()


def maker(picture: Picture, part: Mapping, *, first: bool) -> Made:
    """Who made a detection (`first`) or a classification of an image: a stage, or a person."""
    return Made(function=HUMAN) if part.get("by") == HUMAN else made(picture.made(part, first=first))


def made(note: Mapping | None) -> Made:
    """What a stage's note says."""
    by = mapping((note or {}).get("produced_by"))
    model = mapping(by.get("model"))
    told = by.get("function"), by.get("version"), *(model.get(field) for field in ("name", "version", "sha256"))
    return Made(*(str(word or "") for word in told))
