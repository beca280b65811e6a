"""Processes that are killed, hang, grow or are asked to stop: nothing is lost, nobody is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.calm import IMAGES, JOBS, drop
from tests.integration.engine import PROGRAM, Engine, engine, found, gone, night, project, until
from tests.integration.watcher import answers

POISON = Path(__file__).resolve().parents[1] / "functions" / "poison"
Found = dict[str, dict[str, list[tuple[Any, ...]]]]


def results(served: Engine) -> Found:
    return {job: {name: found(line) for name, line in served.lines(job).items()} for job in JOBS}


@pytest.fixture(scope="module", name="traps")
def _traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("kills") / "traps", {"settle": "PT1H", "refresh": "PT0.5S"})


@pytest.fixture(scope="module", name="calm")
def _calm(traps: Path, images: dict[str, bytes]) -> Found:
    """What a run finds in which nothing happens."""
    with engine(traps, traps.parent / "calm") as served:
        drop(served, images)
        for job in JOBS:
            served.closed(job, seconds=60)
        return results(served)


def killed(served: Engine) -> None:
    """`kill -9` of the engine alone: whatever it started ends by itself."""
    others = [pid for pid in served.processes() if served.process is None or pid != served.process.pid]
    assert len(served.workers()) >= 1 and len(served.rclone()) == 1
    served.kill()
    gone(others)


def check(served: Engine, calm: Found) -> None:
    """The results are the calm run's; whatever a summary names is whole; each final revision was told of once."""
    for job in JOBS:
        until(lambda: served.summary(job).get("final") and served.status(job)["told"], 60, lambda: served.status(job))  # noqa: B023
        summary = served.summary(job)
        assert summary["state"] == "PARTIAL" and summary["images"]["total"] == IMAGES // len(JOBS)
        receipts = sorted(f"{final['N']}-{final['revision'].rpartition('-')[2]}.json" for final in summary["finals"])
        until(lambda: served.receipts(job) == receipts, 10, lambda: (served.receipts(job), receipts))  # noqa: B023
        for file in summary["files"]:
            assert len(served.get(file["key"]) or b"") == file["size"]
    assert results(served) == calm


@pytest.mark.slow
def test_a_calm_run_finds_something_and_fails_what_is_cut_off(calm: Found) -> None:
    everything = [one for job in calm.values() for one in job.values()]
    assert len(everything) == IMAGES
    assert sum(one == [("image_truncated",)] for one in everything) == IMAGES // 61
    assert sum(len(one) for one in everything) > IMAGES


@pytest.mark.slow
def test_an_engine_killed_again_and_again_ends_with_the_results_of_a_calm_run(
    traps: Path, images: dict[str, bytes], calm: Found, tmp_path: Path
) -> None:
    served = Engine(traps, tmp_path / "data").start()
    try:
        drop(served, images)
        for seconds in (0.7, 2.0):
            time.sleep(seconds)
            killed(served)
            served.start()
        check(served, calm)
        assert served.stop() == 0
    finally:
        served.end()


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["the first record", "half of the records", "a revision's folder", "a summary", "a receipt"]
)
def test_an_engine_killed_at_a_certain_moment_ends_with_the_results_of_a_calm_run(
    traps: Path, images: dict[str, bytes], calm: Found, tmp_path: Path, moment: str
) -> None:
    served = Engine(traps, tmp_path / "data").start()
    reached: dict[str, Callable[[], bool]] = {
        "the first record": lambda: any(served.root.glob("classifications/**/*.json")),
        "half of the records": lambda: len(list(served.root.glob("classifications/**/*.json"))) > IMAGES // 2,
        "a revision's folder": lambda: any(served.root.glob("results/*/*/r1-*")),
        "a receipt": lambda: any(served.root.glob("receipts/*/*/*.json")),
        "a summary": lambda: any(served.root.glob("results/*/*/summary.json")),
    }
    try:
        drop(served, images)
        end = time.monotonic() + 60
        while not reached[moment]():
            assert time.monotonic() < end
            time.sleep(0.002)
        killed(served)
        served.start()
        check(served, calm)
        assert served.stop() == 0
    finally:
        served.end()


@pytest.mark.slow
def test_nobody_notices_that_workers_and_the_endpoint_are_killed(
    traps: Path, images: dict[str, bytes], calm: Found, tmp_path: Path
) -> None:
    with engine(traps, tmp_path / "data") as served:
        drop(served, images)
        for count in (20, 120, 200):
            until(lambda: len(list(served.root.glob("classifications/**/*.json"))) > count, 30)  # noqa: B023
            os.kill(served.workers()[0], signal.SIGKILL)
        (old,) = served.rclone()
        os.kill(old, signal.SIGKILL)
        until(lambda: [pid for pid in served.rclone() if pid != old], 10)
        until(lambda: answers(served), 10)
        check(served, calm)
        assert all(served.summary(job)["failures_by_code"] == _truncated(calm, job) for job in JOBS)
        assert served.process is not None and served.process.poll() is None


