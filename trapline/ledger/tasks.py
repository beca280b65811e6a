"""Handing out tasks and taking in what became of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trapline.errors import CODES
from trapline.ledger import arrivals, marks
from trapline.ledger.states import (
    BLOCKED,
    DONE,
    OWED,
    PASSED,
    RUNNING,
    SKIPPED,
    UNKNOWN,
    Failed,
    Graph,
    Held,
    Image,
    Job,
    Retry,
)
from trapline.records import ItemOutcome, Received

LONGEST_BACKOFF = 3600.0  # seconds
REFUSALS = 8  # of one image's key by a store that answers for others, before the image has failed


class Policy(Protocol):
    """What the pipeline says about running a stage's function."""

    def batch(self, stage: str, function: str) -> int: ...

    def attempts(self, stage: str, function: str) -> int:
        """How often a task is tried in all."""
        ...

    def timeout(self, stage: str, function: str) -> float:
        """Seconds one item may take."""
        ...

    def station(self, job: str) -> dict[str, Any]:
        """What is known about a job's station."""
        ...

    def backoff(self, stage: str, function: str, attempt: int) -> float:
        """Seconds to wait after the n-th try failed."""
        ...


@dataclass(frozen=True)
class Bury:
    """A dead letter to write; `Ledger.buried` confirms it."""

    job: str
    stage: str
    rel: str
    epoch: int
    code: str
    message: str
    remedy: str
    attempts: int
    aside: bool = False  # its usual key cannot be read


@dataclass(frozen=True)
class Unbury:
    """A dead letter to delete: the stage has passed."""

    job: str
    stage: str
    rel: str


Effect = Bury | Unbury


def choose(
    graph: Graph, policy: Policy, job: Job, stages: Sequence[int], parallel: int, now: float
) -> tuple[int, list[str]] | None:
    """The next batch of a job among some stages: the deepest first, so that results appear while images arrive."""
    wake(job, now)
    for stage in reversed(stages):
        rels = _batch(graph, policy, job, stage, stages, parallel)
        if rels:
            return stage, rels
    return _suspect(job, stages)


def _suspect(job: Job, stages: Sequence[int]) -> tuple[int, list[str]] | None:
    """A group that may hold what kills workers: only when there is no healthy work."""
    for _ in range(len(job.suspects)):
        stage, group = job.suspects.popleft()
        if stage not in stages:
            job.suspects.append((stage, group))
            continue
        rels = [r for r in group if r in job.images and job.images[r].states[stage] == OWED]
        if rels:
            return stage, rels
    return None


def wake(job: Job, now: float) -> None:
    """Tasks whose next try has come are ready."""
    while job.retries and job.retries[0].at <= now:
        retry = heapq.heappop(job.retries)
        image = job.images.get(retry.rel)
        if image is not None and image.states[retry.stage] == OWED:
            job.ready[retry.stage].append(retry.rel)


