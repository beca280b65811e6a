"""A huge job does not hold up small ones: up to 50,000 images beside ten jobs of ten, in simulated time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from trapline.dispatcher.world import PipelinePolicy, World
from trapline.records import Outcome, Ticket
from trapline.testing import InlineExecutor, Simulated

PROJECT = Path(__file__).parents[1] / "functions" / "basic"
SMALL = [f"small/n{number}" for number in range(10)]
IMAGES = 10  # of a small job
IMAGE_SECONDS = 0.1  # one image in one stage
MEMBER_SECONDS = 0.0003  # one member of a roll
WORKERS = 2
RATIO = 1.5

pytestmark = pytest.mark.usefixtures("case")


class Pool(InlineExecutor):
    """As many tickets at a time as there are workers, and as many again that wait; compiles run beside them."""

    def __init__(self, of: InlineExecutor) -> None:
        super().__init__(of.runtime, slots=2 * WORKERS)
        self.workers = WORKERS
        self._busy = asyncio.Semaphore(WORKERS)

    async def run(self, ticket: Ticket) -> Outcome:
        if ticket.gather is not None:
            await asyncio.sleep(ticket.gather.members * MEMBER_SECONDS)
        elif ticket.notify is None:
            async with self._busy:
                await asyncio.sleep(len(ticket.items) * IMAGE_SECONDS)
        self.ran.append(ticket)
        return self.runtime.run(ticket)


def world_of(simulated: Simulated) -> World:
    assert simulated.dispatcher is not None and simulated.executor is not None
    return simulated.dispatcher.world


def arrive(simulated: Simulated, job: str, images: int) -> None:
    for number in range(images):
        simulated.put(f"incoming/{job}/{number:05d}.jpg", b"moth")
    simulated.put(f"incoming/{job}/_DONE")


async def until_told(simulated: Simulated, jobs: list[str]) -> float:
    """Simulated seconds until the client of every job was told."""
    began = asyncio.get_running_loop().time()
    while not all(any(simulated.store.list(f"receipts/{job}/")) for job in jobs):
        await asyncio.sleep(0.1)
    return asyncio.get_running_loop().time() - began


def seconds_of_the_small(beside: int) -> float:
    """How long ten jobs of ten images take together, beside one of `beside`."""

    async def scenario(simulated: Simulated) -> float:
        world_of(simulated).executor = Pool(simulated.executor)  # type: ignore[arg-type]
        if beside:
            arrive(simulated, "huge/n1", beside)
            await asyncio.sleep(30)
        for job in SMALL:
            arrive(simulated, job, IMAGES)
        seconds = await until_told(simulated, SMALL)
        if beside:
            assert not any(simulated.store.list("receipts/huge/"))
        return seconds

    return Simulated(PROJECT).play(scenario, clean=False)


@pytest.mark.parametrize(
    ("huge", "batch"),
    [(5_000, 4), (5_000, 16), pytest.param(50_000, 4, marks=pytest.mark.slow)],
)
def test_ten_small_jobs_end_beside_a_huge_one_almost_as_soon_as_without_it(
    monkeypatch: pytest.MonkeyPatch, huge: int, batch: int
) -> None:
    monkeypatch.setattr(PipelinePolicy, "batch", lambda policy, stage, function: batch)
    alone, beside = seconds_of_the_small(0), seconds_of_the_small(huge)
    assert beside <= RATIO * alone, (alone, beside)
