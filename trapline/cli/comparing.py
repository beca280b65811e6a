"""A card's images against what the bucket holds of a job. Pure: it decides; nothing is read here.

What counts is an image's bytes: an image is received when the engine read these very bytes and they are there still.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from trapline.cli.card import CardFile, Sums
from trapline.records.received import ReceivedFile
from trapline.store.base import Entry

Fate = Literal["received", "not_yet", "missing", "damaged"]
Shift = tuple[str, str]  # what a name on the card loses in front, and what it has there in the job


@dataclass(frozen=True)
class Compared:
    """What became of one image of the card."""

    image: CardFile
    fate: Fate
    file: ReceivedFile | None = None  # the job's file with these bytes, or of this name
    why: str = ""  # why it is not received


@dataclass(frozen=True)
class Held:
    """What is known of a job's files: the engine's list, and the bucket's own listing where it may be read."""

    files: list[ReceivedFile]
    entries: Mapping[str, Entry] | None  # by the name that the list uses; None: the listing may not be read
    unusable: frozenset[str] = frozenset()  # names that the engine cannot work with
    reread: Callable[[str], str] | None = None  # the sha256 of a file's bytes now, where that is cheap; by name


@dataclass
class Comparison:
    """Every image of the card with what became of it, and what is in the job alone."""

    images: list[Compared] = field(default_factory=list)
    shift: Shift = ("", "")
    job_only: list[ReceivedFile] = field(default_factory=list)

    def of(self, fate: Fate) -> list[Compared]:
        """The images of one fate."""
        return [image for image in self.images if image.fate == fate]

    def named_otherwise(self) -> list[Compared]:
        """Received images whose name in the job is not the one that the others lead to expect."""
        return [
            c
            for c in self.of("received")
            if c.file and folded(c.file.file) != folded(shifted(c.image.name, self.shift))
        ]


def compare(images: Iterable[CardFile], sums: Mapping[str, Sums], held: Held) -> Comparison:
    """Decide about every image of which the checksums are there."""
    comparer = _Comparer(held)
    known = [image for image in images if image.name in sums]
    found = Comparison(shift=_shift(comparer, known, sums))
    for image in known:
        found.images.append(comparer.judge(image, sums[image.name], found.shift))
    mine = {compared.file.file for compared in found.images if compared.file}
    found.job_only = [file for file in held.files if file.state != "ignored" and file.file not in mine]
    return found


class _Comparer:
    """The job's files by content and by name."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.by_content: dict[tuple[str, int], list[ReceivedFile]] = defaultdict(list)
        self._by_name: dict[str, ReceivedFile] = {}
        self._unusable = frozenset(map(folded, held.unusable))
        self._entries = {folded(name): (name, entry) for name, entry in (held.entries or {}).items()}
        for file in held.files:
            if file.state == "ignored" or file.code == "key_unusable":
                continue
            self._by_name[folded(file.file)] = file
            if file.sha256 and file.etag:
                self.by_content[file.sha256, file.size].append(file)

    def judge(self, image: CardFile, sums: Sums, shift: Shift) -> Compared:
        named = folded(shifted(image.name, shift))
        same = self.by_content.get((sums.sha256, image.size), [])
        for file in sorted(same, key=lambda file: folded(file.file) != named):
            if (image.size or folded(file.file) == named) and self._is_there(file, sums):
                return Compared(image, "received", file)
        return self._not_received(image, sums, named)

    def _is_there(self, file: ReceivedFile, sums: Sums) -> bool:
        """Whether the bytes that the engine read are those that the bucket holds now."""
        if self._held.entries is None:
            return True
        entry = self._held.entries.get(file.file)
        if entry is None or entry.size != file.size:
            return False
        if entry.etag in (file.etag, sums.md5):
            return True
        return self._held.reread is not None and self._held.reread(file.file) == sums.sha256

    def _not_received(self, image: CardFile, sums: Sums, named: str) -> Compared:
        file = self._by_name.get(named)
        if file is None and named in self._unusable:
            return Compared(image, "missing", None, _UNUSABLE)
        if self._held.entries is not None:
            return self._by_listing(image, sums, named, file)
        if file is None or not file.etag:
            return Compared(image, "missing", file, "the list does not have it" if file is None else _GONE)
        if file.size == image.size and not file.sha256:
            return Compared(image, "not_yet", file, _UNREAD)
        return Compared(image, "damaged", file, _other(file.size, image.size))

    def _by_listing(self, image: CardFile, sums: Sums, named: str, file: ReceivedFile | None) -> Compared:
        _, entry = self._entries.get(named, ("", None))
        if entry is None:
            return Compared(image, "missing", file, _GONE if file else "it is not in the bucket")
        if file is not None and file.sha256 and file.etag == entry.etag:
            return Compared(image, "damaged", file, _other(entry.size, image.size))
        if entry.settled and entry.size != image.size:
            return Compared(image, "damaged", file, _other(entry.size, image.size))
        changed = file is not None and file.sha256 and entry.etag != sums.md5
        return Compared(image, "not_yet", file, _CHANGED if changed else _UNREAD)


_GONE = "it was in the bucket and is not any more"
_UNUSABLE = "the engine cannot work with its name in the bucket: rename it first"
_UNREAD = "it is in the bucket, but the engine has not read it yet"
_CHANGED = "the one in the bucket changed after the engine wrote its list"


def _other(there: int, here: int) -> str:
    if there == here:
        return "the bucket holds other bytes under this name"
    return f"the bucket holds {there:,} bytes under this name, the card {here:,}"


# -- names


def _shift(comparer: _Comparer, images: Iterable[CardFile], sums: Mapping[str, Sums]) -> Shift:
    """How most names on the card differ from those in the job: a card may lie in a folder of the job."""
    counts: Counter[Shift] = Counter()
    for image in images:
        files = comparer.by_content.get((sums[image.name].sha256, image.size), []) if image.size else []
        counts.update({_difference(image.name, file.file) for file in files})
    return max(counts, key=lambda shift: (counts[shift], shift == ("", "")), default=("", ""))


def _difference(here: str, there: str) -> Shift:
    one, other = here.split("/"), there.split("/")
    while one and other and folded(one[-1]) == folded(other[-1]):
        one.pop()
        other.pop()
    return "".join(f"{part}/" for part in one), "".join(f"{part}/" for part in other)


def shifted(name: str, shift: Shift) -> str:
    """The name that a file of the card is expected to have in the job."""
    lost, gained = shift
    return gained + name.removeprefix(lost) if name.startswith(lost) else name


def folded(name: str) -> str:
    """A name as it compares: file systems and uploads compose accents as they like."""
    return unicodedata.normalize("NFC", name)
