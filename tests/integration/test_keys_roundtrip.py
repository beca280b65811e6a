"""Odd and longest names through a real S3 endpoint and the folder under it, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_embedded import Served, until
from tests.unit.test_keys_roundtrip import LAYOUT, LIMITS, ODD, STAGES, derived, longest
from trapline.errors import KeyUnusable, TraplineError
from trapline.store.base import Store
from trapline.store.naming import why_unusable
from trapline.store.s3 import S3Store

JOB = "st7/n1"
USABLE = [f"{JOB}/{name}" for name in ODD if not why_unusable(name, LIMITS["folder"])]
CONTROL = [f"{JOB}/{name}" for name in ODD if why_unusable(name, LIMITS["folder"])]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("names"))
    yield served
    served.stop()


def keys(store: Store, prefix: str) -> set[str]:
    return {entry.key for entry in store.list(prefix)}


def test_what_a_client_uploads_under_an_odd_name_is_listed_and_read_by_the_engine_under_it(served: Served) -> None:
    client = served.client()
    uploaded = {LAYOUT.image(rel): rel.encode() for rel in USABLE}
    for key, data in uploaded.items():
        client.put(key, data)
    until(lambda: keys(served.engine, "incoming/") == uploaded.keys(), 5)
    assert {key: served.engine.get(key).data for key in uploaded} == uploaded
    assert keys(client, "incoming/") == uploaded.keys()
    assert {LAYOUT.meaning(key).rel for key in keys(client, "incoming/")} == set(USABLE)


def test_what_the_engine_writes_for_an_odd_name_is_read_by_a_client_under_it(served: Served) -> None:
    written = {LAYOUT.record("detect", rel): rel.encode() for rel in USABLE}
    for key, data in written.items():
        served.engine.put(key, data)
    client = served.client()
    until(lambda: keys(client, "detections/") == written.keys(), 5)
    assert {key: client.get(key).data for key in written} == written


@pytest.mark.parametrize("letter", ["x", "ü", "𝄞"])
def test_the_longest_name_that_both_stores_take_goes_through_both(served: Served, letter: str) -> None:
    rel = longest(LAYOUT, served.engine.limits, letter)
    LAYOUT.check(rel, STAGES, S3Store.limits.key, S3Store.limits.segment)
    client = served.client()
    client.put(LAYOUT.image(rel), b"image")
    until(lambda: LAYOUT.image(rel) in keys(served.engine, "incoming/"), 5)
    for key in derived(LAYOUT, rel)[1:]:
        served.engine.put(key, key.encode())
        until(lambda key=key: key in keys(client, key[: key.rindex("/") + 1]), 5)  # type: ignore[misc]
        assert client.get(key).data == key.encode()


@pytest.mark.parametrize("rel", CONTROL, ids=ascii)
def test_a_name_with_a_control_character_is_refused_on_both_sides(served: Served, rel: str) -> None:
    with pytest.raises(KeyUnusable):
        served.engine.put(LAYOUT.image(rel), b"x")
    with pytest.raises(TraplineError):
        served.client().put(LAYOUT.image(rel), b"x")


def test_a_file_that_a_station_named_with_a_line_break_is_listed_as_unusable_and_hides_no_other(
    served: Served,
) -> None:
    folder = Path(served.config.root) / "incoming" / "st8" / "n1"
    folder.mkdir(parents=True)
    for name in ("a.jpg", "two\nlines.jpg", "z.jpg"):
        (folder / name).write_bytes(b"x")
    found = {entry.key.rpartition("/")[2]: entry.usable for entry in served.engine.list("incoming/st8/")}
    assert found == {"a.jpg": True, "z.jpg": True, "two\nlines.jpg": False}
