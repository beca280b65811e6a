"""One world: engines that live and die over one bucket, clients, and a trigger that tells of some of it."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation import clients, end_state
from tests.simulation.bucket import Bucket, EngineStore, Faults
from tests.simulation.checks import Checks
from tests.simulation.plan import Life, Luck, Plan
from tests.simulation.story import Broken, Story
from tests.simulation.workers import Killed, SimulatedExecutor, pause
from trapline.dispatcher.dispatcher import Dispatcher
from trapline.dispatcher.world import World
from trapline.errors import StoreError, SurroundingsError
from trapline.events import ObjectEvent
from trapline.pipeline.load import Pipeline, load_pipeline
from trapline.pipeline.spec import Notices
from trapline.testing import EPOCH, SimulatedLoop

PROJECT = Path(__file__).parent / "project"
SHAPES = {"chain": PROJECT, "joined": PROJECT.parent / "joined"}
SETTLE = 60.0  # seconds, as pipeline.yaml says
PEOPLE = Notices(to=("json://people",), on=("opened", "progress", "completed", "updated"))
PATIENCE = 3600.0  # seconds in which a calm world has to settle


@cache
def pipelines(shape: str) -> tuple[Pipeline, Pipeline]:
    """The pipeline of a shape, and the same one after `detect` was changed."""
    pipeline = load_pipeline(SHAPES[shape])
    stage = pipeline.stages["detect"]
    function = stage.functions["detect"].model_copy(update={"version": "2.0.0"})
    changed = type(stage)(**{**vars(stage), "functions": {"detect": function}})
    return pipeline, Pipeline(pipeline.folder, pipeline.spec, {**pipeline.stages, "detect": changed})


def pipeline_of(plan: Plan, variant: int) -> Pipeline:
    """A life's pipeline, with the plan's bounds."""
    base = pipelines(plan.shape)[variant]
    jobs = base.spec.jobs.model_copy(update={"tracked": plan.tracked})
    results = base.spec.results.model_copy(update={"keep": plan.keep})
    notify = PEOPLE if plan.seed % 4 == 3 else base.spec.notify
    spec = base.spec.model_copy(update={"jobs": jobs, "results": results, "notify": notify})
    return Pipeline(base.folder, spec, base.stages)


@dataclass
class Clock:
    """The loop's time; the wall's may jump."""

    loop: asyncio.AbstractEventLoop
    offset: float = 0.0

    def monotonic(self) -> float:
        return self.loop.time()

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.time() + self.offset)


@dataclass
class Engine:
    """One process: a dispatcher, its workers, its way to the bucket."""

    number: int
    world: World
    executor: SimulatedExecutor
    dispatcher: Dispatcher
    kill_at: int = 0
    requests: int = 0
    dead: bool = False
    task: asyncio.Task[None] | None = None
    failure: BaseException | None = None  # what it ended with, if by itself


@dataclass
class Simulated:
    """Plays a plan."""

    plan: Plan
    loop: SimulatedLoop = field(default_factory=SimulatedLoop)

    def __post_init__(self) -> None:
        plan = self.plan
        self.story = Story(self.loop.time)
        self.luck = Luck(plan.seed)
        self.clock = Clock(self.loop)
        self.bucket = Bucket(plan, self.story, lambda: self.clock.wall().timestamp())
        self.faults = Faults(plan, self.luck, self.story)
        self.engines: list[Engine] = []
        self.asked: Counter[tuple[str, str, str]] = Counter()  # (stage, rel, hash of the bytes)
        self.told: list[tuple[str, str, str]] = []
        self.told_people: list[tuple[str, str, str]] = []
        self.heard: list[tuple[str, str, str]] = []  # news of open jobs: (job, event, to)
        self.late: list[tuple[float, ObjectEvent]] = []  # events that come when their time has come
        self.errors: list[tuple[str, BaseException | None]] = []  # what engines logged as errors of their own
        self.variant = 0
        self.checks = Checks(self)
        self.bucket.watch = self.checks.changed
        self.clients = clients.Clients(self)

    def run(self) -> None:
        """Play the plan to its end. Raises `Broken`."""
        try:
            self.loop.run_until_complete(self._run())
        finally:
            self.loop.close()

    async def _run(self) -> None:
        self.clients.perform("promote", (0,))
        for number, life in enumerate(self.plan.lives):
            last = number == len(self.plan.lives) - 1
            if self.plan.jumps:
                self.clock.offset += self.plan.jumps[number]
            ended = self.loop.time()
            await asyncio.sleep(life.pause)
            self.clients.tear(life.torn, ended - 2.0)
            self.checks.new_life(life.variant, self.variant)
            self.variant = life.variant
            await self._live(life, last)
            self._no_errors()
        end_state.check(self)
        if self.plan.mirrored and not self.plan.cursed and not self.clients.set_deadlines:
            # What a deadline cut off, or the store refused, may be tried once more there.
            await self._mirrored()

    def _no_errors(self) -> None:
        """Raise what was found wrong while the engine ran; an engine may have swallowed it."""
        if self.checks.broken is not None:
            raise self.checks.broken
        if self.errors:
            said, error = self.errors[0]
            raise Broken("the engine meets no error of its own", f"{said} {error!r}") from error

    # -- engines

    async def _live(self, life: Life, last: bool) -> None:
        self._begin(life.kill_at if life.end == "request" else 0)
        try:
            for n, (seconds, what, given) in enumerate(life.steps):
                await asyncio.sleep(seconds)
                self._deliver()
                self.clients.perform(what, given)
                if life.rivals and n == len(life.steps) // 2:
                    self._begin(0)
            if last:
                self._no_errors()
                await self._calm_down()
        finally:
            await self._end(clean=life.end == "clean")

    def _begin(self, kill_at: int) -> Engine:
        number = len(self.engines) + 1
        who = f"engine {number}"
        pipeline = pipeline_of(self.plan, self.variant)
        executor = SimulatedExecutor(who, self.plan, pipeline, self.bucket, self.faults, self.luck, self.story)
        rng = Random(self.plan.seed * 1000 + number)
        store = EngineStore(self.bucket, self.faults, who)
        world = World(pipeline, store, executor, self.clock, rng)
        engine = Engine(number, world, executor, Dispatcher(world), kill_at)
        world.alone = not any(life.rivals for life in self.plan.lives)
        store.tick = lambda: self._tick(engine)
        self.engines.append(engine)
        self.story.add(who, "starts")
        engine.task = asyncio.create_task(self._keep_running(engine))
        return engine

    async def _keep_running(self, engine: Engine) -> None:
        """The engine's own start may fail while the store does; a supervisor starts it again."""
        while not engine.dead:
            try:
                await engine.dispatcher.run()
            except StoreError:
                await asyncio.sleep(1.0)
                engine.world = World(
                    engine.world.pipeline, engine.world.store, engine.executor, self.clock, engine.world.rng
                )
                engine.world.alone = not any(life.rivals for life in self.plan.lives)
                engine.dispatcher = Dispatcher(engine.world)
            except SurroundingsError:
                self.story.add(f"engine {engine.number}", "stops: another engine took over")
                engine.dead = True
                engine.executor.kill()
                return
            except Exception as error:
                engine.failure = error
                raise

    def _tick(self, engine: Engine) -> None:
        """At every request of an engine: it may be killed here."""
        engine.requests += 1
        if engine.kill_at and engine.requests >= engine.kill_at and not engine.dead:
            self._kill(engine)
        if engine.dead:
            raise asyncio.CancelledError
        self.checks.of_memory(engine)

    def _kill(self, engine: Engine) -> None:
        self.story.add(f"engine {engine.number}", "is killed")
        engine.dead = True
        if engine.task:
            engine.task.cancel()
        if not self.plan.zombies:
            engine.executor.kill()

    async def _end(self, *, clean: bool) -> None:
        for engine in self.engines:
            if engine.failure is not None:
                raise Broken("an engine ended by itself", repr(engine.failure)) from engine.failure
            if not engine.dead and not clean:
                self._kill(engine)
            if engine.task is not None:
                engine.task.cancel()
                await asyncio.gather(engine.task, return_exceptions=True)
                engine.task = None
                if not engine.dead:
                    self.story.add(f"engine {engine.number}", "stops")
                    await self._stop_cleanly(engine)
                engine.dead = True

    async def _stop_cleanly(self, engine: Engine) -> None:
        with suppress(StoreError):
            await engine.dispatcher.stop_cleanly()

    @property
    def alive(self) -> list[Engine]:
        return [engine for engine in self.engines if not engine.dead]

    # -- the trigger

    def tell(self, key: str, kind: str) -> None:
        """An object came or went: whoever listens may hear of it, once or twice, soon or late, or never."""
        if self.luck.draw("event lost", key) < self.plan.lost:
            return
        for _ in range(1 + (self.luck.draw("event twice", key) < 0.2)):
            event = ObjectEvent(key, "created" if kind == "created" else "removed", "simulated")
            luck = self.luck.draw("event late", key)
            delay = (60.0 if luck < self.plan.late / 2 else 7200.0) if luck < self.plan.late else luck * 2
            if delay < 3:
                self.loop.call_later(delay, self._notice, event)
            else:
                self.late.append((self.loop.time() + delay, event))

    def _notice(self, event: ObjectEvent) -> None:
        for engine in self.alive:
            engine.dispatcher.notice(event)

    def _deliver(self, *, everything: bool = False) -> None:
        """Tell of what is late and whose time has come."""
        now = self.loop.time()
        due = [event for at, event in self.late if at <= now or everything]
        self.late = [(at, event) for at, event in self.late if at > now and not everything]
        for event in due:
            self.checks.heard(event.key)
            self._notice(event)

    # -- the calm

    async def _calm_down(self) -> None:
        self.story.add("world", "calms down")
        self.faults.on = False
        self.clients.finish()
        await asyncio.sleep(30.0)
        self._deliver(everything=True)
        until = self.loop.time() + PATIENCE
        while not end_state.reached(self):
            self._no_errors()
            if self.loop.time() > until:
                end_state.check(self)
            await asyncio.sleep(30.0)
        await asyncio.gather(*(engine.executor.gone() for engine in self.engines))
        await asyncio.sleep(SETTLE + 25.0)  # what has settled stays so, whoever comes late
        end_state.nothing_owed(self)

    async def _mirrored(self) -> None:
        """The bucket in another store: an engine there finds everything done and tells nobody."""
        before, asked = set(self.bucket.keys("results/")), self.asked.total()
        told = len(self.told + self.told_people + self.heard)
        self.bucket = self.bucket.mirror(self.plan)
        self.bucket.watch = self.checks.changed
        self.story.add("world", "is mirrored to another store")
        self._begin(0)
        await asyncio.sleep(SETTLE + 30.0)
        await self._end(clean=True)
        made = sorted(set(self.bucket.keys("results/")) - before)
        if made or self.asked.total() != asked or len(self.told + self.told_people + self.heard) != told:
            raise Broken("a mirrored bucket runs and tells nothing again", f"{made} {self.told[told:]}")
        end_state.check(self)

    # -- what the functions see of the world

    def see(self, stage: str, rel: str, data: bytes) -> int:
        key = (stage, rel, hashlib.sha256(data).hexdigest())
        self.asked[key] += 1
        return self.asked[key]


