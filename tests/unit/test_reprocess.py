"""`trapline reprocess`: what is stale, what it would cost, and that nothing else runs again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trapline.cli.place import Place
from trapline.cli.reprocess import reprocess
from trapline.errors import ConfigError, TraplineError
from trapline.pipeline.load import load_pipeline
from trapline.pipeline.recipe import pipeline_digest
from trapline.store.base import Store
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

BASIC = Path(__file__).parents[1] / "functions" / "basic"


class MemoryPlace(Place):
    """A bucket in memory."""

    held: MemoryStore

    def store(self) -> Store:
        return self.held


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(BASIC, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def store(project: Path, case: Any) -> Iterator[MemoryStore]:
    """Two nights that are done."""

    async def nights(world: Simulated) -> None:
        for job in ("st7/n1", "st7/n2"):
            world.put(f"incoming/{job}/a.jpg", b"moth")
            world.put(f"incoming/{job}/b.jpg", b"bad")
            world.put(f"incoming/{job}/_DONE")
        await asyncio.sleep(30)

    world = Simulated(project)
    world.play(nights)
    yield world.store


def run(
    project: Path,
    store: MemoryStore,
    what: str,
    stage: str | None = None,
    *,
    dry_run: bool = False,
    as_json: bool = True,
    endpoint: str | None = "memory:",
) -> None:
    place = MemoryPlace(load_pipeline(project), project, "basic", endpoint)
    object.__setattr__(place, "held", store)
    reprocess(place, what, stage, dry_run=dry_run, yes=True, as_json=as_json)


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def requests(store: MemoryStore) -> list[Any]:
    return [json.loads(store.get(entry.key).data) for entry in store.list("control/requests/")]


def newer(project: Path, function: str) -> None:
    file = project / "functions" / function / "function.yaml"
    text = file.read_text()
    assert "version: 1.0.0" in text
    file.write_text(text.replace("version: 1.0.0", "version: 1.1.0"))


def final(store: MemoryStore, job: str) -> int:
    return int(json.loads(store.get(f"results/{job}/summary.json").data)["last_final"]["N"])


def test_what_is_up_to_date_is_left_alone(
    project: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, store, "st7/n1")
    assert told(capsys)["asked"] == 0 and requests(store) == []


def test_a_newer_classifier_costs_no_detections(
    project: Path, store: MemoryStore, case: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    newer(project, "classify")
    run(project, store, "st7/n1")
    answer = told(capsys)
    (part,) = answer["jobs"][0]["stages"]
    assert (part["stage"], part["images"], part["why"]) == ("classify", 1, "classify 1.0.0 → classify 1.1.0")
    assert part["seconds_each"] >= 0 and answer["asked"] == 1
    case.ASKED.clear()
    Simulated(project, store).play(lambda world: asyncio.sleep(60))
    assert case.ASKED.total() == 0  # no image was detected again
    assert (final(store, "st7/n1"), final(store, "st7/n2")) == (2, 1)


def test_a_dry_run_asks_for_nothing(project: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    newer(project, "classify")
    run(project, store, "st7", dry_run=True)
    answer = told(capsys)
    assert [job["job"] for job in answer["jobs"] if job["stages"]] == ["st7/n1", "st7/n2"]
    assert answer["asked"] == 0 and requests(store) == []


def test_an_engine_that_began_before_the_change_is_not_asked(
    project: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = project / "engine" / "serving.json"
    serving.parent.mkdir()
    serving.write_text(json.dumps({"pid": os.getpid(), "pipeline": pipeline_digest(load_pipeline(project))}))
    newer(project, "classify")
    with pytest.raises(TraplineError, match="before they were changed"):
        run(project, store, "st7", endpoint=None)
    assert requests(store) == []
    run(project, store, "st7", dry_run=True, endpoint=None)
    assert told(capsys)["jobs"][0]["stages"], "what it would cost is told all the same"


def test_one_stage_leaves_the_others_as_they_were_pinned(
    project: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    newer(project, "detect")
    newer(project, "classify")
    run(project, store, "st7/n2", "classify")
    assert [part["stage"] for part in told(capsys)["jobs"][0]["stages"]] == ["classify"]
    assert [(r["job"], r["stage"]) for r in requests(store)] == [("st7/n2", "classify")]


def test_results_alone_are_compiled_again(
    project: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    newer(project, "compile")
    run(project, store, "st7/n1")
    (job,) = told(capsys)["jobs"]
    assert (job["stages"], job["compile"]) == ([], True)
    Simulated(project, store).play(lambda world: asyncio.sleep(60))
    assert final(store, "st7/n1") == 2


@pytest.mark.parametrize(
    ("what", "stage", "words"),
    [
        ("st9", None, "none begins so"),
        ("st7/n1", "clasify", "Did you mean 'classify'"),
        ("st7/n1", "fetch", "runs once"),
        ("", None, "Name a job"),
    ],
)
def test_a_wrong_name_is_told_with_what_there_is(
    project: Path, store: MemoryStore, what: str, stage: str | None, words: str
) -> None:
    with pytest.raises((ConfigError, TraplineError)) as caught:
        run(project, store, what, stage)
    assert words in str(caught.value)


def test_a_job_that_has_not_begun_is_told_and_left(
    project: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put("incoming/st8/n1/a.jpg", b"moth")
    run(project, store, "st8/n1")
    answer = told(capsys)
    assert "not begun" in answer["jobs"][0]["problem"] and answer["asked"] == 0


def test_a_crash_in_the_middle_loses_no_image(project: Path, store: MemoryStore) -> None:
    newer(project, "classify")
    run(project, store, "st7/n1")

    async def crash_once_asked(world: Simulated) -> None:
        while requests(world.store):  # the request is taken in, and its work has not begun
            await asyncio.sleep(0.01)

    Simulated(project, store).play(crash_once_asked, clean=False)
    assert final(store, "st7/n1") == 1
    Simulated(project, store).play(lambda world: asyncio.sleep(60))
    assert final(store, "st7/n1") == 2


def test_a_request_is_not_lost_while_its_job_is_opened_with_a_stage_more(project: Path, store: MemoryStore) -> None:
    newer(project, "compile")
    pipeline = project / "pipeline.yaml"
    more = "  again: {function: classify, from: detections/, to: again/, model: other}\n  compile:"
    pipeline.write_text(pipeline.read_text().replace("  compile:", more))
    store.put("models/other/current", b"1.0.0")
    store.put("models/other/1.0.0/model.yaml", b"sha256: " + b"ab" * 32)
    run(project, store, "st7/n1", "compile")

    async def slow(what: str, key: str) -> None:
        """The control record is written while the models are still being read."""
        await asyncio.sleep({"models": 2.0, "control": 1.0 if what == "put" else 0.0}.get(key.partition("/")[0], 0.0))

    world = Simulated(project, store)
    world.before = slow
    world.play(lambda world: asyncio.sleep(120))
    assert final(store, "st7/n1") == 2


def test_the_images_told_are_those_that_would_run(
    project: Path, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    newer(project, "classify")
    run(project, store, "st7/n1", as_json=False)
    assert "1 image of 1 job" in capsys.readouterr().out  # the other one failed before
