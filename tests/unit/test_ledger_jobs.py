"""The ledger's rules for jobs: whose turn it is, manifests, whole looks, closing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.unit.ledger_book import JOB, OTHER_SHA, REFRESH, SETTLE, SHA, Book, found, new_book, pins
from trapline.ledger import closing
from trapline.ledger.arrivals import Chart
from trapline.ledger.states import DoneMark, Found
from trapline.records import LastFinal, Listed, Manifest, Received, RollEntry, Source


@pytest.fixture(name="book")
def _book() -> Book:
    book = new_book()
    book.open()
    return book


# -- whose turn it is


def jobs_taken(book: Book, count: int) -> list[str]:
    for _ in range(count):
        book.take()
    return [ticket.job for ticket in book.taken[-count:]]


def test_jobs_take_turns_however_large_one_is(book: Book) -> None:
    book.open("st8/big")
    book.arrive(*(f"{n}.jpg" for n in range(100)), job="st8/big")
    jobs_taken(book, 3)
    book.arrive(*(f"{n}.jpg" for n in range(8)))
    assert Counter(jobs_taken(book, 4)) == {JOB: 2, "st8/big": 2}


def test_a_higher_priority_goes_first(book: Book) -> None:
    book.open("st8/urgent", priority=5)
    book.arrive("a.jpg", "b.jpg")
    book.arrive(*(f"{n}.jpg" for n in range(8)), job="st8/urgent")
    assert jobs_taken(book, 3) == ["st8/urgent", "st8/urgent", JOB]


def test_the_deepest_stage_goes_first_so_that_results_appear_while_images_arrive(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.arrive("b.jpg")
    book.finish()
    assert book.take() == ["classify", "a.jpg"]


@pytest.mark.parametrize(("waiting", "parallel", "size"), [(1, 4, 1), (4, 4, 1), (8, 4, 2), (100, 4, 4), (100, 1, 4)])
def test_what_waits_is_spread_over_the_workers_and_nothing_waits_for_a_batch_to_fill(
    book: Book, waiting: int, parallel: int, size: int
) -> None:
    book.arrive(*(f"{n}.jpg" for n in range(waiting)))
    assert len(book.take(parallel)) - 1 == size


# -- empty files


def test_an_empty_file_waits_and_fails_only_when_the_job_closes(book: Book) -> None:
    book.arrive("a.jpg", size=0)
    assert (book.take(), book.job().busy, book.job().empties) == ([], False, {f"{JOB}/a.jpg"})
    assert book.bury(book.ledger.empties(JOB)) == ["empty_file"]
    assert (book.states(), book.job().empties) == (["failed", "blocked"], set())


def test_an_empty_file_that_is_filled_is_run(book: Book) -> None:
    book.arrive("a.jpg", size=0)
    book.arrive("a.jpg", etag="e2", size=5)
    book.read("a.jpg")
    assert (book.take(), book.job().empties) == (["detect", "a.jpg"], set())


# -- manifests


def listed(*entries: tuple[str, str]) -> tuple[Manifest, dict[str, tuple[str, str, str]]]:
    images = tuple(Listed(id=name, url=url or f"incoming/{JOB}/{name}") for name, url in entries)
    return Manifest(sourceImages=images), {f"{JOB}/{name}": (name, "", url) for name, url in entries}


def accept(book: Book, *entries: tuple[str, str]) -> None:
    manifest, targets = listed(*entries)
    book.ledger.listed(JOB, manifest, targets, book.now)
    for rel, epoch in book.ledger.reads(JOB, 100):
        book.ledger.read(JOB, rel, epoch, [])


def test_a_manifest_is_the_list_of_its_job_and_all_else_in_the_folder_is_extra(book: Book) -> None:
    book.arrive("here.jpg", "other.jpg")
    accept(book, ("here.jpg", ""), ("far.jpg", "https://example.org/far.jpg"))
    book.arrive("later.jpg")
    assert set(book.job().images) == {f"{JOB}/here.jpg", f"{JOB}/far.jpg"}
    assert book.job().extra == {f"{JOB}/other.jpg", f"{JOB}/later.jpg"}


def test_a_listed_image_is_fetched_and_then_run(book: Book) -> None:
    accept(book, ("far.jpg", "https://example.org/far.jpg"))
    assert book.take() == []
    ticket = book.ledger.take_fetch(book.now)
    assert ticket is not None
    assert [item.url for item in ticket.items] == ["https://example.org/far.jpg"]
    book.finish(ticket=ticket, source=Source(key="k", etag="e1", size=5, sha256=SHA))
    assert book.take() == ["detect", "far.jpg"]


def test_what_still_has_to_be_fetched_does_not_keep_others_from_being_spread(book: Book) -> None:
    book.arrive(*(f"{n}.jpg" for n in range(4)))
    accept(book, *((f"{n}.jpg", "") for n in range(4)), *((f"far{n}.jpg", f"https://e.org/{n}") for n in range(40)))
    tickets = [ticket for _ in range(4) if (ticket := book.ledger.take(4, book.now)) is not None]
    assert [len(ticket.items) for ticket in tickets] == [1, 1, 1, 1]


def test_images_that_came_back_together_go_out_together_while_there_is_more_to_do(book: Book) -> None:
    book.arrive(*(f"{n}.jpg" for n in range(40)))
    ticket = book.ledger.take(2, book.now)
    assert ticket is not None
    book.finish(ticket=ticket)
    after = book.ledger.take(2, book.now)
    assert after is not None
    assert (after.stage, [i.rel for i in after.items]) == ("classify", [i.rel for i in ticket.items])


def test_a_fetched_images_own_event_is_a_duplicate(book: Book) -> None:
    accept(book, ("far.jpg", "https://example.org/far.jpg"))
    ticket = book.ledger.take_fetch(book.now)
    book.finish(ticket=ticket, source=Source(key="k", etag="e1", size=5, sha256=SHA))
    book.arrive("far.jpg", etag="e1")
    book.through()
    assert book.states("far.jpg") == ["done", "done"]
    assert book.ledger.take_fetch(book.now) is None


def test_a_listed_image_that_is_not_in_the_bucket_fails_when_the_job_closes(book: Book) -> None:
    accept(book, ("gone.jpg", ""))
    assert book.take() == []
    assert book.bury(book.ledger.empties(JOB)) == ["source_missing"]


def test_a_job_with_a_manifest_may_close_when_every_listed_image_is_accounted_for(book: Book) -> None:
    accept(book, ("far.jpg", "https://example.org/far.jpg"))
    assert not book.may_close()
    book.bury(book.finish("failed", book.ledger.take_fetch(book.now), code="fetch_not_found", retry=False))
    assert book.may_close()


# -- recipes


def test_the_same_recipes_again_change_nothing_and_another_reads_everything_anew(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    book.ledger.pinned(JOB, pins())
    assert book.states() == ["done", "done"]
    book.ledger.pinned(JOB, pins(classify="classify-2"))
    assert book.states() == ["unknown", "unknown"]
    book.read("a.jpg", found(), found(stage="detect"))
    assert book.take() == ["classify", "a.jpg"]
    assert book.taken[-1].pin.recipe == "classify-2"


def test_what_ran_under_the_old_recipe_counts_for_nothing(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.ledger.pinned(JOB, pins(detect="detect-2"))
    book.finish()
    assert book.states() == ["unknown", "unknown"]


def test_a_dead_letter_of_an_old_recipe_does_not_hold_up_a_new_one(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.bury(book.finish("failed", code="function_error", retry=False))
    book.ledger.pinned(JOB, pins(detect="detect-2"))
    book.read("a.jpg", found("failed", "detect"))
    assert book.take() == ["detect", "a.jpg"]


# -- whole looks


def test_a_look_finds_what_events_missed_and_drops_what_is_gone(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.now = 60
    book.chart("b.jpg", "c.jpg")
    assert {rel.rpartition("/")[2] for rel in book.job().images} == {"b.jpg", "c.jpg"}


def test_a_look_that_began_before_a_change_does_not_undo_it(book: Book) -> None:
    seen = Chart(begun=0.0, begun_seq=book.job().seq)
    book.arrive("a.jpg")
    book.ledger.chart(JOB, seen, Received())
    assert book.states() == ["owed", "pending"]


def test_a_record_that_disappeared_is_missed_and_made_again(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    book.chart("a.jpg", records={"detect": {f"{JOB}/a.jpg"}})
    book.read("a.jpg", found(stage="detect"))
    assert book.take() == ["classify", "a.jpg"]


def test_a_dead_letter_that_disappeared_is_a_retry(book: Book) -> None:
    book.arrive("a.jpg")
    book.take()
    book.bury(book.finish("failed", code="image_unreadable", retry=False))
    book.chart("a.jpg", dead={"detect": {f"{JOB}/a.jpg"}})
    assert book.states() == ["failed", "blocked"]
    book.chart("a.jpg")
    book.read("a.jpg")
    assert book.take() == ["detect", "a.jpg"]


def test_an_image_whose_bytes_are_gone_keeps_what_was_made_of_it(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.take(parallel=2)
    book.finish()
    book.take(parallel=2)
    book.finish()
    book.chart("b.jpg", records={"classify": {f"{JOB}/a.jpg"}, "detect": {f"{JOB}/a.jpg"}})
    assert book.image().bytes_gone
    assert book.states() == ["done", "done"]


def test_a_last_stage_record_without_its_image_is_a_member() -> None:
    book = new_book()
    book.ledger.job(JOB, 0.0)
    book.ledger.pinned(JOB, pins())
    book.chart(records={"classify": {f"{JOB}/old.jpg"}})
    book.read("old.jpg", found(recipe="of long ago", etag="e0"))
    (entry,) = closing.roll(book.ledger.graph, book.job())
    assert (entry.rel, entry.state, entry.kept) == (f"{JOB}/old.jpg", "done", True)


def reopened(url: str, *known: Found) -> Book:
    """A job with a manifest of one image, known again; its bytes are not there, what was made of them is."""
    book = new_book()
    book.ledger.job(JOB, 0.0)
    book.ledger.pinned(JOB, pins())
    book.ledger.listed(JOB, *listed(("old.jpg", url)), book.now)
    book.chart(records={"classify": {f"{JOB}/old.jpg"}})
    book.read("old.jpg", *known)
    return book


@pytest.mark.parametrize("url", ["", "https://images.example.org/old.jpg"])
def test_a_listed_image_whose_bytes_are_gone_keeps_what_was_made_of_them(url: str) -> None:
    book = reopened(url, found(recipe="of long ago", etag="e0"))
    (entry,) = closing.roll(book.ledger.graph, book.job())
    assert (entry.rel, entry.state, entry.kept) == (f"{JOB}/old.jpg", "done", True)
    assert book.take() == []


@pytest.mark.parametrize("url", ["", "https://images.example.org/old.jpg"])
def test_a_listed_image_of_which_nothing_can_be_read_is_fetched_again_or_missing(url: str) -> None:
    book = reopened(url)
    assert bool(book.ledger.take_fetch(book.now)) == bool(url)
    assert bool(book.job().empties) == (not url)


def test_the_last_revisions_member_list_settles_what_did_not_change_without_a_read() -> None:
    def entry(name: str, etag: str = "e1") -> RollEntry:
        return RollEntry(
            rel=f"{JOB}/{name}", state="done", stage="classify", recipe="classify-1", etag=etag, size=5, sha256=SHA
        )

    book = new_book()
    book.ledger.job(JOB, 0.0)
    book.ledger.pinned(JOB, pins())
    prior = {e.rel: e for e in (entry("same.jpg"), entry("changed.jpg", "e0"))}
    recorded = {f"{JOB}/same.jpg", f"{JOB}/changed.jpg"}
    book.chart("same.jpg", "changed.jpg", "new.jpg", records={"classify": recorded}, prior=prior)
    assert book.states("same.jpg") == ["done", "done"]
    assert [rel for rel, _ in book.ledger.reads(JOB, 10)] == [f"{JOB}/changed.jpg"]
    assert book.take() == ["detect", "new.jpg"]


def test_a_file_that_is_still_being_written_keeps_the_job_from_being_looked_through() -> None:
    book = new_book()
    book.open()
    book.chart(unsettled=1)
    assert book.job().images == {}


# -- the bound on memory


def test_images_beyond_the_bound_wait_for_a_later_look_and_hold_the_job_open() -> None:
    book = new_book(tracked=2)
    book.open()
    book.arrive("a.jpg", "b.jpg", "c.jpg")
    assert (len(book.job().images), book.job().overflow) == (2, True)
    book.job().closing_since = 0.0
    book.through()
    assert not closing.gatherable(book.job())
    book.now = 60
    everything = {f"{JOB}/{name}.jpg" for name in "ab"}
    book.chart("a.jpg", "b.jpg", "c.jpg", records={"detect": everything, "classify": everything})
    book.through()
    assert (len(book.job().images), book.job().overflow, book.states("c.jpg")) == (3, False, ["done", "done"])


# -- deadlines and cancelling


def test_a_deadline_revokes_what_runs_and_names_what_did_not(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg", "c.jpg")
    book.take(parallel=3)
    book.finish()
    book.take(parallel=3)
    tickets, effects = book.ledger.deadline(JOB)
    assert tickets == [book.taken[-1].id]
    assert book.bury(effects) == ["deadline_passed"] * 3
    assert book.states("a.jpg") == ["done", "failed"]
    assert book.states("b.jpg") == ["failed", "blocked"]
    book.finish()  # too late: nothing changes
    assert book.states("a.jpg") == ["done", "failed"]
    assert book.may_close()
    assert book.take() == []


def test_an_image_that_changes_after_the_deadline_does_not_reopen_the_job(book: Book) -> None:
    book.arrive("a.jpg")
    book.bury(book.ledger.deadline(JOB)[1])
    book.job().closed = True
    book.arrive("a.jpg", etag="e2", size=9)
    assert book.job().closed
    assert book.states() == ["failed", "blocked"]


def test_a_cancelled_job_runs_nothing_and_goes_on_when_the_mark_is_gone(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.take(parallel=2)
    assert book.ledger.cancelled(JOB, True) == [book.taken[-1].id]
    book.finish()
    assert (book.take(), closing.state(book.ledger.graph, book.job())) == ([], "CANCELLED")
    assert not book.may_close()
    book.ledger.cancelled(JOB, False)
    book.read("a.jpg")
    assert sorted(book.take()) == ["a.jpg", "b.jpg", "detect"]


# -- closing


def done(etag: str = "d1", **more: Any) -> DoneMark:
    return DoneMark(etag, **more)


def test_a_job_closes_after_settle_or_sooner_after_a_done(book: Book) -> None:
    book.arrive("a.jpg")
    book.now = SETTLE - 1
    assert not book.may_close()
    book.job().done = done()
    assert book.may_close()
    book.job().done = None
    assert not book.may_close()
    book.now = SETTLE
    assert book.may_close()


def test_a_done_waits_for_a_moment_of_quiet_and_an_answered_one_counts_no_more(book: Book) -> None:
    book.job().done = done()
    book.arrive("a.jpg")
    assert not book.may_close()
    book.now = REFRESH
    assert book.may_close()
    book.job().answered = "d1"
    assert not book.may_close()
    book.job().done = done("d2")
    assert book.may_close()


@pytest.mark.parametrize(("count", "closes"), [(1, True), (3, True), (4, False)])
def test_a_count_is_met_by_as_many_images_or_more_empty_ones_included(book: Book, count: int, closes: bool) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.arrive("c.jpg", size=0)
    book.job().done = done(count=count)
    book.now = REFRESH
    assert book.may_close() == closes
    assert len(closing.not_received(book.job())) == max(0, count - 3)
    book.now = SETTLE
    assert book.may_close()


def test_checksums_wait_for_what_is_missing_or_different(book: Book) -> None:
    names = {f"{JOB}/a.jpg": SHA, f"{JOB}/b.jpg": SHA, f"{JOB}/notes.txt": SHA, f"{JOB}/gone.jpg": SHA}
    book.job().done = done(names=names)
    book.job().ignored[f"{JOB}/notes.txt"] = "no stage reads .txt"
    book.arrive("a.jpg", "b.jpg")
    book.through()
    book.image("b.jpg").sha256 = OTHER_SHA
    assert closing.not_received(book.job()) == [f"{JOB}/b.jpg", f"{JOB}/gone.jpg"]


def test_a_job_is_compiled_only_after_a_look_begun_when_it_could_close_found_nothing_open(book: Book) -> None:
    book.arrive("a.jpg")
    book.through()
    book.now = SETTLE
    assert book.may_close()
    assert not closing.gatherable(book.job())
    book.now += 1
    everything = {f"{JOB}/a.jpg"}
    book.chart("a.jpg", records={"detect": everything, "classify": everything})
    assert closing.gatherable(book.job())
    book.arrive("late.jpg")
    assert not closing.gatherable(book.job())


@pytest.mark.parametrize(
    ("bad", "missing", "state"),
    [(0, 0, "SUCCEEDED"), (1, 0, "PARTIAL"), (0, 1, "PARTIAL"), (2, 0, "FAILED")],
)
def test_a_closed_job_says_how_it_ended(book: Book, bad: int, missing: int, state: str) -> None:
    for n in range(2):
        book.arrive(f"{n}.jpg")
        book.take()
        book.bury(book.finish("failed", code="image_unreadable", retry=False) if n < bad else book.finish())
        book.through()
    book.job().done = done(count=2 + missing)
    book.job().closed = True
    assert closing.state(book.ledger.graph, book.job()) == state


def test_a_seal_is_of_what_compile_is_handed_and_of_nothing_else(book: Book) -> None:
    book.arrive("a.jpg", "b.jpg")
    book.through()

    def seal(manifest: str = "", station: str = "", recipe: str = "c1") -> str:
        return closing.seal(book.ledger.graph, book.job(), manifest, station, recipe)

    before = seal()
    book.image().etag = "of another store"
    book.job().finals = [LastFinal.model_validate({"N": 1, "seal": "x"})]
    book.job().ignored = {"x": "why"}
    assert seal() == before
    assert len({before, seal("m"), seal("", "s"), seal("", "", "c2")}) == 4
    book.job().done = done(count=3)
    missing = seal()
    book.arrive("c.jpg")
    book.take()
    book.bury(book.finish("failed", code="image_unreadable", retry=False))
    failed = seal()
    book.image("b.jpg").sha256 = OTHER_SHA
    assert len({before, missing, failed, seal()}) == 4
