"""Simulated workers: the real runtime, run so that time passes, and death strikes, at any of its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from greenlet import getcurrent, greenlet

from tests.simulation.bucket import Bucket, Faults, WorkerStore
from tests.simulation.plan import Luck, Plan
from tests.simulation.story import Story
from trapline.executors.lane import lane_of
from trapline.models import Model
from trapline.pipeline.load import Pipeline
from trapline.records import ModelRef, Outcome, Ticket
from trapline.runtime.runtime import Runtime

GRACE = 2.0  # seconds beyond a ticket's limit before its worker is given up
HANGS = 90.0  # seconds: longer than any ticket of an image stage may take
FATES = ("dies", "dies", "dies", "hangs", "hangs", "lost", "raises", "slow")


class Killed(BaseException):
    """The worker's process ends here."""


def pause(seconds: float) -> None:
    """Called inside a ticket: let the rest of the world go on for so long."""
    loop = getcurrent().parent
    assert loop is not None
    loop.switch(seconds)


class _Card:
    def __init__(self, ref: ModelRef) -> None:
        self.sha256 = ref.sha256
        self.version = ref.version


class _Model:
    def __init__(self, ref: ModelRef) -> None:
        self.card = _Card(ref)


class _Models:
    """Models that are their names."""

    def load(self, ref: ModelRef) -> Model:
        return cast(Model, _Model(ref))


class Worker:
    """One process: it runs one ticket at a time, and keeps what a runtime keeps between them."""

    def __init__(self, name: str, pipeline: Pipeline, bucket: Bucket, faults: Faults, now: Callable[[], float]) -> None:
        self.name = name
        self.dead = False
        self.turn = asyncio.Lock()
        self._fate = ""
        self._at = 0  # the request at which its fate strikes
        self._requests = 0
        self._resting = False
        store: Any = WorkerStore(bucket, faults, name, self._request)
        self._runtime = Runtime(
            pipeline, store, Path("unused"), other=lambda name: store, clock=now, models=_Models(), cache_bytes=2**20
        )

    async def run(self, ticket: Ticket, fate: str, at: int) -> Outcome | None:
        """Run a ticket to its end, or to this worker's; None: it died."""
        self._fate, self._at, self._requests = fate, at, 0
        course = greenlet(lambda: self._runtime.run(ticket))
        try:
            answer = course.switch()
            while not course.dead:
                await asyncio.sleep(answer)
                answer = course.throw(Killed) if self.dead else course.switch()
        except Killed:
            self.dead = True
            return None
        return cast(Outcome, answer)

    def _request(self, seconds: float, where: str) -> None:
        self._requests += 1
        if self._requests == self._at and self._fate == "hangs" and where.startswith("before put"):
            self._at += 1  # a request that was begun in time ends soon after: whoever hangs, hangs before or after it
        strikes = self._requests == self._at
        if strikes and self._fate == "dies":
            raise Killed
        if strikes and self._fate in ("hangs", "slow"):
            seconds = HANGS if self._fate == "hangs" else 8.0
        if seconds:
            pause(seconds)


class SimulatedExecutor:
    """A pool of workers with the `local` executor's manners, in a world in which workers die, hang and come late."""

    def __init__(
        self, who: str, plan: Plan, pipeline: Pipeline, bucket: Bucket, faults: Faults, luck: Luck, story: Story
    ) -> None:
        self.slots = self.workers = plan.slots
        self.troubles: dict[str, str] = {}
        self._who = who
        self._plan = plan
        self._pipeline = pipeline
        self._bucket = bucket
        self._faults = faults
        self._luck = luck
        self._story = story
        self._pool: dict[str, Worker] = {}
        self._made = 0
        self._all: list[Worker] = []
        self._running: set[asyncio.Task[Outcome | None]] = set()

    async def start(self) -> None: ...

    async def run(self, ticket: Ticket) -> Outcome:
        """Run a ticket as some worker can; what happens to the worker is in the outcome."""
        fate, at = self._choose_fate(ticket)
        if fate == "raises":
            raise RuntimeError("simulated: the executor itself failed")
        if fate == "lost":
            await asyncio.sleep(0.3)
            return Outcome(ticket=ticket.id)
        worker = self._worker(self._lane(ticket))
        async with worker.turn:
            if worker not in self._pool.values():
                return Outcome(ticket=ticket.id)  # it died over an earlier one: this one was not begun
            return await self._run(worker, ticket, fate, at)

    def revoke(self, ticket: str) -> None: ...

    async def close(self) -> None:
        if not self._plan.zombies:
            self.kill()

    def kill(self) -> None:
        """End every worker where it is."""
        for worker in self._all:
            worker.dead = True

    async def gone(self) -> None:
        """Until every ticket that was begun has come to some end."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, worker: Worker, ticket: Ticket, fate: str, at: int) -> Outcome:
        task = asyncio.create_task(worker.run(ticket, fate, at))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        done, _ = await asyncio.wait([task], timeout=ticket.limit_seconds + GRACE)
        if done:
            outcome = task.result()
            if outcome is not None:
                return outcome
            self._story.add(worker.name, f"dies over {_about(ticket)}")
            return self._replaced(worker, Outcome(ticket=ticket.id, died="worker_died"))
        self._story.add(worker.name, f"is given up over {_about(ticket)}")
        worker.dead = not self._plan.zombies
        return self._replaced(worker, Outcome(ticket=ticket.id, died="timeout"))

    def _replaced(self, worker: Worker, outcome: Outcome) -> Outcome:
        self._pool = {lane: other for lane, other in self._pool.items() if other is not worker}
        return outcome

    def _lane(self, ticket: Ticket) -> str:
        """Image stages share the pool; the others have a worker each."""
        if self._pipeline.stages[ticket.stage].kind != "image":
            return lane_of(ticket.stage, ticket)
        lanes = [f"w{n}" for n in range(self.workers)]
        return min(lanes, key=lambda lane: lane in self._pool and self._pool[lane].turn.locked())

    def _worker(self, lane: str) -> Worker:
        if lane not in self._pool:
            self._made += 1
            now = asyncio.get_running_loop().time
            name = f"{self._who}.{lane}.{self._made}"
            self._pool[lane] = Worker(name, self._pipeline, self._bucket, self._faults, now)
            self._all.append(self._pool[lane])
        return self._pool[lane]

    def _choose_fate(self, ticket: Ticket) -> tuple[str, int]:
        about = ("ticket", ticket.stage, ticket.items[0].rel)
        if not self._faults.on or self._luck.draw(*about) >= self._plan.workers:
            return "fine", 0
        fate = FATES[int(self._luck.draw("fate", *about) * len(FATES))]
        self._story.add(self._who, f"{_about(ticket)}: its worker {fate}")
        return fate, 1 + int(self._luck.draw("at", *about) * 8)


def _about(ticket: Ticket) -> str:
    return f"{ticket.stage} {', '.join(item.rel for item in ticket.items)}"
