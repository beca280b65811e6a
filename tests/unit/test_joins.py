"""Stages that read what several others wrote, files beside records, and pinning one stage anew."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trapline.errors import ConfigError, NotFound, Permanent
from trapline.images import Image
from trapline.pipeline.load import load_pipeline
from trapline.pipeline.recipe import needed_models, resolve_pins
from trapline.records import ModelRef, Request
from trapline.runtime.items import ImageItem
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

PROJECT = Path(__file__).parents[1] / "functions" / "joined"
JOB = "st7/n1"


@pytest.fixture(autouse=True)
def joined() -> Iterator[Any]:
    """The functions of the joined pipeline, which remember nothing of an earlier test."""
    sys.path.insert(0, str(PROJECT))
    case = importlib.import_module("case_joined")
    case.forget()
    yield case
    sys.path.remove(str(PROJECT))


def read(store: MemoryStore, key: str) -> Any:
    try:
        return json.loads(store.get(key).data)
    except NotFound:
        return None


def summary(store: MemoryStore) -> Any:
    return read(store, f"results/{JOB}/summary.json")


def line(store: MemoryStore, name: str = "a.jpg") -> Any:
    """What the newest results say of one image."""
    file = next(f for f in summary(store)["files"] if f["name"] == "results.jsonl")
    found = (json.loads(one) for one in store.get(file["key"]).data.splitlines())
    return next(one for one in found if one["rel"] == f"{JOB}/{name}")


async def night(world: Simulated, **words: str) -> None:
    for name, word in words.items():
        world.put(f"incoming/{JOB}/{name}.jpg", word.encode())
    world.put(f"incoming/{JOB}/_DONE")
    await asyncio.sleep(30)


def test_a_join_runs_once_and_sees_what_both_know(joined: Any) -> None:
    async def scenario(world: Simulated) -> None:
        await night(world, a="moth", b="beetle")

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store)["state"] == "SUCCEEDED"
    found = line(world.store)
    assert (found["saw"], found["missing"]) == ({"left": True, "right": True}, [])
    assert [(d["left"], d["right"]) for d in found["both"]] == [("l", "r")]
    assert set(joined.ASKED.values()) == {1}
    record = read(world.store, f"joined/{JOB}/a.jpg.json")
    assert set(record["stages"]) == {"detect", "left", "right", "join"} and "missing" not in record


def test_a_join_goes_on_without_a_stage_that_failed_and_is_made_again_when_that_passes(joined: Any) -> None:
    async def scenario(world: Simulated) -> None:
        joined.BROKEN.add(("left", "moth"))
        await night(world, a="moth", b="beetle")
        first = summary(world.store)
        assert (first["state"], first["images"]["done"], first["images"]["failed"]) == ("PARTIAL", 2, 0)
        assert [(f["rel"], f["stage"]) for f in first["failures"]] == [(f"{JOB}/a.jpg", "left")]
        assert line(world.store)["missing"] == ["left"] and line(world.store, "b.jpg")["missing"] == []
        assert read(world.store, f"joined/{JOB}/a.jpg.json")["missing"] == ["left"]
        assert read(world.store, f"joined/{JOB}/a.jpg.json")["stages"]["join"]["missing"] == ["left"]
        joined.BROKEN.clear()
        world.delete(f"failed/left/{JOB}/a.jpg.json")
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert (summary(world.store)["state"], summary(world.store)["last_final"]["N"]) == ("SUCCEEDED", 2)
    assert line(world.store)["missing"] == []
    assert joined.ASKED["join", f"{JOB}/a.jpg"] == 2 and joined.ASKED["right", f"{JOB}/a.jpg"] == 1


def test_a_retry_asked_for_while_no_engine_runs_makes_the_join_again(joined: Any) -> None:
    async def first(world: Simulated) -> None:
        joined.BROKEN.add(("right", "moth"))
        await night(world, a="moth")

    async def second(world: Simulated) -> None:
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(first)
    joined.BROKEN.clear()
    world.delete(f"failed/right/{JOB}/a.jpg.json")
    world.play(second)
    assert (summary(world.store)["state"], line(world.store)["missing"]) == ("SUCCEEDED", [])


def test_a_code_counts_images_and_not_the_stages_that_failed(joined: Any) -> None:
    async def scenario(world: Simulated) -> None:
        joined.BROKEN.update({("left", "moth"), ("right", "moth")})
        await night(world, a="moth", b="beetle")

    world = Simulated(PROJECT)
    world.play(scenario)
    assert [f["stage"] for f in summary(world.store)["failures"]] == ["left", "right"]
    assert list(summary(world.store)["failures_by_code"].values()) == [1]


def test_what_was_skipped_is_told_so_by_an_engine_that_begins_later(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    spec = project / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("to: lefts/", "to: lefts/, when: {label: [dragonfly]}"))

    async def late(world: Simulated) -> None:
        world.put(f"incoming/{JOB}/late.jpg", b"moth")
        await asyncio.sleep(60)

    world = Simulated(project)
    world.play(lambda world: night(world, a="moth"))
    again = Simulated(project, world.store)
    again.play(late)
    assert read(world.store, f"status/{JOB}.json")["stages"]["left"]["skipped"] == 2


def test_an_image_fails_only_where_nothing_is_left_to_join(joined: Any) -> None:
    async def scenario(world: Simulated) -> None:
        joined.BROKEN.update({("left", "moth"), ("right", "moth"), ("detect", "beetle")})
        await night(world, a="moth", b="beetle", c="fly")

    world = Simulated(PROJECT)
    world.play(scenario)
    told = summary(world.store)
    assert (told["state"], told["images"]["done"], told["images"]["failed"]) == ("PARTIAL", 1, 2)
    failures = [(f["rel"].rpartition("/")[2], f["stage"]) for f in told["failures"]]
    assert failures == [("a.jpg", "left"), ("a.jpg", "right"), ("b.jpg", "detect")]
    assert sum(told["failures_by_code"].values()) == 2, "images are counted, not stages"


def test_an_empty_image_and_a_passed_deadline_end_every_stage_that_is_open() -> None:
    async def scenario(world: Simulated) -> None:
        listed = [{"id": "1", "url": f"incoming/{JOB}/a.jpg"}, {"id": "2", "url": f"incoming/{JOB}/absent.jpg"}]
        world.put(f"incoming/{JOB}/a.jpg", b"moth")
        world.put(f"jobs/{JOB}.json", json.dumps({"sourceImages": listed, "deadline": "PT2S"}).encode())
        await asyncio.sleep(120)

    world = Simulated(PROJECT, seconds=1.5)
    world.play(scenario)
    assert summary(world.store)["final"]
    assert summary(world.store)["failures_by_code"]["deadline_passed"] >= 1


def test_a_file_is_stored_before_the_record_that_names_it() -> None:
    async def scenario(world: Simulated) -> None:
        await night(world, a="moth")
        world.put(f"incoming/{JOB}/a.jpg", b"moths")
        world.put(f"incoming/{JOB}/_DONE", b"1")
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    record = read(world.store, f"lefts/{JOB}/a.jpg.json")
    file = record["known"]["left"]
    assert world.store.get(file["key"]).data == b"moths"
    assert file["sha256"] == hashlib.sha256(b"moths").hexdigest()
    assert record["stages"]["left"]["files"] == [{"name": "left.txt", **file}]
    assert record["usage"]["bytes_out"] == 5
    keys = [entry.key for entry in world.store.list(f"files/left/{JOB}/a.jpg/")]
    assert len(keys) == 2 and file["key"] in keys  # other bytes, another key: what was named stays as it was


@pytest.mark.parametrize("name", ["", "a/b.txt", "../x", ".hidden", "é.txt", "x" * 101])
def test_a_files_name_is_plain(name: str) -> None:
    with pytest.raises(Permanent, match="is not a name"):
        _item().write(name, b"")


def test_a_file_is_written_once() -> None:
    item = _item()
    item.write("a.txt", b"1")
    with pytest.raises(Permanent, match="written already"):
        item.write("a.txt", b"2")


def _item() -> ImageItem:
    return ImageItem("a.jpg", "incoming/a.jpg", "", {}, {}, b"", Image(b""), None, [])


# -- pins


def test_reprocessing_one_stage_runs_it_and_what_builds_on_it_and_nothing_else(tmp_path: Path, joined: Any) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    world = Simulated(project)
    world.play(lambda world: night(world, a="moth"))
    before = summary(world.store)
    for name in ("detect", "right"):
        file = project / "functions" / name / "function.yaml"
        file.write_text(file.read_text().replace("1.0.0", "2.0.0"))

    async def ask(world: Simulated) -> None:
        await asyncio.sleep(60)
        assert summary(world.store)["last_final"] == before["last_final"]  # it keeps what it was pinned to
        world.put("control/requests/1.json", Request(action="reprocess", job=JOB, stage="right").dump(), event=False)
        await asyncio.sleep(60)

    changed = Simulated(project, world.store)
    changed.play(ask)
    asked = {name: joined.ASKED[name, f"{JOB}/a.jpg"] for name in ("detect", "left", "right", "join")}
    assert asked == {"detect": 1, "left": 1, "right": 2, "join": 2}
    after = summary(world.store)
    assert after["last_final"]["N"] == 2
    versions = {name: pin["version"] for name, pin in after["pins"].items()}
    assert (versions["detect"], versions["left"], versions["right"]) == ("1.0.0", "1.0.0", "2.0.0")


def test_two_stages_run_one_function_with_different_models(tmp_path: Path) -> None:
    project = _with(tmp_path, "right: {function: right, ", "right: {function: left, model: other, ")
    pipeline = load_pipeline(project)
    assert needed_models(pipeline) == {("other", "current")}
    model = ModelRef(name="other", version="1.0.0", sha256="ab" * 32)
    pins = resolve_pins(pipeline, None, {("other", "current"): model})
    assert (pins["left"].model, pins["right"].model) == (None, model)
    assert pins["left"].recipe != pins["right"].recipe


def test_a_join_needs_a_function_that_takes_records(tmp_path: Path) -> None:
    project = _with(tmp_path, "join: {function: join, ", "join: {function: left, ")
    with pytest.raises(ConfigError, match="left accepts detections, but this stage hands it the records of several"):
        load_pipeline(project)


def _with(tmp_path: Path, old: str, new: str) -> Path:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    file = project / "pipeline.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    return project


def test_where_no_stage_notifies_nobody_is_said_not_to_have_been_told() -> None:
    world = Simulated(PROJECT)

    async def scenario(world: Simulated) -> None:
        await night(world, a="moth")
        world.put("control/requests/1.json", Request(action="sweep", job=JOB).dump(), event=False)
        await asyncio.sleep(30)

    world.play(scenario)
    assert summary(world.store)["final"] and read(world.store, f"status/{JOB}.json")["told"] == ""
