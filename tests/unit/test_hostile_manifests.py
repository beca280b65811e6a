"""Manifests that attack: each is refused in one line, or its images are, within bounded time and memory."""

from __future__ import annotations

import json
import socket
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from functions.fetch.handler import Fetch
from tests.hostile.corpus import MIB
from tests.hostile.manifests import ONE, REFUSED, images, manifest, urls
from trapline.errors import (
    Failure,
    KeyUnusable,
    ManifestError,
    NotFound,
    Permanent,
    StoreDenied,
    StoreUnavailable,
    TraplineError,
)
from trapline.records import MANIFEST_BYTES, Listed, read_manifest
from trapline.store.folder import LIMITS
from trapline.store.naming import check_key

KEY = "incoming/attack/all/x.jpg"
PIPELINES = "a stage, function or parameter that the pipeline does not have"  # known to the engine alone
DOCUMENTS = {name: case for row, several in REFUSED.items() if row != PIPELINES for name, case in several.items()}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_manifest_that_is_none_is_refused_in_one_line(name: str) -> None:
    body, said = DOCUMENTS[name]
    begun = time.process_time()
    with pytest.raises(ManifestError) as caught:
        read_manifest(body, "jobs/ecos/1.json")
    assert time.process_time() - begun < 2
    assert said in caught.value.message and caught.value.message.startswith("jobs/ecos/1.json")
    assert "sourceImages" in caught.value.remedy
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_a_manifest_over_the_limit_is_refused_before_it_is_parsed() -> None:
    begun = time.process_time()
    with pytest.raises(ManifestError, match=r"has 67108865 bytes.*may have 67108864"):
        read_manifest(b"[" * (MANIFEST_BYTES + 1), "x")
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("opened", [b"[", b'{"a":', b'[{"a":', b'"', b"9", b"{},", b"\\u0000"])
def test_what_is_just_within_the_limit_takes_bounded_time(opened: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(ManifestError):
        read_manifest((opened * (MANIFEST_BYTES // len(opened)))[:MANIFEST_BYTES], "x")
    assert time.process_time() - begun < 5


@pytest.mark.slow
def test_the_largest_manifest_there_may_be_takes_bounded_time_and_memory() -> None:
    entry = json.dumps({"id": "{}", "url": "https://images.example.org/"})
    count = MANIFEST_BYTES // (len(entry) + 12)
    listed = ",".join(entry.replace("{}", str(n)) for n in range(count))
    body = f'{{"sourceImages": [{listed}]}}'.encode()
    assert 0.7 * MANIFEST_BYTES < len(body) <= MANIFEST_BYTES
    begun = time.process_time()
    assert len(read_manifest(body, "x").sourceImages) == count
    assert time.process_time() - begun < 30
    tracemalloc.start()
    try:
        read_manifest(body, "x")
        assert tracemalloc.get_traced_memory()[1] < 30 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [1, 512])
def test_an_id_may_be_as_long_as_it_is_said(length: int) -> None:
    read = read_manifest(images({**ONE, "id": "ü" * length}), "x")
    assert read.sourceImages == (Listed(id="ü" * length, url=ONE["url"]),)


def test_what_is_unknown_is_kept_and_may_be_odd() -> None:
    odd: dict[str, Any] = {"=cmd": "<script>", "": None, "a" * 5000: [True, 1e300, -0.0], "__proto__": {"\0": "\u202e"}}
    read = read_manifest(manifest(**odd), "x")
    assert read.model_extra is not None and {name: read.model_extra[name] for name in odd} == odd
    assert read.model_dump_json()


# -- addresses


class Item:
    """One listed image of a bucket in which there is nothing to read."""

    rel, key, own_bucket = KEY.removeprefix("incoming/"), KEY, "traps"

    error: type[TraplineError] = NotFound

    def __init__(self, url: str) -> None:
        self.url = url

    def read_object(self, bucket: str | None, key: str, max_bytes: int) -> bytes:
        assert bucket is None and key.startswith("incoming/")
        check_key(key, LIMITS)
        raise self.error(key)


def fetch() -> Fetch:
    function = Fetch()
    chosen: dict[str, Any] = {"allow": [], "buckets": [], "max_bytes": MIB, "timeout": 5.0}
    function.setup(SimpleNamespace(parameters=chosen))
    return function


@pytest.fixture(name="unconnected", autouse=True)
def _unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*arguments: object, **options: object) -> None:
        raise AssertionError(f"connected to {arguments}")

    monkeypatch.setattr(socket, "create_connection", connect)


@pytest.mark.parametrize("url", urls())
def test_an_address_that_attacks_has_its_code_and_is_never_connected_to(url: str) -> None:
    (result,) = fetch().handle([Item(url.replace("{port}", "9"))])
    assert isinstance(result, Permanent), result
    assert result.code == urls()[url] and result.remedy
    assert str(result).isprintable() and "secret" not in str(result) and len(str(result)) < 800


@pytest.mark.parametrize("error", [NotFound, StoreUnavailable, StoreDenied, KeyUnusable])
@pytest.mark.parametrize("start", ["", "s3://traps/"])
def test_an_address_given_as_a_key_keeps_its_signature_to_itself(start: str, error: type[TraplineError]) -> None:
    item = Item(f"{start}incoming/cb/none.jpg?X-Amz-Signature=secret")
    item.error = error
    (result,) = fetch().handle([item])
    assert isinstance(result, Failure) and "secret" not in str(result)
    assert "incoming/cb/none.jpg" in str(result)


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_private_addresses_are_refused_in_bounded_time(count: int) -> None:
    items: list[Any] = [Item(f"https://10.{n % 250}.{n // 250 % 250}.{n % 7}:{1024 + n}/{n}.jpg") for n in range(count)]
    begun, function = time.process_time(), fetch()
    results = [result for at in range(0, len(items), 8) for result in function.handle(items[at : at + 8])]
    assert {result.code for result in results if isinstance(result, Failure)} == {"fetch_refused"}
    assert len(results) == len(items) and time.process_time() - begun < 1 + count / 300
