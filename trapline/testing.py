"""In-memory peers of the seams: a clock, a store and an executor for tests without waiting, processes or disks.

For function authors: `run_function` calls one function on local bytes. For whole pipelines: `Simulated` runs the real
dispatcher and the real runtime in simulated time.
"""

from __future__ import annotations

import asyncio
import selectors
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from trapline.dispatcher.dispatcher import Dispatcher
from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, NotFound, SurroundingsError
from trapline.events import ObjectEvent
from trapline.images import Image
from trapline.pipeline.load import Pipeline, load_function, load_pipeline, resolve_parameters
from trapline.records import ImageRecord, Outcome, Ticket, load
from trapline.runtime.functions import handler_class
from trapline.runtime.items import Context, ImageItem
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


def run_function(
    folder: Path, name: str, images: dict[str, bytes], parameters: dict[str, Any] | None = None, model: Any = None
) -> list[Any]:
    """Call `functions/<name>` in a project's folder on images (name → bytes); returns what `handle` returned."""
    spec = load_function(folder, name, name)
    chosen = resolve_parameters(spec, parameters or {}, name)
    handler = handler_class(spec, folder)()
    setup = getattr(handler, "setup", None)
    if setup is not None:
        setup(Context(function=name, parameters=chosen, recipe="", model=model))
    items = [ImageItem(rel, rel, "", chosen, {}, data, Image(data), None, []) for rel, data in images.items()]
    return list(handler.handle(items))


def read_record(store: MemoryStore, key: str) -> ImageRecord | None:
    """A record as it stands in a store; None when there is none."""
    got = _or_none(store.get, key)
    return load(ImageRecord, got.data) if got else None
