"""The `local` executor: warm worker processes on this machine, replaced when they die."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable

from trapline.environments.checking import functions_of, why_not
from trapline.environments.venvs import python_of, venv_of
from trapline.executors.lane import LANES, Lane, lane_of
from trapline.executors.opening import WorkerConfig
from trapline.executors.own import AHEAD, OwnWorkers
from trapline.executors.process import WorkerProcess
from trapline.pipeline.load import Pipeline
from trapline.pipeline.spec import FunctionSpec
from trapline.records import Outcome, Ticket

log = logging.getLogger("trapline.executors")

WATCH_EVERY = 0.25  # seconds


class LocalExecutor:
    """Worker processes. Image stages share a pool of `workers`; fetch, gather and notify have lanes of their own.

    A function with an environment of its own has workers of its own, as many at most.
    """

    def __init__(self, pipeline: Pipeline, config: WorkerConfig, workers: int | None = None) -> None:
        self._pipeline = pipeline
        self._config = config
        self.workers = workers or pipeline.spec.local.workers or len(os.sched_getaffinity(0))
        self.slots = self.workers * AHEAD
        self._pool: list[WorkerProcess] = []
        self._lanes = {name: Lane(most, self._spawn) for name, most in LANES.items()}
        functions = functions_of(pipeline).values()
        self._own = {spec.name: self._own_workers(spec) for spec in functions if spec.environment == "own"}
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False
        self._limit = _memory_limit(spec for spec in functions if spec.environment == "shared")

    @property
    def troubles(self) -> dict[str, str]:
        """Functions whose workers do not start, and why."""
        return {name: own.trouble for name, own in self._own.items() if own.trouble}

    async def start(self) -> None:
        """Start the pool; models are loaded by the first ticket that needs them."""
        self._pool = [self._spawn() for _ in range(self.workers)]
        self._watcher = asyncio.create_task(self._watch())

    async def run(self, ticket: Ticket) -> Outcome:
        """Run a ticket in the worker that suits it best."""
        kind = self._pipeline.stages[ticket.stage].kind
        if ticket.pin.function in self._own:
            return await self._own[ticket.pin.function].run(kind, ticket)
        if kind != "image":
            return await self._lanes[lane_of(kind, ticket)].run(ticket)
        return await self._choose(ticket).run(ticket)

    def revoke(self, ticket: str) -> None:
        """A ticket about a whole job is ended; one of images runs out, and nobody waits for it."""
        for lane in self._lanes.values():
            lane.revoke(ticket)
        for own in self._own.values():
            own.revoke(ticket)

    async def close(self) -> None:
        """End every worker; what it was doing is owed again at the next start."""
        self._closing = True
        if self._watcher:
            self._watcher.cancel()
        own = (worker for workers in self._own.values() for worker in workers.workers)
        await asyncio.gather(*(worker.close() for worker in (*self._all(), *own)), return_exceptions=True)

    def _all(self) -> list[WorkerProcess]:
        return [*self._pool, *(worker for lane in self._lanes.values() for worker in lane.workers)]

    def _spawn(self) -> WorkerProcess:
        return WorkerProcess(self._config)

    def _own_workers(self, spec: FunctionSpec) -> OwnWorkers:
        folder, config = self._pipeline.folder, self._config
        python = python_of(venv_of(folder, spec.name))
        return OwnWorkers(
            spec.name,
            self.workers,
            spec.resources.memory,
            lambda: WorkerProcess(config, python),
            lambda: why_not(folder, spec.name),
        )

    def _choose(self, ticket: Ticket) -> WorkerProcess:
        for n, worker in enumerate(self._pool):
            if worker.gone:
                self._pool[n] = self._spawn()
        rels = {item.rel for item in ticket.items}
        return min(self._pool, key=lambda worker: (worker.load >= AHEAD, -worker.holds(rels), worker.load))

    async def _watch(self) -> None:
        """Replace dead workers, end those that hang or grow too large, let idle ones go."""
        while not self._closing:
            await asyncio.sleep(WATCH_EVERY)
            for worker in self._all():
                worker.check(self._limit)
            self._pool = [self._replaced(worker) for worker in self._pool]
            for lane in self._lanes.values():
                await lane.let_go()
            for own in self._own.values():
                await own.check()

    def _replaced(self, worker: WorkerProcess) -> WorkerProcess:
        if not worker.gone or self._closing:
            return worker
        log.warning("event=worker.replaced pid=%s why=%s", worker.pid, worker.why_gone)
        return self._spawn()


def _memory_limit(functions: Iterable[FunctionSpec]) -> int | None:
    """Bytes a worker may use: the most that any of these functions asks for; None: nobody says."""
    return max((spec.resources.memory for spec in functions if spec.resources.memory), default=None)
