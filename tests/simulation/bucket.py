"""The simulated bucket: one truth for everybody, watched at every write; what asks of it may be slow or fail."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from tests.simulation.plan import Luck, Plan
from tests.simulation.story import Story
from trapline.errors import KeyUnusable, NotFound, StoreDenied, StoreUnavailable
from trapline.store.base import Entry, Got, KeyLimits, Level
from trapline.store.memory import MemoryStore

T = TypeVar("T")
PAGE = 4  # entries: listings of a few objects have several pages, and time passes between them

Watch = Callable[[str, str, bytes | None], None]  # (who, key, bytes now there or None) after every change


class Bucket(MemoryStore):
    """What is stored. `watch` is told of every change, by whomever."""

    def __init__(self, plan: Plan, story: Story, clock: Callable[[], float]) -> None:
        etag = (lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest()) if plan.etags == "content" else None
        self.forged: float | None = None  # the modification time that the next object gets, if not the true one
        super().__init__(
            etag=etag,
            clock=lambda: clock() if self.forged is None else self.forged,
            conditional=plan.conditional,
        )
        self.story = story
        self.watch: Watch = lambda who, key, data: None
        self.who = "client"  # who is writing now
        self.written: deque[tuple[float, str, str]] = deque(maxlen=20)  # (when, who, key), newest last

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        entry = super().put(key, data, content_type=content_type, create_only=create_only)
        self.story.add(self.who, f"put {key}", data)
        self.written.append((self.story.clock(), self.who, key))
        self.watch(self.who, key, data)
        return entry

    def delete(self, key: str) -> None:
        there = key in self._objects
        super().delete(key)
        if there:
            self.story.add(self.who, f"delete {key}")
            self.watch(self.who, key, None)

    def keys(self, prefix: str = "") -> list[str]:
        """Every key under a prefix, sorted."""
        return [entry.key for entry in self.list(prefix)]

    def data(self, key: str) -> bytes | None:
        """An object's bytes; None when it is not there."""
        got = self._objects.get(key)
        return got.data if got else None

    def mirror(self, plan: Plan) -> Bucket:
        """A copy in another store: every etag is another."""
        other = Bucket(plan, self.story, self._clock)
        other._etags = count(1_000_000)  # two stores that count from 1 would name other bytes alike
        for key in reversed(self.keys()):
            MemoryStore.put(other, key, self._objects[key].data)
        return other


class Faults:
    """What goes wrong with requests, by a plan's rates, while `on`. Keys under a curse are refused for good."""

    def __init__(self, plan: Plan, luck: Luck, story: Story) -> None:
        self.plan = plan
        self.luck = luck
        self.story = story
        self.on = True

    def delay(self, who: str, what: str, key: str) -> float:
        """Seconds that a request takes before it has an effect."""
        luck = self.luck.draw("delay", who, what, key)
        if self.on and luck < self.plan.slow:
            return luck / self.plan.slow * 20
        return luck * 0.05

    def refuse(self, key: str) -> None:
        """Raise where the key is under a curse."""
        if self.cursed(key):
            raise CURSES[self.plan.curse](f"simulated: {key} is refused")

    def fail(self, who: str, what: str, key: str) -> None:
        """Raise for a request that fails for a passing reason."""
        if self.on and self.plan.store and self.luck.draw("fail", who, what, key) < self.plan.store:
            self.story.add(who, f"{what} {key} fails")
            raise StoreUnavailable(f"simulated: {what} {key} failed")

    def lose(self, who: str, what: str, key: str) -> None:
        """Raise for a request that took effect, but whose answer is lost."""
        if self.on and self.plan.store and self.luck.draw("lose", who, what, key) < self.plan.store:
            self.story.add(who, f"the answer to {what} {key} is lost")
            raise StoreUnavailable(f"simulated: the answer to {what} {key} was lost")

    def cursed(self, key: str) -> bool:
        """Whether the store never takes this key: only what is made for one image."""
        made = ("detections/", "classifications/", "failed/detect/", "failed/cl", "seconds/", "joined/", "files/")
        if not self.plan.cursed or not key.startswith(made) or key.endswith("/"):
            return False
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % self.plan.cursed == 0


CURSES: dict[str, Callable[[str], Exception]] = {
    "denied": StoreDenied,
    "unavailable": StoreUnavailable,
    "unusable": KeyUnusable,
}


