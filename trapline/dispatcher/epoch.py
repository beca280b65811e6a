"""One dispatcher per bucket: each engine takes the next epoch; one that sees a later epoch stops."""

from __future__ import annotations

import json
import logging
import os
import socket
from typing import Any

from trapline.dispatcher import refusals
from trapline.dispatcher.world import World
from trapline.errors import Conflict, KeyUnusable, StoreError, SurroundingsError
from trapline.store.base import Got

log = logging.getLogger("trapline.dispatcher")


class Epoch:
    """This engine's place in the line of engines on one bucket. Keys: `control/epochs/<n>.json`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._mine = 0
        self._run = f"{world.rng.getrandbits(64):016x}"

    async def take(self) -> None:
        """Take the next epoch; whoever held the last one stops when it looks."""
        while self._mine == 0:
            last = max(await self._all(), default=0)
            who = {"type": "trapline.epoch", "schema": 1, "run": self._run, "pid": os.getpid()}
            who["host"] = socket.gethostname()
            try:
                await self._world.store.create(self._world.layout.epoch(last + 1), json.dumps(who).encode())
            except Conflict:
                continue
            self._mine = last + 1
        old = [self._world.layout.epoch(n) for n in await self._all() if n < self._mine]
        for key in old:
            try:
                await self._world.store.delete([key])
            except (StoreError, KeyUnusable) as error:
                if not await refusals.answers(self._world):
                    raise
                log.warning("event=epoch.not_deleted key=%r error=%s", key, error)  # a lower number decides nothing

    async def check(self) -> None:
        """Raise `SurroundingsError` when a later engine took over."""
        later = max(await self._all(), default=0)
        got = (await refusals.gets(self._world, [self._world.layout.epoch(max(later, self._mine))]))[0]
        who = _who(got)
        # Where conditional writes do not hold, two may have taken the same number: the last to write it has it.
        if later <= self._mine and who.get("run", self._run) == self._run:
            return
        raise SurroundingsError(
            f"Another engine took over this bucket (pid {who.get('pid', '?')} on {who.get('host', '?')}).",
            remedy="Run one engine per bucket and pipeline; stop the other one to use this.",
        )

    async def _all(self) -> list[int]:
        level = await self._world.store.level(self._world.layout.epoch(0).rpartition("/")[0] + "/")
        names = (entry.key.rpartition("/")[2].removesuffix(".json") for entry in level.entries)
        return [int(name) for name in names if name.isdecimal()]


def _who(got: Got | None) -> dict[str, Any]:
    """Who took an epoch, as far as that can be read."""
    try:
        who = json.loads(got.data) if got else {}
    except ValueError:
        return {}
    return who if isinstance(who, dict) else {}
