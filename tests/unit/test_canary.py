"""An object by which somebody tries whether events come: who told of it is said, and it is nobody's job."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from trapline.events import ObjectEvent
from trapline.keys import Layout
from trapline.testing import Simulated

PROJECT = Path(__file__).parents[1] / "functions" / "basic"
NONCE, NAME = "0123456789abcdef", "é+ü %41 #~.txt"

pytestmark = pytest.mark.usefixtures("case")


def test_the_engine_says_who_told_of_it_and_under_which_key() -> None:
    async def scenario(world: Simulated) -> None:
        world.put(Layout().canary(NONCE, NAME))
        await asyncio.sleep(2)
        assert world.dispatcher is not None
        world.dispatcher.notice(ObjectEvent(Layout().canary(NONCE, "wrong.txt"), "created", "other"))
        await asyncio.sleep(2)

    world = Simulated(PROJECT)
    world.play(scenario)
    heard = json.loads(world.store.get(Layout().canary_heard(NONCE)).data)["heard"]
    assert [(one["trigger"], one["key"].rpartition("/")[2], one["there"]) for one in heard] == [
        ("simulated", NAME, True),
        ("other", "wrong.txt", False),
    ]


def test_it_is_no_job_for_events_and_sweeps() -> None:
    async def scenario(world: Simulated) -> None:
        world.put(Layout().canary(NONCE, "a.jpg"), b"moth")
        world.put(f"incoming/_CANARY/{'x' * 40}/a.jpg", b"moth")
        await asyncio.sleep(3600)

    world = Simulated(PROJECT)
    world.play(scenario)
    Simulated(PROJECT, world.store).play(scenario)
    written = {entry.key.split("/")[0] for entry in world.store.list("")}
    assert written == {"incoming", "control"}
    assert not [entry.key for entry in world.store.list("control/jobs/")]
