"""Worlds that are played at every run of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation import teeth
from tests.simulation.__main__ import failure, watch
from tests.simulation.plan import Plan, draw, load
from tests.simulation.shrink import shrink
from tests.simulation.world import play

KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))
TEETH = {name: bug for name, bug in teeth.BUGS.items() if bug.seed >= 0}
ENDLESS = "every job closes"  # a world that breaks this promise is played for as long as a world lasts


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_world_that_once_broke_a_promise_keeps_it(path: Path) -> None:
    play(load(path))


def test_some_worlds_keep_every_promise() -> None:
    for seed in range(20):
        play(draw(seed))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (bug.promise == ENDLESS)) for name, bug in TEETH.items()]
)
def test_a_deliberate_bug_is_caught(name: str) -> None:
    bug = TEETH[name]
    assert teeth.caught(name, bug.seed) == bug.promise


def test_the_same_seed_is_the_same_world_in_any_process() -> None:
    told = [_story(5, hashing) for hashing in ("1", "2")]
    assert told[0] == told[1] and told[0].splitlines()[-1] == "every promise holds"


def _story(seed: int, hashing: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--story", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hashing}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_without_greenlet_one_line_says_what_to_do() -> None:
    code = "import runpy, sys; sys.modules['greenlet'] = None; runpy.run_module('tests.simulation', None, '__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "make test" in done.stderr and done.stderr.count("\n") == 1


def test_a_plan_survives_being_kept(tmp_path: Path) -> None:
    for seed in range(200):
        plan = draw(seed)
        (tmp_path / "plan.json").write_text(plan.dump())
        assert load(tmp_path / "plan.json") == plan


def test_a_failing_world_is_made_smaller_and_told_as_a_timeline() -> None:
    bug = teeth.BUGS["pin_at_every_look"]
    plan = draw(bug.seed)
    with bug.put_in():
        small = shrink(plan, lambda p: (f := failure(p)) is not None and f.promise == bug.promise, 10.0)
        world, broken = watch(small)
    assert broken is not None and broken.promise == bug.promise
    assert _size(small) < _size(plan)
    lines = world.story.text().splitlines()
    assert any(f"BROKEN {bug.promise}" in line for line in lines)
    assert [float(line.split()[0]) for line in lines] == sorted(float(line.split()[0]) for line in lines)


def test_without_the_bug_the_smaller_world_is_fine() -> None:
    assert failure(replace(draw(3), workers=0.0)) is None


def _size(plan: Plan) -> int:
    return sum(1 + len(life.steps) for life in plan.lives)
