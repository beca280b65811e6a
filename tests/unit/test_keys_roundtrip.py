"""Any name goes through layout, stores, results and CSV and comes back as it was; so does the longest."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from functions.compile.handler import Compile
from tests.compiled import Item, Member, done, failed, moth, with_detections
from tests.unit.ledger_book import new_book
from trapline.dispatcher.telling import received
from trapline.errors import KeyUnusable
from trapline.keys import Layout
from trapline.records import RollEntry
from trapline.records.received import read_table, table
from trapline.runtime.jobs import roll_lines
from trapline.store.base import KeyLimits, Store
from trapline.store.folder import LIMITS as FOLDER_LIMITS
from trapline.store.folder import FolderStore
from trapline.store.memory import MemoryStore
from trapline.store.naming import why_unusable
from trapline.store.s3 import S3Store

LAYOUT = Layout(records={"detect": "detections/", "classify": "classifications/"})
STAGES = ("fetch", "detect", "classify")
JOB = "st7/n1"
ODD = (
    *("a b+c%20%2F#~[]{}'\".jpg", "back\\slash.jpg", "two\nlines.jpg", "tab\there.jpg", "cr\r.jpg", "\r\n", "\x7f.jpg"),
    *("=1+1.jpg", "-1.jpg", "+1.jpg", "@x.jpg", "'=1.jpg", "''=1.jpg", "'.jpg", "''", "\t=1", " =1", "\u00a0@", "＝1"),
    *("é.jpg", "e\u0301.jpg", "\u202egpj.exe.jpg", "שלום.jpg", "\ufeff.jpg", "\u2028.jpg", "\x85.jpg"),
    *("\U0001f469\u200d\U0001f52c\U0001f98b.jpg", "ﬁ.jpg", "\u202a\u2067.jpg", "%%", "~", "#", "a~b#1.jpg"),
    *("a.jpg.json", "a.json", "CON", "_DONE.jpg", "..a", "a..", " ", "  .jpg ", "\x1b[31m.jpg", "<b>.jpg", "a;b,c\"d"),
)  # fmt: skip
characters = st.characters(exclude_characters="/\x00", exclude_categories=["Cs"])
leads = st.sampled_from(("", "'", "''", "=", "'=", " =", "\t", "-", "@", "\\"))
names = st.sampled_from(ODD) | st.builds("{}{}".format, leads, st.text(characters, min_size=1, max_size=12))
parts = names.filter(lambda name: name not in (".", ".."))
rels = st.builds(lambda folders, name: "/".join((JOB, *folders, name)), st.lists(parts, max_size=3), parts)
several = st.lists(rels, min_size=1, max_size=6, unique=True)


def addressable(rel: str, limits: KeyLimits) -> bool:
    return not any(why_unusable(key, limits) for key in derived(LAYOUT, rel))


def derived(layout: Layout, rel: str) -> list[str]:
    """Every key that is written for an image."""
    keys = [layout.image(rel), *(layout.record(stage, rel) for stage in layout.records)]
    return keys + [layout.dead_letter(stage, rel) for stage in STAGES]


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return FolderStore(tmp_path / "bucket", tmp_path / "scratch")


def emptied(store: Store) -> Store:
    """The same store for the next example."""
    if isinstance(store, FolderStore):
        shutil.rmtree(store.root)
        store.root.mkdir()
        return store
    return MemoryStore()


# -- layout and stores


@settings(max_examples=80, deadline=None)
@given(rel=rels)
def test_an_image_and_all_that_is_written_for_it_say_which_image_it_is(rel: str) -> None:
    assert LAYOUT.meaning(LAYOUT.image(rel)).rel == rel
    for key in derived(LAYOUT, rel)[1:]:
        found = LAYOUT.meaning(key)
        assert (found.rel, found.job) == (rel, JOB)


def check_store(store: Store, rel: str) -> None:
    """What is put under the image's keys is listed and got under those keys, or refused as unusable."""
    for number, key in enumerate(derived(LAYOUT, rel)):
        if not addressable(rel, store.limits):
            if why_unusable(key, store.limits):
                with pytest.raises(KeyUnusable):
                    store.put(key, b"x")
            continue
        store.put(key, str(number).encode())
        assert store.get(key).data == str(number).encode()
        assert [entry.key for entry in store.list(key[: key.rindex("/") + 1])] == [key]
        assert store.head(key).usable
    if addressable(rel, store.limits):
        assert {entry.key for entry in store.list("")} == set(derived(LAYOUT, rel))
        assert {LAYOUT.meaning(entry.key).rel for entry in store.list("")} == {rel}


