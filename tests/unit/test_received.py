"""`trapline received` with keys that may read `status/` alone: the engine's list is all there is to go by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trapline.cli.place import Place
from trapline.cli.received import received
from trapline.errors import StoreDenied, TraplineError
from trapline.keys import Layout
from trapline.records import Status
from trapline.records.received import ReceivedFile, table
from trapline.store.base import Entry, Got
from trapline.store.memory import MemoryStore

JOB, IMAGE = "st7/n1", b"an image"


class Station(MemoryStore):
    """A store as a station's keys see it: `status/` can be read, everything else is denied."""

    def head(self, key: str) -> Entry:
        return super().head(_allowed(key, there=key in self.keys()))

    def get(self, key: str) -> Got:
        return super().get(_allowed(key, there=key in self.keys()))

    def list(self, prefix: str) -> Iterator[Entry]:
        raise StoreDenied(f"Listing {prefix} is denied.")

    def level(self, prefix: str) -> Any:
        raise StoreDenied(f"Listing {prefix} is denied.")

    def keys(self) -> set[str]:
        return {entry.key for entry in super().list("")}


def _allowed(key: str, *, there: bool) -> str:
    """S3 tells nobody who may not list whether an object is there."""
    if not (key.startswith("status/") and there):
        raise StoreDenied(f"{key} is denied.")
    return key


def verdict(store: Station, card: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    place = SimpleNamespace(layout=Layout(), endpoint="https://far.example.org", bucket="traps", store=lambda: store)
    with pytest.raises(SystemExit) as ended:
        received(cast(Place, place), JOB, card, images_only=False, as_json=True)
    return cast(int, ended.value.code), json.loads(capsys.readouterr().out)


@pytest.fixture
def store() -> Station:
    made, status = Station(), Status(job=JOB, state="SUCCEEDED", closed=True)
    made.put(f"status/{JOB}.json", status.dump())
    return made


@pytest.fixture
def card(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(IMAGE)
    return tmp_path


def row(**more: Any) -> ReceivedFile:
    return ReceivedFile("a.jpg", len(IMAGE), hashlib.sha256(IMAGE).hexdigest(), "done", etag="e1")._replace(**more)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row()], 0),
        ([row(state="failed", code="image_truncated")], 0),
        ([row(etag="")], 1),
        ([row(sha256="0" * 64)], 1),
        ([], 1),
        ([row(sha256="", state="owed")], 3),
    ],
)
def test_the_list_alone_decides_and_that_is_said(
    store: Station, card: Path, capsys: pytest.CaptureFixture[str], rows: list[ReceivedFile], code: int
) -> None:
    store.put(f"status/{JOB}.received.csv", table(rows))
    ended, said = verdict(store, card, capsys)
    assert (ended, said["safe"], said["listing"]) == (code, code == 0, False)


@pytest.mark.parametrize("name", [".hid/k.jpg", ".img.jpg", ".a.PNG", "._real.jpg"])
def test_a_hidden_photograph_is_to_be_kept(
    store: Station, card: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    store.put(f"status/{JOB}.received.csv", table([row()]))
    (card / name).parent.mkdir(exist_ok=True)
    (card / name).write_bytes(b"\x89PNG\r\n" if name.endswith("PNG") else b"\xff\xd8\xff\xe0 a photograph")
    ended, said = verdict(store, card, capsys)
    assert (ended, said["keep"], said["left_out"]) == (1, [{"file": name, "why": "hidden file"}], {})


@pytest.mark.parametrize("data", [b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", b"", b"x"])
def test_what_systems_hide_is_left_out_and_the_verdict_counts_it(
    store: Station, card: Path, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    store.put(f"status/{JOB}.received.csv", table([row()]))
    (card / "._a.jpg").write_bytes(data)
    ended, said = verdict(store, card, capsys)
    assert (ended, said["keep"], said["left_out"]) == (0, [], {"hidden file": 1})
    place = SimpleNamespace(layout=Layout(), endpoint="https://far.example.org", bucket="traps", store=lambda: store)
    with pytest.raises(SystemExit):
        received(cast(Place, place), JOB, card, images_only=False, as_json=False)
    assert "byte for byte (1 file left out)." in " ".join(capsys.readouterr().out.split())


def test_without_a_list_it_is_too_early(store: Station, card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended, said = verdict(store, card, capsys)
    assert (ended, said["verdict"]) == (3, "not_yet") and "may these keys read status/?" in said["why"]


def test_a_list_that_is_half_written_is_an_error(
    store: Station, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(f"status/{JOB}.received.csv", table([row()])[:-40])
    with pytest.raises(TraplineError, match="is cut off"):
        verdict(store, card, capsys)
