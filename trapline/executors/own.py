"""Workers of one function in an environment of its own: started by its tickets, let go when they idle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from trapline.executors.lane import IDLE, LANES, Lane, lane_of
from trapline.executors.process import WorkerProcess
from trapline.records import ItemOutcome, Outcome, Ticket

log = logging.getLogger("trapline.executors")

AHEAD = 2  # tickets a worker may hold: one running, one being read ahead
FIRST_REST = 5.0  # seconds after a worker did not start; twice as long after each further one …
LONGEST_REST = 60.0  # … up to this


class OwnWorkers:
    """A pool for image stages and lanes for jobs. While workers do not start, tickets come back as they were."""

    def __init__(
        self,
        function: str,
        most: int,
        memory: int | None,
        spawn: Callable[[], WorkerProcess],
        why: Callable[[], str],
    ) -> None:
        """`memory`: bytes a worker may use; `why`: what is wrong with the environment, asked when one did not start."""
        self._function = function
        self._most = most
        self._memory = memory
        self._start = spawn
        self._why = why
        self._pool: list[WorkerProcess] = []
        self._lanes = {name: Lane(most, self._spawn) for name, most in LANES.items()}
        self._young: list[WorkerProcess] = []  # not known yet to have started
        self._failed = 0  # starts in a row
        self._rests_until = 0.0
        self.trouble = ""  # why no worker starts

    @property
    def workers(self) -> list[WorkerProcess]:
        return [*self._pool, *(worker for lane in self._lanes.values() for worker in lane.workers)]

    async def run(self, kind: str, ticket: Ticket) -> Outcome:
        """Run a ticket of a stage of this kind."""
        if self._waits():
            return self._as_it_was(kind, ticket)
        try:
            work = self._choose(ticket) if kind == "image" else self._lanes[lane_of(kind, ticket)]
            outcome = await work.run(ticket)
        except OSError as error:
            await self._not_started(error.strerror or str(error))
            return self._as_it_was(kind, ticket)
        if outcome != Outcome(ticket=ticket.id):
            self._failed, self.trouble = 0, ""
            return outcome
        fallen = [worker for worker in self._young if worker.gone and not worker.started]
        self._grown()
        if fallen:
            await self._not_started(f"it ended with exit code {await fallen[0].exit_code()}")
        return self._as_it_was(kind, ticket) if self.trouble else outcome

    def revoke(self, ticket: str) -> None:
        """As a lane's."""
        for lane in self._lanes.values():
            lane.revoke(ticket)

    async def check(self) -> None:
        """Replace nothing, but end those that hang, grow too large or idle."""
        for worker in self.workers:
            worker.check(self._memory)
        gone = [worker for worker in self._pool if worker.gone]
        for worker in gone:
            log.warning("event=worker.gone function=%s pid=%s why=%s", self._function, worker.pid, worker.why_gone)
        idle = [worker for worker in self._pool if not worker.gone and worker.idle_for > IDLE]
        self._pool = [worker for worker in self._pool if worker not in gone and worker not in idle]
        for worker in idle:
            await worker.close()
        for lane in self._lanes.values():
            await lane.let_go()

    def _waits(self) -> bool:
        """Whether no worker is known to start: then one ticket at a time tries, with rests between them."""
        live = [worker for worker in self.workers if not worker.gone]
        if not self._failed or any(worker.started for worker in live):
            return False
        return bool(live) or time.monotonic() < self._rests_until

    def _choose(self, ticket: Ticket) -> WorkerProcess:
        live = [worker for worker in self._pool if not worker.gone]
        rels = {item.rel for item in ticket.items}
        free = [worker for worker in live if not worker.load]
        if not free and len(live) < self._most and time.monotonic() >= self._rests_until:
            free = [self._spawn()]
            live += free
            self._pool = live
        return min(free or live, key=lambda worker: (worker.load >= AHEAD, -worker.holds(rels), worker.load))

    def _spawn(self) -> WorkerProcess:
        self._grown()
        worker = self._start()
        self._young.append(worker)
        return worker

    def _grown(self) -> None:
        self._young = [worker for worker in self._young if not (worker.gone or worker.started)]

    async def _not_started(self, how: str) -> None:
        """Rest, longer each time, and find out why. Workers that were started together fail once."""
        if self._failed and time.monotonic() < self._rests_until:
            return
        self._rests_until = time.monotonic() + min(FIRST_REST * 2**self._failed, LONGEST_REST)
        self._failed = min(self._failed + 1, 10)
        told = await asyncio.to_thread(self._why) or f"Its worker did not start: {how}."
        self.trouble = f"Function {self._function!r} waits for its environment. {told}"
        log.warning("event=worker.not_started function=%s tries=%d why=%s", self._function, self._failed, told)

    def _as_it_was(self, kind: str, ticket: Ticket) -> Outcome:
        """Nothing of the ticket ran, and no item loses a try over it."""
        if kind in ("gather", "notify"):
            return Outcome(ticket=ticket.id)
        rest = max(1.0, FIRST_REST, self._rests_until - time.monotonic())
        return Outcome(ticket=ticket.id, setup=ItemOutcome(rel="", result="unknown", after=rest, message=self.trouble))
