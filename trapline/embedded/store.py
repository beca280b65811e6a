"""The engine's side of the embedded endpoint: straight to the folder, and clients see it whole and soon.

rclone takes an object's size from its directory cache and opens the file later, by name: a file replaced between the
two is sent cut off, whoever replaces it (a PUT through rclone too, which besides removes the old file first). So when
an overwrite changes the size, rclone is first turned to a copy of the old object in an overlay folder, then the file
is replaced, then rclone is turned back (its `union` remote shows the newer of the two).
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trapline.embedded.control import Forgetter
from trapline.errors import NotFound, StoreError
from trapline.store.base import Entry, Got, Level
from trapline.store.folder import FolderStore

GRACE = 0.1  # seconds in which a GET that has taken an object's size has also opened its file
PER_BYTE = 1 / 50e6  # seconds more per byte: rclone hashes the file between the two
_LOCKS = 256
_TICK = 1_000_000  # nanoseconds by which the newer of two files is newer


@dataclass(frozen=True)
class EmbeddedConfig:
    """All that a process needs to make an `EmbeddedStore`; it pickles."""

    data: Path  # the data folder: `buckets/` and `engine/` in it are on one file system
    bucket: str
    control: Path  # rclone's remote control: a unix socket
    shared: tuple[str, ...] = ()  # prefixes whose folders other programs write to (see `FolderStore`)
    polled: tuple[str, ...] = ("",)  # prefixes where clients may read an object while it is overwritten

    @property
    def root(self) -> Path:
        return self.data / "buckets" / self.bucket

    @property
    def scratch(self) -> Path:
        return self.data / "engine" / "scratch"

    @property
    def overlay(self) -> Path:
        return self.data / "engine" / "overlay" / self.bucket


class EmbeddedStore:
    """A `Store` over the folder behind the embedded endpoint."""

    conditional = True

    def __init__(self, config: EmbeddedConfig) -> None:
        self._folder = FolderStore(config.root, config.scratch, shared=config.shared)
        self._overlay = FolderStore(config.overlay, config.scratch)
        self._forgetter = Forgetter(config.control, config.bucket)
        self._locks = config.scratch.parent / "locks"
        self._locks.mkdir(exist_ok=True)
        self._polled = config.polled
        self.limits = self._folder.limits

    def describe(self) -> str:
        return self._folder.describe()

    def get(self, key: str) -> Got:
        return self._folder.get(key)

    def head(self, key: str) -> Entry:
        return self._folder.head(key)

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        if create_only or not self._resizes(key, len(data)):
            entry = self._folder.put(key, data, create_only=create_only)
            self._forgetter.add(_folder_of(key))
            return entry
        with self._locked(key):
            return self._overwrite(key, data)

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> Entry:
        if self._resizes(key, path.stat().st_size):
            return self.put(key, path.read_bytes())
        entry = self._folder.put_file(key, path)
        self._forgetter.add(_folder_of(key))
        return entry

    def delete(self, key: str) -> None:
        self._folder.delete(key)
        self._overlay.delete(key)
        self._forgetter.add(_folder_of(key))

    def open(self, key: str) -> BinaryIO:
        return self._folder.open(key)

    def list(self, prefix: str) -> Iterator[Entry]:
        return self._folder.list(prefix)

    def level(self, prefix: str) -> Level:
        return self._folder.level(prefix)

    def closed(self, key: str) -> None:
        """The file's writer is done with it: it is settled now, until it changes again."""
        self._folder.closed(key)

    def clear_scratch(self) -> None:
        """Remove what killed writers left. Call it only while nobody else writes to this bucket."""
        self._folder.clear_scratch()
        for entry in self._overlay.list(""):
            self._overlay.delete(entry.key)

    def flush(self) -> None:
        """Wait until clients see everything written so far."""
        self._forgetter.flush()

    def close(self) -> None:
        """As `flush`, and end the thread. A process that writes calls it before it exits."""
        self._forgetter.close()

    def _resizes(self, key: str, size: int) -> bool:
        """Whether a write would change the size of an object that is there, and that clients may be reading."""
        if not key.startswith(self._polled):
            return False
        return self._folder.size(key) not in (None, size)

    def _overwrite(self, key: str, data: bytes) -> Entry:
        folder = _folder_of(key)
        self._drop_copy(key)
        try:
            old = self._folder.get(key)
        except NotFound:  # removed since
            return self._folder.put(key, data)
        grace = GRACE + old.entry.size * PER_BYTE
        mtime = int(old.entry.modified * 1e9) + _TICK
        copy = self._overlay.put_dated(key, old.data, mtime)
        if self._forgetter.now(folder):
            time.sleep(grace)
        entry = self._folder.put_dated(key, data, max(time.time_ns(), mtime + _TICK))
        self._forgetter.now(folder)
        self._drop_later(key, copy.etag, grace)
        return entry

    def _drop_copy(self, key: str) -> None:
        """Remove the copy that an overwrite a moment ago left: a GET may still be about to open it."""
        with suppress(NotFound):
            time.sleep(GRACE + self._overlay.head(key).size * PER_BYTE)
            self._overlay.delete(key)

    def _drop_later(self, key: str, etag: str, grace: float) -> None:
        timer = threading.Timer(grace, self._drop_if_same, (key, etag))
        timer.daemon = True
        timer.start()

    def _drop_if_same(self, key: str, etag: str) -> None:
        with suppress(StoreError, OSError), self._locked(key):
            if self._overlay.head(key).etag == etag:
                self._overlay.delete(key)
                self._forgetter.add(_folder_of(key))

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """One overwrite of a key at a time, over threads and processes."""
        descriptor = os.open(self._locks / f"{zlib.crc32(key.encode()) % _LOCKS}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]
