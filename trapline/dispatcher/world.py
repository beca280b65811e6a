"""Everything the dispatcher is handed, and what its parts share."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from trapline.dispatcher.desk import Desk
from trapline.dispatcher.receivers import Receivers
from trapline.dispatcher.seams import AsyncStore, Clock, Executor
from trapline.keys import Layout
from trapline.ledger.ledger import Ledger
from trapline.ledger.states import Graph
from trapline.ledger.tasks import Effect
from trapline.pipeline.load import Pipeline
from trapline.records import ModelRef


@dataclass(frozen=True)
class PipelinePolicy:
    """The ledger's view of a pipeline's delivery settings."""

    pipeline: Pipeline

    def batch(self, stage: str, function: str) -> int:
        return self.pipeline.stages[stage].functions[function].batch.size

    def attempts(self, stage: str, function: str) -> int:
        return self.pipeline.stages[stage].delivery(function).retry + 1

    def timeout(self, stage: str, function: str) -> float:
        return self.pipeline.stages[stage].delivery(function).timeout.total_seconds()

    def station(self, job: str) -> dict[str, Any]:
        return self.pipeline.station(job)

    def backoff(self, stage: str, function: str, attempt: int) -> float:
        delivery = self.pipeline.stages[stage].delivery(function)
        delay = delivery.backoffDelay.total_seconds()
        wait = delay * attempt if delivery.backoffPolicy == "linear" else delay * 2 ** min(attempt - 1, 30)
        return wait if delivery.backoffMax is None else min(wait, delivery.backoffMax.total_seconds())


def graph_of(pipeline: Pipeline) -> Graph:
    """The per-image stages as the ledger sees them, `fetch` first where there is one."""
    fetch = pipeline.of_kind("fetch")
    names = ((fetch.name,) if fetch else ()) + pipeline.image_stages
    roots = (0,) if fetch else ()
    parents = tuple(
        () if fetch and n == fetch.name else tuple(map(names.index, pipeline.stages[n].parents)) or roots for n in names
    )
    gather = pipeline.of_kind("gather")
    last = gather.parents[0] if gather else names[-1]
    return Graph(names=names, parents=parents, fetch=0 if fetch else -1, last=names.index(last))


async def _always() -> bool:
    return True


@dataclass
class World:
    """The dispatcher's surroundings and shared state."""

    pipeline: Pipeline
    store: AsyncStore
    executor: Executor
    clock: Clock
    rng: Random
    on_change: Callable[[str], None] = lambda job: None  # a job's status was written
    refresh_off: bool = False
    alone: bool = False  # a lock sees to it that no other engine is on this bucket
    in_charge: Callable[[], Awaitable[bool]] = field(default_factory=lambda: _always)  # asked before anything is named
    busy_with: Callable[[str, str], bool] = lambda job, but: False  # whether anything but this is under way for a job
    gathers_from: float = 0.0  # monotonic seconds: an engine that was overtaken may still be naming what it compiled
    news: int = 0  # messages about open jobs that are under way
    receivers: Receivers = field(default_factory=Receivers)
    desks: dict[str, Desk] = field(default_factory=dict)
    effects: defaultdict[str, deque[Effect]] = field(default_factory=lambda: defaultdict(deque))
    wanted: dict[str, bool] = field(default_factory=dict)  # `full`, `names`, `requests`: asked for now
    refused: set[str] = field(default_factory=set)  # what would be a job's folder or manifest, were its name a key
    canaries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # nonce → who told of it, and when
    answered: set[tuple[str, str]] = field(default_factory=set)  # (key, etag) of requests
    models: dict[tuple[str, str], ModelRef] = field(default_factory=dict)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        run = f"{self.rng.getrandbits(48):012x}"
        tracked = self.pipeline.spec.jobs.tracked
        self.ledger = Ledger(
            graph_of(self.pipeline), self.layout, PipelinePolicy(self.pipeline), run=run, tracked=tracked
        )

    @property
    def layout(self) -> Layout:
        return self.pipeline.layout

    def unfit(self, job: str) -> str:
        """Why a job cannot be: its own status or results would have names that the store does not take."""
        limits = self.store.limits
        return self.layout.why_job_unfit(job, limits.key, limits.segment)

    def now(self) -> float:
        return self.clock.monotonic()

    def desk(self, job: str) -> Desk:
        """What is kept for a job; made if it is new."""
        desk = self.desks.get(job)
        if desk is None:
            desk = self.desks[job] = Desk()
        return desk

    @property
    def refresh(self) -> float:
        return self.pipeline.spec.jobs.refresh.total_seconds()

    @property
    def open_every(self) -> float:
        return self.pipeline.spec.sweeps.open.total_seconds()

    @property
    def names_every(self) -> float:
        return self.pipeline.spec.sweeps.names.total_seconds()

    @property
    def full_every(self) -> float:
        return self.pipeline.spec.sweeps.full.total_seconds()
