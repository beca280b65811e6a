"""What `status/<job>.txt` says of what arrived: the real dispatcher over a memory store, in simulated time."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from tests.unit.test_engine import JOB, PROJECT, SETTLE, image, night
from trapline.testing import Simulated

pytestmark = pytest.mark.usefixtures("case")
NIGHT = {"a": "moth", "b": "beetle"}


def sums(night: dict[str, str]) -> bytes:
    return "".join(
        f"{hashlib.sha256(word.encode()).hexdigest()}  {name}.jpg\n" for name, word in night.items()
    ).encode()


def line(done: bytes | None, images: dict[str, str], *, manifest: bool = False, deleted: str = "") -> str:
    """The line of a job that closed; afterwards one of its images is deleted."""

    async def scenario(world: Simulated) -> None:
        night(world, **images)
        if done is not None:
            world.put(image("_DONE"), done)
        if manifest:
            listed = [{"id": name, "url": image(f"{name}.jpg")} for name in images]
            world.put(f"jobs/{JOB}.json", json.dumps({"sourceImages": listed}).encode())
        await asyncio.sleep(SETTLE + 60)
        if deleted:
            world.delete(image(deleted))
            await asyncio.sleep(SETTLE + 60)

    world = Simulated(PROJECT)
    world.play(scenario)
    said = world.store.get(f"status/{JOB}.txt").data.decode()
    assert len(said.encode()) <= 200
    return said.rpartition("done ")[2].rpartition(" 20")[0]


@pytest.mark.parametrize(
    ("done", "said"),
    [(None, "no _DONE"), (b"\n", "unchecked"), (b"2", "count met"), (sums(NIGHT), "all received")],
    ids=["none", "empty", "a count", "checksums"],
)
def test_all_received_is_said_only_where_names_and_checksums_were_given(done: bytes | None, said: str) -> None:
    assert line(done, NIGHT) == said


def test_a_count_that_a_damaged_image_met_says_no_more_than_that() -> None:
    assert line(b"2", {"a": "moth", "b": "bad"}) == "1 failed count met"


def test_an_image_that_was_deleted_later_is_said_to_be_gone() -> None:
    assert line(sums(NIGHT), NIGHT, deleted="b.jpg") == "1 gone"


def test_a_manifest_names_what_has_to_be_there() -> None:
    assert line(None, NIGHT, manifest=True) == "all received"
    assert line(None, NIGHT, manifest=True, deleted="b.jpg") == "1 gone"


def test_an_image_that_failed_is_received_with_the_bytes_that_were_named() -> None:
    ill = {"a": "moth", "b": "bad"}
    assert line(sums(ill), ill) == "1 failed all received"


def test_a_video_that_a_done_names_is_found_when_it_comes_after_it() -> None:
    async def scenario(world: Simulated) -> None:
        world.put(image("_DONE"), sums(NIGHT) + f"{'0' * 64}  clip.mov\n".encode())
        night(world, **NIGHT)
        await asyncio.sleep(20)
        world.put(image("clip.mov"), b"a video")
        await asyncio.sleep(SETTLE / 3)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert b" all received " in world.store.get(f"status/{JOB}.txt").data
