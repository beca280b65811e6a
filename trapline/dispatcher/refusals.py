"""Keys that the store refuses while it answers for others: one such key costs one image, and nothing waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, NotFound, StoreError
from trapline.store.base import Entry, Got

log = logging.getLogger("trapline.dispatcher")

T = TypeVar("T")
TRIES = 4  # of one key, before it is believed to be refused
SURE = 12  # … where to believe it wrongly would do more than run an image again
PAUSE, LONGEST = 0.5, 4.0  # seconds between them, the first time and at most


async def answers(world: World) -> bool:
    """Whether the store does what it should for a key that is nobody's image."""
    try:
        await world.store.heads([world.layout.engine])
    except StoreError:
        try:
            await world.store.level(world.layout.prefix("models"))  # that one key may be the one that is refused
        except StoreError:
            return False
    return True


async def believed(world: World, job: str, doing: str) -> bool:
    """Whether what failed for a job is refused: it failed several times in a row, and the store answers."""
    return world.desk(job).failures.get(doing, 0) >= TRIES and await answers(world)


async def gets(world: World, keys: Sequence[str], tries: int = TRIES) -> list[Got | None]:
    """Several objects; None for those that are not there, or that the store refuses."""
    return await _each(world, keys, world.store.gets, tries)


async def heads(world: World, keys: Sequence[str]) -> list[Entry | None]:
    """As `gets`, of what a HEAD tells."""
    return await _each(world, keys, world.store.heads, TRIES)


async def put(world: World, key: str, data: bytes, content_type: str = "application/json") -> bool:
    """Write an object. False: the store refuses this key, though it answers for others."""
    return await _tried(world, key, lambda: world.store.put(key, data, content_type)) is not None


async def copy(world: World, key: str, to: str, content_type: str) -> Entry | None:
    """Write an object's bytes under another key. None: there is none, or the store refuses one of the keys."""
    return await _tried(world, to, lambda: _unless_gone(world.store.copy(key, to, content_type)))


async def sha256(world: World, key: str) -> str | None:
    """The hash of an object's bytes; None as of `copy`."""
    return await _tried(world, key, lambda: _unless_gone(world.store.sha256(key)))


async def _unless_gone(asked: Awaitable[T]) -> T | None:
    with suppress(NotFound):
        return await asked
    return None


async def _each(
    world: World, keys: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[list[T | None]]], tries: int
) -> list[T | None]:
    try:
        return await ask(keys)
    except (StoreError, KeyUnusable):
        if not await answers(world):
            raise
    found = [await _tried(world, key, partial(ask, [key]), tries) for key in keys]
    return [several[0] if several else None for several in found]


async def _tried(world: World, key: str, work: Callable[[], Awaitable[T]], tries: int = TRIES) -> T | None:
    """Ask several times. None: this key is refused."""
    for n in range(tries):
        try:
            return await work()
        except (StoreError, KeyUnusable) as error:
            if not await answers(world):
                raise
            log.warning("event=store.refused key=%r error=%s", key, error)
        await asyncio.sleep(min(LONGEST, PAUSE * 2**n))
    return None
