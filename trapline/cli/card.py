"""A memory card: which files are on it, and their checksums. Reads only; writes and deletes nothing."""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from trapline.cli.upload import digests
from trapline.keys import IMAGE_SUFFIXES, Layout, suffix_of

AT_ONCE = 4  # files read at a time: more would only make a card seek
_NO_IMAGE = "not a plain file"
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"BM", b"RIFF")
_LINK = "a symbolic link, not followed"


@dataclass(frozen=True)
class CardFile:
    """A file of a card."""

    path: Path
    name: str  # relative to the card's folder, with `/`
    size: int = 0  # bytes
    why: str = ""  # why it is no image, cannot be read or is not looked at


@dataclass(frozen=True)
class Sums:
    """What a file's bytes come to."""

    sha256: str
    md5: str


@dataclass
class Card:
    """What is on a card, each sorted by name."""

    images: list[CardFile] = field(default_factory=list)
    others: list[CardFile] = field(default_factory=list)  # no stage reads them: videos, RAW, hidden photographs
    left_out: list[CardFile] = field(default_factory=list)  # hidden files and what systems leave behind: no loss
    unchecked: list[CardFile] = field(default_factory=list)  # links, and what cannot be read

    @property
    def size(self) -> int:
        """Bytes of all images."""
        return sum(image.size for image in self.images)


def read_card(folder: Path, layout: Layout) -> Card:
    """Look at every file below a folder; only hidden files named like images are opened, for their first bytes."""
    card = Card()

    def unreadable(error: OSError) -> None:
        path = Path(str(error.filename))
        card.unchecked.append(CardFile(path, _name(path, folder), why=_reason(error)))

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted([*names, *(name for name in folders if os.path.islink(os.path.join(parent, name)))]):
            _sort_in(card, folder, Path(parent, name), layout)
    return card


def _sort_in(card: Card, folder: Path, path: Path, layout: Layout) -> None:
    name = _name(path, folder)
    try:
        status = path.lstat()
    except OSError as error:
        card.unchecked.append(CardFile(path, name, why=_reason(error)))
        return
    try:
        why = layout.why_ignored(name)
        loss = not why or _worth_keeping(path, status, why, layout)
    except OSError as error:
        card.unchecked.append(CardFile(path, name, why=_reason(error)))
        return
    if not loss:
        card.left_out.append(CardFile(path, name, status.st_size, why))
    elif stat.S_ISLNK(status.st_mode):
        card.unchecked.append(CardFile(path, name, why=_LINK))
    elif not stat.S_ISREG(status.st_mode):
        card.unchecked.append(CardFile(path, name, why=_NO_IMAGE))
    else:
        (card.others if why else card.images).append(CardFile(path, name, status.st_size, why))


def _worth_keeping(path: Path, status: os.stat_result, why: str, layout: Layout) -> bool:
    """Whether a file that is ignored for this reason may be all there is of something."""
    if why.startswith("no stage reads"):
        return True
    named = suffix_of(path.name) in IMAGE_SUFFIXES | layout.suffixes
    return named and stat.S_ISREG(status.st_mode) and _begins_like_an_image(path)


def _begins_like_an_image(path: Path) -> bool:
    """Tells a hidden photograph from what systems hide under its name, such as the `._` files of macOS."""
    with path.open("rb") as stream:
        return stream.read(16).startswith(_BEGINNINGS)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


# -- reading


class Reading:
    """The checksums of a card's files, taken in threads of its own."""

    def __init__(self, files: list[CardFile]) -> None:
        self.size = 0  # bytes that are read
        self.total = sum(file.size for file in files)
        self.sums: dict[str, Sums] = {}  # by name
        self.unreadable: list[CardFile] = []
        self._files = files
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def __enter__(self) -> Reading:
        self._tasks = deque(self._pool.submit(self._read, file) for file in self._files)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def over(self) -> bool:
        """Whether every file was read, or cannot be. Raises what went wrong in a thread."""
        while self._tasks and self._tasks[0].done():
            self._tasks.popleft().result()
        return not self._tasks

    def _read(self, file: CardFile) -> None:
        sums, why = None, ""
        try:
            sums = _sums(file)
        except OSError as error:
            why = _reason(error)
        with self._lock:
            self.size += file.size
            if sums is not None:
                self.sums[file.name] = sums
            else:
                self.unreadable.append(CardFile(file.path, file.name, file.size, why))


def _sums(file: CardFile) -> Sums:
    with file.path.open("rb") as stream:
        sums = Sums(*digests(stream))
        if stream.tell() != file.size:
            raise OSError("it changed while it was read")
        return sums
