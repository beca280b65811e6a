"""Models in a bucket: their versions, their cards, and which version is in force.

What a card's fields mean is the business of `trapline.models`; here a card is only what its YAML says.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml

from trapline.errors import ConfigError, Conflict, NotFound
from trapline.keys import Layout
from trapline.pipeline.reading import did_you_mean, parsed
from trapline.store.base import Store

CARD = "model.yaml"
FIRST = "1.0.0"
REMEMBERED = 20  # versions in force before, kept below the one that is
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


# -- `current`: pure


def in_force(data: bytes) -> str:
    """The version that a `current` names: its first line; empty where it names none. Never raises."""
    return next(iter(in_force_and_before(data)), "")


def in_force_and_before(data: bytes) -> list[str]:
    """The lines of a `current`, newest first, however an editor ended them; those without text left out."""
    coding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    return [line.strip() for line in data.decode(coding, "replace").splitlines() if line.strip()]


def promoted(data: bytes, version: str) -> bytes:
    """A `current` in which `version` is in force, and what was so before comes after it."""
    before = in_force_and_before(data)
    if before[:1] == [version]:
        before = before[1:]
    return _written([version, *before])


def rolled_back(data: bytes) -> bytes | None:
    """A `current` in which the version before is in force; None where there is none before."""
    return _written(before) if (before := in_force_and_before(data)[1:]) else None


def _written(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines[: REMEMBERED + 1]).encode()


# -- versions: pure


def number(version: str) -> tuple[int, ...]:
    """A version by which to sort; what is none sorts first."""
    match = _VERSION.fullmatch(version)
    return tuple(map(int, match.groups())) if match else (-1,)


def following(versions: list[str]) -> str:
    """The version that a new file gets when nobody names one: 1.0.0, then the next minor."""
    greatest = max(map(number, versions), default=(-1,))
    return f"{greatest[0]}.{greatest[1] + 1}.0" if len(greatest) == 3 else FIRST


# -- in a bucket


@dataclass(frozen=True)
class Kept:
    """A model as it is kept in a bucket."""

    name: str
    versions: list[str] = field(default_factory=list)  # those with a card, oldest first
    current: list[str] = field(default_factory=list)  # the version in force, then those before it, newest first

    @property
    def in_force(self) -> str:
        """Empty where none is."""
        return next(iter(self.current), "")


class Registry:
    """The models of a bucket. Errors of the store go through; `ConfigError` names what is not there."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store = store
        self._layout = layout

    def models(self) -> Iterator[Kept]:
        """Every model, by name."""
        for folder in sorted(self._store.level(self._layout.prefix("models")).folders):
            kept = self.model(folder.rstrip("/").rpartition("/")[2])
            if kept.versions or kept.current:
                yield kept

    def model(self, name: str) -> Kept:
        """One model; without versions where there is none of this name."""
        folder = self._layout.model_folder(name)
        keys = (entry.key.removeprefix(folder).split("/") for entry in self._store.list(folder))
        versions = sorted((parts[0] for parts in keys if parts[1:] == [CARD]), key=number)
        return Kept(name, versions, in_force_and_before(self._current(name)))

    def known(self, name: str) -> Kept:
        """As `model`. Raises `ConfigError` where there is none of this name."""
        kept = self.model(name)
        if not kept.versions:
            have = [other.name for other in self.models()]
            raise ConfigError(
                f"There is no model {name!r} in the bucket.",
                remedy=f"It has: {', '.join(have) or 'none'}.{did_you_mean(name, have)} "
                "`trapline models add FILE --name …` adds one.",
            )
        return kept

    def card(self, name: str, version: str) -> bytes:
        """The card's file. Raises `ConfigError` where that version is not there."""
        try:
            return self._store.get(self._layout.model(name, version, CARD)).data
        except NotFound:
            versions = self.known(name).versions
            raise ConfigError(
                f"There is no version {version!r} of {name}.", remedy=f"It has: {', '.join(versions)}."
            ) from None

    def fields(self, name: str, version: str) -> dict[str, Any]:
        """What the card says. Raises `ConfigError` where it is no card at all."""
        return card_fields(self.card(name, version), self._layout.model(name, version, CARD))

    def file(self, name: str, version: str) -> bytes:
        """The model's own file, as its card names it. Raises `ConfigError`."""
        key = self._file_key(name, version)
        try:
            return self._store.get(key).data
        except NotFound:
            raise self._incomplete(name, version, key) from None

    def whole(self, name: str, version: str) -> bool:
        """Whether a version's card and file are both there."""
        try:
            return _there(self._store, self._file_key(name, version))
        except ConfigError:
            return False

    def put(self, name: str, version: str, files: Mapping[str, bytes]) -> None:
        """Add a version: its files, and its card last, so that it is never half there.

        The same card again adds what is missing beside it. Raises `ConfigError` where the version has another card.
        """
        key = self._layout.model(name, version, CARD)
        there = self._get(key)
        if there is not None and there != files[CARD]:
            raise _taken(name, version)
        for file in sorted(set(files) - {CARD}):
            if there is None or not _there(self._store, self._layout.model(name, version, file)):
                self._store.put(self._layout.model(name, version, file), files[file])
        if there is None:
            try:
                self._store.put(key, files[CARD], content_type="application/yaml", create_only=self._store.conditional)
            except Conflict:
                raise _taken(name, version) from None

    def promote(self, name: str, version: str) -> list[str]:
        """Put a version into force; returns what `current` now holds. One write. Raises `ConfigError`."""
        key = self._file_key(name, version)
        if not _there(self._store, key):
            raise self._incomplete(name, version, key)
        return self._put_current(name, promoted(self._current(name), version))

    def roll_back(self, name: str) -> list[str]:
        """Put the version before into force; returns what `current` now holds. One write. Raises `ConfigError`."""
        kept = self.known(name)
        data = rolled_back(self._current(name))
        if data is None:
            raise ConfigError(
                f"No version of {name} was in force before {kept.in_force or 'now'}.",
                remedy=f"Name one with `trapline models promote {name} VERSION`; it has: {', '.join(kept.versions)}.",
            )
        before = in_force(data)
        if before not in kept.versions:
            raise ConfigError(
                f"Version {before} of {name}, which was in force before {kept.in_force}, is not in the bucket.",
                remedy=f"Name another with `trapline models promote {name} VERSION`; it has: "
                f"{', '.join(kept.versions)}.",
            )
        return self._put_current(name, data)

    def _put_current(self, name: str, data: bytes) -> list[str]:
        self._store.put(self._layout.model_current(name), data, content_type="text/plain")
        return in_force_and_before(data)

    def _current(self, name: str) -> bytes:
        return self._get(self._layout.model_current(name)) or b""

    def _get(self, key: str) -> bytes | None:
        with suppress(NotFound):
            return self._store.get(key).data
        return None

    def _file_key(self, name: str, version: str) -> str:
        return self._layout.model(name, version, str(self.fields(name, version).get("file", "model.onnx")))

    def _incomplete(self, name: str, version: str, key: str) -> ConfigError:
        return ConfigError(
            f"Version {version} of {name} is not whole: its card names a file that is not there ({key}).",
            remedy="Put that file there, or add the model anew with `trapline models add`.",
        )


def card_fields(card: bytes, where: str) -> dict[str, Any]:
    """What a card's YAML says, unchecked. Raises `ConfigError` naming `where`."""
    try:
        fields = parsed(card.decode("utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:
        line = " ".join(str(error).split())[:160]
        raise ConfigError(f"{where}: is not YAML ({line}).", remedy="Mend the line it names.") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{where}: holds no fields.", remedy="Write a model card: name, version, kind, sha256, …")
    return fields


def _taken(name: str, version: str) -> ConfigError:
    return ConfigError(
        f"Version {version} of {name} is in the bucket already, and a version's files never change.",
        remedy="Leave --version out for the next one, or name another.",
    )


def _there(store: Store, key: str) -> bool:
    try:
        store.head(key)
    except NotFound:
        return False
    return True
