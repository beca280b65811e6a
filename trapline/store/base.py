"""The store seam: what the rest of the house may ask of a bucket. No client library is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as a listing or a HEAD tells of it."""

    key: str  # relative to the bucket (or to the store's root)
    etag: str  # opaque; comparable only with this store's own etags
    size: int  # bytes
    modified: float  # seconds since the epoch, for people only: time never decides
    settled: bool = True  # False: a folder's file that may still be being written
    usable: bool = True  # False: the store's library cannot address this key (`a//b`)


@dataclass(frozen=True, slots=True)
class Got:
    """An object's bytes, and the entry they were read under."""

    entry: Entry
    data: bytes


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a prefix: the folders (each ending in `/`) and the objects directly in it."""

    folders: list[str]
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may measure in this store, in bytes of UTF-8."""

    key: int = 1024
    segment: int | None = None  # None: no limit of its own


class Store(Protocol):
    """A bucket. Every method is synchronous and thread-safe.

    Errors, for all: `NotFound`, `StoreUnavailable` (try again), `StoreDenied`, `KeyUnusable`.
    """

    limits: KeyLimits
    conditional: bool  # whether `create_only` holds here (probed, never assumed)

    def describe(self) -> str:
        """Where this is, for people; never a credential."""
        ...

    def get(self, key: str) -> Got: ...

    def head(self, key: str) -> Entry: ...

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        """Write an object whole; visible all at once. With `create_only`, raises `Conflict` if the key exists."""
        ...

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> Entry:
        """As `put`, streamed from a local file that the caller keeps."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is no error."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A stream over an object too large to hold. The caller closes it."""
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object under a prefix, in no promised order, unusable ones included."""
        ...

    def level(self, prefix: str) -> Level:
        """What is directly under a prefix (`prefix` is empty or ends in `/`)."""
        ...