@settings(max_examples=60, deadline=None)
@given(rel=rels)
def test_memory_gives_back_every_name_that_it_takes(rel: str) -> None:
    check_store(MemoryStore(), rel)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    place = tmp_path_factory.mktemp("names")
    return FolderStore(place / "bucket", place / "scratch")


@settings(max_examples=60, deadline=None)
@given(rel=rels)
def test_a_folder_gives_back_every_name_that_it_takes(folder: FolderStore, rel: str) -> None:
    check_store(emptied(folder), rel)


@settings(max_examples=60, deadline=None)
@given(found=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5, unique=True))
@example(found=[b"\xff\xfe.jpg", "é.jpg".encode(), "e\u0301.jpg".encode(), b"a\nb.jpg", b"x" * 255])
def test_a_file_of_any_name_in_a_folder_is_listed_once_by_its_name_or_as_unusable(
    folder: FolderStore, found: list[bytes]
) -> None:
    emptied(folder)
    place = folder.root / "incoming" / "st7" / "n1"
    place.mkdir(parents=True)
    files = [name for name in found if b"/" not in name and b"\x00" not in name and name not in (b".", b"..")]
    for name in files:
        (place / os.fsdecode(name)).write_bytes(b"x")
    entries = list(folder.list("incoming/"))
    assert len(entries) == len(files)
    usable = {entry.key.rpartition("/")[2].encode() for entry in entries if entry.usable}
    assert usable <= set(files)
    for name in set(files) - usable:
        assert why_unusable(os.fsdecode(name), FOLDER_LIMITS)


def test_two_spellings_of_one_letter_are_two_names(store: Store) -> None:
    composed, apart = (unicodedata.normalize(form, f"{JOB}/é.jpg") for form in ("NFC", "NFD"))
    for rel in (composed, apart):
        store.put(LAYOUT.image(rel), rel.encode())
    assert {entry.key for entry in store.list("")} == {LAYOUT.image(composed), LAYOUT.image(apart)}
    assert store.get(LAYOUT.image(apart)).data == apart.encode()


# -- the longest

LIMITS = {"memory": KeyLimits(), "folder": FOLDER_LIMITS, "S3": S3Store.limits}


