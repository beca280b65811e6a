"""One seed, one world: what clients do, what goes wrong, and what must hold when the dust settles."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from trapline.dispatcher.dispatcher import Dispatcher
from trapline.dispatcher.world import World
from trapline.errors import NotFound, StoreUnavailable
from trapline.events import ObjectEvent
from trapline.pipeline.load import Pipeline, load_pipeline
from trapline.records import Outcome, Ticket
from trapline.runtime.runtime import Runtime
from trapline.store.base import Entry
from trapline.store.memory import MemoryStore
from trapline.testing import AsyncMemory, InlineExecutor, SimulatedClock, SimulatedLoop

PROJECT = Path(__file__).parents[1] / "functions" / "basic"
JOBS = ("st1/n1", "st1/n2", "st2/n1")
WORDS = ("moth", "beetle", "moth beetle", "nothing", "bad moth", "flaky moth", "moth moth moth")


SETTLE = 300.0  # seconds


def simulated_pipeline() -> Pipeline:
    """The basic pipeline with shorter times, so that a seed does not simulate days of nothing."""
    pipeline = load_pipeline(PROJECT)
    jobs = pipeline.spec.jobs.model_copy(update={"settle": timedelta(seconds=SETTLE)})
    sweeps = pipeline.spec.sweeps.model_copy(update={"full": timedelta(minutes=20)})
    spec = pipeline.spec.model_copy(update={"jobs": jobs, "sweeps": sweeps})
    return Pipeline(pipeline.folder, spec, pipeline.stages)


class Broken(AssertionError):
    """A promise did not hold."""


@dataclass
class Story:
    """What happened, in order, for a person to read."""

    lines: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        self.lines.append(what)


class WatchedStore(MemoryStore):
    """Checks at every write that nothing named by a summary changes."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self._story = story
        self.named: dict[str, str] = {}  # key of a final revision's file → sha256
        self.finals: dict[str, list[str]] = {}  # job → revisions named, in order

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        digest = hashlib.sha256(data).hexdigest()
        if self.named.get(key, digest) != digest:
            raise Broken(f"{key} was changed after a summary named it")
        entry = super().put(key, data, content_type=content_type, create_only=create_only)
        if key.startswith("results/") and key.count("/") == 3 and key.endswith("/summary.json"):
            self._named(key, json.loads(data))
        return entry

    def _named(self, key: str, summary: dict[str, Any]) -> None:
        for file in summary["files"]:
            try:
                found = hashlib.sha256(self.get(file["key"]).data).hexdigest()
            except NotFound:
                raise Broken(f"{key} names {file['key']}, which is not there") from None
            if found != file["sha256"]:
                raise Broken(f"{key} names {file['key']} with another hash")
            if summary["final"]:
                self.named[file["key"]] = found
        revisions = self.finals.setdefault(summary["job"], [])
        if summary["final"] and summary["revision"] not in revisions:
            revisions.append(summary["revision"])
            self._story.add(f"named {summary['job']} {summary['revision']} {summary['state']}")


class Faults:
    """Requests that are slow, fail, or fail after they took effect, while `on`."""

    def __init__(self, rng: Random, rate: float) -> None:
        self.rng = rng
        self.rate = rate
        self.on = True

    async def before(self, what: str, key: str) -> None:
        await asyncio.sleep(self.rng.random() * 0.05)
        if self.on and self.rng.random() < self.rate:
            raise StoreUnavailable(f"simulated: {what} {key} failed")


class FaultyMemory(AsyncMemory):
    """Writes may answer an error after they took effect."""

    def __init__(self, store: MemoryStore, faults: Faults) -> None:
        super().__init__(store, faults.before)
        self._faults = faults

    async def put(self, key: str, data: bytes, content_type: str = "application/json") -> Entry:
        entry = await super().put(key, data, content_type)
        if self._faults.on and self._faults.rng.random() < self._faults.rate:
            raise StoreUnavailable(f"simulated: the answer to put {key} was lost")
        return entry


class FaultyExecutor(InlineExecutor):
    """Workers that are slow, die, hang and return late."""

    def __init__(self, runtime: Runtime, rng: Random, rate: float) -> None:
        super().__init__(runtime, slots=rng.randint(1, 4))
        self._rng = rng
        self._rate = rate
        self.on = True

    async def run(self, ticket: Ticket) -> Outcome:
        await asyncio.sleep(self._rng.random() * 2)
        luck = self._rng.random() if self.on else 1.0
        if luck < self._rate:
            return Outcome(ticket=ticket.id, died="worker_died")  # before it did anything
        outcome = self.runtime.run(ticket)
        if luck < 2 * self._rate:
            return Outcome(ticket=ticket.id, died="worker_died")  # after it committed
        if luck < 3 * self._rate:
            await asyncio.sleep(30)
        return outcome


