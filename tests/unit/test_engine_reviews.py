"""What becomes of a review: the real dispatcher and runtime over a memory store, in simulated time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from tests.unit.test_engine import JOB, PROJECT, image, night, receipts, revisions, status, summary
from trapline.records import Outcome, Ticket
from trapline.store.base import Entry, Got
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

TABLE = f"labels/{JOB}.csv"

pytestmark = pytest.mark.usefixtures("case")


def told(store: MemoryStore) -> tuple[int, str | None]:
    found = summary(store)
    return found["last_final"]["N"], found["results"].get("review")


async def finished(world: Simulated) -> None:
    night(world, a="moth", b="beetle")
    world.put(image("_DONE"))
    await asyncio.sleep(60)


def test_a_review_of_a_finished_job_makes_its_next_revision_soon_and_runs_no_image_again(case: object) -> None:
    async def scenario(world: Simulated) -> None:
        await finished(world)
        world.put(TABLE, b"all moths")
        await asyncio.sleep(30)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert told(world.store) == (2, "all moths")
    assert status(world.store)["closed"] and len(revisions(world.store)) == len(receipts(world.store)) == 2
    assert set(case.ASKED.values()) == {1}  # type: ignore[attr-defined]


def test_the_same_review_again_makes_no_revision_and_another_or_none_does() -> None:
    async def scenario(world: Simulated) -> list[tuple[int, str | None]]:
        await finished(world)
        after = []
        for words in (b"all moths", b"all moths", b"all beetles", b""):
            if words:
                world.put(TABLE, words)
            else:
                world.delete(TABLE)
            await asyncio.sleep(60)
            after.append(told(world.store))
        return after

    assert Simulated(PROJECT).play(scenario) == [(2, "all moths"), (2, "all moths"), (3, "all beetles"), (4, None)]


def test_a_review_that_no_event_told_of_is_found_by_a_sweep() -> None:
    async def scenario(world: Simulated) -> None:
        await finished(world)
        world.put(TABLE, b"all moths", event=False)
        await asyncio.sleep(6 * 3600 + 120)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert told(world.store) == (2, "all moths")


def test_a_review_that_is_there_before_the_job_ends_counts_in_its_first_revision() -> None:
    async def scenario(world: Simulated) -> None:
        world.put(TABLE, b"all moths")
        await asyncio.sleep(10)
        await finished(world)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert told(world.store) == (1, "all moths")


def test_provisional_results_have_the_review_as_it_is_by_now() -> None:
    async def scenario(world: Simulated) -> list[tuple[bool, str | None]]:
        night(world, a="moth", b="beetle")
        await asyncio.sleep(60)
        after = []
        for words in (b"all moths", b"all beetles"):
            world.put(TABLE, words)
            await asyncio.sleep(60)
            found = summary(world.store)
            after.append((found["final"], found["results"].get("review")))
        return after

    assert Simulated(PROJECT).play(scenario) == [(False, "all moths"), (False, "all beetles")]


class OneEtag(MemoryStore):
    """A review keeps its etag, whatever its bytes are."""

    def head(self, key: str) -> Entry:
        return self._same(super().head(key))

    def get(self, key: str) -> Got:
        got = super().get(key)
        return Got(self._same(got.entry), got.data)

    def _same(self, entry: Entry) -> Entry:
        return replace(entry, etag="one") if entry.key == TABLE else entry


def test_other_bytes_under_the_etag_of_before_are_read_and_not_compiled_without_end() -> None:
    async def scenario(world: Simulated) -> int:
        night(world, a="moth", b="beetle")
        world.put(TABLE, b"all moths")
        await asyncio.sleep(30)
        world.put(TABLE, b"all beetles")
        world.put(image("_DONE"))
        await asyncio.sleep(120)
        assert world.executor is not None
        return sum(ticket.gather is not None for ticket in world.executor.ran)

    world = Simulated(PROJECT, OneEtag())
    assert world.play(scenario) <= 6
    assert told(world.store) == (1, "all beetles")


def test_a_review_of_no_job_makes_none() -> None:
    async def scenario(world: Simulated) -> None:
        world.put(TABLE, b"all moths")
        await asyncio.sleep(6 * 3600 + 120)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert [entry.key for entry in world.store.list("status/")] == []
    assert [entry.key for entry in world.store.list("control/jobs/")] == []


@pytest.mark.parametrize("told_of", [True, False])
@pytest.mark.parametrize(
    ("misplaced", "remedy"),
    [
        (f"labels/{JOB}/observations.csv", f"labels/<job>.csv, such as {TABLE}."),
        (f"labels/{JOB}.xlsx", "save it as CSV (UTF-8), and call it labels/<job>.csv."),
    ],
)
def test_a_review_under_another_name_is_put_aside_with_the_one_it_should_have(
    misplaced: str, remedy: str, told_of: bool
) -> None:
    async def scenario(world: Simulated) -> None:
        await finished(world)
        if told_of:
            world.put(misplaced, b"all moths")
        else:
            world.store.put(misplaced, b"all moths")
            world.store.put(f"labels/{JOB.rpartition('/')[0]}/~$open.xlsx", b"")
        await asyncio.sleep(60 if told_of else 7 * 3600)

    world = Simulated(PROJECT)
    world.play(scenario)
    (note,) = (world.store.get(entry.key) for entry in world.store.list("quarantine/"))
    said = json.loads(note.data)
    assert said["key"] == misplaced and said["why"].endswith(remedy)
    assert told(world.store) == (1, None)


def test_a_table_over_which_compile_dies_costs_the_job_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: Simulated) -> None:
        await finished(world)
        assert world.executor is not None
        run = world.executor.run

        async def dying(ticket: Ticket) -> Outcome:
            if ticket.gather is not None and ticket.gather.review:
                return Outcome(ticket=ticket.id, died="out_of_memory")
            return await run(ticket)

        monkeypatch.setattr(world.executor, "run", dying)
        world.put(TABLE, b"all moths")
        await asyncio.sleep(300)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED" and status(world.store)["closed"]
    assert told(world.store) == (2, None)


def test_a_review_too_large_to_be_read_is_told_and_stops_nothing() -> None:
    async def scenario(world: Simulated) -> None:
        await finished(world)
        world.put(TABLE, b"x" * (64 * 2**20 + 1))
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert told(world.store) == (2, None)
