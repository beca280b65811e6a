"""`fetch`: reads the images that a manifest lists, wherever it may, so that they arrive like a station's own."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from trapline import outbound
from trapline.errors import Failure, KeyUnusable, NotFound, Permanent, StoreDenied, StoreError, Temporary

Result = dict[str, Any]

_THREADS = 8
_S3 = "s3://"


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """What the runtime hands over for one listed image."""

    rel: str  # where it will lie, under the prefix of incoming images
    key: str  # the whole key it will have
    url: str  # from the manifest
    own_bucket: str  # the pipeline's own bucket

    def read_object(self, bucket: str | None, key: str, max_bytes: int) -> bytes:
        """An object's bytes; None is the pipeline's own bucket. Raises a `StoreError`, or `fetch_too_large`."""


class Fetch:
    """Reads `https://` addresses, objects of buckets allowed by name, and keys of incoming images."""

    def setup(self, context: Context) -> None:
        chosen = context.parameters
        self._max_bytes: int = chosen["max_bytes"]
        self._buckets = frozenset(chosen["buckets"])
        self._web = outbound.Outbound(
            outbound.FETCH, allow=chosen["allow"], timeout=chosen["timeout"], max_bytes=self._max_bytes
        )

    def handle(self, items: list[Item]) -> list[Result | Failure]:
        """Fetch a batch at once: the time goes into waiting."""
        with ThreadPoolExecutor(min(_THREADS, max(len(items), 1))) as pool:
            return list(pool.map(self._outcome, items))

    def _outcome(self, item: Item) -> Result | Failure:
        try:
            return self._fetch(item)
        except Failure as failure:
            return failure
        except Exception as error:  # noqa: BLE001 - one image's trouble is never its batch's
            return Failure(f"{type(error).__name__} while fetching {item.key!r}.")

    def _fetch(self, item: Item) -> Result:
        if item.url.startswith(_S3):
            bucket, _, key = item.url.removeprefix(_S3).partition("/")
            return self._read_bucket(item, bucket, key)
        if "://" not in item.url:
            return self._read_own(item, item.url)
        answer = self._web.get(item.url)
        return {"data": answer.data, "content_type": _image_type(answer.content_type)}

    def _read_bucket(self, item: Item, bucket: str, key: str) -> Result:
        if bucket.casefold() == item.own_bucket.casefold():
            return self._read_own(item, key)
        if bucket not in self._buckets:
            raise _refused(
                f"The bucket {_shown(bucket)!r} is not among those that may be read.",
                "Name it under the parameter `buckets` of `fetch` in pipeline.yaml.",
            )
        return self._read(item, bucket, key)

    def _read_own(self, item: Item, key: str) -> Result:
        """Of the pipeline's own bucket only incoming images may be read: other prefixes hold tokens and results."""
        incoming = item.key.removesuffix(item.rel)
        if not key.startswith(incoming):
            raise _refused(
                f"{_shown(key)!r} is not a key under {incoming!r}.",
                f"Expected https://…, s3://bucket/key, or a key under {incoming!r}.",
            )
        return self._read(item, None, key)

    def _read(self, item: Item, bucket: str | None, key: str) -> Result:
        if "\x00" in key or any(part in ("", ".", "..") for part in key.split("/")):
            raise _refused(f"{_cut(key)!r} is not the key of an object.", "Give the object's whole key.")
        said = _cut(key)
        where = f"s3://{bucket}/{said}" if bucket else said
        try:
            return {"data": item.read_object(bucket, key, self._max_bytes), "content_type": None}
        except NotFound:
            raise Permanent(f"There is no object {where!r}.", code="fetch_not_found") from None
        except KeyUnusable as error:
            message = error.message if said == key else f"{where!r} is not a key that the store can hold."
            raise _refused(message, "Give the key of an object that the store can hold.") from None
        except StoreDenied:
            raise _refused(
                f"The store does not let this pipeline read {where!r}.", "Give its credentials read access."
            ) from None
        except StoreError as error:
            why = f": {error.message}" if said == key else "."
            raise Temporary(f"{where!r} could not be read{why}", code="fetch_failed") from None


def _refused(message: str, remedy: str) -> Permanent:
    return Permanent(message, code="fetch_refused", remedy=remedy)


def _shown(address: str) -> str:
    """What no key is, as messages show it: no user, no password, nothing from `?` or `#` on."""
    bare = _cut(address).rpartition("@")[2]
    first = bare.lstrip("/").partition("/")[0]
    return "…" if _PASSWORD.search(first) else bare  # half of `user:pass/word@host`, say


def _cut(key: str) -> str:
    """A key as messages show it: what follows `?` or `#` may be the signature of an address given as a key."""
    return _QUERY.split(key, maxsplit=1)[0][:200]


_QUERY = re.compile(r"[?#]|%(?:3f|23)", re.IGNORECASE)
_PASSWORD = re.compile(r":(?!\d{0,5}$)")


def _image_type(content_type: str | None) -> str | None:
    """A stranger's content type is stored only where a browser that opens the object would run nothing."""
    known = content_type is not None and content_type.startswith("image/") and "svg" not in content_type
    return content_type if known else None
