"""What holds in the ledger whatever happens, in whatever order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ledger_book import JOB, OTHER_SHA, SHA, STAGES, Book, found, new_book, pins
from trapline.ledger.states import NAMES, Image
from trapline.records import Outcome

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ("arrive", "take", "empties", "finish", "die", "read", "hash", "chart", "remove", "pin", "exhume", "cancel")
        ),
        st.integers(0, 4),
        st.integers(0, 5),
    ),
    max_size=60,
)
RESULTS = ("done", "skipped", "failed", "gone", "changed", "unknown")


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
def test_counts_agree_with_states_and_no_task_is_out_twice_whatever_happens(
    actions: list[tuple[str, int, int]],
) -> None:
    book = new_book(tracked=4)
    book.open()
    for action, which, how in actions:
        act(book, action, which, how)
        job = book.job()
        for stage, row in enumerate(job.counts):
            assert row == [sum(image.states[stage] == state for image in job.images.values()) for state in range(8)]
        out = Counter((held.stage, rel) for held in book.ledger.held.values() for rel in current(book, held.rels))
        assert not out or max(out.values()) == 1
        book.now += 1


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
def test_whatever_happened_every_image_comes_to_an_end_once_things_calm_down(
    actions: list[tuple[str, int, int]],
) -> None:
    book = new_book(tracked=4)
    book.open()
    for action, which, how in actions:
        act(book, action, which, how)
    book.ledger.cancelled(JOB, False)
    for _ in range(30):
        calm(book)
    assert not book.job().busy
    open_images = {rel for rel, image in book.job().images.items() if not ended(image)}
    assert open_images == book.job().empties


def calm(book: Book) -> None:
    """What is asked for is answered, and everything that runs succeeds."""
    ledger, job = book.ledger, book.job()
    for rel, epoch in ledger.reads(JOB, 100):
        ledger.read(JOB, rel, epoch, [])
    for rel in list(job.to_hash):
        ledger.hashed(JOB, rel, job.images[rel].etag, job.images[rel].size, SHA)
    for ticket in book.taken:
        book.finish(ticket=ticket)
    book.now += 3600
    book.through()


def ended(image: Image) -> bool:
    return {NAMES[state] for state in image.states} <= {"done", "skipped", "failed", "blocked"}


def current(book: Book, rels: dict[str, int]) -> list[str]:
    images = book.job().images
    return [rel for rel, epoch in rels.items() if rel in images and images[rel].epoch == epoch]


def act(book: Book, action: str, which: int, how: int) -> None:
    """One thing that may happen to a ledger, chosen by two small numbers."""
    name, ledger = f"{which}.jpg", book.ledger
    rel, held = f"{JOB}/{name}", [ticket for ticket in book.taken if ticket.id in ledger.held]
    if action == "arrive":
        book.arrive(name, etag=f"e{how}", size=how // 2 * 3)
    elif action == "take":
        book.take(parallel=how + 1)
    elif action == "finish" and held:
        book.bury(book.finish(RESULTS[how], held[which % len(held)], code="timeout"))
    elif action == "die" and held:
        book.bury(ledger.finish(Outcome(ticket=held[which % len(held)].id, died="worker_died"), book.now))
    elif action == "read":
        for asked, epoch in ledger.reads(JOB, how):
            ledger.read(JOB, asked, epoch, [found("failed" if which == 4 else "done")] if which > 2 else [])
    elif action == "hash" and rel in book.job().to_hash:
        ledger.hashed(JOB, rel, f"e{how}", 3, SHA if which % 2 else OTHER_SHA)
    elif action == "chart":
        everything = {f"{JOB}/{n}.jpg" for n in range(how)}
        book.chart(*(f"{n}.jpg" for n in range(which)), records={"classify": everything, "detect": everything})
    else:
        steer(book, action, rel, how)


def steer(book: Book, action: str, rel: str, how: int) -> None:
    ledger = book.ledger
    if action == "remove":
        ledger.removed(rel, book.now)
    elif action == "pin":
        ledger.pinned(JOB, pins(detect=f"detect-{how % 2}"))
    elif action == "exhume":
        ledger.exhumed(JOB, STAGES[how % 3], rel)
    elif action == "cancel":
        ledger.cancelled(JOB, how > 2)
    elif action == "empties" and not book.job().busy:
        book.bury(ledger.empties(JOB))