def longest(layout: Layout, limits: KeyLimits, letter: str) -> str:
    """The longest image whose keys a store takes, computed from its limits; of names as long as can be."""
    room = limits.key - max(len(key.encode()) - 1 for key in derived(layout, "x")) - len(f"{JOB}/")
    part = (limits.segment or room) - len(".json")
    names = []
    while room > 0:
        size = min(part, room)
        names.append(letter * (size // len(letter.encode())) + "x" * (size % len(letter.encode())))
        room -= size + 1
    return "/".join((JOB, *names))


@pytest.mark.parametrize("letter", ["x", "ü", "蛾", "𝄞"])
@pytest.mark.parametrize("root", ["", "shared/ü/"])
@pytest.mark.parametrize("which", sorted(LIMITS))
def test_the_longest_name_that_a_store_takes_is_accepted_with_all_that_is_written_for_it(
    which: str, root: str, letter: str
) -> None:
    limits, layout = LIMITS[which], Layout(root=root, records=LAYOUT.records)
    rel = longest(layout, limits, letter)
    layout.check(rel, STAGES, limits.key, limits.segment)
    assert not any(why_unusable(key, limits) for key in derived(layout, rel))
    assert max(len(key.encode()) for key in derived(layout, rel)) == limits.key
    with pytest.raises(KeyUnusable):
        layout.check(rel + "x", STAGES, limits.key, limits.segment)


@pytest.mark.parametrize("letter", ["x", "ü", "𝄞"])
def test_the_longest_name_is_written_read_and_listed(store: Store, letter: str) -> None:
    rel = longest(LAYOUT, store.limits, letter)
    check_store(store, rel)
    with pytest.raises(KeyUnusable):
        store.put(LAYOUT.dead_letter("classify", rel + "x") + "x" * 10, b"")


@pytest.mark.parametrize("which", sorted(LIMITS))
def test_an_image_is_accepted_only_where_all_that_is_written_for_its_job_fits(which: str) -> None:
    limits = LIMITS[which]
    job = "st7/" + "x" * (limits.segment or limits.key - len("classifications/st7//a.jpg.json"))
    own = [
        LAYOUT.control_job(job),
        LAYOUT.status_of(job, ".received.csv"),
        LAYOUT.result(job, "r1-0a1b2c3d/summary.json"),
    ]
    assert any(why_unusable(key, limits) for key in own)
    with pytest.raises(KeyUnusable):
        LAYOUT.check(f"{job}/a.jpg", STAGES, limits.key, limits.segment)


# -- results


def compiled(*members: Member) -> Item:
    function, item = Compile(), Item(list(members))
    function.handle([item])
    return item


def plain(cell: str) -> str:
    """A cell of text without the mark that keeps spreadsheets from running it."""
    return cell.removeprefix("'")


def rows(data: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data.decode(), newline=""))


@settings(max_examples=100, deadline=None)
@given(rels=several)
@example(rels=list(ODD))
def test_names_come_back_from_the_result_files(rels: list[str]) -> None:
    item = compiled(*(failed(rel) if number % 3 == 2 else done(rel) for number, rel in enumerate(rels)))
    lines = item.files["results.jsonl"].decode().splitlines()
    assert [json.loads(line)["rel"] for line in lines] == rels
    assert [json.loads(line)["key"] for line in lines] == [f"incoming/{rel}" for rel in rels]
    assert [plain(row["file"]) for row in rows(item.files["observations.csv"])] == rels


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(names, min_size=1, max_size=6))
@example(texts=["=1", "'=1", "''=1"])
def test_texts_of_functions_come_back_from_the_table(texts: list[str]) -> None:
    found = [moth(label=text, id=text, classifications=[{"label": text, "score": 1}]) for text in texts]
    observed = list(rows(compiled(with_detections(*found)).files["observations.csv"]))
    for column in ("detection_id", "detection_label", "label"):
        assert [plain(row[column]) for row in observed] == texts


@given(one=names, other=names)
@example(one="=1", other="'=1")
def test_two_texts_never_look_alike_in_the_table(one: str, other: str) -> None:
    observed = list(rows(compiled(with_detections(moth(label=one), moth(label=other))).files["observations.csv"]))
    assert (observed[0]["detection_label"] == observed[1]["detection_label"]) == (one == other)


@given(rels=several)
def test_names_come_back_from_a_roll(rels: list[str]) -> None:
    data = roll_lines(RollEntry(rel=rel, state="done", stage="classify") for rel in rels)
    assert [RollEntry.read(line).rel for line in io.BytesIO(data)] == rels


# -- what a station compares before it wipes a card


def told(*rels: str, job: str = JOB, ignored: dict[str, str] | None = None) -> list[str]:
    """The names that `.received.csv` says."""
    book = new_book()
    book.open(job)
    for rel in rels:
        book.ledger.arrived(rel, "e1", 5, cast(Any, None), 0.0)
    book.job(job).ignored = ignored or {}
    world = cast(Any, SimpleNamespace(ledger=book.ledger, layout=LAYOUT))
    return [file.file for file in read_table(table(received(world, book.job(job))), "status/x.received.csv")]


@settings(max_examples=60, deadline=None)
@given(rels=several)
@example(rels=[f"{JOB}/{name}" for name in ODD])
def test_names_come_back_from_the_list_of_what_was_received(rels: list[str]) -> None:
    assert told(*rels) == [rel.removeprefix(f"{JOB}/") for rel in sorted(rels)]


def test_two_images_of_an_unsorted_job_never_look_alike_in_what_was_received() -> None:
    names = told("st7/a.jpg", "st7/unsorted/st7/a.jpg", job="st7/unsorted")
    assert len(set(names)) == 2