class EngineStore:
    """The bucket as an engine's dispatcher sees it. `tick` is called before and after each effect: it may kill."""

    def __init__(self, bucket: Bucket, faults: Faults, who: str) -> None:
        self.bucket = bucket
        self.tick: Callable[[], None] = lambda: None
        self._faults = faults
        self._who = who

    @property
    def limits(self) -> KeyLimits:
        return self.bucket.limits

    async def get(self, key: str) -> Got:
        return await self._ask("get", key, lambda: self.bucket.get(key))

    async def gets(self, keys: Sequence[str]) -> list[Got | None]:
        return await self._several("gets", keys, self.bucket.get)

    async def heads(self, keys: Sequence[str]) -> list[Entry | None]:
        return await self._several("heads", keys, self.bucket.head)

    async def put(self, key: str, data: bytes, content_type: str = "application/json") -> Entry:
        return await self._ask("put", key, lambda: self.bucket.put(key, data, content_type=content_type))

    async def create(self, key: str, data: bytes) -> Entry:
        return await self._ask("create", key, lambda: self.bucket.put(key, data, create_only=True))

    async def copy(self, key: str, to: str, content_type: str) -> Entry:
        def effect() -> Entry:
            return self.bucket.put(to, self.bucket.get(key).data, content_type=content_type)

        return await self._ask("copy", to, effect)

    async def sha256(self, key: str) -> str:
        return await self._ask("sha256", key, lambda: hashlib.sha256(self.bucket.get(key).data).hexdigest())

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self._ask("delete", key, lambda key=key: self.bucket.delete(key))  # type: ignore[misc]

    async def pages(self, prefix: str) -> AsyncIterator[list[Entry]]:
        last = ""
        while page := await self._ask("list", prefix, partial(self._page, prefix, last)):
            yield page
            last = page[-1].key

    async def level(self, prefix: str) -> Level:
        return await self._ask("level", prefix, lambda: self.bucket.level(prefix))

    def _page(self, prefix: str, after: str) -> list[Entry]:
        """The next few entries, as a listing continues after the last key."""
        return [entry for entry in self.bucket.list(prefix) if entry.key > after][:PAGE]

    async def _several(self, what: str, keys: Sequence[str], read: Callable[[str], T]) -> list[T | None]:
        def look() -> list[T | None]:
            return [self._one(key, read) for key in keys]

        return await self._ask(what, keys[0] if keys else "", look, several=True)

    def _one(self, key: str, read: Callable[[str], T]) -> T | None:
        self._faults.refuse(key)
        try:
            return read(key)
        except (NotFound, KeyUnusable):
            return None

    async def _ask(self, what: str, key: str, effect: Callable[[], T], *, several: bool = False) -> T:
        await asyncio.sleep(self._faults.delay(self._who, what, key))
        self.tick()
        if not several:
            self._faults.refuse(key)
        self._faults.fail(self._who, what, key)
        self.bucket.who = self._who
        answer = effect()
        self.tick()
        self._faults.lose(self._who, what, key)
        return answer


class WorkerStore:
    """The bucket as a worker sees it. Time passes by `pause`, which may end the worker instead of returning."""

    conditional = False

    def __init__(self, bucket: Bucket, faults: Faults, who: str, pause: Callable[[float, str], None]) -> None:
        self._bucket = bucket
        self._faults = faults
        self._who = who
        self._pause = pause
        self.limits = bucket.limits

    def describe(self) -> str:
        return "simulated"

    def get(self, key: str) -> Got:
        return self._ask("get", key, lambda: self._bucket.get(key))

    def head(self, key: str) -> Entry:
        return self._ask("head", key, lambda: self._bucket.head(key))

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        return self._ask("put", key, lambda: self._bucket.put(key, data, content_type=content_type))

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> Entry:
        return self.put(key, path.read_bytes(), content_type=content_type)

    def delete(self, key: str) -> None:
        self._ask("delete", key, lambda: self._bucket.delete(key))

    def open(self, key: str) -> object:
        return self._ask("open", key, lambda: self._bucket.open(key))

    def list(self, prefix: str) -> object:
        return self._ask("list", prefix, lambda: self._bucket.list(prefix))

    def level(self, prefix: str) -> Level:
        return self._ask("level", prefix, lambda: self._bucket.level(prefix))

    def _ask(self, what: str, key: str, effect: Callable[[], T]) -> T:
        # A request that its time limit finds under way ends soon, one way or the other.
        self._pause(min(1.5, self._faults.delay(self._who, what, key)), f"before {what} {key}")
        self._faults.refuse(key)
        self._faults.fail(self._who, what, key)
        self._bucket.who = self._who
        answer = effect()
        self._pause(0.0, f"after {what} {key}")
        self._faults.lose(self._who, what, key)
        return answer
