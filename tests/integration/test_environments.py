"""Functions with libraries of their own: what is told before the engine starts, and what runs where."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.engine import PROGRAM, QUICK, Engine, engine, environment, night, project, until
from tests.venvs import bare_venv, library, made_now, site_packages
from trapline.environments.venvs import python_of, unfinish, venv_of
from trapline.executors import own
from trapline.executors.local import LocalExecutor
from trapline.executors.opening import WorkerConfig
from trapline.pipeline.load import load_pipeline
from trapline.records import Item, Outcome, Pin, Ticket

HANDLER = """
from speciesnames import VERSION


class Names:
    def handle(self, items):
        return [{"%s": VERSION} for item in items]
"""


def add_function(project: Path, name: str, needs: str, **more: str) -> None:
    """A function that tells which version of the library `speciesnames` it sees."""
    folder = project / "functions" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "handler.py").write_text(HANDLER % name)
    (folder / "requirements.txt").write_text(needs)
    spec = {"name": name, "version": "1.0.0", "handler": f"functions.{name}.handler:Names", **more}
    (folder / "function.yaml").write_text(yaml.safe_dump(spec))


def two_opinions(folder: Path, newer: str = "own") -> Path:
    """A project with two functions that need different versions of one library; the newer one is on its own."""
    made = project(folder)
    add_function(made, "older", "speciesnames<2\n", accepts="image")
    add_function(made, "newer", "speciesnames>=2\n", accepts="older", environment=newer)
    stages = {
        "older": {"function": "older", "from": "incoming/", "to": "older/"},
        "newer": {"function": "newer", "from": "older/", "to": "newer/"},
        "compile": {"function": "compile", "from": "newer/", "to": "results/", "gather": "job"},
        "notify": {"function": "notify", "from": "results/", "to": "receipts/"},
    }
    spec = {"name": "opinions", "bucket": "traps", "jobs": QUICK, "stages": stages, "local": {"workers": 1}}
    (made / "pipeline.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return made


@pytest.fixture
def opinions(tmp_path: Path) -> Path:
    """Version 1.0 of the library lies in the engine's path, 2.0 in the environment of the newer function."""
    made = two_opinions(tmp_path / "traps")
    library(tmp_path / "engines", "speciesnames", "1.0")
    library(site_packages(bare_venv(made, "newer")), "speciesnames", "2.0")
    return made


