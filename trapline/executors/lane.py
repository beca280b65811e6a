"""Workers for tickets about whole jobs (fetch, gather, notify): a slow one must not hold up those of other jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trapline.executors.process import WorkerProcess
from trapline.records import NEWS, Outcome, Ticket

# How many workers each may have. News of open jobs, people whose mail server hangs, and whoever could not be told at
# the first try, or lately, are in no client's way.
LANES = {"fetch": 2, "gather": 2, "large gather": 2, "notify": 8, "people": 2, "notify again": 4, "news": 2}
LARGE = 1_000  # members; a larger compile waits among its like
SLOW = 1.0  # seconds a ticket may run before another worker is started for those that wait
LOOK_EVERY = 0.25  # seconds
IDLE = 60.0  # seconds without work after which a worker is let go


def lane_of(kind: str, ticket: Ticket) -> str:
    """The lane in which a ticket runs."""
    if ticket.notify is not None and kind == "notify":
        if ticket.notify.event in NEWS:
            return "news"
        if not ticket.notify.brief:
            return "notify again"
        return "people" if ticket.notify.to == "people" else kind
    large = ticket.gather is not None and ticket.gather.members > LARGE
    return "large gather" if large else kind


class Lane:
    """A few workers, one ticket at a time each: one while all goes well, more while those there are slow."""

    def __init__(self, most: int, spawn: Callable[[], WorkerProcess]) -> None:
        self.workers: list[WorkerProcess] = []
        self._most = most
        self._spawn = spawn
        self._freed = asyncio.Event()
        self._wanted: set[str] = set()  # ids of tickets

    async def run(self, ticket: Ticket) -> Outcome:
        """Run a ticket as soon as a worker is free for it. One that is revoked comes back as it was."""
        self._wanted.add(ticket.id)
        try:
            while (worker := self._free()) is None:
                await self._change()
                if ticket.id not in self._wanted:
                    return Outcome(ticket=ticket.id)
            return await worker.run(ticket)
        finally:
            self._wanted.discard(ticket.id)
            self._freed.set()

    def revoke(self, ticket: str) -> None:
        """End what a ticket does, or waits for."""
        if ticket in self._wanted:
            self._wanted.discard(ticket)
            for worker in self.workers:
                worker.revoke(ticket)

    async def let_go(self) -> None:
        """End the workers that have had nothing to do for a while."""
        idle = [worker for worker in self.workers if worker.idle_for > IDLE]
        self.workers = [worker for worker in self.workers if worker not in idle]
        for worker in idle:
            await worker.close()

    def _free(self) -> WorkerProcess | None:
        self.workers = [worker for worker in self.workers if not worker.gone]
        free = next((worker for worker in self.workers if not worker.load), None)
        if free is None and len(self.workers) < self._most and all(w.busy_for > SLOW for w in self.workers):
            free = self._spawn()
            self.workers.append(free)
        return free

    async def _change(self) -> None:
        """Until a worker may be free, or slow."""
        self._freed.clear()
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._freed.wait()
        except TimeoutError:
            return
