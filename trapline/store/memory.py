"""A bucket in memory: the peer of the real stores, for tests, simulations and function authors."""

from __future__ import annotations

import io
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import BinaryIO

from trapline.errors import Conflict, NotFound
from trapline.store.base import Entry, Got, KeyLimits, Level
from trapline.store.naming import check_key


class MemoryStore:
    """A complete store. An etag is never used twice (unless `etag` makes it of the bytes), listings come sorted."""

    def __init__(
        self,
        *,
        limits: KeyLimits | None = None,
        clock: Callable[[], float] = time.time,
        etag: Callable[[bytes], str] | None = None,
        conditional: bool = True,
    ) -> None:
        self.limits = limits or KeyLimits()
        self.conditional = conditional
        self._clock = clock
        self._etag = etag or (lambda data: f"m{next(self._etags)}")
        self._lock = threading.Lock()
        self._objects: dict[str, Got] = {}
        self._keys: list[str] = []  # sorted, so that a listing costs what it yields
        self._etags = count(1)

    def describe(self) -> str:
        return "memory"

    def get(self, key: str) -> Got:
        check_key(key, self.limits)
        try:
            return self._objects[key]
        except KeyError:
            raise NotFound(key) from None

    def head(self, key: str) -> Entry:
        return self.get(key).entry

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        check_key(key, self.limits)
        with self._lock:
            exists = key in self._objects
            if create_only and exists and self.conditional:
                raise Conflict(f"There is already an object {key!r}.")
            entry = Entry(key, self._etag(data), len(data), self._clock())
            self._objects[key] = Got(entry, bytes(data))
            if not exists:
                insort(self._keys, key)
        return entry

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> Entry:
        return self.put(key, path.read_bytes(), content_type=content_type)

    def delete(self, key: str) -> None:
        check_key(key, self.limits)
        with self._lock:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key).data)

    def list(self, prefix: str) -> Iterator[Entry]:
        return iter(self._under(prefix))

    def level(self, prefix: str) -> Level:
        folders: dict[str, None] = {}
        entries = []
        for entry in self._under(prefix):
            name, slash, _ = entry.key[len(prefix) :].partition("/")
            if slash:
                folders[f"{prefix}{name}/"] = None
            else:
                entries.append(entry)
        return Level([*folders], entries)

    def _under(self, prefix: str) -> Sequence[Entry]:
        """What is under the prefix at this moment, sorted by key."""
        with self._lock:
            start = bisect_left(self._keys, prefix)
            tail = (self._keys[i] for i in range(start, len(self._keys)))
            return [self._objects[key].entry for key in takewhile(lambda key: key.startswith(prefix), tail)]
