"""A data set to measure a model on: pictures and the truth about them, whatever format they are kept in.

Only what is written about the pictures is read here; no picture is opened. What is wrong with one picture, or with one
thing on it, is a `Problem` and costs that alone.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trapline.errors import ConfigError
from trapline.pipeline.reading import did_you_mean

Kind = Literal["coco", "yolo", "folders"]
Box = tuple[float, float, float, float]  # x1, y1, x2, y2

REST = "*"  # in a mapping: every category that nothing else names


@dataclass(frozen=True)
class Problem:
    """What is wrong with one item of a data set."""

    item: str  # the picture, as the data set names it, with the thing on it where it is one
    code: str
    message: str


@dataclass(frozen=True)
class Mark:
    """One thing on a picture."""

    label: str  # the data set's name for it
    box: Box | None = None  # full pixels as displayed, or shares of the sides; None: the whole picture
    crowd: bool = False  # a region of many
    area: float | None = None  # square pixels, where the data set gives it
    name: str = ""  # for messages


@dataclass(frozen=True)
class Entry:
    """One picture and what is on it."""

    name: str
    file: Path
    marks: tuple[Mark, ...]
    size: tuple[int, int] | None = None  # width and height that the boxes were drawn on, where the data set tells
    shares: bool = False  # boxes are shares of the sides, 0 to 1


@dataclass(frozen=True)
class Dataset:
    """Pictures with what is on them."""

    kind: Kind
    entries: tuple[Entry, ...]
    categories: tuple[str, ...]  # all that the data set knows
    problems: tuple[Problem, ...] = ()
    listing: bytes = b""  # what was read beside the pictures

    def first(self, count: int) -> Dataset:
        """The first pictures of it alone."""
        return Dataset(self.kind, self.entries[:count], self.categories, self.problems, self.listing)


@dataclass(frozen=True)
class Naming:
    """Which of the model's labels a category is."""

    places: Mapping[str, int]  # category → place in the model's labels
    unknown: tuple[str, ...]  # categories that the model does not know
    absent: tuple[str, ...]  # labels that the data set does not know


def parse_mapping(options: Iterable[str]) -> dict[str, list[str]]:
    """`insect=moth,beetle` to label → categories. Raises `ConfigError`."""
    mapping: dict[str, list[str]] = {}
    for option in options:
        label, equals, names = option.partition("=")
        categories = [name.strip() for name in names.split(",") if name.strip()]
        if not equals or not label.strip() or not categories:
            raise ConfigError(
                f"--map {option!r} is no mapping.",
                remedy="Write --map LABEL=CATEGORY,CATEGORY: the model's label, then the data set's names for it.",
            )
        mapping.setdefault(label.strip(), []).extend(categories)
    return mapping


def naming(
    labels: Sequence[str],
    data: Dataset,
    mapping: Mapping[str, Sequence[str]],
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> Naming:
    """Match categories with labels: as `mapping` says, else by name. Raises `ConfigError` where none is matched.

    Names are the same whatever their case, and whether a space, `-` or `_` parts their words. `synonyms`: label →
    other names for it. The category `*` in `mapping` is every one that is not matched otherwise.
    """
    _check(labels, data.categories, mapping)
    wanted = {category: label for label, categories in mapping.items() for category in categories}
    known = {name_key(label): label for label in reversed(labels)}
    for label, others in (synonyms or {}).items():
        for other in others:
            known.setdefault(name_key(other), label)
    places: dict[str, int] = {}
    for category in data.categories:
        same = category if category in labels else known.get(name_key(category))
        meant = wanted.get(category) or same or wanted.get(REST)
        if meant is not None:
            places[category] = list(labels).index(meant)
    if not places:
        raise ConfigError(
            f"None of the data set's categories ({_some(data.categories)}) is a label of the model ({_some(labels)}).",
            remedy=f"Say which is which with --map, as in --map '{labels[0]}={data.categories[0]}'"
            + (f" or --map '{labels[0]}=*'." if len(labels) == 1 else "."),
        )
    used = set(places.values())
    return Naming(
        places,
        tuple(category for category in data.categories if category not in places),
        tuple(label for place, label in enumerate(labels) if place not in used),
    )


def name_key(name: str) -> str:
    """What is alike in names that are meant to be the same."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def within(folder: Path, name: str) -> Path | None:
    """The file of that name in `folder`; None where the name leads out of it, or is none."""
    if not name or "\0" in name:
        return None
    plain = os.path.normpath(name.replace("\\", "/") if os.sep == "/" else name)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir or plain == os.curdir:
        return None
    return folder / plain


def read_listing(file: Path, what: str) -> bytes:
    """A file's bytes. Raises `ConfigError` naming `what` it was to be."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file}: {what} cannot be read ({error.strerror}).", remedy="Check its name and your rights."
        ) from error


@dataclass
class Gathered:
    """Problems, as they are found; each name once."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, item: str, code: str, message: str) -> None:
        self.problems.append(Problem(item, code, message))


def _check(labels: Sequence[str], categories: Sequence[str], mapping: Mapping[str, Sequence[str]]) -> None:
    for label in mapping:
        if label not in labels:
            raise ConfigError(
                f"--map: {label!r} is not a label of the model.",
                remedy=f"It has: {_some(labels)}.{did_you_mean(label, labels)}",
            )
    for category, times in Counter(name for names in mapping.values() for name in names).items():
        if times > 1:
            raise ConfigError(f"--map: {category!r} is given to two labels.", remedy="Give each category to one.")
        if category != REST and category not in categories:
            raise ConfigError(
                f"--map: {category!r} is not a category of the data set.",
                remedy=f"It has: {_some(categories)}.{did_you_mean(category, categories)}",
            )


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f", … {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
