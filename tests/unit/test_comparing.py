"""A card against a job: what is decided about each image, whatever the list, the bucket and the names look like."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.cli import card as cards
from trapline.cli.card import CardFile, Reading, Sums, read_card
from trapline.cli.comparing import Comparison, Held, compare
from trapline.errors import TraplineError
from trapline.keys import Layout
from trapline.records.received import ReceivedFile, checksums, read_table, table
from trapline.store.base import Entry

A, B = b"one image", b"another 1"  # of one size


def sums(data: bytes) -> Sums:
    return Sums(hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest())


def listed(name: str, data: bytes, etag: str = "e1", **more: str) -> ReceivedFile:
    return ReceivedFile(name, len(data), sums(data).sha256, "done", etag=etag)._replace(**more)  # type: ignore[arg-type]


def entry(data: bytes, etag: str = "e1", *, settled: bool = True) -> Entry:
    return Entry("", etag, len(data), 0.0, settled)


def compared(card: dict[str, bytes], held: Held) -> Comparison:
    images = [CardFile(Path(name), name, len(data)) for name, data in card.items()]
    return compare(images, {name: sums(data) for name, data in card.items()}, held)


def fate(data: bytes, *files: ReceivedFile, there: Entry | None = None, alone: bool = False) -> str:
    """What becomes of the card's `a.jpg`, by the list, and by the bucket's listing unless `alone`."""
    entries = {"a.jpg": there} if there else {}
    return compared({"a.jpg": data}, Held(list(files), None if alone else entries)).images[0].fate


def test_an_image_is_received_when_the_engine_read_its_bytes_and_they_are_there_still() -> None:
    assert fate(A, listed("a.jpg", A), there=entry(A)) == "received"
    assert fate(A, listed("a.jpg", A, etag="another store's"), there=entry(A, sums(A).md5)) == "received"
    assert fate(A, listed("a.jpg", A), alone=True) == "received"


def test_an_image_that_is_gone_or_was_kept_by_its_record_alone_is_missing() -> None:
    assert fate(A, listed("a.jpg", A)) == "missing"
    assert fate(A, listed("a.jpg", A, etag=""), alone=True) == "missing"
    assert fate(A) == fate(A, alone=True) == "missing"


def test_an_image_under_a_name_that_the_engine_cannot_work_with_is_not_waited_for() -> None:
    name = "a\nb.jpg"
    for entries in (None, {name: entry(A)}):
        (found,) = compared({name: A}, Held([], entries, frozenset({name}))).images
        assert (found.fate, "rename it" in found.why) == ("missing", True)


def test_what_the_engine_has_not_read_yet_is_neither_received_nor_lost() -> None:
    assert fate(A, there=entry(A, "new")) == "not_yet"
    assert fate(A, listed("a.jpg", A, sha256=""), there=entry(A)) == "not_yet"
    assert fate(A, listed("a.jpg", A, sha256=""), alone=True) == "not_yet"
    assert fate(A, listed("a.jpg", B, etag="old"), there=entry(A, sums(A).md5)) == "not_yet"
    assert fate(A, listed("a.jpg", A, etag="old"), there=entry(B, "changed since")) == "not_yet"
    assert fate(A, there=entry(A[:3], "half", settled=False)) == "not_yet"


def test_other_bytes_under_the_name_are_damage() -> None:
    assert fate(A, listed("a.jpg", B), there=entry(B)) == "damaged"
    assert fate(A, listed("a.jpg", B), alone=True) == "damaged"
    assert fate(A, listed("a.jpg", A[:3]), alone=True) == "damaged"
    assert fate(A, there=entry(A[:3], "new")) == "damaged"
    assert fate(A, listed("a.jpg", A, etag="old"), there=entry(b"", "new")) == "damaged"


def test_an_empty_image_is_only_received_under_its_own_name() -> None:
    assert fate(b"", listed("b.jpg", b""), alone=True) == "missing"
    assert fate(b"", listed("a.jpg", b""), alone=True) == "received"


def test_ignored_files_and_unusable_keys_never_stand_for_an_image() -> None:
    assert fate(A, listed("a.jpg", A, state="ignored"), alone=True) == "missing"
    assert fate(A, listed("a.jpg", A, code="key_unusable"), alone=True) == "missing"


contents = st.sampled_from([A, B, b"third", b""])
files = st.dictionaries(st.sampled_from(["a.jpg", "b.jpg", "x/a.jpg", "x/b.jpg"]), contents)


@given(card=files, before=files, now=files, seen=files)
def test_whatever_the_list_and_the_listing_say_received_means_that_the_bytes_are_there(
    card: dict[str, bytes], before: dict[str, bytes], now: dict[str, bytes], seen: dict[str, bytes]
) -> None:
    bucket = before | now
    rows = [listed(name, data, etag=sums(data).sha256) for name, data in (before | seen).items()]
    entries = {name: entry(data, sums(data).sha256) for name, data in bucket.items()}
    for image in compared(card, Held(rows, entries)).images:
        if image.fate == "received":
            assert image.file and bucket[image.file.file] == card[image.image.name]


@given(rows=files, cut=st.integers(1, 400))
def test_a_list_that_is_cut_off_is_refused_or_has_fewer_files_and_none_that_is_new(
    rows: dict[str, bytes], cut: int
) -> None:
    whole = [listed(name, data) for name, data in rows.items()]
    data = table(whole)
    assert read_table(data, "x") == whole
    try:
        assert set(read_table(data[:-cut], "x")) <= set(whole)
    except TraplineError as error:
        assert "cut off" in str(error)


@pytest.mark.parametrize("row", ["a.jpg,1,xyz,done,,e", "a.jpg,one,,done,,e", "a.jpg,1", '"a.jpg,1,,done,,e'])
def test_a_list_with_a_row_that_is_none_is_refused(row: str) -> None:
    with pytest.raises(TraplineError, match="not the list of a job's files"):
        read_table(table([]) + f"{row}\r\n".encode(), "status/x.received.csv")


def test_the_checksums_name_what_is_there_and_read_and_nothing_else() -> None:
    rows = [
        listed("a b.jpg", A),
        listed("gone.jpg", A, etag=""),
        listed("new.jpg", A, sha256=""),
        listed("c\\d.jpg", B),
    ]
    assert checksums(rows).decode() == f"{sums(A).sha256}  a b.jpg\n\\{sums(B).sha256}  c\\\\d.jpg\n"


# -- the card


def test_what_cannot_be_read_on_a_card_is_never_taken_for_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good.jpg", "bad.jpg", "grown.jpg"):
        (tmp_path / name).write_bytes(A)
    card = read_card(tmp_path, Layout())
    (tmp_path / "grown.jpg").write_bytes(A + A)
    (tmp_path / "bad.jpg").unlink()
    with Reading(card.images) as reading:
        while not reading.over:
            pass
    assert set(reading.sums) == {"good.jpg"} and reading.size == reading.total
    assert {file.name for file in reading.unreadable} == {"bad.jpg", "grown.jpg"}


def test_an_error_that_nobody_expects_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(A)
    monkeypatch.setattr(cards, "digests", lambda stream: (_ for _ in ()).throw(MemoryError()))
    with Reading(read_card(tmp_path, Layout()).images) as reading, pytest.raises(MemoryError):
        while not reading.over:
            pass
