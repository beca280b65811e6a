"""What is owed by listings is a plain difference of sets, in whatever order and pages a store lists."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.ledger_book import Book, found, new_book, pins
from trapline import sweep
from trapline.errors import KeyUnusable
from trapline.keys import Layout
from trapline.ledger.arrivals import Chart
from trapline.ledger.states import NAMES
from trapline.records import Received
from trapline.store.base import Entry, KeyLimits, Store
from trapline.store.folder import FolderStore
from trapline.store.memory import MemoryStore

RECORDS = {"detect": "detections/", "classify": "classifications/"}
LAYOUT = Layout(records=RECORDS)
JOB = "st7/n1"
# Names that lie on the other side of each other with and without `.json`, and as a file or a folder.
TRAPS = (
    *("a.jpg", "a.jpg (1).jpg", "a.jpg/b.jpg", "a.jpg.json/c.jpg", "a.jpg.json.jpg", "a.jpg!.jpg", "a.jpg~.jpg"),
    *("a.jpg-1.jpg", "a.jpg.jpg", "a.jpg0.jpg", "A.JPG", "a/b.jpg", "a.b/c.jpg", "a b.jpg", "ä.jpg", "a/b.jpg/c.jpg"),
    *("\U00010000.jpg", "\uffee.jpg", "json.jpg", ".jpg.json.jpg/x.jpg"),
)
VISIBLE = tuple(name for name in TRAPS if not name.startswith("."))
names = st.sampled_from(VISIBLE) | st.from_regex(r"[ab]{1,2}([./ ~!-][ab]{1,2}){0,2}\.jpg", fullmatch=True)
rels = names.map(lambda name: f"{JOB}/{name}").filter(lambda rel: "/." not in rel)
ORDERS = ("bytewise", "by code unit", "folder by folder", "unsorted")


def ordered(keys: Iterable[str], order: str, seed: int) -> list[str]:
    """Keys as one kind of store lists them."""
    if order == "bytewise":
        return sorted(keys, key=lambda key: key.encode())
    if order == "by code unit":
        return sorted(keys, key=lambda key: key.encode("utf-16-be"))
    if order == "folder by folder":
        return sorted(keys, key=lambda key: (key.count("/"), key.split("/")))
    return random.Random(seed).sample(sorted(keys), len(list(keys)))


def pages(keys: Iterable[str], order: str, seed: int) -> Iterator[list[Entry]]:
    """A listing, in pages of uneven sizes."""
    rest = [Entry(key, "e1", 5, 0.0) for key in ordered(set(keys), order, seed)]
    rng = random.Random(seed)
    while rest:
        size = rng.randint(1, 4)
        yield rest[:size]
        rest = rest[size:]
    yield []


def charted(layout: Layout, images: Iterable[list[Entry]], **kinds: dict[str, Iterable[list[Entry]]]) -> Chart:
    chart, listing = Chart(0.0, 0), sweep.JobListing()
    for page in images:
        sweep.incoming(chart, listing, page, layout, KeyLimits())
    for stage, listed in kinds["records"].items():
        for page in listed:
            sweep.records(chart, stage, page, layout.prefix(stage))
    for stage, listed in kinds["dead"].items():
        for page in listed:
            sweep.dead_letters(chart, listing, stage, page, layout.prefix("failed") + f"{stage}/")
    return chart


def opened(chart: Chart) -> Book:
    """A ledger that has taken its first look."""
    book = new_book()
    book.ledger.job(JOB, 0.0)
    book.ledger.pinned(JOB, pins())
    book.ledger.chart(JOB, chart, Received())
    return book


sets = st.frozensets(rels, max_size=8)


@settings(max_examples=200, deadline=None)
@given(sets, st.tuples(sets, sets), st.tuples(sets, sets), st.sampled_from(ORDERS), st.integers(0, 99))
@example(
    frozenset(f"{JOB}/{name}" for name in VISIBLE),
    (frozenset({f"{JOB}/a.jpg"}), frozenset({f"{JOB}/a.jpg/b.jpg"})),
    (frozenset({f"{JOB}/a.jpg (1).jpg"}), frozenset()),
    "bytewise",
    1,
)
def test_what_is_owed_is_what_has_neither_record_nor_dead_letter(
    images: frozenset[str],
    recorded: tuple[frozenset[str], frozenset[str]],
    dead: tuple[frozenset[str], frozenset[str]],
    order: str,
    seed: int,
) -> None:
    records = dict(zip(RECORDS, recorded, strict=True))
    letters = dict(zip(RECORDS, dead, strict=True))
    chart = charted(
        LAYOUT,
        pages(map(LAYOUT.image, images), order, seed),
        records={s: pages([LAYOUT.record(s, rel) for rel in rels], order, seed) for s, rels in records.items()},
        dead={s: pages([LAYOUT.dead_letter(s, rel) for rel in rels], order, seed) for s, rels in letters.items()},
    )
    assert frozenset(chart.images) == images
    for stage in RECORDS:
        assert (frozenset(chart.records[stage]), frozenset(chart.dead[stage])) == (records[stage], letters[stage])
    known = recorded[0] | recorded[1] | dead[0] | dead[1]
    kept = recorded[1] | dead[0] | dead[1]  # the image is gone; what was made of it stays
    book = opened(chart)
    states = {rel: [NAMES[state] for state in image.states[1:]] for rel, image in book.job().images.items()}
    assert {rel for rel, state in states.items() if state == ["owed", "pending"]} == images - known
    assert {rel for rel, state in states.items() if state == ["unknown"] * 2} == (images & known) | (kept - images)
    assert states.keys() == images | kept
    assert set(dict(book.ledger.reads(JOB, 100))) == (images & known) | (kept - images)


@settings(max_examples=100, deadline=None)
@given(sets, sets, sets, st.sampled_from(ORDERS), st.integers(0, 99))
def test_what_is_owed_after_reading_is_what_is_not_fresh(
    images: frozenset[str], recorded: frozenset[str], stale: frozenset[str], order: str, seed: int
) -> None:
    listed = pages([LAYOUT.record("classify", rel) for rel in recorded], order, seed)
    book = opened(charted(LAYOUT, pages(map(LAYOUT.image, images), order, seed), records={"classify": listed}, dead={}))
    for rel, epoch in book.ledger.reads(JOB, 100):
        recipe = "classify-0" if rel in stale else "classify-1"
        book.ledger.read(JOB, rel, epoch, [found(recipe=recipe)])
    job = book.job()
    assert {rel for rel, image in job.images.items() if NAMES[image.states[1]] == "owed"} == images - (recorded - stale)
    assert job.images.keys() == images | recorded


# -- through stores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    place = tmp_path_factory.mktemp("sweep")
    return FolderStore(place / "bucket", place / "scratch")


def listed(store: Store, layout: Layout, prefix: str, job: str) -> Iterator[list[Entry]]:
    """A job's objects under a prefix: its folder, and for `unsorted` what lies beside the folders."""
    for place, deep in layout.job_places(job):
        yield list(store.list(prefix + place)) if deep else store.level(prefix + place).entries


