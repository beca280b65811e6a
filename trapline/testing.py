"""In-memory peers of the seams: a clock, a store and an executor for tests without waiting, processes or disks.

For function authors: `run_function` calls one function on local bytes and records. For whole pipelines: `Simulated`
runs the real dispatcher and the real runtime in simulated time.
"""

from __future__ import annotations

import asyncio
import hashlib
import selectors
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from trapline.dispatcher.dispatcher import Dispatcher
from trapline.dispatcher.world import World
from trapline.errors import Failure, KeyUnusable, NotFound, Permanent, SurroundingsError
from trapline.events import ObjectEvent
from trapline.images import Image
from trapline.pipeline.load import Pipeline, load_function, load_pipeline
from trapline.pipeline.parameters import resolve_parameters
from trapline.pipeline.spec import FunctionSpec
from trapline.records import DeadLetter, FileRef, ImageRecord, Outcome, ProducedBy, RollEntry, Source, Ticket, load
from trapline.runtime.functions import handler_class
from trapline.runtime.images import merged
from trapline.runtime.items import Context, GatherItem, ImageItem, Member, sha256_of
from trapline.runtime.runtime import Runtime
from trapline.store.base import Entry, Got, KeyLimits, Level
from trapline.store.memory import MemoryStore

T = TypeVar("T")
EPOCH = datetime(2026, 6, 1, 22, 0, tzinfo=UTC)


# -- time


class _NoWait(selectors.SelectSelector):
    """Never waits: what the loop would have waited is added to its own time."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise SurroundingsError("The simulated world has nothing left to wait for.")
        self.skipped += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time. Threads have no place in it."""

    def __init__(self) -> None:
        self._time = _NoWait()
        super().__init__(self._time)

    def time(self) -> float:
        return self._time.skipped


class SimulatedClock:
    """The loop's time, from `EPOCH` on."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.monotonic())


# -- the store


class AsyncMemory:
    """A `MemoryStore` behind the dispatcher's seam. `before` may delay a request or make it fail."""

    def __init__(self, store: MemoryStore, before: Callable[[str, str], Awaitable[None]] | None = None) -> None:
        self.store = store
        self._before = before

    @property
    def limits(self) -> KeyLimits:
        return self.store.limits

    async def get(self, key: str) -> Got:
        await self._ask("get", key)
        return self.store.get(key)

    async def gets(self, keys: Sequence[str]) -> list[Got | None]:
        await self._ask("gets", keys[0] if keys else "")
        return [_or_none(self.store.get, key) for key in keys]

    async def heads(self, keys: Sequence[str]) -> list[Entry | None]:
        await self._ask("heads", keys[0] if keys else "")
        return [_or_none(self.store.head, key) for key in keys]

    async def put(self, key: str, data: bytes, content_type: str = "application/json") -> Entry:
        await self._ask("put", key)
        return self.store.put(key, data, content_type=content_type)

    async def create(self, key: str, data: bytes) -> Entry:
        await self._ask("create", key)
        return self.store.put(key, data, create_only=True)

    async def copy(self, key: str, to: str, content_type: str) -> Entry:
        await self._ask("copy", to)
        return self.store.put(to, self.store.get(key).data, content_type=content_type)

    async def sha256(self, key: str) -> str:
        await self._ask("sha256", key)
        return hashlib.sha256(self.store.get(key).data).hexdigest()

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self._ask("delete", key)
            self.store.delete(key)

    async def pages(self, prefix: str) -> AsyncIterator[list[Entry]]:
        await self._ask("list", prefix)
        entries = list(self.store.list(prefix))
        for start in range(0, len(entries), 1000):
            yield entries[start : start + 1000]

    async def level(self, prefix: str) -> Level:
        await self._ask("level", prefix)
        return self.store.level(prefix)

    async def _ask(self, what: str, key: str) -> None:
        if self._before is not None:
            await self._before(what, key)


def _or_none(read: Callable[[str], T], key: str) -> T | None:
    try:
        return read(key)
    except (NotFound, KeyUnusable):
        return None


# -- the executor