class Simulation:
    """Plays one seed. `run` raises `Broken` with the story when a promise does not hold."""

    def __init__(self, seed: int, pipeline: Pipeline | None = None) -> None:
        self.rng = Random(seed)
        self.seed = seed
        self.story = Story()
        self.store = WatchedStore(self.story)
        self.pipeline = pipeline or simulated_pipeline()
        self.rate = self.rng.choice((0.0, 0.02, 0.1, 0.25))
        self.lost_events = self.rng.choice((0.0, 0.1, 0.5, 1.0))
        self.truth: dict[str, str] = {}  # rel → words
        self.dispatcher: Dispatcher | None = None

    def run(self) -> None:
        """Some engines that are killed, then one that is left alone."""
        try:
            for _ in range(self.rng.randint(0, 3)):
                self._engine(self._trouble, clean=self.rng.random() < 0.3)
            self._engine(self._calm, clean=True)
            check(self)
        except Broken as broken:
            raise Broken(f"seed {self.seed}: {broken}\n" + "\n".join(self.story.lines)) from broken

    # -- engines

    def _engine(self, scenario: Callable[[Faults, FaultyExecutor], Awaitable[None]], *, clean: bool) -> None:
        loop = SimulatedLoop()
        try:
            loop.run_until_complete(self._lifetime(scenario, clean))
        finally:
            loop.close()

    async def _lifetime(self, scenario: Callable[[Faults, FaultyExecutor], Awaitable[None]], clean: bool) -> None:
        faults = Faults(self.rng, self.rate)
        clock = SimulatedClock()
        runtime = Runtime(self.pipeline, self.store, Path("unused"), other=lambda b: self.store, clock=clock.monotonic)
        executor = FaultyExecutor(runtime, self.rng, self.rate / 3)
        world = World(self.pipeline, FaultyMemory(self.store, faults), executor, clock, Random(self.rng.random()))
        self.dispatcher = Dispatcher(world)
        self.story.add("engine starts")
        task = asyncio.create_task(self._keep_running(world, faults))
        try:
            await scenario(faults, executor)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.story.add("engine stops" if clean else "engine is killed")
            faults.on = False
            if clean and self.dispatcher is not None:
                await self.dispatcher.stop_cleanly()

    async def _keep_running(self, world: World, faults: Faults) -> None:
        """The engine's own start may fail while the store does; a supervisor starts it again."""
        while True:
            try:
                await self.dispatcher_of(world).run()
            except StoreUnavailable:
                await asyncio.sleep(1)

    def dispatcher_of(self, world: World) -> Dispatcher:
        self.dispatcher = Dispatcher(world)
        return self.dispatcher

    # -- what clients do

    async def _trouble(self, faults: Faults, executor: FaultyExecutor) -> None:
        for _ in range(self.rng.randint(1, 25)):
            self._something()
            await asyncio.sleep(self.rng.choice((0.0, 0.01, 0.3, 2.0, 10.0)))

    async def _calm(self, faults: Faults, executor: FaultyExecutor) -> None:
        for _ in range(self.rng.randint(3, 20)):
            self._something()
            await asyncio.sleep(self.rng.choice((0.0, 0.1, 3.0)))
        faults.on = executor.on = False
        for job in JOBS:
            if any(rel.startswith(job + "/") for rel in self.truth):
                self._delete(f"incoming/{job}/_CANCEL")
                self._put(f"incoming/{job}/_DONE", b"")
        for _ in range(40):
            await asyncio.sleep(180)
            if self._settled():
                break
        await asyncio.sleep(SETTLE + 60)  # what has settled stays so

    def _settled(self) -> bool:
        try:
            check(self)
        except Broken:
            return False
        return True

    def _something(self) -> None:
        job = self.rng.choice(JOBS)
        luck = self.rng.random()
        if luck < 0.70:
            name = self.rng.choice("abcdefgh") + ".jpg"
            words = self.rng.choice(WORDS)
            self._image(f"{job}/{name}", words)
        elif luck < 0.78:
            self._put(f"incoming/{job}/_DONE", self.rng.choice((b"", b"3", b"99")))
        elif luck < 0.82:
            self._put(f"incoming/{job}/_CANCEL", b"")
        elif luck < 0.88:
            self._delete(f"incoming/{job}/_CANCEL")
        elif luck < 0.95:
            self._exhume(job)
        else:
            self._again()

    def _image(self, rel: str, words: str) -> None:
        self.truth[rel] = words
        self._put(f"incoming/{rel}", words.encode())

    def _exhume(self, job: str) -> None:
        letters = [e.key for e in self.store.list("failed/") if f"/{job}/" in e.key]
        if letters:
            self._delete(self.rng.choice(letters))

    def _again(self) -> None:
        """An event that is told twice, or of nothing."""
        keys = [e.key for e in self.store.list("")]
        self._tell(
            ObjectEvent(self.rng.choice([*keys, "incoming/x", "nonsense//", "jobs/a.json"]), "created", "simulated")
        )

    def _put(self, key: str, data: bytes) -> None:
        self.story.add(f"put {key} {data!r}")
        self.store.put(key, data)
        self._tell(ObjectEvent(key, "created", "simulated"))

    def _delete(self, key: str) -> None:
        self.story.add(f"delete {key}")
        self.store.delete(key)
        self._tell(ObjectEvent(key, "removed", "simulated"))

    def _tell(self, event: ObjectEvent) -> None:
        if self.rng.random() < self.lost_events or self.dispatcher is None:
            return
        for _ in range(self.rng.choice((1, 1, 1, 2))):
            delay = self.rng.choice((0.0, 0.0, 0.5, 20.0))
            asyncio.get_running_loop().call_later(delay, self.dispatcher.notice, event)


