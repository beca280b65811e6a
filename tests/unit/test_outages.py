"""A store that is away for a moment costs no function a try: nothing fails over it, however few tries there are."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from trapline.errors import StoreUnavailable, SurroundingsError, TraplineError
from trapline.store.base import Entry, Got
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

PROJECT = Path(__file__).parents[1] / "functions" / "basic"
TRIES = 30  # more than any function of the pipeline may have
AWAY: dict[str, TraplineError] = {
    "gone": StoreUnavailable("The store does not answer."),
    "full": SurroundingsError("The disk is full."),
}


class Away(MemoryStore):
    """A store that is away from the first read of some part of it on, until it was asked for it a number of times."""

    def __init__(self, part: str, error: TraplineError) -> None:
        super().__init__()
        self.left = TRIES
        self._part = part
        self._error = error

    def get(self, key: str) -> Got:
        if re.search(self._part, key) and self.left > 0:
            self.left -= 1
            raise self._error
        return super().get(key)

    def head(self, key: str) -> Entry:
        if key.startswith("control/") and 0 < self.left < TRIES:
            raise self._error
        return super().head(key)


@pytest.mark.parametrize("error", AWAY)
@pytest.mark.parametrize("part", ["a.jpg", "classifications/", "members.jsonl", "r1-[0-9a-f]+/summary"])
def test_nothing_fails_over_a_store_that_is_away_for_a_while(case: Any, part: str, error: str) -> None:
    async def scenario(world: Simulated) -> None:
        for name in ("a", "b", "c"):
            world.put(f"incoming/st7/n1/{name}.jpg", b"moth beetle")
        world.put("incoming/st7/n1/_DONE")
        await asyncio.sleep(1200)

    store = Away(part, AWAY[error])
    Simulated(PROJECT, store).play(scenario)
    assert store.left == 0, "the store was not asked for it"
    summary = json.loads(store.get("results/st7/n1/summary.json").data)
    assert (summary["state"], summary["images"]["done"]) == ("SUCCEEDED", 3)
    assert list(store.list("failed/")) == []
    assert [revision for _, revision in case.TOLD] == [summary["revision"]]