class InlineExecutor:
    """Runs tickets with the real runtime, on the loop; each takes `seconds` of simulated time."""

    def __init__(self, runtime: Runtime, *, slots: int = 4, seconds: float = 0.1) -> None:
        self.runtime = runtime
        self.slots = slots
        self.workers = slots
        self.seconds = seconds
        self.troubles: dict[str, str] = {}  # function → why its workers do not start
        self.ran: list[Ticket] = []

    async def start(self) -> None: ...

    async def run(self, ticket: Ticket) -> Outcome:
        await asyncio.sleep(self.seconds)
        self.ran.append(ticket)
        return self.runtime.run(ticket)

    def revoke(self, ticket: str) -> None: ...

    async def close(self) -> None: ...


# -- a whole engine


class Simulated:
    """A pipeline over a memory store in simulated time. `store` may be kept over several engines: a restart."""

    def __init__(
        self, project: Path, store: MemoryStore | None = None, *, slots: int = 4, seconds: float = 0.1
    ) -> None:
        self.pipeline: Pipeline = load_pipeline(project)
        self.store = store if store is not None else MemoryStore()
        self.slots = slots
        self.seconds = seconds
        self.executor: InlineExecutor | None = None
        self.dispatcher: Dispatcher | None = None
        self.events = True  # whether the trigger tells of what happens
        self.before: Callable[[str, str], Awaitable[None]] | None = None  # what happens before each request

    def play(self, scenario: Callable[[Simulated], Coroutine[Any, Any, T]], *, clean: bool = True) -> T:
        """Run an engine while `scenario` plays. Without `clean` the engine is cut off, as by a crash."""
        loop = SimulatedLoop()
        try:
            return loop.run_until_complete(self._play(scenario, clean))
        finally:
            loop.close()

    async def _play(self, scenario: Callable[[Simulated], Coroutine[Any, Any, T]], clean: bool) -> T:
        with tempfile.TemporaryDirectory(prefix="trapline-") as cache:
            clock = SimulatedClock()
            runtime = Runtime(
                self.pipeline, self.store, Path(cache), other=lambda bucket: self.store, clock=clock.monotonic
            )
            self.executor = InlineExecutor(runtime, slots=self.slots, seconds=self.seconds)
            world = World(self.pipeline, AsyncMemory(self.store, self.before), self.executor, clock, Random(7))
            world.alone = True
            self.dispatcher = Dispatcher(world)
            task = asyncio.create_task(self.dispatcher.run())
            try:
                return await scenario(self)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                if clean:
                    await self.dispatcher.stop_cleanly()

    def put(self, key: str, data: bytes = b"", *, event: bool = True) -> None:
        """Put an object as a client would; the trigger tells of it unless `event` is false."""
        self.store.put(key, data)
        self._tell(ObjectEvent(key, "created", "simulated"), event)

    def delete(self, key: str, *, event: bool = True) -> None:
        """Delete an object as a client would."""
        self.store.delete(key)
        self._tell(ObjectEvent(key, "removed", "simulated"), event)

    def _tell(self, event: ObjectEvent, wanted: bool) -> None:
        if wanted and self.events and self.dispatcher is not None:
            self.dispatcher.notice(event)


# -- one function


class Answers(list[Any]):
    """What a function returned, one an item; `files` is what it wrote."""

    def __init__(self, answers: Iterable[Any], files: dict[str, bytes]) -> None:
        super().__init__(answers)
        self.files = files  # `<image>/<name>` → bytes; of a gather `<name>` → bytes


