"""A bucket over S3, by obstore's synchronous calls. What its errors mean is `s3_errors`."""

from __future__ import annotations

import importlib
import io
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import obstore
from obstore.store import S3Store as Client

from trapline.errors import ConfigError, Conflict, NotFound, StoreError
from trapline.store.base import Entry, Got, KeyLimits, Level
from trapline.store.naming import check_key, why_unusable
from trapline.store.s3_errors import Refused, refusals

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config

_PAGE = 1000
_MULTIPART = 64 * 1024 * 1024  # bytes from which a file is uploaded in parts
_RETRY: RetryConfig = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
CONNECT = 3  # seconds to connect
READ = 30  # seconds without a byte
_REQUEST = 900  # seconds a request may take in all: large files over bad links


@dataclass(frozen=True)
class S3Settings:
    """How a bucket is reached. Without keys, boto3's own chain finds them (profile, role, container)."""

    bucket: str
    endpoint: str | None = None  # None: AWS itself
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    ca_bundle: Path | None = None  # PEM certificates to trust; listings by boto3 then trust these alone
    root: str = ""  # put before every key; empty, or ends in `/`
    path_style: bool = True  # bucket in the path, not in the host name

    @property
    def place(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint or 'AWS'}"


class S3Store:
    """A bucket of any S3-compatible store."""

    limits = KeyLimits(key=1024)

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.conditional = False  # until `probe` has seen it hold
        self._root = settings.root
        self._client = _client(settings)
        self._lister: Any = None
        self._lister_lock = threading.Lock()

    def describe(self) -> str:
        return f"s3://{self.settings.bucket}/{self._root} at {self.settings.endpoint or 'AWS'}"

    def probe(self, prefix: str) -> bool:
        """Find out whether `create_only` holds here: writes a key under `prefix` twice, and removes it."""
        key = f"{prefix}probe-{uuid.uuid4().hex}"
        self.put(key, b"", create_only=True)
        try:
            self.put(key, b"", create_only=True)
            self.conditional = False
        except Conflict:
            self.conditional = True
        finally:
            self.delete(key)
        return self.conditional

    def get(self, key: str) -> Got:
        with refusals(key, self.settings):
            result = obstore.get(self._client, self._full(key))
            data = result.bytes().to_bytes()
            return Got(self._entry(result.meta, key), data)

    def head(self, key: str) -> Entry:
        with refusals(key, self.settings):
            return self._entry(obstore.head(self._client, self._full(key)), key)

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        with refusals(key, self.settings):
            result = obstore.put(
                self._client,
                self._full(key),
                data,
                attributes={"Content-Type": content_type} if content_type else None,
                mode="create" if create_only else "overwrite",
                use_multipart=False if create_only or len(data) < _MULTIPART else None,
            )
            return Entry(key, _plain(result["e_tag"]), len(data), time.time())

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> Entry:
        size = path.stat().st_size
        with refusals(key, self.settings):
            result = obstore.put(
                self._client,
                self._full(key),
                path,
                attributes={"Content-Type": content_type} if content_type else None,
                use_multipart=size >= _MULTIPART,
            )
            return Entry(key, _plain(result["e_tag"]), size, time.time())

    def sign(self, key: str, seconds: float) -> str:
        """An address by which anybody may read an object for so long: a credential, never logged or stored."""
        with refusals(key, self.settings):
            return obstore.sign(self._client, "GET", self._full(key), timedelta(seconds=seconds))

    def delete(self, key: str) -> None:
        with suppress(NotFound), refusals(key, self.settings):
            obstore.delete(self._client, self._full(key))

    def open(self, key: str) -> BinaryIO:
        with refusals(key, self.settings):
            chunks = iter(obstore.get(self._client, self._full(key)).stream(min_chunk_size=1 << 20))
        return cast(BinaryIO, io.BufferedReader(_Stream(chunks, key, self.settings), 1 << 20))

    def list(self, prefix: str) -> Iterator[Entry]:
        if not _is_folder(prefix):
            yield from self._list_exactly(prefix)
            return
        last: str | None = None
        while True:
            with suppress(Refused):
                for entry in self._list_plainly(prefix, last):
                    last = entry.key
                    yield entry
                return
            page, more = self._page(prefix, last)
            yield from page
            if not more:
                return
            last = page[-1].key

    def level(self, prefix: str) -> Level:
        if _is_folder(prefix):
            with suppress(Refused), refusals(prefix, self.settings):
                found = obstore.list_with_delimiter(self._client, self._root + prefix or None)
                folders = [f"{self._relative(folder)}/" for folder in found["common_prefixes"]]
                entries = [self._listed(meta) for meta in found["objects"]]
                return Level(folders, [entry for entry in entries if entry.key.rstrip("/") + "/" != prefix])
        return self._level_exactly(prefix)

    def _list_plainly(self, prefix: str, after: str | None) -> Iterator[Entry]:
        offset = None if after is None else self._root + after
        if after is not None and why_unusable(after, self.limits):
            raise Refused(after)
        pages = obstore.list(self._client, self._root + prefix or None, offset=offset, chunk_size=_PAGE)
        while True:
            with refusals(prefix, self.settings):
                page = next(pages, None)
            if page is None:
                return
            yield from map(self._listed, page)

    def _list_exactly(self, prefix: str) -> Iterator[Entry]:
        last: str | None = None
        more = True
        while more:
            page, more = self._page(prefix, last)
            yield from page
            last = page[-1].key if page else last

    def _page(self, prefix: str, after: str | None) -> _Page:
        """One page as the store words it: keys that obstore cannot address are in it."""
        start = {"StartAfter": self._root + after} if after else {}
        answer = self._ask(prefix, start)
        entries = [self._worded(item) for item in answer.get("Contents", ())]
        return [entry for entry in entries if entry.key], bool(answer.get("IsTruncated") and entries)

    def _level_exactly(self, prefix: str) -> Level:
        folders: dict[str, bool] = {}
        entries: dict[str, Entry] = {}
        token: dict[str, Any] = {}
        while True:
            answer = self._ask(prefix, {"Delimiter": "/", **token})
            for item in answer.get("CommonPrefixes", ()):
                folder = self._relative(item["Prefix"])
                folders[folder] = not why_unusable(folder[:-1], self.limits)
            entries |= {entry.key: entry for entry in map(self._worded, answer.get("Contents", ()))}
            if not answer.get("IsTruncated"):
                break
            token = {"ContinuationToken": answer["NextContinuationToken"]}
        odd = [Entry(folder, "", 0, 0.0, usable=False) for folder, usable in folders.items() if not usable]
        found = [entry for entry in entries.values() if entry.key != prefix]
        return Level([folder for folder, usable in folders.items() if usable], found + odd)

    def _ask(self, prefix: str, options: dict[str, Any]) -> Any:
        with self._lister_lock:
            if self._lister is None:
                self._lister = _boto().Lister(self.settings)
        return self._lister.page(self._root + prefix, options)

    def _listed(self, meta: ObjectMeta) -> Entry:
        """Mind that obstore drops a folder marker's last `/`: an empty object is looked at again."""
        entry = self._entry(meta, self._relative(meta["path"]))
        if entry.size or self._exists(meta["path"]):
            return entry
        return Entry(f"{entry.key}/", entry.etag, 0, entry.modified, usable=False)

    def _exists(self, path: str) -> bool:
        try:
            with refusals(path, self.settings):
                obstore.head(self._client, path)
        except NotFound:
            return False
        except StoreError as error:
            raise Refused(path) from error  # the page is listed another way, which tells without a HEAD
        return True

    def _worded(self, item: Any) -> Entry:
        key = self._relative(item["Key"])
        usable = not why_unusable(key, self.limits)
        return Entry(key, _plain(item["ETag"]), item["Size"], item["LastModified"].timestamp(), usable=usable)

    def _entry(self, meta: ObjectMeta, key: str) -> Entry:
        modified = meta["last_modified"].timestamp()
        return Entry(key, _plain(meta["e_tag"]) or f"{meta['size']}-{modified}", meta["size"], modified)

    def _full(self, key: str) -> str:
        check_key(key, self.limits)
        return self._root + key

    def _relative(self, path: str) -> str:
        return path[len(self._root) :]


