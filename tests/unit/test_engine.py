"""What a job does from arrival to receipt: the real dispatcher and runtime over a memory store, in simulated time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from trapline.errors import NotFound
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

PROJECT = Path(__file__).parents[1] / "functions" / "basic"
JOB = "st7/n1"
SETTLE = 30 * 60 + 5

pytestmark = pytest.mark.usefixtures("case")


def read(store: MemoryStore, key: str) -> Any:
    try:
        return json.loads(store.get(key).data)
    except NotFound:
        return None


def summary(store: MemoryStore, job: str = JOB) -> Any:
    return read(store, f"results/{job}/summary.json")


def status(store: MemoryStore, job: str = JOB) -> Any:
    return read(store, f"status/{job}.json")


def lines(store: MemoryStore, job: str = JOB) -> dict[str, Any]:
    """The newest results, by file name."""
    file = next(f for f in summary(store, job)["files"] if f["name"] == "results.jsonl")
    found = (json.loads(line) for line in store.get(file["key"]).data.splitlines())
    return {line["rel"].removeprefix(job + "/"): line for line in found}


def revisions(store: MemoryStore, job: str = JOB) -> list[str]:
    folders = store.level(f"results/{job}/").folders
    return sorted(f.rstrip("/").rpartition("/")[2] for f in folders)


def receipts(store: MemoryStore, job: str = JOB) -> list[str]:
    return sorted(e.key.rpartition("/")[2] for e in store.list(f"receipts/{job}/"))


def image(name: str, job: str = JOB) -> str:
    return f"incoming/{job}/{name}"


def night(world: Simulated, **words: str) -> None:
    for name, text in words.items():
        world.put(image(f"{name}.jpg"), text.encode())


def test_images_dropped_and_closed_by_done_come_out_as_results() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth moth", b="beetle", c="nothing")
        world.put(image("_DONE"))
        await asyncio.sleep(30)

    world = Simulated(PROJECT)
    world.play(scenario)
    found = summary(world.store)
    assert found["state"] == "SUCCEEDED" and found["final"]
    assert found["results"] == {"labels": {"moth": 2, "beetle": 1}}
    assert {name: line["state"] for name, line in lines(world.store).items()} == {
        "a.jpg": "done",
        "b.jpg": "done",
        "c.jpg": "skipped",
    }
    assert status(world.store)["closed"] and status(world.store)["told"] == "nobody"
    assert len(receipts(world.store)) == 1 == len(revisions(world.store))


def test_without_done_a_job_closes_when_nothing_arrived_for_settle() -> None:
    async def scenario(world: Simulated) -> tuple[Any, Any]:
        night(world, a="moth")
        await asyncio.sleep(60)
        before = summary(world.store)
        await asyncio.sleep(SETTLE)
        return before, summary(world.store)

    before, after = Simulated(PROJECT).play(scenario)
    assert before["final"] is False and before["revision"].startswith("live-")
    assert after["final"] is True and after["last_final"]["N"] == 1


def test_provisional_results_are_never_notified_and_are_removed_when_the_job_closes(case: Any) -> None:
    async def scenario(world: Simulated) -> list[str]:
        night(world, a="moth")
        await asyncio.sleep(60)
        assert not case.TOLD and receipts(world.store) == []
        await asyncio.sleep(SETTLE)
        return revisions(world.store)

    assert [r[:3] for r in Simulated(PROJECT).play(scenario)] == ["r1-"]


def test_a_bad_image_costs_one_image_and_is_named_with_its_remedy() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth", b="bad", c="raise", d="flaky moth")
        world.put(image("_DONE"))
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    found = summary(world.store)
    assert found["state"] == "PARTIAL"
    assert found["failures_by_code"] == {"function_error": 1, "image_unreadable": 1}
    assert all(failure["remedy"] for failure in found["failures"])
    assert lines(world.store)["d.jpg"]["state"] == "done"
    letter = read(world.store, "failed/detect/st7/n1/c.jpg.json")
    assert letter["attempts"] == 4 and "a bug" in letter["message"] and letter["source"]["sha256"]


def test_an_empty_file_is_a_dead_letter_only_once_the_job_closes() -> None:
    async def scenario(world: Simulated) -> list[Any]:
        night(world, a="moth")
        world.put(image("b.jpg"), b"")
        await asyncio.sleep(60)
        before = read(world.store, "failed/detect/st7/n1/b.jpg.json")
        world.put(image("_DONE"))
        await asyncio.sleep(30)
        return [before, read(world.store, "failed/detect/st7/n1/b.jpg.json")]

    before, after = Simulated(PROJECT).play(scenario)
    assert before is None and after["code"] == "empty_file"


def test_an_empty_file_that_is_filled_before_the_job_closes_is_read() -> None:
    async def scenario(world: Simulated) -> None:
        world.put(image("b.jpg"), b"")
        await asyncio.sleep(20)
        world.put(image("b.jpg"), b"moth")
        world.put(image("_DONE"))
        await asyncio.sleep(30)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED"


def test_deleting_a_dead_letter_is_a_retry_and_makes_a_new_revision(case: Any) -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth", b="raise")
        world.put(image("_DONE"))
        await asyncio.sleep(120)
        assert summary(world.store)["state"] == "PARTIAL"
        world.store.put(image("b.jpg"), b"raise")  # the same bytes: only the dead letter decides
        case.ASKED.clear()
        world.delete("failed/detect/st7/n1/b.jpg.json")
        await asyncio.sleep(120)
        assert case.ASKED["st7/n1/b.jpg"] == 4
        assert read(world.store, "failed/detect/st7/n1/b.jpg.json") is not None

    world = Simulated(PROJECT)
    world.play(scenario)


def test_a_late_image_reopens_the_job_which_closes_again_at_settle_as_the_next_revision(case: Any) -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth")
        world.put(image("_DONE"))
        await asyncio.sleep(60)
        assert status(world.store)["closed"]
        night(world, late="beetle")
        await asyncio.sleep(60)
        assert not status(world.store)["closed"]
        assert summary(world.store)["final"] is False and summary(world.store)["last_final"]["N"] == 1
        await asyncio.sleep(SETTLE)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert [r[:3] for r in revisions(world.store)] == ["r1-", "r2-"]
    assert len(receipts(world.store)) == 2 and case.ASKED["st7/n1/a.jpg"] == 1


def test_a_new_done_closes_a_reopened_job_at_once() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth")
        world.put(image("_DONE"))
        await asyncio.sleep(60)
        night(world, late="beetle")
        world.put(image("_DONE"))
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["last_final"]["N"] == 2 and summary(world.store)["final"]


def test_an_overwritten_image_is_run_again_and_the_same_bytes_are_not(case: Any) -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth", b="moth")
        world.put(image("_DONE"))
        await asyncio.sleep(60)
        night(world, a="moth", b="beetle beetle")
        world.put(image("_DONE"))
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert case.ASKED == {"st7/n1/a.jpg": 1, "st7/n1/b.jpg": 2}
    assert summary(world.store)["results"]["labels"] == {"moth": 1, "beetle": 2}


def test_a_count_in_done_waits_for_what_is_missing_until_settle_and_names_the_job_partial() -> None:
    async def scenario(world: Simulated) -> Any:
        night(world, a="moth")
        world.put(image("_DONE"), b"3\n")
        await asyncio.sleep(120)
        before = status(world.store)
        await asyncio.sleep(SETTLE)
        return before

    world = Simulated(PROJECT)
    before = world.play(scenario)
    assert not before["closed"] and before["expected"] == 3
    assert summary(world.store)["state"] == "PARTIAL" and summary(world.store)["not_received_count"] == 2


@pytest.mark.parametrize(
    ("done", "named"),
    [(b"3\n", 0), ("".join(f"{'0' * 64}  {n}.jpg\n" for n in range(1500)).encode(), 1000)],
    ids=["a count", "many names"],
)
def test_a_compile_is_told_how_many_never_came_and_the_first_names(done: bytes, named: int) -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth")
        world.put(image("_DONE"), done)
        await asyncio.sleep(SETTLE + 60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert world.executor is not None
    found, orders = summary(world.store), [ticket.gather for ticket in world.executor.ran if ticket.gather]
    assert orders[-1].not_received_count == found["not_received_count"] in (2, 1500)
    assert list(orders[-1].not_received) == found["not_received"] and len(orders[-1].not_received) == named
    assert all(orders[-1].not_received)


def test_sha256sum_output_in_done_names_what_never_came() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth")
        sums = f"{'0' * 64}  DCIM/b.jpg\n"
        world.put(image("_DONE"), sums.encode())
        await asyncio.sleep(SETTLE + 60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["not_received"] == ["st7/n1/DCIM/b.jpg"]


def test_cancel_stops_a_job_and_its_removal_lets_it_go_on() -> None:
    async def scenario(world: Simulated) -> None:
        for n in range(50):
            world.put(image(f"{n}.jpg"), b"moth")
        world.put(image("_CANCEL"))
        world.put(image("_DONE"))
        await asyncio.sleep(60)
        assert status(world.store)["state"] == "CANCELLED" and summary(world.store) is None
        world.delete(image("_CANCEL"))
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED" and summary(world.store)["images"]["done"] == 50


def test_nothing_is_lost_when_every_event_is(case: Any) -> None:
    async def scenario(world: Simulated) -> None:
        world.events = False
        night(world, a="moth", b="beetle")
        await asyncio.sleep(400)
        world.put(image("_DONE"))
        await asyncio.sleep(400)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED" and max(case.ASKED.values()) == 1


@pytest.mark.parametrize("after", [0.05, 0.15, 0.3, 0.7, 2, 6, 7, 10])
def test_a_crash_at_any_moment_loses_nothing_and_the_results_are_those_of_a_calm_run(after: float) -> None:
    async def first(world: Simulated) -> None:
        for n in range(20):
            world.put(image(f"{n}.jpg"), b"bad" if n == 7 else b"moth")
        world.put(image("_DONE"))
        await asyncio.sleep(after)

    async def second(world: Simulated) -> None:
        await asyncio.sleep(120)

    store = MemoryStore()
    Simulated(PROJECT, store).play(first, clean=False)
    Simulated(PROJECT, store).play(second)
    found = lines(store)
    assert len(found) == 20 and found["7.jpg"]["code"] == "image_unreadable"
    assert summary(store)["results"] == {"labels": {"moth": 19}}
    assert len(receipts(store)) == len(summary(store)["finals"]) == 1


def test_a_restart_on_a_finished_bucket_runs_nothing_and_tells_nobody_again(case: Any) -> None:
    async def first(world: Simulated) -> None:
        night(world, a="moth", b="bad")
        world.put(image("_DONE"))
        await asyncio.sleep(60)

    async def second(world: Simulated) -> None:
        await asyncio.sleep(SETTLE * 2)

    store = MemoryStore()
    Simulated(PROJECT, store).play(first)
    before = {e.key: e.etag for e in store.list("") if not e.key.startswith("control/")}
    case.forget()
    world = Simulated(PROJECT, store)
    world.play(second)
    assert not case.ASKED and not case.TOLD
    assert world.executor is not None and not world.executor.ran
    assert before == {e.key: e.etag for e in store.list("") if not e.key.startswith("control/")}


def test_a_bucket_copied_to_another_store_runs_nothing_and_tells_nobody_again(case: Any) -> None:
    async def first(world: Simulated) -> None:
        night(world, a="moth", b="bad", c="nothing")
        world.put(image("d.jpg"), b"")
        world.put(image("_DONE"))
        await asyncio.sleep(60)

    async def second(world: Simulated) -> None:
        await asyncio.sleep(SETTLE * 2)

    store, copy = MemoryStore(), MemoryStore()
    Simulated(PROJECT, store).play(first)
    for n, entry in enumerate(list(store.list(""))):
        copy.put(f"padding/{n}", b"")  # other etags than the original's
        copy.put(entry.key, store.get(entry.key).data)
    case.forget()
    world = Simulated(PROJECT, copy)
    world.play(second)
    assert not case.ASKED and not case.TOLD
    assert world.executor is not None and not world.executor.ran
    assert revisions(copy) == revisions(store) and receipts(copy) == receipts(store)


def test_a_notification_that_fails_is_tried_again_and_never_changes_the_jobs_state(case: Any) -> None:
    async def scenario(world: Simulated) -> Any:
        case.NOTIFY_FAILS[0] = 3
        night(world, a="moth")
        world.put(image("_DONE"))
        await asyncio.sleep(20)
        between = status(world.store)["state"]
        await asyncio.sleep(120)
        return between

    world = Simulated(PROJECT)
    assert world.play(scenario) == "SUCCEEDED"
    assert len(case.TOLD) == 1 and read(world.store, f"receipts/{JOB}/{receipts(world.store)[0]}")["attempts"] == 4


def test_a_compile_that_fails_for_good_tells_the_client_and_is_retried_when_its_dead_letter_is_deleted(
    case: Any,
) -> None:
    async def scenario(world: Simulated) -> Any:
        case.COMPILE_FAILS[0] = 3
        night(world, a="moth")
        world.put(image("_DONE"))
        await asyncio.sleep(3)
        case.COMPILE_FAILS[0] = 3
        await asyncio.sleep(120)
        failed = summary(world.store)
        world.delete(f"failed/compile/{JOB}.json")
        await asyncio.sleep(60)
        return failed

    world = Simulated(PROJECT)
    failed = world.play(scenario)
    assert failed["state"] == "FAILED" and failed["results"]["failure"]["code"] == "compile_failed"
    assert status(world.store)["state"] == "SUCCEEDED" == summary(world.store)["state"]
    assert len(case.TOLD) == 2


def test_files_that_no_stage_reads_are_counted_and_named() -> None:
    async def scenario(world: Simulated) -> None:
        night(world, a="moth")
        for name in ("video.mp4", "Thumbs.db", ".hidden.jpg", "notes.pdf"):
            world.put(image(name), b"x")
        world.put(image("_DONE"))
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED" and summary(world.store)["ignored_count"] == 4
    assert f"{JOB}/video.mp4" in status(world.store)["ignored_names"]


def test_images_without_folders_belong_to_unsorted_jobs() -> None:
    async def scenario(world: Simulated) -> None:
        world.put("incoming/a.jpg", b"moth")
        world.put("incoming/st7/b.jpg", b"moth")
        world.put("incoming/_DONE")
        world.put("incoming/st7/_DONE")
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store, "unsorted/unsorted")["images"]["done"] == 1
    assert summary(world.store, "st7/unsorted")["images"]["done"] == 1


def test_small_jobs_finish_while_a_huge_one_runs() -> None:
    async def scenario(world: Simulated) -> float:
        for n in range(2000):
            world.put(f"incoming/big/job/{n}.jpg", b"moth")
        await asyncio.sleep(5)
        for n in range(10):
            world.put(image(f"{n}.jpg"), b"moth")
        world.put(image("_DONE"))
        began = asyncio.get_running_loop().time()
        while not (status(world.store) or {}).get("closed"):
            await asyncio.sleep(0.5)
        return asyncio.get_running_loop().time() - began

    assert Simulated(PROJECT, seconds=0.2).play(scenario) < 20
