"""What happens in the moments between reading and writing: the real dispatcher over a store with hooks."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_engine import JOB, PROJECT, SETTLE, image, lines, night, read, revisions, status, summary
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

pytestmark = pytest.mark.usefixtures("case")

Hook = Callable[[str, str], Awaitable[None]]


def once(what: str, prefix: str, then: Callable[[], Awaitable[None]]) -> Hook:
    """A hook that lets something happen before the first request of a kind."""
    done: list[str] = []

    async def before(asked: str, key: str) -> None:
        if asked == what and key.startswith(prefix) and not done:
            done.append(key)
            await then()

    return before


def play(scenario: Callable[[Simulated], Any], hook: Callable[[Simulated], Hook]) -> Simulated:
    world = Simulated(PROJECT)
    world.before = hook(world)
    world.play(scenario)
    return world


async def one_image(world: Simulated) -> None:
    night(world, a="moth")
    world.put(image("_DONE"))
    await asyncio.sleep(2 * SETTLE)


@pytest.mark.parametrize(
    ("what", "where"),
    [("put", f"results/{JOB}/summary.json"), ("level", f"results/{JOB}/"), ("put", f"results/{JOB}/r1-")],
)
@pytest.mark.parametrize("data", [b"beetle", b""])
def test_an_image_that_arrives_while_results_are_compiled_is_in_the_next_revision(
    what: str, where: str, data: bytes
) -> None:
    def hook(world: Simulated) -> Hook:
        async def late() -> None:
            world.put(image("late.jpg"), data)
            await asyncio.sleep(1)

        return once(what, where, late)

    world = play(one_image, hook)
    assert status(world.store)["closed"] and set(lines(world.store)) == {"a.jpg", "late.jpg"}


def test_a_dead_letter_written_while_its_image_is_mended_does_not_outlive_it() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="bad")
        world.put(image("_DONE"))
        await asyncio.sleep(2 * SETTLE)

    def hook(world: Simulated) -> Hook:
        async def mend() -> None:
            night(world, a="moth")
            await asyncio.sleep(2)

        return once("put", "failed/detect/", mend)

    world = play(scenario, hook)
    assert summary(world.store)["state"] == "SUCCEEDED" and not list(world.store.list("failed/"))


def test_an_executor_that_fails_once_costs_nothing() -> None:
    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        run, failed = world.executor.run, []  # type: ignore[union-attr, var-annotated]

        async def fails(ticket: Any) -> Any:
            if not failed:
                failed.append(ticket)
                raise OSError(24, "Too many open files")
            return await run(ticket)

        world.executor.run = fails  # type: ignore[union-attr, method-assign]
        await one_image(world)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED"


def manifest(*names: str, **more: Any) -> bytes:
    listed = [{"id": name, "url": f"https://example.org/{name}/moth.jpg"} for name in names]
    return json.dumps({"sourceImages": listed, **more}).encode()


def test_a_manifest_changed_while_no_engine_runs_is_found_at_the_next_start() -> None:
    async def wait(world: Simulated) -> None:
        await asyncio.sleep(120)

    store = MemoryStore()
    store.put("jobs/ecos/j.json", manifest("a", "b"))
    Simulated(PROJECT, store).play(wait)
    assert summary(store, "ecos/j")["images"]["total"] == 2
    store.put("jobs/ecos/j.json", manifest("a", "b", "c"))
    Simulated(PROJECT, store).play(wait)
    assert summary(store, "ecos/j")["images"]["total"] == 3


def test_a_manifest_whose_event_was_lost_is_found_by_the_sweep_of_its_open_job() -> None:
    async def scenario(world: Simulated) -> None:
        world.put("incoming/ecos/j/a.jpg", b"moth")
        await asyncio.sleep(20)
        world.put("jobs/ecos/j.json", manifest("x"), event=False)
        await asyncio.sleep(200)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store, "ecos/j")["images"]["total"] == 1


def test_a_moved_deadline_lets_what_was_cut_off_run() -> None:
    async def scenario(world: Simulated) -> None:
        names = [str(n) for n in range(20)]
        world.put("jobs/ecos/j.json", manifest(*names, deadline="PT1M"))
        await asyncio.sleep(600)
        assert summary(world.store, "ecos/j")["failures_by_code"]["deadline_passed"] > 0
        world.put("jobs/ecos/j.json", manifest(*names, deadline="P1D"))
        await asyncio.sleep(3600)

    world = Simulated(PROJECT, seconds=20.0, slots=1)
    world.play(scenario)
    assert summary(world.store, "ecos/j")["state"] == "SUCCEEDED"


def test_a_dead_letter_deleted_after_the_deadline_does_not_keep_the_job_open() -> None:
    async def scenario(world: Simulated) -> None:
        world.put("jobs/ecos/j.json", manifest(*[str(n) for n in range(20)], deadline="PT1M"))
        await asyncio.sleep(600)
        world.delete(next(e.key for e in world.store.list("failed/fetch/")))
        await asyncio.sleep(600)

    world = Simulated(PROJECT, seconds=20.0, slots=1)
    world.play(scenario)
    assert status(world.store, "ecos/j")["closed"]


def test_a_function_renamed_between_two_runs_pins_the_job_anew(tmp_path: Path) -> None:
    async def begin(world: Simulated) -> None:
        for n in range(20):
            world.put(image(f"{n}.jpg"), b"moth")
        world.put(image("_DONE"))
        await asyncio.sleep(0.3)

    async def wait(world: Simulated) -> None:
        await asyncio.sleep(120)

    project = shutil.copytree(PROJECT, tmp_path / "project")
    store = MemoryStore()
    Simulated(project, store).play(begin, clean=False)
    shutil.move(project / "functions" / "detect", project / "functions" / "detect2")
    for file in (project / "pipeline.yaml", project / "functions" / "detect2" / "function.yaml"):
        text = (
            file.read_text().replace("function: detect,", "function: detect2,").replace("name: detect", "name: detect2")
        )
        file.write_text(text)
    Simulated(project, store).play(wait)
    assert summary(store)["state"] == "SUCCEEDED" and summary(store)["pins"]["detect"]["function"] == "detect2"


def test_a_record_of_a_newer_release_ends_as_a_dead_letter_and_is_not_overwritten() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth", b="moth")
        world.put(image("_DONE"))
        await asyncio.sleep(120)

    world = Simulated(PROJECT)
    newer = b'{"schema":99}'
    world.store.put("classifications/st7/n1/a.jpg.json", newer)
    world.play(scenario)
    assert summary(world.store)["failures_by_code"] == {"schema_newer": 1}
    assert world.store.get("classifications/st7/n1/a.jpg.json").data == newer


def test_quiet_time_counts_on_over_restarts() -> None:
    async def live(world: Simulated) -> None:
        await asyncio.sleep(20 * 60)

    store = MemoryStore()
    store.put(image("a.jpg"), b"moth")
    for _ in range(2):
        Simulated(PROJECT, store).play(live)
    assert summary(store)["final"]


def test_retention_of_images_makes_no_new_revision_and_keeps_every_member() -> None:
    async def first(world: Simulated) -> None:
        night(world, a="moth", b="bad")
        world.put(image("_DONE"))
        await asyncio.sleep(120)

    async def wait(world: Simulated) -> None:
        await asyncio.sleep(2 * SETTLE)

    store = MemoryStore()
    Simulated(PROJECT, store).play(first)
    for name in ("a.jpg", "b.jpg"):
        store.delete(image(name))
        Simulated(PROJECT, store).play(wait)
    assert [r[:3] for r in revisions(store)] == ["r1-"] and status(store)["images"]["total"] == 2


def test_a_torn_member_list_or_revision_does_not_keep_late_images_out() -> None:
    async def first(world: Simulated) -> None:
        await one_image(world)

    async def second(world: Simulated) -> None:
        night(world, b="beetle")
        world.put(image("_DONE"))
        await asyncio.sleep(600)

    store = MemoryStore()
    Simulated(PROJECT, store).play(first)
    folder = f"results/{JOB}/{revisions(store)[0]}"
    store.put(f"{folder}/members.jsonl", store.get(f"{folder}/members.jsonl").data[:20])
    store.delete(f"{folder}/summary.json")
    Simulated(PROJECT, store).play(second)
    assert set(lines(store)) == {"a.jpg", "b.jpg"} and summary(store)["final"]


def test_one_unaddressable_key_among_events_costs_the_others_nothing() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth")
        await asyncio.sleep(10)
        world._tell(_event("incoming/st7/n1//x.jpg"), True)
        night(world, b="beetle")
        await asyncio.sleep(5)
        assert status(world.store)["images"]["total"] == 2

    Simulated(PROJECT).play(scenario)


def _event(key: str) -> Any:
    from trapline.events import ObjectEvent

    return ObjectEvent(key, "created", "simulated")


def test_a_failed_live_compile_costs_the_final_one_no_attempt(case: Any) -> None:
    async def scenario(world: Simulated) -> None:
        case.COMPILE_FAILS[0] = 2
        night(world, a="moth")
        await asyncio.sleep(100)
        case.COMPILE_FAILS[0] = 1
        world.put(image("_DONE"))
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED"
    assert read(world.store, f"failed/compile/{JOB}.json") is None
