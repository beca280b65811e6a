"""Attempts that survive a crash: `control/inflight.json`, written at most once a second."""

from __future__ import annotations

import logging

from trapline.dispatcher import refusals
from trapline.dispatcher.world import World
from trapline.ledger.states import OWED, RUNNING
from trapline.records import Inflight, InflightTask, Ticket, load

log = logging.getLogger("trapline.dispatcher")

EVERY = 1.0  # seconds
GOOD_STRETCH = 60.0  # seconds after which earlier unclean stops are forgiven
ENGINE_DEATHS = 5  # unclean stops of the engine over one task that ran alone


class InflightBook:
    """What runs and what waits for its next try, so that a crash forgets no attempt."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._written = Inflight()
        self._at = -1e9
        self._dirty = False
        self._unclean = 0
        self._began = 0.0  # when this engine read what an earlier one left
        self._deaths: dict[str, int] = {}

    async def recall(self) -> None:
        """Read what an earlier engine left. Nothing there: it stopped in good order."""
        world = self._world
        self._began = world.now()
        got = (await refusals.gets(world, [world.layout.inflight]))[0]
        left = load(Inflight, got.data) if got else None
        if left is not None:
            self._unclean = left.unclean_stops + any(task.running for task in left.tasks)
            self._deaths = dict(left.engine_deaths)
            self._charge(left)
            log.warning("event=engine.unclean_stop in_a_row=%d tasks=%d", self._unclean, len(left.tasks))
        await self.write()

    def _charge(self, left: Inflight) -> None:
        """An unclean stop counts only against a task that ran alone in the whole engine."""
        running = [task for task in left.tasks if task.alone]
        for task in running:
            key = _key(task)
            self._deaths[key] = self._deaths.get(key, 0) + 1
        for task in left.tasks:
            suspect = not task.alone and task.running
            died = self._deaths.get(_key(task), 0)
            self._world.ledger.recall(
                task.stage,
                task.rel,
                task.etag,
                task.attempts,
                suspect=suspect or died > 0,
                doomed=died >= ENGINE_DEATHS,
            )

    def note(self) -> None:
        """Something may have changed since the last writing."""
        self._dirty = True

    def due(self, now: float) -> bool:
        """Whether the list is to be written: something changed, and a second has passed."""
        return self._dirty and now - self._at >= EVERY and self._now() != self._written

    async def write(self) -> None:
        """Write the list as it is now."""
        self._dirty, self._at = False, self._world.now()
        if self._at - self._began > GOOD_STRETCH:
            self._unclean = 0
        self._written = self._now()
        await refusals.put(self._world, self._world.layout.inflight, self._written.dump())

    async def before(self, ticket: Ticket) -> None:
        """After a second unclean stop in a row the list is written before each ticket runs."""
        if self._unclean >= 2:
            await self.write()

    async def clean(self) -> None:
        """The engine stops in good order."""
        await self._world.store.delete([self._world.layout.inflight])

    def _now(self) -> Inflight:
        ledger = self._world.ledger
        tasks: list[InflightTask] = []
        alone = len(ledger.held) == 1
        for held in ledger.held.values():
            job = ledger.jobs.get(held.job)
            for rel in held.rels if job else ():
                image = job.images.get(rel) if job else None
                if image is not None and image.states[held.stage] == RUNNING:
                    tries = image.attempts.get(held.stage, 0) if image.attempts else 0
                    name = ledger.graph.names[held.stage]
                    single = alone and len(held.rels) == 1
                    tasks.append(
                        InflightTask(
                            stage=name,
                            job=held.job,
                            rel=rel,
                            attempts=tries,
                            etag=image.etag,
                            alone=single,
                            running=True,
                        )
                    )
        for job in ledger.jobs.values():
            for retry in job.retries:
                image = job.images.get(retry.rel)
                if image is not None and image.states[retry.stage] == OWED and image.attempts:
                    name = ledger.graph.names[retry.stage]
                    tasks.append(
                        InflightTask(
                            stage=name,
                            job=job.name,
                            rel=retry.rel,
                            attempts=image.attempts.get(retry.stage, 0),
                            etag=image.etag,
                        )
                    )
        tasks += [
            InflightTask(stage=stage, job=self._world.layout.job_of(rel), rel=rel, attempts=attempts, etag=etag)
            for stage, rel, etag, attempts in ledger.recalled()
        ]
        return Inflight(unclean_stops=self._unclean, tasks=tuple(tasks), engine_deaths=self._deaths)


def _key(task: InflightTask) -> str:
    return f"{task.stage}\n{task.rel}\n{task.etag}"
