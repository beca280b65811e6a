"""The ledger's rules for one image: what is owed, what settles it, what becomes of tickets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ledger_book import JOB, OTHER_SHA, SHA, Book, found, new_book, pins
from trapline.ledger.tasks import Bury, Unbury
from trapline.records import ItemOutcome, Outcome, Source


@pytest.fixture(name="book")
def _book() -> Book:
    book = new_book()
    book.open()
    return book


# -- the way of an image


def test_an_image_goes_from_stage_to_stage_and_each_outcome_owes_the_next_at_once(book: Book) -> None:
    book.arrive("a.jpg")
    assert book.take() == ["detect", "a.jpg"]
    assert book.states() == ["running", "pending"]
    book.finish()
    assert book.take() == ["classify", "a.jpg"]
    book.finish("skipped")
    assert book.states() == ["done", "skipped"]
    assert not book.job().busy


def test_a_ticket_says_all_that_its_worker_checks(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.finish()
    book.take()
    ticket = book.taken[-1]
    assert (ticket.pin.recipe, ticket.parents, ticket.limit_seconds) == ("classify-1", {"detect": "detect-1"}, 60.0)
    (item,) = ticket.items
    assert (item.key, item.etag, item.size, item.sha256, item.attempt) == ("incoming/st7/n1/a.jpg", "e1", 5, SHA, 1)
    assert (item.received.trigger, ticket.station) == ("folder", {"of": JOB})


def test_repeated_news_changes_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    seq = book.job().seq
    book.arrive("a.jpg")
    assert book.job().seq == seq
    assert book.take() == []


def test_what_arrives_before_the_first_look_waits_for_it() -> None:
    book = new_book()
    book.ledger.job(JOB, 0.0)
    book.ledger.pinned(JOB, pins())
    book.arrive("a.jpg")
    assert (book.take(), book.states()) == ([], ["unknown", "unknown"])
    book.chart("a.jpg")
    assert book.take() == ["detect", "a.jpg"]


def test_what_has_records_is_read_before_it_is_run() -> None:
    book = new_book()
    book.ledger.job(JOB, 0.0)
    book.ledger.pinned(JOB, pins())
    book.chart("a.jpg", "b.jpg", records={"classify": {f"{JOB}/a.jpg"}}, dead={"detect": {f"{JOB}/b.jpg"}})
    assert book.take() == []
    asked = dict(book.ledger.reads(JOB, 10))
    assert set(asked) == {f"{JOB}/a.jpg", f"{JOB}/b.jpg"}
    assert book.ledger.reads(JOB, 10) == []  # each is given out once


# -- fresh


def unread(book: Book) -> None:
    """An image stands there, and what is known of it is doubtful."""
    book.arrive("a.jpg")
    book.take()
    book.finish("unknown")
    book.image().sha256 = ""


FRESHNESS: dict[str, tuple[dict[str, Any], bool]] = {
    "the same bytes and recipe": ({}, True),
    "another etag, the same hash": ({"etag": "e0"}, True),
    "another recipe": ({"recipe": "classify-0"}, False),
    "another etag and hash": ({"etag": "e0", "sha256": OTHER_SHA}, False),
    "another etag and size": ({"etag": "e0", "size": 6, "sha256": OTHER_SHA}, False),
}


@pytest.mark.parametrize("what", FRESHNESS)
def test_a_record_settles_only_its_own_bytes_and_recipe(book: Book, what: str) -> None:
    more, fresh = FRESHNESS[what]
    unread(book)
    book.image().sha256 = SHA
    book.read("a.jpg", found(**more))
    assert book.states() == (["done", "done"] if fresh else ["owed", "pending"])


@pytest.mark.parametrize("what", FRESHNESS)
def test_a_dead_letter_settles_only_its_own_bytes_and_recipe(book: Book, what: str) -> None:
    more, fresh = FRESHNESS[what]
    unread(book)
    book.image().sha256 = SHA
    if more.get("recipe"):
        more = {"recipe": "detect-0"}
    book.read("a.jpg", found("failed", "detect", **more))
    assert book.states() == (["failed", "blocked"] if fresh else ["owed", "pending"])


def test_a_dead_letter_of_a_later_stage_says_that_the_earlier_ones_are_done(book: Book) -> None:
    unread(book)
    book.read("a.jpg", found("failed"))
    assert book.states() == ["done", "failed"]


def test_a_fresh_record_beats_a_dead_letter_which_is_removed(book: Book) -> None:
    unread(book)
    effects = book.read("a.jpg", found(), found("failed"))
    assert book.states() == ["done", "done"]
    assert effects == [Unbury(JOB, "classify", f"{JOB}/a.jpg")]


def test_a_stale_dead_letter_is_removed_when_its_stage_has_passed(book: Book) -> None:
    unread(book)
    assert book.read("a.jpg", found("failed", "detect", recipe="detect-0")) == []
    assert book.take() == ["detect", "a.jpg"]
    assert book.finish() == [Unbury(JOB, "detect", f"{JOB}/a.jpg")]


def test_the_deepest_fresh_record_settles_all_above_it_and_a_stale_one_nothing(book: Book) -> None:
    unread(book)
    book.read("a.jpg", found(recipe="classify-0"), found(stage="detect"))
    assert book.states() == ["done", "owed"]


def test_a_record_of_a_newer_release_fails_and_is_not_run_over(book: Book) -> None:
    unread(book)
    assert book.bury(book.read("a.jpg", found("newer", "detect"))) == ["schema_newer"]
    assert book.states() == ["failed", "blocked"]
    assert [failure.code for failure in (book.image().failures or {}).values()] == ["schema_newer"]
    assert book.take() == []


def test_records_that_were_read_for_earlier_bytes_decide_nothing(book: Book) -> None:
    unread(book)
    ((rel, epoch),) = book.ledger.reads(JOB, 10)
    book.arrive("a.jpg", etag="e2", size=9)
    book.ledger.read(JOB, rel, epoch, [found()])
    assert book.states() == ["unknown", "unknown"]
    book.read("a.jpg", found())
    assert book.states() == ["owed", "pending"]


# -- etags and hashes


def test_another_etag_with_the_same_size_asks_for_a_hash_and_the_same_bytes_run_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    book.arrive("a.jpg", etag="e2")
    assert list(book.job().to_hash) == [f"{JOB}/a.jpg"]
    assert (book.take(), book.job().busy) == ([], True)
    book.ledger.hashed(JOB, f"{JOB}/a.jpg", "e2", 5, SHA)
    assert (book.take(), book.job().busy, book.states()) == ([], False, ["done", "done"])


def test_another_hash_under_the_same_size_runs_the_image_again(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    book.arrive("a.jpg", etag="e2")
    book.ledger.hashed(JOB, f"{JOB}/a.jpg", "e2", 5, OTHER_SHA)
    book.read("a.jpg", found())
    assert book.take() == ["detect", "a.jpg"]


def test_another_size_needs_no_hash(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    book.arrive("a.jpg", etag="e2", size=6)
    assert not book.job().to_hash
    book.read("a.jpg", found())
    assert book.take() == ["detect", "a.jpg"]


@pytest.mark.parametrize(("sha256", "states"), [(SHA, ["done", "done"]), (OTHER_SHA, ["owed", "pending"])])
def test_a_record_with_another_etag_of_the_same_size_is_believed_after_a_hash(
    book: Book, sha256: str, states: list[str]
) -> None:
    unread(book)
    book.read("a.jpg", found(etag="of another store"))
    assert (book.states()[0], list(book.job().to_hash)) == ("unknown", [f"{JOB}/a.jpg"])
    book.ledger.hashed(JOB, f"{JOB}/a.jpg", "e1", 5, sha256)
    book.read("a.jpg", found(etag="of another store"))
    assert book.states() == states


# -- what becomes of tickets


def test_the_outcome_of_a_ticket_nobody_holds_counts_for_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    assert book.ledger.finish(Outcome(ticket="from another run"), 0.0) == []
    book.finish()
    assert book.finish("failed") == []
    assert book.states() == ["done", "owed"]


def test_an_outcome_about_bytes_that_changed_meanwhile_counts_for_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.arrive("a.jpg", etag="e2", size=9)
    book.finish()
    assert book.states() == ["unknown", "unknown"]


def test_a_failed_try_waits_for_its_backoff_and_the_last_one_is_a_dead_letter(book: Book) -> None:
    book.arrive("a.jpg")
    for attempt in (1, 2):
        assert book.take() == ["detect", "a.jpg"]
        assert book.finish("failed", code="function_error", message="a bug") == []
        assert book.take() == []
        assert book.ledger.due(JOB) == book.now + attempt
        book.now += attempt
    book.take()
    assert book.taken[-1].items[0].attempt == 3
    (grave,) = book.finish("failed", code="function_error", message="a bug")
    assert isinstance(grave, Bury)
    assert (grave.code, grave.message, grave.attempts) == ("function_error", "a bug", 3)
    assert book.states()[0] == "running"  # failed only when the dead letter stands
    book.bury([grave])
    assert book.states() == ["failed", "blocked"]


def test_a_permanent_failure_is_a_dead_letter_at_once(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    assert book.bury(book.finish("failed", code="image_unreadable", retry=False)) == ["image_unreadable"]


def test_an_unknown_code_reads_function_error(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    assert book.bury(book.finish("failed", code="made_up", retry=False)) == ["function_error"]


def test_a_function_says_when_it_wants_the_next_try(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.finish("failed", code="function_error", retry=True, after=90.0)
    assert book.ledger.due(JOB) == 90.0


def test_a_ticket_that_came_back_unbegun_costs_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.ledger.finish(Outcome(ticket=book.taken[-1].id), 0.0)
    assert book.take() == ["detect", "a.jpg"]
    assert book.taken[-1].items[0].attempt == 1


def test_a_setup_that_failed_fails_every_item(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.take()
    setup = ItemOutcome(rel="", result="failed", code="model_unusable", retry=False)
    effects = book.ledger.finish(Outcome(ticket=book.taken[-1].id, setup=setup), 0.0)
    assert book.bury(effects) == ["model_unusable"] * 2


def test_a_parent_that_was_refused_is_read_again_with_all_below(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.finish()
    book.take()
    book.finish("refused", stage="detect")
    assert book.states() == ["unknown", "unknown"]
    book.read("a.jpg")
    assert book.states() == ["owed", "pending"]


def test_an_image_that_is_gone_is_dropped_and_one_that_changed_is_run_as_it_is(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.take(parallel=2)
    book.finish("gone")
    assert list(book.job().images) == [f"{JOB}/b.jpg"]
    book.take()
    book.finish("changed", source=Source(key="", etag="e9", size=7, sha256=OTHER_SHA))
    assert book.image("b.jpg").etag == "e9"
    book.read("b.jpg")
    assert book.take() == ["detect", "b.jpg"]


def test_a_dead_letter_that_was_deleted_is_a_retry_from_the_first_try(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.bury(book.finish("failed", code="image_unreadable", retry=False))
    book.ledger.exhumed(JOB, "detect", f"{JOB}/a.jpg")
    assert book.states() == ["unknown", "unknown"]
    book.read("a.jpg")
    assert book.take() == ["detect", "a.jpg"]
    assert book.taken[-1].items[0].attempt == 1


def test_the_deletion_of_a_dead_letter_that_never_counted_changes_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    book.ledger.exhumed(JOB, "detect", f"{JOB}/a.jpg")
    book.ledger.exhumed(JOB, "nonsense", f"{JOB}/a.jpg")
    book.ledger.exhumed("no/job", "detect", "no/job/a.jpg")
    assert book.states() == ["done", "done"]


def test_an_outcome_about_an_image_that_was_removed_and_came_back_counts_for_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.ledger.removed(f"{JOB}/a.jpg", book.now)
    book.arrive("a.jpg", etag="e2", size=9)
    assert book.take() == ["detect", "a.jpg"]
    book.finish(ticket=book.taken[0])
    assert book.states() == ["running", "pending"]


# -- workers that die


def test_a_death_bisects_until_the_poisonous_task_is_alone_and_only_then_counts(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg", "c.jpg", "poison.jpg")
    sizes: list[int] = []
    codes: list[str] = []
    while batch := book.take():
        if "poison.jpg" in batch and batch[0] == "detect":
            sizes.append(len(batch) - 1)
            codes += book.bury(book.die("out_of_memory"))
            book.now += 10
        else:
            book.finish()
    assert sizes == [4, 2, 1, 1, 1]
    assert codes == ["out_of_memory"]
    assert book.states("poison.jpg") == ["failed", "blocked"]
    assert all(book.states(name) == ["done", "done"] for name in ("a.jpg", "b.jpg", "c.jpg"))
    assert all(not book.image(name).attempts for name in ("a.jpg", "b.jpg", "c.jpg"))


def test_what_may_kill_runs_after_healthy_work(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.take()
    book.die()
    book.arrive("c.jpg", "d.jpg")
    assert book.take() == ["detect", "c.jpg", "d.jpg"]
    assert book.take() == ["detect", "a.jpg"]
    assert book.take() == ["detect", "b.jpg"]


def test_attempts_and_suspicion_survive_a_crash_of_the_engine(book: Book) -> None:
    book.ledger.recall("detect", f"{JOB}/tried.jpg", "e1", 2, suspect=False, doomed=False)
    book.ledger.recall("detect", f"{JOB}/suspect.jpg", "e1", 0, suspect=True, doomed=False)
    book.ledger.recall("detect", f"{JOB}/doomed.jpg", "e1", 1, suspect=False, doomed=True)
    book.arrive("tried.jpg", "suspect.jpg", "doomed.jpg", "new.jpg")
    assert book.take() == ["detect", "tried.jpg", "new.jpg"]
    assert [item.attempt for item in book.taken[-1].items] == [3, 1]
    assert book.bury(book.ledger.graves) == ["engine_died"]
    assert book.take() == ["detect", "suspect.jpg"]
    assert book.states("doomed.jpg") == ["failed", "blocked"]