def run_function(
    folder: Path,
    name: str,
    images: Mapping[str, bytes],
    parameters: dict[str, Any] | None = None,
    model: Any = None,
    *,
    records: Mapping[str, Any] | None = None,
    station: dict[str, Any] | None = None,
) -> Answers:
    """Call `functions/<name>` in a project's folder on images (name → bytes); returns what `handle` returned.

    The images are handed over in one batch, in their order. `parameters` are checked by the function's schema, with
    its defaults; `model` is what `context.model` is, if not the one in the function's own `model/` folder; `station`
    is what pipeline.yaml would say about the station. Nothing is caught: what the function raises is raised.

    `records` says what earlier stages know about an image, by its name:

    - for a function that builds on a record: `{"a.jpg": {"detections": [{"id": "d0001", "box": [...]}]}}`;
    - for one that accepts `records`: a stage's knowledge by the stage's name, None where that stage failed:
      `{"a.jpg": {"classify-a": {"detections": [...]}, "classify-b": None}}`;
    - for one that accepts `roll`: the members of the job, whose `images` stay empty. A `Failure` in a record's place
      is an image that failed.

    What the function writes with `item.write`, or a gather with `item.open`, is in the answer's `files`.
    """
    spec = load_function(folder, name, name)
    chosen = resolve_parameters(spec, parameters or {}, name)
    handler = handler_class(spec, folder)()
    setup = getattr(handler, "setup", None)
    if setup is not None:
        given = model if model is not None else _own_model(folder, spec)
        setup(Context(function=name, parameters=chosen, recipe="", model=given))
    if spec.accepts == "roll":
        return _gathered(handler, chosen, records or {}, station or {})
    items = [_item(rel, data, chosen, records, station or {}, spec) for rel, data in images.items()]
    answers = list(handler.handle(items))
    return Answers(answers, {f"{item.rel}/{name}": file.data for item in items for name, file in item.files.items()})


def _own_model(folder: Path, spec: FunctionSpec) -> Any:
    """The model in the function's own folder, where it names one."""
    place = folder / "functions" / spec.name / "model"
    if spec.model is None or not (place / "model.yaml").is_file():
        return None
    from trapline.models import Model  # noqa: PLC0415 - onnxruntime is loaded for functions with a model alone

    return Model.load(place)


def _item(
    rel: str,
    data: bytes,
    parameters: dict[str, Any],
    records: Mapping[str, Any] | None,
    station: dict[str, Any],
    spec: FunctionSpec,
) -> ImageItem:
    told = records.get(rel) if records is not None else None
    joined = dict(told or {}) if spec.accepts == "records" else {}
    known = _together(joined) if joined else told
    return ImageItem(
        rel=rel,
        key=rel,
        job="",
        parameters=parameters,
        station=station,
        data=data,
        image=Image(data, timezone=station.get("timezone")),
        record=known,
        detections=list((known or {}).get("detections") or []),
        records=joined,
        missing=tuple(stage for stage, record in joined.items() if record is None),
        place=lambda file: f"files/{rel}/{file}",
    )


def _together(joined: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """What several stages know, detections merged by id; where several say something, the last one's stands."""
    known: dict[str, Any] = {}
    for record in joined.values():
        both, problem = merged(known, record or {})
        known = both if problem is None else {**known, **(record or {})}
    return known


def _gathered(handler: Any, parameters: dict[str, Any], records: Mapping[str, Any], station: dict[str, Any]) -> Answers:
    files: dict[str, bytes] = {}

    def publish(name: str, path: Path, content_type: str) -> FileRef:
        files[name] = path.read_bytes()
        return FileRef(name=name, key=name, size=len(files[name]), sha256=sha256_of(path), content_type=content_type)

    def image(key: str, sha256: str = "") -> Image:
        raise Permanent(f"{key} is not there: a gather is tried without images.", code="source_missing")

    with tempfile.TemporaryDirectory(prefix="trapline-") as scratch:
        item = GatherItem(
            job="st7/night",
            revision="r1-00000000",
            final=True,
            manifest=None,
            station=station,
            not_received=(),
            parameters=parameters,
            scratch=Path(scratch),
            image=image,
            roll=lambda: iter([_member(rel, records[rel]) for rel in sorted(records)]),
            publish=publish,
        )
        return Answers(handler.handle([item]), files)


def _member(rel: str, told: Any) -> Member:
    if isinstance(told, Failure):
        letter = DeadLetter(stage="detect", job="st7/night", code=told.code, message=told.message, remedy=told.remedy)
        return Member(RollEntry(rel, "failed", "detect", code=told.code), lambda _: letter)
    made = ProducedBy(function="given", version="0.0.0")
    record = ImageRecord(stage="given", source=Source(key=rel), recipe="", produced_by=made, known=told)
    return Member(RollEntry(rel, "done", "given"), lambda _: record)


def read_record(store: MemoryStore, key: str) -> ImageRecord | None:
    """A record as it stands in a store; None when there is none."""
    got = _or_none(store.get, key)
    return load(ImageRecord, got.data) if got else None
