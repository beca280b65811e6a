"""A bucket that is a folder of this machine, by plain system calls.

obstore's folder is not used: its etag lacks the ctime (a rewrite that keeps size and mtime goes unseen), it follows
symlinks out of the bucket, and it writes through names ending in `#<n>` inside the bucket, where clients see them.
Promises cover the death of processes, not a power loss: nothing is fsynced.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from trapline.errors import KeyUnusable, NotFound
from trapline.store.base import Entry, Got, KeyLimits, Level
from trapline.store.folder_calls import enter, opened_folder, refusals, rename_new
from trapline.store.naming import check_key, printable, why_unusable

LIMITS = KeyLimits(key=1024, segment=240)
SETTLE = 5.0  # seconds a file must be left alone before it counts as whole, unless its writer is known to be done
TEMPORARY = (".rclone_temp_", ".rclone_multipart_upload_")  # how the names of rclone's unfinished uploads begin

_REMEMBERED = 65_536  # how many files are known to be whole before they are `SETTLE` old
_ATTEMPTS = 50  # a writer whose folder is removed at the same moment makes it again
_READS = 3  # a file that changes while it is read is read again
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

log = logging.getLogger(__name__)

_Contents = tuple[list[str], list[Entry]]  # of one folder: the names of the folders in it, and its objects
_Scanned = tuple[str, list[str], list[Entry]]  # the same, after the folder's prefix


class FolderStore:
    """A folder as a bucket. Symlinks and special files are not objects: never listed, never read through.

    `scratch` takes unfinished writes: a folder of the same file system, outside `root`.
    `shared` names prefixes where other programs write: a folder that is empty there is left alone.
    """

    conditional = True
    limits = LIMITS

    def __init__(self, root: Path, scratch: Path, *, shared: tuple[str, ...] = ()) -> None:
        self.root = Path(root)
        self.scratch = Path(scratch)
        self._shared = shared
        self._whole = _Remembered(_REMEMBERED)
        self._names = count(1)
        with refusals("", self.root, writing=True):
            self.root.mkdir(parents=True, exist_ok=True)
            self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)

    def describe(self) -> str:
        return f"folder {self.root}"

    def get(self, key: str) -> Got:
        with self.open(key) as stream, refusals(key, self.root):
            for _ in range(_READS):
                before = os.fstat(stream.fileno())
                data = stream.read()
                after = os.fstat(stream.fileno())
                if _etag(before) == _etag(after) and len(data) == after.st_size:
                    return Got(self._entry(key, after, time.time()), data)
                stream.seek(0)
        return Got(Entry(key, _etag(after), len(data), after.st_mtime, settled=False), data)

    def head(self, key: str) -> Entry:
        check_key(key, LIMITS)
        *folders, name = key.split("/")
        with refusals(key, self.root), opened_folder(self.root, folders) as folder:
            return self._entry(key, _regular(key, os.stat(name, dir_fd=folder, follow_symlinks=False)), time.time())

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        return self._write(key, lambda file: file.write(data), create_only)

    def put_dated(self, key: str, data: bytes, mtime: int) -> Entry:
        """As `put`, with the file's mtime (ns since the epoch) chosen."""
        return self._write(key, lambda file: file.write(data), mtime=mtime)

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> Entry:
        with path.open("rb") as source:
            return self._write(key, lambda file: shutil.copyfileobj(source, file, 1 << 20))

    def size(self, key: str) -> int | None:
        """An object's size in bytes; None where there is none. One system call, and nothing is opened."""
        check_key(key, LIMITS)
        try:
            return os.lstat(f"{self.root}/{key}").st_size
        except OSError:
            return None

    def delete(self, key: str) -> None:
        check_key(key, LIMITS)
        *folders, name = key.split("/")
        with suppress(NotFound), refusals(key, self.root):
            with opened_folder(self.root, folders) as folder:
                _regular(key, os.stat(name, dir_fd=folder, follow_symlinks=False))
                os.unlink(name, dir_fd=folder)
            self._prune(folders)

    def open(self, key: str) -> BinaryIO:
        check_key(key, LIMITS)
        *folders, name = key.split("/")
        with refusals(key, self.root), opened_folder(self.root, folders) as folder:
            stream = os.fdopen(os.open(name, _READ, dir_fd=folder), "rb")
            try:
                _regular(key, os.fstat(stream.fileno()))
            except NotFound:
                stream.close()
                raise
            return stream

    def list(self, prefix: str) -> Iterator[Entry]:
        for _, _, entries in self._walk(prefix):
            yield from entries

    def level(self, prefix: str) -> Level:
        for parent, names, entries in self._walk(prefix):
            folders = [f"{parent}{name}/" for name in names]
            odd = [folder for folder in folders if why_unusable(folder[:-1], LIMITS)]
            unusable = [Entry(printable(folder[:-1]), "", 0, 0.0, usable=False) for folder in odd]
            return Level([folder for folder in folders if folder not in odd], entries + unusable)
        return Level([], [])

    def closed(self, key: str) -> None:
        """The file's writer is done with it: it is settled now, until it changes again."""
        with suppress(NotFound, KeyUnusable):
            self._whole.add(key, self.head(key).etag)

    def clear_scratch(self) -> None:
        """Remove what killed writers left. Call it only while nobody else writes to this bucket."""
        with refusals("", self.root, writing=True):
            for path in self.scratch.iterdir():
                path.unlink(missing_ok=True)

    def _write(
        self, key: str, fill: Callable[[BinaryIO], object], create_only: bool = False, mtime: int | None = None
    ) -> Entry:
        check_key(key, LIMITS)
        temporary = f"{self.scratch}/{os.getpid()}-{id(self):x}-{next(self._names)}"
        with refusals(key, self.root, writing=True):
            try:
                with open(temporary, "xb") as file:
                    fill(file)
                    if mtime is not None:
                        file.flush()
                        os.utime(file.fileno(), ns=(mtime, mtime))
                placed = self._place(temporary, key, create_only)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        self._whole.add(key, _etag(placed))
        return self._entry(key, placed, placed.st_ctime)

    def _place(self, temporary: str, key: str, create_only: bool) -> os.stat_result:
        """Move a finished file to its key; its folder may be removed at any moment, being empty."""
        *folders, name = key.split("/")
        file = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)  # to see the ctime that the move gives it
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    with opened_folder(self.root, folders, create=True) as folder:
                        _move(temporary, name, folder, create_only)
                    break
                except FileNotFoundError:
                    if attempt == _ATTEMPTS:
                        raise
            return os.fstat(file)
        finally:
            os.close(file)

    def _prune(self, folders: Sequence[str]) -> None:
        """Remove the folders that a deletion left empty, but never one directly under the root."""
        while len(folders) > 1 and not "/".join(folders).startswith(self._shared):
            *folders, name = folders
            try:
                with opened_folder(self.root, folders) as folder:
                    os.rmdir(name, dir_fd=folder)
            except OSError:  # not empty, or another deletion was first
                return

    def _walk(self, prefix: str) -> Iterator[_Scanned]:
        """Folder by folder, each before those in it."""
        parent, _, start = prefix.rpartition("/")
        segments = parent.split("/") if parent else []
        if any(segment in ("", ".", "..") for segment in segments):
            return
        with suppress(NotFound), refusals(prefix, self.root), opened_folder(self.root, segments) as folder:
            yield from self._descend(folder, f"{parent}/" if parent else "", start)

    def _descend(self, folder: int, parent: str, start: str = "") -> Iterator[_Scanned]:
        names, entries = self._scan(folder, parent, start)
        yield parent, names, entries
        for name in names:
            if len(os.fsencode(parent)) + len(os.fsencode(name)) > LIMITS.key:  # no key fits below it
                yield parent, [], [Entry(printable(f"{parent}{name}"), "", 0, 0.0, usable=False)]
                continue
            try:
                child = enter(folder, name)
            except (FileNotFoundError, NotADirectoryError):  # removed or replaced since
                continue
            except PermissionError:
                log.warning("a folder cannot be read", extra={"event": "store.unreadable", "key": f"{parent}{name}/"})
                yield parent, [], [Entry(printable(f"{parent}{name}"), "", 0, 0.0, usable=False)]
                continue
            try:
                yield from self._descend(child, f"{parent}{name}/")
            finally:
                os.close(child)

    def _scan(self, folder: int, parent: str, start: str) -> _Contents:
        names: list[str] = []
        entries: list[Entry] = []
        now = time.time()
        room = LIMITS.key - len(os.fsencode(parent)) if not parent or not why_unusable(parent[:-1], LIMITS) else 0
        with os.scandir(folder) as items:
            for item in items:
                name = item.name
                if not name.startswith(start) or name.startswith(TEMPORARY):
                    continue
                if item.is_dir(follow_symlinks=False):
                    names.append(name)
                elif item.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        entry = self._entry(f"{parent}{name}", item.stat(follow_symlinks=False), now)
                        entries.append(entry if _fits(name, room) else _unusable(entry))
        return names, entries

    def _entry(self, key: str, status: os.stat_result, now: float) -> Entry:
        etag = _etag(status)
        settled = abs(now - status.st_ctime) >= SETTLE or self._whole.holds(key, etag)
        return Entry(key, etag, status.st_size, status.st_mtime, settled)


class _Remembered:
    """Which files are known to be whole, by etag; the oldest are forgotten beyond `size`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._etags: OrderedDict[str, str] = OrderedDict()

    def add(self, key: str, etag: str) -> None:
        with self._lock:
            self._etags[key] = etag
            self._etags.move_to_end(key)
            if len(self._etags) > self._size:
                self._etags.popitem(last=False)

    def holds(self, key: str, etag: str) -> bool:
        return self._etags.get(key) == etag


def _move(source: str, name: str, folder: int, create_only: bool) -> None:
    if create_only:
        rename_new(source, name, folder)
    else:
        os.rename(source, name, dst_dir_fd=folder)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def _regular(key: str, status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise NotFound(key)
    return status


def _fits(name: str, room: int) -> bool:
    """Whether a file's name can end a key that has `room` bytes left."""
    if name.isascii() and name.isprintable():
        return len(name) <= min(room, LIMITS.segment or room)
    return not why_unusable(name, KeyLimits(key=room, segment=LIMITS.segment))


def _unusable(entry: Entry) -> Entry:
    return Entry(printable(entry.key), entry.etag, entry.size, entry.modified, entry.settled, usable=False)
