"""Results' copies under stable names: the real dispatcher over a memory store, in simulated time; and a real one."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.test_engine import JOB, PROJECT, image, lines, night, summary
from trapline.dispatcher.seams import ThreadedStore
from trapline.store.folder import FolderStore
from trapline.testing import Simulated

COPY = f"results/{JOB}/results.jsonl"
LARGE = 32 * 2**20

pytestmark = pytest.mark.usefixtures("case")


def is_of_the_newest(world: Simulated) -> bool:
    """Whether the copy is the file that the summary names."""
    (file,) = (file for file in summary(world.store)["files"] if file["name"] == "results.jsonl")
    return bool(hashlib.sha256(world.store.get(COPY).data).hexdigest() == file["sha256"])


async def _closed(world: Simulated) -> None:
    night(world, a="moth")
    world.put(image("_DONE"))
    await asyncio.sleep(60)


async def _again(world: Simulated) -> None:
    night(world, b="beetle")
    world.put(image("_DONE"), b" ")
    await asyncio.sleep(60)


def test_a_copy_is_of_each_revision_and_its_bytes_pass_no_dispatcher() -> None:
    read: Counter[str] = Counter()

    async def count(what: str, key: str) -> None:
        read[what] += key.startswith(f"results/{JOB}/") and key.endswith("results.jsonl")

    async def scenario(world: Simulated) -> None:
        await _closed(world)
        assert is_of_the_newest(world)
        await _again(world)

    world = Simulated(PROJECT)
    world.before = count
    world.play(scenario)
    assert (
        is_of_the_newest(world)
        and summary(world.store)["last_final"]["N"] == 2
        and set(lines(world.store))
        == {
            "a.jpg",
            "b.jpg",
        }
    )
    assert not read["get"] + read["gets"] and read["copy"] == 2


@pytest.mark.parametrize(
    ("there", "copied"),
    [("right", 0), ("empty", 1), ("other bytes of its size", 1), ("gone", 1)],
)
def test_after_a_restart_a_copy_is_made_anew_where_it_is_wrong_alone(there: str, copied: int) -> None:
    made: Counter[str] = Counter()

    async def count(what: str, key: str) -> None:
        made[key] += what == "copy"

    async def closed_again(world: Simulated) -> None:
        world.put(image("_DONE"), b" ")
        await asyncio.sleep(60)

    first = Simulated(PROJECT)
    first.play(_closed)
    data = first.store.get(COPY).data
    first.store.delete(COPY)
    if there != "gone":
        first.store.put(COPY, {"right": data, "empty": b""}.get(there, b"x" * len(data)))
    second = Simulated(PROJECT, first.store)
    second.before = count
    second.play(closed_again)
    assert is_of_the_newest(second) and made[COPY] == copied and summary(second.store)["last_final"]["N"] == 1


def test_a_large_file_is_copied_and_hashed_in_pieces(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "bucket", tmp_path / "scratch")
    store.put("results/large", bytes(LARGE))
    threaded = ThreadedStore(store)

    async def copied() -> str:
        await threaded.copy("results/large", "results/copy", "text/plain")
        return await threaded.sha256("results/copy")

    tracemalloc.start()
    told = asyncio.run(copied())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    threaded.close()
    assert told == hashlib.sha256(bytes(LARGE)).hexdigest() and peak < LARGE / 4