def trapline(project: Path, *words: str, rc: int) -> str:
    env = environment(PYTHONPATH=os.pathsep.join((str(project.parent / "engines"), os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        [*PROGRAM, *words, "--project", str(project)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == rc, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def serving(project: Path) -> Any:
    """An engine whose own path holds version 1.0."""
    path = os.pathsep.join((str(project.parent / "engines"), os.environ.get("PYTHONPATH", "")))
    return engine(project, project.parent / "data", PYTHONPATH=path)


# -- side by side


def test_two_functions_of_one_pipeline_see_different_versions_of_one_library(opinions: Path) -> None:
    assert "each finds the libraries" in trapline(opinions, "functions", "check", rc=0)
    with serving(opinions) as served:
        served.upload("st1/n1", {f"{n}.jpg": night(n) for n in (1, 2, 3)})
        assert served.closed("st1/n1")["state"] == "SUCCEEDED"
        known = served.json("newer/st1/n1/1.jpg.json")["known"]
        assert (known["older"], known["newer"]) == ("1.0", "2.0")
        assert len(served.lines("st1/n1")) == 3
        own = served.processes(str(python_of(venv_of(opinions, "newer"))), "trapline.executors.worker")
        assert len(own) == 1


# -- what is told before anything starts


def test_two_functions_that_can_never_agree_are_both_named_and_nothing_starts(tmp_path: Path) -> None:
    made = two_opinions(tmp_path / "traps", newer="shared")
    library(tmp_path / "engines", "speciesnames", "1.0")
    told = trapline(made, "up", "--port", "0", "--data", str(tmp_path / "data"), rc=2)
    assert told.count("\n") == 1 and "environment: own" in told
    for part in ("functions/older/requirements.txt, line 1 needs speciesnames<2", "speciesnames>=2", "newer"):
        assert part in told
    assert not (tmp_path / "data/buckets").exists()
    (problem,) = json.loads(trapline(made, "functions", "check", "--json", rc=2))["problems"]
    assert problem["function"] in ("older", "newer") and problem["remedy"] in told
    rows = {row["function"]: row["state"] for row in json.loads(trapline(made, "functions", "list", "--json", rc=0))}
    assert (rows["older"], rows["newer"], rows["compile"]) == ("lacks libraries", "lacks libraries", "ready")


def test_a_library_that_the_engine_lacks_is_told_with_the_command_that_brings_it(tmp_path: Path) -> None:
    made = project(tmp_path / "traps")
    (made / "functions/detect/requirements.txt").write_text("numpy>=2.1\nno-such-library>=3\n")
    told = trapline(made, "functions", "check", rc=2)
    assert "functions/detect/requirements.txt, line 2 needs no-such-library>=3, which is not installed" in told
    assert "-m pip install 'no-such-library>=3'" in told and "functions install detect" in told


def test_what_trapline_itself_cannot_run_with_is_said_to_be_so(tmp_path: Path) -> None:
    made = project(tmp_path / "traps")
    (made / "functions/detect/requirements.txt").write_text("numpy<2\n")
    told = trapline(made, "functions", "check", rc=2)
    assert "Trapline itself needs numpy>=2.1: no version meets both" in told and "pip install" not in told


def test_so_it_is_for_an_environment_that_was_never_made(tmp_path: Path) -> None:
    made = project(tmp_path / "traps")
    (made / "functions/detect/requirements.txt").write_text("numpy<2\n")
    file = made / "functions/detect/function.yaml"
    file.write_text(file.read_text() + "environment: own\n")
    told = trapline(made, "functions", "check", rc=2)
    assert "Trapline itself needs numpy>=2.1: no version meets both" in told and "functions install" not in told


def test_an_alternative_that_no_job_uses_yet_is_checked_as_well(tmp_path: Path) -> None:
    made = two_opinions(tmp_path / "traps", newer="shared")
    library(tmp_path / "engines", "speciesnames", "1.0")
    spec = yaml.safe_load((made / "pipeline.yaml").read_text())
    spec["stages"]["older"]["alternatives"] = ["other"]
    add_function(made, "other", "no-such-library\n", accepts="image")
    spec["stages"]["newer"]["function"] = "older2"
    add_function(made, "older2", "speciesnames\n", accepts="older")
    (made / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    told = trapline(made, "functions", "check", rc=2)
    assert "functions/other/requirements.txt" in told and told.count("\n") == 1


def _another_requirement(venv: Path) -> None:
    (venv.parents[2] / "functions/newer/requirements.txt").write_text("speciesnames>=2,<3\n")


def _another_trapline(venv: Path) -> None:
    told = json.loads((venv / "trapline.json").read_text())
    (venv / "trapline.json").write_text(json.dumps(told | {"trapline": "0.0.1"}))


def _another_python(venv: Path) -> None:
    told = json.loads((venv / "trapline.json").read_text())
    (venv / "trapline.json").write_text(json.dumps(told | {"python": "cpython-3.2"}))


def _trapline_inside(venv: Path) -> None:
    library(site_packages(venv), "trapline", "0.0.1", package="another")


def _older_inside(venv: Path) -> None:
    shutil.rmtree(site_packages(venv) / "speciesnames-2.0.dist-info")
    library(site_packages(venv), "speciesnames", "1.5")


def _part_of_trapline_gone(venv: Path) -> None:
    (site_packages(venv) / "engine.pth").unlink()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (shutil.rmtree, "The environment of function 'newer' has not been made yet"),
        (unfinish, "is unfinished"),
        (_another_requirement, "was made from another requirements.txt"),
        (_another_trapline, "was made for Trapline 0.0.1"),
        (_another_python, "was made for cpython-3.2"),
        (lambda venv: python_of(venv).unlink(), "has no interpreter any more"),
        (_trapline_inside, "but 0.0.1 is installed in the environment of 'newer'"),
        (_older_inside, "needs speciesnames>=2, but 1.5 is installed in the function's own environment"),
        (_part_of_trapline_gone, "which is not installed in the environment of 'newer'"),
    ],
)
def test_an_environment_that_is_not_as_it_must_be_is_told_with_the_command_that_makes_it(
    opinions: Path, what: Callable[[Path], object], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trapline.environments.checking import functions_of, problems

    monkeypatch.syspath_prepend(str(opinions.parent / "engines"))
    pipeline = load_pipeline(opinions)
    assert list(problems(opinions, functions_of(pipeline))) == []
    what(venv_of(opinions, "newer"))
    first = next(problems(opinions, functions_of(pipeline)))
    assert told in first.message and "Run `trapline functions install newer" in first.remedy


def test_the_list_says_of_each_function_where_it_runs_and_whether_it_can(opinions: Path) -> None:
    unfinish(venv_of(opinions, "newer"))
    rows = {row["function"]: row for row in json.loads(trapline(opinions, "functions", "list", "--json", rc=0))}
    assert (rows["older"]["environment"], rows["older"]["state"]) == ("shared", "ready")
    assert (rows["newer"]["environment"], rows["newer"]["state"]) == ("own", "to install")
    assert rows["newer"]["stages"] == ["newer"] and rows["detect"]["stages"] == []
    assert "functions install newer" in trapline(opinions, "functions", "list", rc=0)


# -- making one


def test_a_function_in_the_engines_environment_is_not_installed(opinions: Path) -> None:
    assert "environment: own" in trapline(opinions, "functions", "install", "older", rc=2)
    assert "Did you mean 'newer'" in trapline(opinions, "functions", "install", "newr", rc=2)


def test_an_environment_that_is_in_order_is_left_alone(opinions: Path) -> None:
    before = (venv_of(opinions, "newer") / "trapline.json").stat().st_mtime_ns
    assert "--again" in trapline(opinions, "functions", "install", "newer", rc=0)
    assert (venv_of(opinions, "newer") / "trapline.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_an_environment_that_pip_could_not_fill_does_not_count(opinions: Path) -> None:
    told = trapline(opinions, "functions", "install", "newer", "--again", "--pip-args", "--no-index -f .", rc=1)
    assert "pip could not install what function 'newer' needs" in told
    assert "is unfinished" in trapline(opinions, "functions", "check", rc=2)


# -- workers that do not start


def ticket(number: int) -> Ticket:
    pin = Pin(stage="newer", recipe="r", function="newer", version="1.0.0")
    return Ticket(
        id=f"t{number}", stage="newer", job="a/b", pin=pin, items=(Item(rel=f"a/b/{number}.jpg"),), limit_seconds=5
    )


def with_executor(project: Path, scenario: Callable[[LocalExecutor], Any]) -> None:
    async def whole() -> None:
        config = WorkerConfig(project=project, cache=project / "models", store="s3", bucket="none")
        executor = LocalExecutor(load_pipeline(project), config, workers=2)
        try:
            await scenario(executor)
        finally:
            await executor.close()

    asyncio.run(whole())


def unharmed(outcome: Outcome) -> bool:
    """Whether the ticket's images are owed later, without a try counted."""
    return outcome.setup is not None and outcome.setup.result == "unknown" and (outcome.setup.after or 0) >= 1


def test_images_wait_unharmed_while_their_function_has_no_environment(opinions: Path) -> None:
    async def scenario(executor: LocalExecutor) -> None:
        assert all(map(unharmed, await asyncio.gather(*(executor.run(ticket(n)) for n in range(3)))))
        assert "has not been made yet. Run `trapline functions install newer`." in executor.troubles["newer"]

    shutil.rmtree(venv_of(opinions, "newer"))
    with_executor(opinions, scenario)


def test_workers_that_do_not_start_are_tried_less_and_less(opinions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "FIRST_REST", 0.4)
    starts = opinions.parent / "starts"
    python = python_of(venv_of(opinions, "newer"))
    python.unlink()
    python.write_text(f"#!/bin/sh\necho start >>{starts}\necho 'the disk is on fire' >&2\nexit 3\n")
    python.chmod(0o755)

    async def scenario(executor: LocalExecutor) -> None:
        end = time.monotonic() + 2.2  # rests of 0.4, 0.8 and 1.6 s: starts at 0, 0.4 and 1.2 s
        number = 0
        while time.monotonic() < end:
            assert unharmed(await executor.run(ticket(number)))
            number += 1
            await asyncio.sleep(0.02)
        assert number > 30
        assert "the disk is on fire" in executor.troubles["newer"] and "--again" in executor.troubles["newer"]

    with_executor(opinions, scenario)
    assert starts.read_text().count("start") <= 2 * 4  # each is followed by the question why


@pytest.mark.slow
def test_the_rest_goes_on_while_an_environment_is_broken_and_it_goes_on_by_itself_when_mended(opinions: Path) -> None:
    with serving(opinions) as served:
        venv = venv_of(opinions, "newer")
        aside = opinions / "aside"
        venv.rename(aside)
        served.upload("st1/n1", {f"{n}.jpg": night(n) for n in (1, 2, 3)})
        told = until(lambda: _waiting(served), 20)
        assert told["stages"]["older"]["done"] == 3 and told["stages"]["newer"]["owed"] == 3
        assert "trapline functions install newer" in served.trapline("status", "st1/n1")
        aside.rename(venv)
        assert served.closed("st1/n1", seconds=40)["state"] == "SUCCEEDED"
        assert served.status("st1/n1")["message"] == ""
        record = served.json("newer/st1/n1/1.jpg.json")
        assert record["attempts"] == 1 and served.keys("failed/") == []


def _waiting(served: Engine) -> dict[str, Any] | None:
    status = served.status("st1/n1")
    return status if "waits for its environment" in status.get("message", "") else None


@pytest.mark.slow
def test_a_worker_that_dies_in_its_own_environment_is_replaced(opinions: Path) -> None:
    with serving(opinions) as served:
        served.upload("st1/n1", {"1.jpg": night(1)})
        served.closed("st1/n1")
        for pid in served.processes(str(venv_of(opinions, "newer")), "trapline.executors.worker"):
            os.kill(pid, signal.SIGKILL)
        served.upload("st1/n2", {"2.jpg": night(2)})
        assert served.closed("st1/n2")["state"] == "SUCCEEDED"


HEAVY = """
import time


class Names:
    def handle(self, items):
        for item in items:
            if item.rel.endswith("hangs.jpg"):
                time.sleep(600)
            if item.rel.endswith("large.jpg"):
                self.held = b"x" * 800_000_000
                time.sleep(2)
        return [{"newer": "2.0"} for item in items]
"""


@pytest.mark.slow
def test_limits_of_time_and_memory_hold_in_an_environment_of_its_own(opinions: Path) -> None:
    folder = opinions / "functions/newer"
    (folder / "handler.py").write_text(HEAVY)
    spec = yaml.safe_load((folder / "function.yaml").read_text())
    spec |= {"delivery": {"retry": 0, "timeout": "PT4S"}, "resources": {"memory": "500Mi"}}
    (folder / "function.yaml").write_text(yaml.safe_dump(spec))
    with serving(opinions) as served:
        served.upload("st1/n1", {"hangs.jpg": night(1), "large.jpg": night(2), "fine.jpg": night(3)})
        assert served.closed("st1/n1", seconds=60)["state"] == "PARTIAL"
        assert served.status("st1/n1")["failures"] == {"out_of_memory": 1, "timeout": 1}
        assert served.status("st1/n1")["images"]["done"] == 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_environment_that_install_makes_runs_the_function(tmp_path: Path) -> None:
    made = two_opinions(tmp_path / "traps")
    library(tmp_path / "engines", "speciesnames", "1.0")
    wheel = wheel_of(tmp_path / "wheels", "speciesnames", "2.0")
    env = environment()
    words = ["functions", "install", "newer", "--pip-args", f"-f {wheel.parent}", "--json", "--project", str(made)]
    done = subprocess.run([*PROGRAM, *words], env=env, capture_output=True, text=True, timeout=350, check=False)
    if done.returncode and "No matching distribution" in done.stderr and not os.environ.get("CI"):
        pytest.skip("pip finds no index from which to install what Trapline needs")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] is True
    with serving(made) as served:
        served.upload("st1/n1", {"1.jpg": night(1)})
        assert served.closed("st1/n1")["state"] == "SUCCEEDED"
        assert served.json("newer/st1/n1/1.jpg.json")["known"]["newer"] == "2.0"


def wheel_of(folder: Path, name: str, version: str) -> Path:
    """A wheel of a library, as an author would publish it."""
    library(folder / "tree", name, version)
    info = f"{name}-{version}.dist-info"
    tree = folder / "tree"
    (tree / info / "WHEEL").write_text(
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files = sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file())
    (tree / info / "RECORD").write_text("".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"]))
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        for file in [*files, f"{info}/RECORD"]:
            out.write(tree / file, file)
    return path


@pytest.mark.slow
def test_a_stage_about_whole_jobs_may_have_an_environment_too(opinions: Path) -> None:
    path = opinions / "functions/compile/function.yaml"
    path.write_text(path.read_text() + "environment: own\n")
    bare_venv(opinions, "compile")
    made_now(opinions, "compile")
    with serving(opinions) as served:
        served.upload("st1/n1", {"1.jpg": night(1)})
        assert served.closed("st1/n1")["state"] == "SUCCEEDED"
        assert served.processes(str(venv_of(opinions, "compile")), "trapline.executors.worker")