def _batch(graph: Graph, policy: Policy, job: Job, stage: int, stages: Sequence[int], parallel: int) -> list[str]:
    queue = job.ready[stage]
    if not queue:
        return []
    pin = job.pins[graph.names[stage]]
    # Few tasks are spread over the workers. While there are many, those that came back together go out together: the
    # worker that has just had these images in hand need not read them again.
    waiting = sum(len(job.ready[other]) for other in stages)
    size = min(policy.batch(pin.stage, pin.function), max(1, -(-waiting // max(1, parallel))))
    rels: list[str] = []
    while queue and len(rels) < size:
        rel = queue.popleft()
        image = job.images.get(rel)
        if image is not None and image.states[stage] == OWED and rel not in rels:
            rels.append(rel)
    return rels


def start(job: Job, stage: int, rels: Iterable[str], now: float) -> Held:
    """Mark a batch as running."""
    for rel in rels:
        marks.put(job, job.images[rel], stage, RUNNING)
    return Held(job.name, stage, {rel: job.images[rel].epoch for rel in rels}, now)


def attempts_of(image: Image, stage: int) -> int:
    """Tries of a task that counted so far."""
    return image.attempts.get(stage, 0) if image.attempts else 0


def died(graph: Graph, policy: Policy, job: Job, held: Held, code: str, now: float) -> list[Effect]:
    """A worker died over a ticket. It counts against a task only when that ran alone."""
    rels = [rel for rel, epoch in held.rels.items() if _current(job, held, rel, epoch)]
    if len(rels) == 1 == len(held.rels):
        item = ItemOutcome(rel=rels[0], result="failed", code=code, message=CODES[code].meaning, retry=None)
        return fail(graph, policy, job, held, item, now)
    half = (len(rels) + 1) // 2
    for rel in rels:
        marks.put(job, job.images[rel], held.stage, OWED)
    job.suspects.extend((held.stage, group) for group in (rels[:half], rels[half:]) if group)
    return []


def settle(
    graph: Graph, policy: Policy, job: Job, held: Held, item: ItemOutcome, now: float, tracked: int
) -> list[Effect]:
    """Take in what became of one item."""
    if not _current(job, held, item.rel, held.rels.get(item.rel, -1)):
        overwrote(graph, job, held, item)
        return []
    image = job.images[item.rel]
    if item.result in ("done", "skipped"):
        return _passed(graph, job, image, held.stage, item, now)
    if item.result == "failed":
        return fail(graph, policy, job, held, item, now)
    if item.result == "gone":
        marks.put(job, image, held.stage, UNKNOWN)
        arrivals.removed(graph, job, item.rel)
    elif item.result == "changed":
        marks.doubt(job, image, [held.stage])
        received = image.received or Received()
        arrivals.arrived(graph, job, item.rel, item.source.etag, item.source.size, received, now, tracked)
    elif item.result == "refused" and item.stage in graph.names:
        marks.doubt(job, image, sorted({graph.names.index(item.stage), held.stage, *graph.below(held.stage)}))
    elif item.result == "late":
        return _late(graph, policy, job, held, item, now)
    elif item.code and refused_too_often(image, held.stage):
        return fail(graph, policy, job, held, item.model_copy(update={"result": "failed", "retry": False}), now)
    elif item.after is not None:
        marks.put(job, image, held.stage, OWED)
        heapq.heappush(job.retries, Retry(now + item.after, held.stage, item.rel))
    else:
        marks.doubt(job, image, [held.stage])
    return []


def overwrote(graph: Graph, job: Job, held: Held, item: ItemOutcome) -> None:
    """What nobody waited for was committed after all, perhaps over something newer: it is read again."""
    image = job.images.get(item.rel)
    committed = item.result in ("done", "skipped") and held.stage != graph.fetch
    if committed and image is not None and image.states[held.stage] in PASSED:
        marks.doubt(job, image, [held.stage, *graph.below(held.stage)])


def refused_too_often(image: Image, stage: int) -> bool:
    """Count one refusal of what belongs to an image at a stage. It costs no try until it is the last."""
    image.attempts = image.attempts or {}
    times = image.attempts[-1 - stage] = image.attempts.get(-1 - stage, 0) + 1
    return times >= REFUSALS


def _late(graph: Graph, policy: Policy, job: Job, held: Held, item: ItemOutcome, now: float) -> list[Effect]:
    """The time was over before this item was committed. It counts against an item only when that ran alone."""
    if len(held.rels) == 1:
        code = "timeout"
        told = item.model_copy(update={"result": "failed", "code": code, "message": CODES[code].meaning})
        return fail(graph, policy, job, held, told, now)
    marks.put(job, job.images[item.rel], held.stage, OWED)
    job.suspects.append((held.stage, [item.rel]))
    return []


def _current(job: Job, held: Held, rel: str, epoch: int) -> bool:
    image = job.images.get(rel)
    return image is not None and image.epoch == epoch and image.states[held.stage] == RUNNING


def _passed(graph: Graph, job: Job, image: Image, stage: int, item: ItemOutcome, now: float) -> list[Effect]:
    if stage == graph.fetch:
        received = image.received or Received()
        marks.new_bytes(graph, job, image, item.source.etag, item.source.size, item.source.sha256)
        image.received = received
        job.last_arrival = now
        marks.settle_unknown(graph, job, image)
    else:
        image.sha256 = item.source.sha256 or image.sha256
        marks.passed(graph, job, image, stage, SKIPPED if item.result == "skipped" else DONE)
    if image.attempts:
        image.attempts.pop(stage, None)
    if image.graves & 1 << stage:
        image.graves &= ~(1 << stage)
        return [Unbury(job.name, graph.names[stage], image.rel)]
    return []


def fail(graph: Graph, policy: Policy, job: Job, held: Held, item: ItemOutcome, now: float) -> list[Effect]:
    """A task's try failed: again later, or a dead letter."""
    image = job.images[item.rel]
    stage = graph.names[held.stage]
    image.sha256 = item.source.sha256 or image.sha256
    image.attempts = image.attempts or {}
    tries = image.attempts[held.stage] = image.attempts.get(held.stage, 0) + 1
    function = job.pins[stage].function
    if item.retry is not False and tries < policy.attempts(stage, function):
        wait = item.after if item.after is not None else policy.backoff(stage, function, tries)
        marks.put(job, image, held.stage, OWED)
        heapq.heappush(job.retries, Retry(now + min(wait, LONGEST_BACKOFF), held.stage, item.rel))
        return []
    code = item.code if item.code in CODES else "function_error"
    remedy = item.remedy or CODES[code].remedy
    return [Bury(job.name, stage, item.rel, image.epoch, code, item.message or CODES[code].meaning, remedy, tries)]


def buried(graph: Graph, job: Job, grave: Bury, letter: str) -> None:
    """The dead letter stands: the stage has failed and what builds on it is blocked."""
    image = job.images.get(grave.rel)
    if image is None or image.epoch != grave.epoch:
        if image is not None:
            job.to_read[grave.rel] = None  # the dead letter is of bytes that are no longer there
        return
    stage = graph.names.index(grave.stage)
    job.empties.discard(grave.rel)
    if image.states[stage] in (DONE, SKIPPED, BLOCKED):  # it was found out meanwhile what became of it
        image.graves |= 1 << stage
        job.to_read[grave.rel] = None
        return
    marks.failed(graph, job, image, stage, Failed(grave.stage, grave.code, grave.message, grave.remedy, letter))