def _truncated(calm: Found, job: str) -> dict[str, int]:
    count = sum(one == [("image_truncated",)] for one in calm[job].values())
    return {"image_truncated": count} if count else {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_engine_that_is_asked_to_stop_stops_soon_and_leaves_nothing_running(
    traps: Path, images: dict[str, bytes], tmp_path: Path, number: signal.Signals
) -> None:
    served = Engine(traps, tmp_path / "data").start()
    try:
        drop(served, images)
        until(lambda: any(served.root.glob("classifications/**/*.json")), 30)
        stopped(served, number)
    finally:
        served.end()


@pytest.mark.slow
def test_an_engine_stopped_in_the_middle_goes_on_where_it_was(
    traps: Path, images: dict[str, bytes], calm: Found, tmp_path: Path
) -> None:
    served = Engine(traps, tmp_path / "data").start()
    try:
        drop(served, images)
        for seconds in (1, 3):
            time.sleep(seconds)
            stopped(served, signal.SIGTERM)
            served.start()
        check(served, calm)
    finally:
        served.end()


def stopped(served: Engine, number: signal.Signals) -> None:
    """In good order, within three seconds, without a word."""
    processes, began = served.processes(), time.monotonic()
    if number == signal.SIGINT:
        os.killpg(served.told["pid"], number)  # as a terminal does it: to the whole group
    else:
        served.signal(number)
    assert served.wait(5) == 0
    assert time.monotonic() - began < 3
    gone(processes, 0.5)
    assert served.said() == ""


def test_a_second_engine_on_the_same_data_names_the_firsts_pid(traps: Path, tmp_path: Path) -> None:
    with engine(traps, tmp_path / "data") as served:
        words = ["up", "--project", str(traps), "--data", str(served.data), "--port", "0", "--json"]
        second = subprocess.run(
            [*PROGRAM, *words], env=served.env, capture_output=True, text=True, timeout=20, check=False
        )
        assert second.returncode != 0 and not second.stdout
        assert f"pid {served.told['pid']}" in second.stderr and "Traceback" not in second.stderr
        served.upload("after/it", {"a.jpg": night(2)})  # the first is none the worse
        assert served.closed("after/it")["state"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("exit", "worker_died"),
        pytest.param("hang", "timeout", marks=pytest.mark.slow),
        pytest.param("eat", "out_of_memory", marks=pytest.mark.slow),
    ],
)
def test_one_image_that_ends_its_worker_costs_only_itself(tmp_path: Path, word: str, code: str) -> None:
    with engine(POISON, tmp_path / "data") as served:
        images = {f"{number:02d}.jpg": b"moth " * (number % 4) + b"beetle" for number in range(40)}
        served.upload("st1/n1", images | {"13.jpg": word.encode()})
        summary = served.closed("st1/n1", seconds=60)
        assert summary["failures_by_code"] == {code: 1} and summary["state"] == "PARTIAL"
        lines = served.lines("st1/n1")
        assert lines.pop("13.jpg")["failure"]["code"] == code
        assert {name: len(line["detections"]) for name, line in lines.items()} == {
            name: len(data.split()) for name, data in images.items() if name != "13.jpg"
        }
        letter = served.json("failed/detect/st1/n1/13.jpg.json")
        assert letter["attempts"] == 2 and letter["remedy"]


@pytest.mark.slow
def test_an_image_that_hangs_holds_up_nobody_elses(tmp_path: Path) -> None:
    with engine(POISON, tmp_path / "data") as served:
        served.upload("st1/n1", {"a.jpg": b"hang"})
        until(lambda: served.status("st1/n1").get("stages"), 10)
        served.upload("st2/n1", {f"{number:02d}.jpg": b"moth" for number in range(20)})
        assert served.closed("st2/n1", seconds=15)["state"] == "SUCCEEDED"
        assert served.closed("st1/n1", seconds=20)["failures_by_code"] == {"timeout": 1}


@pytest.mark.slow
def test_images_that_end_their_workers_each_in_another_way_are_all_found(tmp_path: Path) -> None:
    with engine(POISON, tmp_path / "data") as served:
        images = {f"{number:02d}.jpg": b"moth" for number in range(30)}
        poison = {"03.jpg": b"exit", "04.jpg": b"hang", "05.jpg": b"eat", "21.jpg": b"exit"}
        served.upload("st1/n1", images | poison)
        assert served.closed("st1/n1", seconds=90)["failures_by_code"] == {
            "worker_died": 2,
            "timeout": 1,
            "out_of_memory": 1,
        }
        assert sum(line["state"] == "done" for line in served.lines("st1/n1").values()) == 26
