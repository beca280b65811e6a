"""What becomes of a job whose images are all deleted: the real dispatcher over a memory store, in simulated time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.unit.test_engine import JOB, PROJECT, SETTLE, image, night, receipts, revisions, status, summary
from trapline.testing import Simulated

pytestmark = pytest.mark.usefixtures("case")


async def emptied(world: Simulated) -> None:
    """A closed job, of which everything is deleted but its results."""
    night(world, a="moth", b="beetle")
    world.put(image("_DONE"))
    await asyncio.sleep(60)
    for prefix in (f"incoming/{JOB}/", f"detections/{JOB}/", f"classifications/{JOB}/"):
        for entry in list(world.store.list(prefix)):
            world.delete(entry.key)


def test_images_deleted_with_their_records_leave_the_results_though_none_is_left() -> None:
    async def scenario(world: Simulated) -> None:
        await emptied(world)
        await asyncio.sleep(SETTLE + 60)

    world = Simulated(PROJECT)
    world.play(scenario)
    found = summary(world.store)
    assert (found["final"], found["last_final"]["N"], found["images"]["total"]) == (True, 2, 0)
    assert [name[:3] for name in revisions(world.store)] == ["r1-", "r2-"] and len(receipts(world.store)) == 2
    assert status(world.store)["closed"]


def test_a_job_without_images_is_forgotten_once_its_results_say_so() -> None:
    asked: Counter[str] = Counter()

    async def count(what: str, key: str) -> None:
        asked[what] += what in ("list", "level") and JOB in key

    async def scenario(world: Simulated) -> None:
        await emptied(world)
        await asyncio.sleep(SETTLE + 60)
        assert world.dispatcher is not None and JOB not in world.dispatcher.world.ledger.jobs
        assert sum(asked.values()) < 1000

    world = Simulated(PROJECT)
    world.before = count
    world.play(scenario)