_Page = tuple[list[Entry], bool]  # a page of a listing, and whether there are more


class _Stream(io.RawIOBase):
    """The body of one GET as a file to read from front to back."""

    def __init__(self, chunks: Iterator[Any], key: str, settings: S3Settings) -> None:
        self._chunks = chunks
        self._key = key
        self._settings = settings
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            with refusals(self._key, self._settings):
                chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk).cast("B")
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken


def _client(settings: S3Settings) -> Client:
    config: S3Config = {"region": settings.region, "virtual_hosted_style_request": not settings.path_style}
    if settings.endpoint:
        config["endpoint"] = settings.endpoint if settings.path_style else _with_bucket(settings)
    provider: Any = None
    if settings.access_key and settings.secret_key:
        config |= {"access_key_id": settings.access_key, "secret_access_key": settings.secret_key}
        if settings.session_token:
            config["session_token"] = settings.session_token
    else:
        provider = importlib.import_module("trapline.store.keys_boto").Keys(settings)
    return Client(
        settings.bucket,
        config=config,
        client_options=_client_options(settings),
        retry_config=_RETRY,
        credential_provider=provider,
    )


def _with_bucket(settings: S3Settings) -> str:
    """The endpoint with the bucket in its host name: obstore does not put it there."""
    scheme, _, rest = (settings.endpoint or "").partition("://")
    return f"{scheme}://{settings.bucket}.{rest}"


def _client_options(settings: S3Settings) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": bool(settings.endpoint and settings.endpoint.startswith("http://")),
        "connect_timeout": timedelta(seconds=CONNECT),
        "read_timeout": timedelta(seconds=READ),
        "timeout": timedelta(seconds=_REQUEST),
    }
    if settings.ca_bundle is not None:
        try:
            options["root_certificate"] = settings.ca_bundle.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The CA bundle {settings.ca_bundle} cannot be read.", remedy="Set AWS_CA_BUNDLE to a PEM file."
            ) from error
    return options


def _boto() -> ModuleType:
    """Imported late: boto3 takes longer to import than all else together, and most processes never need it."""
    return importlib.import_module("trapline.store.s3_boto")


def _is_folder(prefix: str) -> bool:
    """Whether obstore can list it: it knows whole folders only, and no odd segments."""
    return not prefix or (prefix.endswith("/") and not why_unusable(prefix[:-1], S3Store.limits))


def _plain(etag: str | None) -> str:
    return (etag or "").strip('"')