folders = st.sampled_from(("st7", "unsorted", "a", "a.jpg", "n 1", "ü"))
anywhere = st.builds(lambda parents, name: "/".join((*parents, name)), st.lists(folders, max_size=4), names).filter(
    lambda rel: "/." not in rel
)


def put(store: Store, keys: Iterable[str]) -> set[str]:
    """Put what the store takes: in a folder a name cannot be a file and a folder at once."""
    taken = set()
    for key in keys:
        try:
            store.put(key, b"x")
        except KeyUnusable:
            continue
        taken.add(key)
    return taken


def check(store: Store, depth: int, images: list[str], recorded: list[str], dead: list[str]) -> None:
    layout = Layout(depth=depth, records=RECORDS)
    there = {layout.rel_of_image(key) for key in put(store, map(layout.image, images))}
    written = {layout.meaning(key).rel for key in put(store, [layout.record("detect", rel) for rel in recorded])}
    letters = {layout.meaning(key).rel for key in put(store, [layout.dead_letter("detect", rel) for rel in dead])}
    jobs = {layout.job_of(rel) for rel in there | written | letters} | {"/".join(["unsorted"] * depth)}
    for job in jobs:
        chart = charted(
            layout,
            listed(store, layout, layout.prefix("incoming"), job),
            records={"detect": listed(store, layout, layout.prefix("detect"), job)},
            dead={"detect": listed(store, layout, layout.prefix("failed") + "detect/", job)},
        )
        for said, true in (
            (chart.images.keys(), there),
            (chart.records["detect"], written),
            (chart.dead["detect"], letters),
        ):
            assert set(said) == {rel for rel in true if layout.job_of(rel) == job}, job


several = st.lists(anywhere, max_size=8, unique=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), several, several, several)
def test_each_job_is_charted_with_its_own_and_nobody_elses_from_memory(
    depth: int, images: list[str], recorded: list[str], dead: list[str]
) -> None:
    check(MemoryStore(), depth, images, recorded, dead)


@settings(max_examples=60, deadline=None)
@given(depth=st.integers(1, 3), images=several, recorded=several, dead=several)
def test_each_job_is_charted_with_its_own_and_nobody_elses_from_a_folder(
    folder: FolderStore, depth: int, images: list[str], recorded: list[str], dead: list[str]
) -> None:
    shutil.rmtree(folder.root)
    Path(folder.root).mkdir()
    check(folder, depth, images, recorded, dead)
