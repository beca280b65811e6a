"""What a revision says of the one before it, and what it is compiled from: the real dispatcher in simulated time."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from tests.unit.test_engine import JOB, PROJECT, image, night, read, status, summary
from trapline import __version__
from trapline.cli import words
from trapline.dispatcher import gathering
from trapline.records import Ticket
from trapline.testing import Simulated

pytestmark = pytest.mark.usefixtures("case")
Said = dict[str, Any]


def gathers(world: Simulated) -> list[Ticket]:
    return [ticket for ticket in (world.executor.ran if world.executor else []) if ticket.gather]


async def closed(world: Simulated, done: str) -> Said:
    """Close the job with a `_DONE` of its own; the summary then."""
    world.put(image("_DONE"), done.encode())
    await asyncio.sleep(120)
    found: Said = summary(world.store)
    return found


def test_a_late_image_a_changed_one_and_a_deleted_one_are_told_against_the_revision_before() -> None:
    async def scenario(world: Simulated) -> tuple[Said, Said]:
        night(world, a="moth", b="beetle", c="nothing")
        first = await closed(world, "3")
        world.put(image("d.jpg"), b"moth moth")
        world.put(image("b.jpg"), b"moth moth moth")
        for key in (image("c.jpg"), f"detections/{JOB}/c.jpg.json", f"classifications/{JOB}/c.jpg.json"):
            world.store.delete(key)
        return first, await closed(world, "3 ")

    world = Simulated(PROJECT)
    first, second = world.play(scenario)
    assert "changes" not in first and second["last_final"]["N"] == 2
    names = {"added": [f"{JOB}/d.jpg"], "changed": [f"{JOB}/b.jpg"], "removed": [f"{JOB}/c.jpg"]}
    counts = {"against": first["revision"], "added": 1, "changed": 1, "removed": 1}
    assert second["changes"] == {**counts, "names": names}
    assert status(world.store)["changes"] == counts
    old = read(world.store, f"results/{JOB}/{first['revision']}/summary.json")
    assert old["files"] == first["files"], "the old revision is as it was"


def test_an_image_that_a_manifest_drops_is_removed() -> None:
    def manifest(*words: str) -> bytes:
        listed = [{"id": word, "url": f"https://example.org/{word}.jpg"} for word in words]
        return json.dumps({"sourceImages": listed}).encode()

    async def scenario(world: Simulated) -> None:
        for listed in (("moth", "beetle"), ("moth",)):
            world.put("jobs/ecos/j1.json", manifest(*listed))
            await asyncio.sleep(120)

    world = Simulated(PROJECT)
    world.play(scenario)
    changes = summary(world.store, "ecos/j1")["changes"]
    assert (changes["added"], changes["changed"], changes["removed"]) == (0, 0, 1)
    assert changes["names"]["removed"][0].startswith("ecos/j1/beetle-")


def test_provisional_results_are_made_from_those_before_and_a_final_revision_from_them() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth")
        await asyncio.sleep(60)
        night(world, b="moth")
        await asyncio.sleep(60)
        await closed(world, "2")

    world = Simulated(PROJECT)
    world.play(scenario)
    orders = [ticket.gather for ticket in gathers(world) if ticket.gather]
    assert [order.final for order in orders] == [False, False, True]
    assert orders[0].previous is None
    for before, order in pairwise(orders):
        assert order.previous is not None and order.previous.members.key == before.roll
        assert [file.name for file in order.previous.files] == ["results.jsonl"]
    assert not [entry.key for entry in world.store.list("results/") if "/live-" in entry.key]


def test_an_engine_that_begins_anew_goes_on_from_the_newest_revision() -> None:
    async def first(world: Simulated) -> None:
        night(world, a="moth")
        await closed(world, "1")

    async def later(world: Simulated) -> None:
        night(world, b="moth")
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(first)
    again = Simulated(PROJECT, store=world.store)
    again.play(later)
    (order, *_) = [ticket.gather for ticket in gathers(again) if ticket.gather]
    assert order.previous is not None and "/r1-" in order.previous.members.key


@pytest.mark.parametrize("what", ["another release", "another recipe", "a failure"])
def test_a_revision_that_was_made_otherwise_serves_nobody(
    what: str, case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: Simulated) -> None:
        case.COMPILE_FAILS[0] = 100 if what == "a failure" else 0
        night(world, a="moth")
        await closed(world, "1")
        case.COMPILE_FAILS[0] = 0
        if what == "another release":
            monkeypatch.setattr(gathering, "__version__", "9.0.0")
        if what == "another recipe":
            key = f"results/{JOB}/summary.json"
            world.store.put(key, world.store.get(key).data.replace(_recipe(world).encode(), b"another"))
        night(world, b="moth")
        await closed(world, "2")

    world = Simulated(PROJECT)
    world.play(scenario)
    orders = [ticket.gather for ticket in gathers(world) if ticket.gather]
    later = next(order for order in orders if order.members == 2)
    assert later.previous is None
    found = summary(world.store)
    assert found["release"] == __version__
    assert ("changes" in found) == (what != "a failure"), "a revision without a roll is compared with nothing"


def test_the_command_line_says_what_changed_in_a_sentence() -> None:
    said = {"against": "r1-0a1b2c3d", "added": 1, "changed": 0, "removed": 1200}
    assert words.changes(said) == "Against r1-0a1b2c3d: 1 added, 1,200 removed."
    assert words.changes({"against": "r1-0a1b2c3d"}) == "Against r1-0a1b2c3d: the same images."


def _recipe(world: Simulated) -> str:
    found: str = summary(world.store)["pins"]["compile"]["recipe"]
    return found
