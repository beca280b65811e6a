"""Rolls side by side: what changed from one to the next, and which lines of an earlier revision still hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from trapline.records import Changes, FileRef, RollEntry
from trapline.store.base import Store

NAMED = 100  # members that `changes` names, of each kind
_PIECE = 2**20  # bytes


class Unsorted(ValueError):
    """A roll that is not sorted by rel: nothing can be said of it."""


# -- what changed


def compared(revision: str, before: Iterable[bytes], now: Iterable[bytes]) -> Changes:
    """What a roll, line by line, has against that of `revision`. Holds a line of each. Raises `ValueError`."""
    names: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    counts = dict.fromkeys(names, 0)
    for kind, rel in _differences(_Side(before), _Side(now)):
        counts[kind] += 1
        if len(names[kind]) < NAMED:
            names[kind].append(rel)
    named = {kind: tuple(rels) for kind, rels in names.items() if rels}
    return Changes(against=revision, **counts, names=named)


class _Side:
    """A roll that is gone through; a line is read as JSON only where it is asked for."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._last = ""
        self.line = next(self._lines, b"")

    @cached_property
    def entry(self) -> RollEntry:
        found = RollEntry.read(self.line)
        if found.rel <= self._last:
            raise Unsorted(f"{found.rel!r} comes after {self._last!r}")
        self._last = found.rel
        return found

    def go_on(self) -> None:
        self.line = next(self._lines, b"")
        self.__dict__.pop("entry", None)


def _differences(old: _Side, new: _Side) -> Iterator[tuple[str, str]]:
    """(`added`, `changed` or `removed`, rel), sorted by rel."""
    while old.line or new.line:
        if old.line == new.line:
            old.go_on()
            new.go_on()
        elif not new.line or (old.line and old.entry.rel < new.entry.rel):
            yield "removed", old.entry.rel
            old.go_on()
        elif not old.line or new.entry.rel < old.entry.rel:
            yield "added", new.entry.rel
            new.go_on()
        else:
            if _changed(old.entry, new.entry):
                yield "changed", new.entry.rel
            old.go_on()
            new.go_on()


def _changed(old: RollEntry, new: RollEntry) -> bool:
    """Whether a member is of other bytes, made otherwise, or in another state. Bytes never read are not other bytes."""
    other_bytes = bool(old.sha256 and new.sha256) and old.sha256 != new.sha256
    return other_bytes or _answer(old) != _answer(new)


def _answer(entry: RollEntry) -> tuple[str, ...]:
    return entry.state, entry.stage, entry.recipe, entry.code, entry.missing


# -- what still holds


def unchanged(old: RollEntry, new: RollEntry) -> bool:
    """Whether all that a record says of a member is as it was: the same bytes, made in the same way."""
    return bool(new.sha256) and new.state in ("done", "skipped") and _made(old) == _made(new)


def _made(entry: RollEntry) -> RollEntry:
    """An entry without what is the job's or the store's own: a line is told those anew."""
    return entry._replace(etag="", kept=False, id="", event_id="")


class Earlier:
    """The lines that an earlier revision's file has for its members, handed out in the order of the roll."""

    def __init__(self, members: BinaryIO, lines: BinaryIO) -> None:
        self._both = zip(map(RollEntry.read, members), lines, strict=True)
        self._at = self._next()

    def __call__(self, entry: RollEntry) -> dict[str, Any] | None:
        """What is said of a member whose entry is as it was; None where it has to be read. Ask in the roll's order."""
        while self._at is not None and self._at[0].rel < entry.rel:
            self._at = self._next()
        if self._at is None or self._at[0].rel != entry.rel or not unchanged(self._at[0], entry):
            return None
        said = _object(self._at[1])
        if said is None or said.get("rel") != entry.rel:
            self._at = None  # the file has another shape than a line a member: none of them counts
            return None
        return said

    def _next(self) -> tuple[RollEntry, bytes] | None:
        try:
            return next(self._both, None)
        except ValueError:
            return None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def nothing(entry: RollEntry) -> None:
    """Where no earlier revision will do: every member has to be read."""


def fetched(store: Store, file: FileRef, path: Path) -> Path | None:
    """A revision's file, brought here; None where it is not the one that was named. Raises `StoreError`."""
    digest = hashlib.sha256()
    path.parent.mkdir(exist_ok=True)
    with store.open(file.key) as source, path.open("wb") as sink:
        while piece := source.read(_PIECE):
            digest.update(piece)
            sink.write(piece)
    return path if digest.hexdigest() == file.sha256 else None


Line = Callable[[RollEntry], dict[str, Any] | None]