def check(world: Simulation) -> None:
    """Every image accounted for exactly once under the right hash; told once per final revision; nothing owed."""
    store = world.store
    for job in JOBS:
        rels = {rel: words for rel, words in world.truth.items() if rel.startswith(job + "/")}
        if rels:
            _check_job(store, job, rels)


def _check_job(store: WatchedStore, job: str, rels: dict[str, str]) -> None:
    summary, status = _json(store, f"results/{job}/summary.json"), _json(store, f"status/{job}.json")
    if summary is None or not summary["final"] or status is None or not status["closed"]:
        raise Broken(f"{job} did not close: {status and status['state']} {summary and summary['revision']} {status}")
    file = next((f for f in summary["files"] if f["name"] == "results.jsonl"), None)
    if file is None:
        raise Broken(f"{job}: {summary['results']}")
    lines = [json.loads(line) for line in store.get(file["key"]).data.splitlines()]
    if Counter(line["rel"] for line in lines) != Counter(rels.keys()):
        raise Broken(f"{job}: results name {sorted(line['rel'] for line in lines)}, there are {sorted(rels)}")
    for line in lines:
        _check_line(store, job, line, rels[line["rel"]])
    _check_told(store, job, summary)
    if status["revision"] != summary["revision"] or status["state"] != summary["state"]:
        said = f"{status['state']} {status['revision']}"
        raise Broken(f"{job}: status says {said}, summary {summary['state']} {summary['revision']}")


def _check_line(store: WatchedStore, job: str, line: dict[str, Any], words: str) -> None:
    rel = line["rel"]
    if line["state"] == "failed":
        if "bad" in words or line["code"] in ("worker_died", "function_error"):
            return
        raise Broken(f"{rel} failed with {line['code']} but holds {words!r}")
    if "bad" in words:
        raise Broken(f"{rel} is {line['state']} but holds {words!r}")
    expected = [w for w in words.split() if w in ("moth", "beetle")]
    if sorted(line["labels"]) != sorted(expected):
        raise Broken(f"{rel} holds {words!r}, results say {line['labels']}")
    record = _json(store, f"classifications/{rel}.json")
    if record is None or record["source"]["sha256"] != hashlib.sha256(words.encode()).hexdigest():
        raise Broken(f"{rel}: the record is not of the bytes that are there")
    if _json(store, f"failed/detect/{rel}.json") or _json(store, f"failed/classify/{rel}.json"):
        raise Broken(f"{rel} is {line['state']} and has a dead letter")


def _check_told(store: WatchedStore, job: str, summary: dict[str, Any]) -> None:
    receipts = {e.key.rpartition("/")[2].removesuffix(".json") for e in store.list(f"receipts/{job}/")}
    dead = {e.key.rpartition("/")[2].removesuffix(".json") for e in store.list(f"failed/notify/{job}/")}
    finals = {revision.removeprefix("r") for revision in store.finals[job]}
    if receipts & dead or receipts | dead != finals:
        raise Broken(
            f"{job}: final revisions {sorted(finals)}, receipts {sorted(receipts)}, dead letters {sorted(dead)}"
        )


def _json(store: MemoryStore, key: str) -> Any:
    try:
        return json.loads(store.get(key).data)
    except NotFound:
        return None


def play(seed: int, pipeline: Pipeline | None = None) -> Simulation:
    """Play one seed to its end."""
    case = _case()
    case.forget()
    logging.disable(logging.CRITICAL)
    try:
        world = Simulation(seed, pipeline)
        world.run()
        return world
    finally:
        logging.disable(logging.NOTSET)


def _case() -> Any:
    if str(PROJECT) not in sys.path:
        sys.path.insert(0, str(PROJECT))
    return importlib.import_module("case_basic")
