"""What the dispatcher is handed: clock, store, executor. A simulated world implements these same seams."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from trapline.errors import KeyUnusable, NotFound, SurroundingsError
from trapline.records import Outcome, Ticket
from trapline.store.base import Entry, Got, KeyLimits, Level, Store

T = TypeVar("T")
_PAGE = 5_000
_PIECE = 2**20  # bytes


class Clock(Protocol):
    """Both kinds of time. Sleeping is asyncio's."""

    def monotonic(self) -> float: ...

    def wall(self) -> datetime: ...


class SystemClock:
    """The machine's own."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> datetime:
        return datetime.now(UTC)


class AsyncStore(Protocol):
    """The store seam as the dispatcher uses it; errors as in `trapline.store.base.Store`."""

    @property
    def limits(self) -> KeyLimits: ...

    async def get(self, key: str) -> Got: ...

    async def gets(self, keys: Sequence[str]) -> list[Got | None]:
        """Several objects; None for those that are not there."""
        ...

    async def heads(self, keys: Sequence[str]) -> list[Entry | None]: ...

    async def put(self, key: str, data: bytes, content_type: str = "application/json") -> Entry: ...

    async def create(self, key: str, data: bytes) -> Entry:
        """Write an object that must not be there; raises `Conflict` where the store can tell."""
        ...

    async def copy(self, key: str, to: str, content_type: str) -> Entry:
        """Write an object's bytes under another key, however large they are."""
        ...

    async def sha256(self, key: str) -> str:
        """The hash of an object's bytes, however large they are."""
        ...

    async def delete(self, keys: Sequence[str]) -> None: ...

    def pages(self, prefix: str) -> AsyncIterator[list[Entry]]:
        """Every object under a prefix, in pages."""
        ...

    async def level(self, prefix: str) -> Level: ...


class Executor(Protocol):
    """What hands tickets to workers."""

    slots: int  # how many tickets of image stages may be out at once
    workers: int  # how many of them run at the same time

    @property
    def troubles(self) -> Mapping[str, str]:
        """Functions whose workers cannot be started, and why; their tickets come back as they were."""
        ...

    async def start(self) -> None: ...

    async def run(self, ticket: Ticket) -> Outcome:
        """Run a ticket. Never raises for what happens to a worker; that is in the outcome."""
        ...

    def revoke(self, ticket: str) -> None:
        """The ticket is no longer wanted: what it still does is ignored. A compile is ended, where that can be."""
        ...

    async def close(self) -> None: ...


class ThreadedStore:
    """A synchronous store behind a few threads."""

    def __init__(self, store: Store, threads: int = 4) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store")

    @property
    def limits(self) -> KeyLimits:
        return self._store.limits

    async def get(self, key: str) -> Got:
        return await self._do(lambda: self._store.get(key))

    async def gets(self, keys: Sequence[str]) -> list[Got | None]:
        return await self._do(lambda: [_or_none(self._store.get, key) for key in keys])

    async def heads(self, keys: Sequence[str]) -> list[Entry | None]:
        return await self._do(lambda: [_or_none(self._store.head, key) for key in keys])

    async def put(self, key: str, data: bytes, content_type: str = "application/json") -> Entry:
        return await self._do(lambda: self._store.put(key, data, content_type=content_type))

    async def create(self, key: str, data: bytes) -> Entry:
        return await self._do(lambda: self._store.put(key, data, create_only=True))

    async def copy(self, key: str, to: str, content_type: str) -> Entry:
        return await self._do(lambda: _copied(self._store, key, to, content_type))

    async def sha256(self, key: str) -> str:
        return await self._do(lambda: _hashed(self._store, key))

    async def delete(self, keys: Sequence[str]) -> None:
        def remove() -> None:
            for key in keys:
                self._store.delete(key)

        await self._do(remove)

    async def pages(self, prefix: str) -> AsyncIterator[list[Entry]]:
        entries: Iterator[Entry] = self._store.list(prefix)
        while page := await self._do(lambda: list(islice(entries, _PAGE))):
            yield page

    async def level(self, prefix: str) -> Level:
        return await self._do(lambda: self._store.level(prefix))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _copied(store: Store, key: str, to: str, content_type: str) -> Entry:
    try:
        with tempfile.NamedTemporaryFile(prefix="trapline-") as file, store.open(key) as source:
            shutil.copyfileobj(source, file, _PIECE)
            file.flush()
            return store.put_file(to, Path(file.name), content_type=content_type)
    except OSError as error:
        where = tempfile.gettempdir()
        raise SurroundingsError(
            f"{key!r} cannot be copied by way of {where}: {error}.", remedy="Free space there."
        ) from error


def _hashed(store: Store, key: str) -> str:
    digest = hashlib.sha256()
    with store.open(key) as source:
        while piece := source.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _or_none(read: Callable[[str], T], key: str) -> T | None:
    try:
        return read(key)
    except (NotFound, KeyUnusable):
        return None
