"""The ledger: every job, what is owed in it, and who has it in hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from trapline.errors import CODES
from trapline.keys import Layout
from trapline.ledger import arrivals, closing, tasks
from trapline.ledger.arrivals import Chart
from trapline.ledger.marks import new_bytes, put
from trapline.ledger.states import FAILED, OWED, PENDING, RUNNING, SETTLED, Found, Graph, Held, Image, Job
from trapline.ledger.tasks import Bury, Effect, Policy
from trapline.records import Item, Manifest, Outcome, Pin, Received, Ticket


class Ledger:
    """What is owed. The dispatcher tells it what happened and asks it what to do next.

    `run` makes ticket ids unique to one engine; `tracked` bounds the images of one job held in memory.
    """

    def __init__(self, graph: Graph, layout: Layout, policy: Policy, *, run: str, tracked: int = 200_000) -> None:
        self.graph = graph
        self.layout = layout
        self.policy = policy
        self.tracked = tracked
        self.jobs: dict[str, Job] = {}
        self.held: dict[str, Held] = {}
        self._revoked: dict[str, Held] = {}  # nobody waits for their outcomes; what they wrote is there all the same
        self._run = run
        self._tickets = 0
        self._turns: dict[str, int] = {}  # job → images handed out when it had its last turn
        self._turn = 0  # … to the job that had had fewest
        self.graves: list[Bury] = []  # decided while tickets were taken; the dispatcher collects them
        self._recalled: dict[tuple[int, str], tuple[str, int, bool, bool]] = {}  # from before a crash

    # -- what becomes known

    def job(self, name: str, now: float) -> Job:
        """A job by name, made if it is new."""
        if name not in self.jobs:
            self.jobs[name] = Job(name, len(self.graph.names), now)
        return self.jobs[name]

    def arrived(self, rel: str, etag: str, size: int, received: Received, now: float) -> None:
        """An image stands under `incoming/`."""
        job = self.job(self.layout.job_of(rel), now)
        arrivals.arrived(self.graph, job, rel, etag, size, received, now, self.tracked)

    def removed(self, rel: str, now: float) -> None:
        """An image is gone from `incoming/`."""
        arrivals.removed(self.graph, self.job(self.layout.job_of(rel), now), rel)

    def chart(self, name: str, seen: Chart, received: Received) -> None:
        """A whole look at a job was taken."""
        arrivals.chart(self.graph, self.job(name, seen.begun), seen, received, self.tracked)

    def reads(self, name: str, most: int) -> list[tuple[str, int]]:
        """Images whose records are to be read, as (rel, epoch); each is given out once."""
        job = self.jobs[name]
        rels = [rel for rel, _ in zip(job.to_read, range(most), strict=False)]
        for rel in rels:
            del job.to_read[rel]
        return [(rel, job.images[rel].epoch) for rel in rels if rel in job.images]

    def read(self, name: str, rel: str, epoch: int, found: list[Found]) -> list[Effect]:
        """What stands in the bucket about one image."""
        job = self.jobs[name]
        clean = arrivals.read(self.graph, job, rel, epoch, found)
        newer = [f.stage for f in found if f.outcome == "newer"] if rel in job.images else []
        if newer:
            return self._newer(job, job.images[rel], newer)
        if clean:
            return []
        image = job.images.get(rel)
        if image is None:  # its bytes are gone, and an earlier stage passed after all: nothing of it is kept
            return [tasks.Unbury(name, f.stage, rel) for f in found if f.outcome == "failed"]
        stale = [s for s in range(len(self.graph.names)) if image.graves & 1 << s and image.states[s] != FAILED]
        for stage in stale:
            image.graves &= ~(1 << stage)
        return [tasks.Unbury(name, self.graph.names[stage], rel) for stage in stale]

    def _newer(self, job: Job, image: Image, stages: list[str]) -> list[Effect]:
        """Records of a newer release are never overwritten: their images fail, each with a dead letter."""
        numbers = (self.graph.names.index(stage) for stage in stages)
        return [self.grave(job, image, n, "schema_newer") for n in numbers if image.states[n] == RUNNING]

    def hashed(self, name: str, rel: str, etag: str, size: int, sha256: str) -> None:
        """An image's bytes were hashed."""
        arrivals.hashed(self.graph, self.jobs[name], rel, etag, size, sha256)

    def unhashed(self, name: str, rel: str) -> None:
        """An image's bytes cannot be read: they count as others than those that are known."""
        job = self.jobs[name]
        job.to_hash.pop(rel, None)
        image = job.images.get(rel)
        if image is not None:
            new_bytes(self.graph, job, image, image.etag, image.size)
            job.to_read[rel] = None

    def listed(self, name: str, manifest: Manifest, targets: Mapping[str, tuple[str, str, str]], now: float) -> None:
        """A manifest was accepted."""
        arrivals.listed(self.graph, self.job(name, now), manifest, targets, now)

    def pinned(self, name: str, pins: Mapping[str, Pin]) -> None:
        """A job's recipes; where they differ from those it had, everything is read anew."""
        job = self.jobs[name]
        before = {stage: pin.recipe for stage, pin in job.pins.items()}
        job.pins = dict(pins)
        if before and before != {stage: pin.recipe for stage, pin in pins.items()}:
            arrivals.pinned(self.graph, job, pins)

    def exhumed(self, name: str, stage: str, rel: str) -> None:
        """A dead letter is gone from the bucket."""
        if name in self.jobs and stage in self.graph.names:
            arrivals.exhumed(self.graph, self.jobs[name], self.graph.names.index(stage), rel)

    def cancelled(self, name: str, cancelled: bool) -> list[str]:
        """A `_CANCEL` came or went. Returns the tickets to revoke."""
        job = self.jobs[name]
        job.cancelled = cancelled
        job.seq += 1
        if not cancelled:
            return []
        tickets = self._revoke(name)
        arrivals.cancelled_work(self.graph, job)
        return tickets

    def _revoke(self, name: str) -> list[str]:
        tickets = [ticket for ticket, held in self.held.items() if held.job == name]
        for ticket in tickets:
            self._revoked[ticket] = self.held.pop(ticket)
        return tickets

    def forget(self, name: str) -> None:
        """A finished job leaves memory; the bucket has it."""
        self.jobs.pop(name, None)
        self._turns.pop(name, None)

    def recall(self, stage: str, rel: str, etag: str, attempts: int, *, suspect: bool, doomed: bool) -> None:
        """What an engine that crashed knew of a task: its attempts, whether it may be what kills, and too often."""
        if stage in self.graph.names:
            self._recalled[(self.graph.names.index(stage), rel)] = (etag, attempts, suspect, doomed)

    def recalled(self) -> Iterator[tuple[str, str, str, int]]:
        """What was recalled of tasks that were not handed out since: (stage, rel, etag, attempts)."""
        for (stage, rel), (etag, attempts, _, _) in self._recalled.items():
            yield self.graph.names[stage], rel, etag, attempts

    def _remember(self, job: Job, stage: int, rels: list[str]) -> tuple[list[str], list[Bury]]:
        """Sort a batch by what is remembered: (those to run now, dead letters for what kills engines)."""
        run, graves = [], []
        for rel in rels:
            image = job.images[rel]
            etag, attempts, suspect, doomed = self._recalled.pop((stage, rel), ("", 0, False, False))
            if etag != image.etag:
                attempts, suspect, doomed = 0, False, False  # that was about other bytes
            if attempts:
                image.attempts = {**(image.attempts or {}), stage: attempts}
            if doomed:
                graves.append(self.grave(job, image, stage, "engine_died"))
                put(job, image, stage, RUNNING)
            elif suspect:
                job.suspects.append((stage, [rel]))
            else:
                run.append(rel)
        return run, graves

    # -- what to do

    def take(self, parallel: int, now: float) -> Ticket | None:
        """The next ticket of an image stage: highest priority first, jobs in turn.

        `parallel`: how many tickets run at once; what waits is spread over them.
        """
        return self._take([s for s in range(len(self.graph.names)) if s != self.graph.fetch], parallel, now)

    def take_fetch(self, now: float) -> Ticket | None:
        """The next ticket that brings images into the bucket."""
        return self._take([self.graph.fetch], 1, now) if self.graph.fetch >= 0 else None

    def _take(self, stages: list[int], parallel: int, now: float) -> Ticket | None:
        for job in sorted(self._eligible(now), key=lambda job: (-job.priority, self._turns.get(job.name, 0))):
            while chosen := tasks.choose(self.graph, self.policy, job, stages, parallel, now):
                stage, rels = chosen
                if self._recalled:
                    rels, graves = self._remember(job, stage, rels)
                    self.graves += graves
                if rels:
                    # By images, not tickets: a huge job's batches are full, a small one's are not.
                    self._turn = max(self._turn, self._turns.get(job.name, 0))
                    self._turns[job.name] = self._turn + len(rels)
                    return self._ticket(job, stage, rels, now)
        return None

    def _eligible(self, now: float) -> Iterator[Job]:
        for job in self.jobs.values():
            waits = job.retries and job.retries[0].at <= now
            if (
                job.pins
                and not (job.cancelled or job.paused or job.deadline_passed)
                and (any(job.ready) or waits or job.suspects)
            ):
                yield job

    def _ticket(self, job: Job, stage: int, rels: list[str], now: float) -> Ticket:
        self._tickets += 1
        name = self.graph.names[stage]
        pin = job.pins[name]
        ticket = Ticket(
            id=f"{self._run}-{self._tickets}",
            stage=name,
            job=job.name,
            pin=pin,
            parents={
                self.graph.names[p]: job.pins[self.graph.names[p]].recipe
                for p in self.graph.parents[stage]
                if p != self.graph.fetch
            },
            items=tuple(self._item(job, job.images[rel], stage) for rel in rels),
            limit_seconds=self.policy.timeout(name, pin.function) * len(rels),
            station=self.policy.station(job.name),
        )
        self.held[ticket.id] = tasks.start(job, stage, rels, now)
        return ticket

    def _item(self, job: Job, image: Image, stage: int) -> Item:
        url = job.listed[image.rel][2] if image.rel in job.listed and stage == self.graph.fetch else ""
        return Item(
            rel=image.rel,
            key=self.layout.image(image.rel),
            etag=image.etag,
            size=image.size,
            attempt=tasks.attempts_of(image, stage) + 1,
            received=image.received or Received(),
            url=url,
            sha256=image.sha256,
            missing=self.graph.missing(image, stage),
        )

    # -- what became of it

    def finish(self, outcome: Outcome, now: float) -> list[Effect]:
        """Take in what became of a ticket; returns the dead letters to write and to delete."""
        revoked = self._revoked.pop(outcome.ticket, None)
        held = self.held.pop(outcome.ticket, None) or revoked
        job = self.jobs.get(held.job) if held else None
        if held is None or job is None:
            return []
        if revoked is not None:
            for one in outcome.items:
                tasks.overwrote(self.graph, job, held, one)
            return []
        if outcome.died:
            return tasks.died(self.graph, self.policy, job, held, outcome.died, now)
        effects: list[Effect] = []
        told = {item.rel: item for item in outcome.items}
        for rel in held.rels:
            item = told.get(rel) or outcome.setup
            if item is None:
                self._returned(job, held, rel)
            else:
                effects += tasks.settle(
                    self.graph, self.policy, job, held, item.model_copy(update={"rel": rel}), now, self.tracked
                )
        return effects

    def _returned(self, job: Job, held: Held, rel: str) -> None:
        """A ticket came back without having begun this item: it is owed as before."""
        image = job.images.get(rel)
        if image is not None and image.epoch == held.rels[rel] and image.states[held.stage] == RUNNING:
            put(job, image, held.stage, OWED)
            job.ready[held.stage].append(rel)

    def buried(self, grave: Bury, letter: str = "") -> None:
        """A dead letter stands in the bucket; under another key than usual, if the store refuses that."""
        if grave.job in self.jobs:
            tasks.buried(self.graph, self.jobs[grave.job], grave, letter)

    def refused(self, name: str, rel: str, stage: int) -> list[Bury]:
        """A record or dead letter that a compile needs cannot be read, though others can: not for ever."""
        job = self.jobs[name]
        image = job.images.get(rel)
        if image is None or not tasks.refused_too_often(image, stage):
            return []
        letter = image.states[stage] == FAILED
        put(job, image, stage, RUNNING)
        return [replace(self.grave(job, image, stage, "store_refused"), aside=letter)]

    def deadline(self, name: str) -> tuple[list[str], list[Effect]]:
        """A job's deadline passed: (tickets to revoke, dead letters to write for what did not run)."""
        job = self.jobs[name]
        job.deadline_passed = True
        tickets = self._revoke(name)
        return tickets, [grave for image in job.images.values() for grave in self._late(job, image)]

    def overdue(self, name: str) -> list[Bury]:
        """Dead letters for what came to be owed after the deadline."""
        job = self.jobs[name]
        graves = []
        for image in job.images.values():
            for stage in (s for s, state in enumerate(image.states) if state == OWED):
                put(job, image, stage, RUNNING)
                graves.append(self.grave(job, image, stage, "deadline_passed"))
        return graves

    def _late(self, job: Job, image: Image) -> list[Bury]:
        # What is unknown may be done: it is read first, and `overdue` sees to it if it turns out to be owed.
        stages = [stage for stage, state in enumerate(image.states) if state in (OWED, RUNNING)]
        if stages:
            image.epoch += 1
        return [self.grave(job, image, stage, "deadline_passed") for stage in stages]

    def empties(self, name: str) -> list[Bury]:
        """Dead letters for the images that still have no bytes when the job closes."""
        job = self.jobs[name]
        graves = []
        for rel in sorted(job.empties):
            image = job.images[rel]
            stages = [s for s, state in enumerate(image.states) if state == PENDING and self._next(image, s)]
            if not stages:
                job.empties.discard(rel)
            code = "empty_file" if image.size == 0 else "source_missing"
            graves += [self.grave(job, image, stage, code) for stage in stages]
        return graves

    def _next(self, image: Image, stage: int) -> bool:
        """Whether a stage waits for nothing but the image's bytes."""
        return all(image.states[parent] in SETTLED for parent in self.graph.parents[stage])

    def grave(self, job: Job, image: Image, stage: int, code: str) -> Bury:
        """A dead letter that the engine itself decides on."""
        from_code = CODES[code]
        tries = tasks.attempts_of(image, stage)
        return Bury(
            job.name, self.graph.names[stage], image.rel, image.epoch, code, from_code.meaning, from_code.remedy, tries
        )

    def due(self, name: str) -> float | None:
        """When the job's next waiting task is due."""
        job = self.jobs[name]
        return job.retries[0].at if job.retries else None

    def may_close(self, name: str, now: float, refresh: float, settle: float) -> bool:
        """Whether the closing condition holds; remembers since when."""
        job = self.jobs[name]
        holds = closing.may_close(job, now, refresh, settle)
        if not holds:
            job.closing_since = None
        elif job.closing_since is None:
            job.closing_since = now
        return holds
