"""The `local` executor: warm worker processes on this machine, replaced when they die."""

from __future__ import annotations

import asyncio
import logging
import os

from trapline.executors.opening import WorkerConfig
from trapline.executors.process import WorkerProcess
from trapline.pipeline.load import Pipeline
from trapline.records import Outcome, Ticket

log = logging.getLogger("trapline.executors")

AHEAD = 2  # tickets a worker may hold: one running, one being read ahead
WATCH_EVERY = 0.25  # seconds
IDLE_LANE = 60.0  # seconds after which a worker that only serves jobs is let go


class LocalExecutor:
    """A pool of worker processes. Image stages share `workers` of them; fetch, gather and notify have one each."""

    def __init__(self, pipeline: Pipeline, config: WorkerConfig, workers: int | None = None) -> None:
        self._pipeline = pipeline
        self._config = config
        self.workers = workers or pipeline.spec.local.workers or len(os.sched_getaffinity(0))
        self.slots = self.workers * AHEAD
        self._pool: list[WorkerProcess] = []
        self._lanes: dict[str, WorkerProcess] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False
        self._limit = _memory_limit(pipeline)

    async def start(self) -> None:
        """Start the pool; models are loaded by the first ticket that needs them."""
        self._pool = [self._spawn() for _ in range(self.workers)]
        self._watcher = asyncio.create_task(self._watch())

    async def run(self, ticket: Ticket) -> Outcome:
        """Run a ticket in the worker that suits it best."""
        worker = self._choose(ticket)
        return await worker.run(ticket)

    def revoke(self, ticket: str) -> None:
        """A revoked ticket runs out or ends with its worker; nobody waits for it."""

    async def close(self) -> None:
        """End every worker; what it was doing is owed again at the next start."""
        self._closing = True
        if self._watcher:
            self._watcher.cancel()
        workers = [*self._pool, *self._lanes.values()]
        await asyncio.gather(*(worker.close() for worker in workers), return_exceptions=True)

    def _spawn(self) -> WorkerProcess:
        return WorkerProcess(self._config)

    def _choose(self, ticket: Ticket) -> WorkerProcess:
        kind = self._pipeline.stages[ticket.stage].kind
        if kind != "image":
            if kind not in self._lanes or self._lanes[kind].gone:
                self._lanes[kind] = self._spawn()
            return self._lanes[kind]
        for n, worker in enumerate(self._pool):
            if worker.gone:
                self._pool[n] = self._spawn()
        rels = {item.rel for item in ticket.items}
        return min(self._pool, key=lambda worker: (worker.load >= AHEAD, -worker.holds(rels), worker.load))

    async def _watch(self) -> None:
        """Replace dead workers, end those that hang or grow too large, let idle ones go."""
        while not self._closing:
            await asyncio.sleep(WATCH_EVERY)
            for worker in [*self._pool, *self._lanes.values()]:
                worker.check(self._limit)
            self._pool = [self._replaced(worker) for worker in self._pool]
            for kind in [kind for kind, worker in self._lanes.items() if worker.idle_for > IDLE_LANE]:
                await self._lanes.pop(kind).close()

    def _replaced(self, worker: WorkerProcess) -> WorkerProcess:
        if not worker.gone or self._closing:
            return worker
        log.warning("event=worker.replaced pid=%s why=%s", worker.pid, worker.why_gone)
        return self._spawn()


def _memory_limit(pipeline: Pipeline) -> int | None:
    """Bytes a worker may use: the most that any function of the pipeline asks for; None: nobody says."""
    asked = [
        f.resources.memory for stage in pipeline.stages.values() for f in stage.functions.values() if f.resources.memory
    ]
    return max(asked) if asked else None