class Here:
    """The world as the functions in it see it."""

    def __init__(self, world: Simulated) -> None:
        self._world = world

    def asked(self, stage: str, rel: str, data: bytes) -> int:
        return self._world.see(stage, rel, data)

    def nonce(self) -> str:
        return f"{self._world.loop.time():.6f}"

    def pause(self, seconds: float) -> None:
        pause(seconds)

    def die(self) -> None:
        raise Killed

    def fails(self, what: str, name: str) -> bool:
        world = self._world
        failing = world.faults.on and world.luck.draw("function", what, name) < world.plan.functions
        if failing:
            world.story.add("function", f"{what} of {name} fails")
        return failing

    def told(self, job: str, revision: str, webhook_id: str, to: str) -> None:
        self._world.story.add(to, f"is told of {job} {revision} {webhook_id}")
        told = self._world.told_people if to == "people" else self._world.told
        told.append((job, revision, webhook_id))

    def news(self, job: str, event: str, to: str) -> None:
        self._world.story.add(to, f"hears of {job}: {event}")
        self._world.heard.append((job, event, to))


def play(plan: Plan) -> Simulated:
    """Play one plan to its end. Raises `Broken`; its `world` has the story."""
    world = Simulated(plan)
    gc.set_threshold(100_000)  # a world is short-lived and full of cycles: collecting it in small steps is dear
    with _functions(world):
        try:
            world.run()
        except Broken as broken:
            broken.world = world
            raise
        except Exception as error:
            found = Broken("the engine itself failed", repr(error))
            found.world = world
            raise found from error
    return world


@contextmanager
def _functions(world: Simulated) -> Iterator[None]:
    if str(PROJECT) not in sys.path:
        sys.path.insert(0, str(PROJECT))
    case: Any = importlib.import_module("simulated_functions")
    case.HERE[:] = [Here(world)]
    listening, told = _Listening(world), logging.getLogger("trapline.dispatcher")
    told.addHandler(listening)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        told.removeHandler(listening)
        case.HERE.clear()


class _Listening(logging.Handler):
    """Notes what the engine logs as an error of its own."""

    def __init__(self, world: Simulated) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not str(error).startswith("simulated"):
            self._world.errors.append((record.getMessage(), error))


def as_json(data: bytes | None) -> Any:
    """What an object says; None when it is not there or torn."""
    try:
        return json.loads(data) if data is not None else None
    except ValueError:
        return None
