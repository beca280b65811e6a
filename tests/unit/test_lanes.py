"""Tickets about whole jobs: one worker while they are quick, more while one is slow; in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

import pytest

from trapline.executors.lane import LARGE, Lane, lane_of
from trapline.executors.process import WorkerProcess
from trapline.records import Audience, GatherOrder, Item, NotifyOrder, Outcome, Pin, Ticket, Told
from trapline.testing import SimulatedLoop


class Worker:
    """Takes as many seconds for a ticket as its id says."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.load = 0
        self.gone = False
        self._ending = asyncio.Event()
        self._began = self._ended = now()

    @property
    def busy_for(self) -> float:
        return now() - self._began if self.load else 0.0

    @property
    def idle_for(self) -> float:
        return 0.0 if self.load else now() - self._ended

    async def run(self, ticket: Ticket) -> Outcome:
        self.load, self._began = 1, now()
        self.ran.append(ticket.id)
        with suppress(TimeoutError):
            async with asyncio.timeout(float(ticket.id)):
                await self._ending.wait()
        self.load, self._ended = 0, now()
        return Outcome(ticket=ticket.id)

    async def close(self) -> None:
        self.gone = True

    def revoke(self, ticket: str) -> None:
        """As a process that is killed: the ticket comes back with nothing in it."""
        if self.load and self.ran[-1] == ticket:
            self.gone = True
            self._ending.set()


def now() -> float:
    return asyncio.get_running_loop().time()


def lane(most: int) -> Lane:
    return Lane(most, lambda: cast(WorkerProcess, Worker()))


def ticket(seconds: float, members: int = 1) -> Ticket:
    order = GatherOrder(revision="r1-0", final=True, roll="", members=members)
    pin = Pin(stage="compile", recipe="")
    return Ticket(
        id=f"{seconds}", stage="compile", job="a/b", pin=pin, items=(Item(rel=""),), limit_seconds=1, gather=order
    )


async def ended(lane: Lane, seconds: float) -> float:
    """When a ticket that takes so long ended."""
    await lane.run(ticket(seconds))
    return now()


def simulated(scenario: Coroutine[Any, Any, None]) -> None:
    loop = SimulatedLoop()
    try:
        loop.run_until_complete(scenario)
    finally:
        loop.close()


def test_quick_tickets_share_one_worker() -> None:
    async def scenario() -> None:
        quick = lane(4)
        times = await asyncio.gather(*(ended(quick, 0.1) for _ in range(10)))
        assert len(quick.workers) == 1 and max(times) < 1.2

    simulated(scenario())


def test_a_ticket_that_hangs_holds_up_the_next_for_a_moment_only() -> None:
    async def scenario() -> None:
        lanes = lane(2)
        hanging = asyncio.create_task(lanes.run(ticket(60)))
        await asyncio.sleep(0)
        times = await asyncio.gather(*(ended(lanes, 0.1) for _ in range(3)))
        assert max(times) < 2 and len(lanes.workers) == 2 and not hanging.done()
        hanging.cancel()

    simulated(scenario())


def test_there_are_never_more_workers_than_a_lane_may_have() -> None:
    async def scenario() -> None:
        lanes = lane(2)
        times = await asyncio.gather(*(ended(lanes, 10) for _ in range(4)))
        assert len(lanes.workers) == 2 and max(times) < 23

    simulated(scenario())


def test_a_revoked_ticket_ends_whether_it_runs_or_waits() -> None:
    async def scenario() -> None:
        lanes = lane(1)
        running, waiting = (asyncio.create_task(lanes.run(ticket(seconds))) for seconds in (600, 500))
        await asyncio.sleep(5)
        lanes.revoke("500")
        assert await waiting == Outcome(ticket="500")
        lanes.revoke("600")
        assert await running == Outcome(ticket="600") and now() < 10
        assert await lanes.run(ticket(1)) == Outcome(ticket="1")

    simulated(scenario())


def test_a_worker_that_died_is_replaced_and_one_that_idles_is_let_go() -> None:
    async def scenario() -> None:
        lanes = lane(1)
        await ended(lanes, 1)
        lanes.workers[0].gone = True
        await ended(lanes, 1)
        (second,) = lanes.workers
        await lanes.let_go()
        assert lanes.workers == [second]
        await asyncio.sleep(61)
        await lanes.let_go()
        assert lanes.workers == [] and second.gone

    simulated(scenario())


def test_a_large_compile_waits_among_its_like() -> None:
    assert lane_of("gather", ticket(1, LARGE)) == "gather"
    assert lane_of("gather", ticket(1, LARGE + 1)) == "large gather"
    assert lane_of("notify", ticket(1).model_copy(update={"gather": None})) == "notify"


@pytest.mark.parametrize(
    ("event", "to", "brief", "lane"),
    [
        ("completed", "client", True, "notify"),
        ("failed", "client", True, "notify"),
        ("updated", "people", True, "people"),
        ("progress", "client", False, "news"),
        ("completed", "client", False, "notify again"),
        ("completed", "people", False, "notify again"),
    ],
)
def test_a_receiver_that_was_slow_once_is_in_nobodys_way(event: Told, to: Audience, brief: bool, lane: str) -> None:
    order = NotifyOrder(to=to, event=event, brief=brief, webhook_id="msg_1")
    assert lane_of("notify", ticket(1).model_copy(update={"gather": None, "notify": order})) == lane
