"""Sending a folder of images over S3: which files, which of them are there already, several at once."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import re
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from trapline.errors import KeyUnusable, SurroundingsError, TraplineError
from trapline.keys import Layout
from trapline.records.received import sum_line
from trapline.store.base import Entry, KeyLimits, Store
from trapline.store.naming import why_unusable

AT_ONCE = 6  # files on their way at a time
WHOLE = 32 * 2**20  # bytes up to which a file is read once, hashed and sent from memory
_PIECE = 1 << 20
_MD5 = re.compile(r"^[0-9a-f]{32}$")  # what S3 stores give as the etag of an object sent in one piece


@dataclass(frozen=True)
class LocalFile:
    """A file to send."""

    path: Path
    name: str  # relative to the job's folder, with `/`
    size: int  # bytes


@dataclass
class Found:
    """What a folder holds."""

    files: list[LocalFile] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # why → how many
    unread: dict[str, str] = field(default_factory=dict)  # a folder's path → why it cannot be read
    unfit: dict[str, str] = field(default_factory=dict)  # an image's path → what is wrong with its name

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def find_files(folder: Path, job: str, layout: Layout, limits: KeyLimits) -> Found:
    """The images under a folder, sorted by name, a count of what is left out and why, and what cannot be sent."""
    found = Found()
    for path, status in _walk(folder, found):
        name = path.relative_to(folder).as_posix()
        if why := _why_left_out(f"{job}/{name}", status, layout):
            found.left_out[why] += 1
        elif why := _why_unfit(f"{job}/{name}", layout, limits):
            found.unfit[str(path)] = why
        else:
            found.files.append(LocalFile(path, name, status.st_size))
    return found


def _walk(folder: Path, found: Found) -> Iterator[tuple[Path, os.stat_result]]:
    def unreadable(error: OSError) -> None:
        found.unread[str(error.filename)] = reason(error)

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found.left_out.update({"symbolic link": len(links)} if links else {})
        folders[:] = sorted(name for name in folders if name not in links)
        for name in sorted(names):
            path = Path(parent, name)
            try:
                status = path.lstat()
            except OSError as error:
                unreadable(error)
            else:
                yield path, status


def reason(error: OSError) -> str:
    """Why the system did not read a file."""
    return error.strerror or type(error).__name__


def _why_left_out(rel: str, status: os.stat_result, layout: Layout) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "symbolic link"
    return layout.why_ignored(rel) if stat.S_ISREG(status.st_mode) else "not a plain file"


def _why_unfit(rel: str, layout: Layout, limits: KeyLimits) -> str:
    if why_unusable(layout.image(rel), limits):
        return "a name that no store takes"
    try:
        layout.check(rel, layout.records, limits.key, limits.segment)
    except KeyUnusable:
        return "too long a name"
    return ""


@dataclass
class There:
    """What the job's folder in the bucket holds already, and how its bytes can be compared."""

    store: Store
    entries: dict[str, Entry]  # by key
    sums: dict[str, tuple[int, str]]  # name → size, sha256, as the engine listed them
    local: bool  # the store is a folder of this machine: reading is cheaper than asking

    def same(self, key: str, file: LocalFile, sha256: str, md5: str) -> bool:
        """Whether the object is there with these very bytes."""
        entry = self.entries.get(key)
        if entry is None or entry.size != file.size:
            return False
        if self.local:
            with self.store.open(key) as stream:
                return digests(stream)[0] == sha256
        return entry.etag == md5 if _MD5.match(entry.etag) else self.sums.get(file.name) == (file.size, sha256)


@dataclass
class Sent:
    """How far an upload is; what it was when it is over."""

    files: int = 0
    size: int = 0  # bytes over or found there
    already: int = 0  # files found there
    sums: dict[str, str] = field(default_factory=dict)  # name → sha256
    unread: dict[str, str] = field(default_factory=dict)  # a file's path → why it could not be read


class Upload:
    """Sends files from threads of its own. `stop` ends it after the files that are on their way.

    A file that cannot be read is noted and costs the others nothing; one that is gone ends it, as a card does that
    was pulled out.
    """

    def __init__(self, store: Store, there: There, layout: Layout, job: str, files: list[LocalFile]) -> None:
        self.sent = Sent()
        self._store, self._there, self._layout, self._job = store, there, layout, job
        self._waiting: queue.SimpleQueue[LocalFile] = queue.SimpleQueue()
        for file in files:
            self._waiting.put(file)
        self._total = len(files)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._error: TraplineError | None = None
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(min(AT_ONCE, len(files)))]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def over(self) -> bool:
        """Whether every file that can be read is there. Raises what went wrong."""
        if self._error is not None:
            raise self._error
        return len(self.sent.sums) + len(self.sent.unread) == self._total

    def stop(self, wait: float) -> None:
        """Send nothing more; wait so many seconds for what is on its way."""
        self._stopped.set()
        until = time.monotonic() + wait
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                file = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._send(file)
            except (TraplineError, OSError) as error:
                self._fail(file, error)

    def _fail(self, file: LocalFile, error: TraplineError | OSError) -> None:
        if not self._stopped.is_set():
            self._error = _unreadable(file.path, error) if isinstance(error, OSError) else error
        self._stopped.set()

    def _send(self, file: LocalFile) -> None:
        key = self._layout.image(f"{self._job}/{file.name}")
        try:
            with file.path.open("rb") as stream:
                data = stream.read() if file.size <= WHOLE else None
                sha256, md5 = digests(stream if data is None else io.BytesIO(data))
        except FileNotFoundError:
            raise
        except OSError as error:
            self.sent.unread[str(file.path)] = reason(error)
            return
        there = self._there.same(key, file, sha256, md5)
        if not there and data is not None:
            self._store.put(key, data)
        elif not there:
            self._store.put_file(key, file.path)
        if file.path.stat().st_size != file.size:
            raise SurroundingsError(
                f"{file.path} changed while it was sent.", remedy="Run it again when nothing writes to it."
            )
        self._note(file, sha256, there)

    def _note(self, file: LocalFile, sha256: str, there: bool) -> None:
        with self._lock:
            self.sent.files += not there
            self.sent.already += there
            self.sent.size += file.size
            self.sent.sums[file.name] = sha256


def done_body(sums: dict[str, str]) -> bytes:
    """The `_DONE` of an upload: what `sha256sum` prints, names relative to the job's folder."""
    return "".join(f"{sum_line(sha256, name)}\n" for name, sha256 in sorted(sums.items())).encode()


def digests(stream: BinaryIO) -> tuple[str, str]:
    """The sha256 and the md5 of what a stream still holds."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    while piece := stream.read(_PIECE):
        sha256.update(piece)
        md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest()


def _unreadable(path: Path, error: OSError) -> SurroundingsError:
    return SurroundingsError(
        f"{path} cannot be read: {reason(error)}.", remedy="Mend that, and run it again; it goes on."
    )
