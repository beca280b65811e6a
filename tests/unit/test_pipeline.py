"""What `pipeline.yaml` and `function.yaml` are told when they are wrong: one line, with place, expectation, remedy."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from tests.unit.wrong_pipelines import EXAMPLE, SEE_FUNCTION, WRONG, changed, with_detect
from trapline.errors import ConfigError
from trapline.pipeline.load import load_pipeline
from trapline.pipeline.notices import resolved
from trapline.pipeline.parameters import resolve_parameters
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

BASIC = Path(__file__).parents[1] / "functions" / "basic"


@dataclass
class Project:
    folder: Path

    def write(self, text: str | bytes) -> None:
        (self.folder / "pipeline.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    def function(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / "functions" / name / "function.yaml"
        path.write_text(change(path.read_text()))

    def error(self) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load_pipeline(self.folder)
        return caught.value


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Project:
    shutil.copytree(BASIC / "functions", tmp_path / "functions")
    project = Project(tmp_path)
    project.write(EXAMPLE)
    return project


def check(error: ConfigError, place: str, said: str, remedy: str) -> None:
    """One line that names the place, what is wrong there, and what to do."""
    assert re.match(re.escape(place) + r"\W", error.message), error.message
    assert said in error.message
    assert remedy in error.remedy
    assert error.remedy
    assert str(error).isprintable(), repr(str(error))
    assert len(str(error)) < 1000


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_pipeline_is_told_in_one_line_with_place_expectation_and_remedy(project: Project, what: str) -> None:
    text, place, said, remedy = WRONG[what]
    project.write(text)
    error = project.error()
    check(error, place, said, remedy)
    assert "hunter2" not in str(error)


def test_a_key_that_yaml_takes_for_a_truth_is_text(project: Project) -> None:
    told = "notify: {to: 'mailto://me:hunter2@example.org', on: [opened]}\n"
    project.write(EXAMPLE.replace("st7:", "no:") + told)
    spec = load_pipeline(project.folder).spec
    assert list(spec.stations) == ["no"] and spec.notify.on == ("opened",)
    assert "hunter2" not in f"{spec!r} {spec.model_dump_json()}"
    assert [address.get_secret_value() for address in spec.notify.to] == ["mailto://me:hunter2@example.org"]


@pytest.mark.parametrize(
    ("tells", "on", "place"),
    [("[]", "[completed]", "notify.to"), ("[people]", "[completed, opened]", "notify.on")],
)
def test_what_the_function_that_tells_does_not_know_of_is_refused_at_once(
    project: Project, tells: str, on: str, place: str
) -> None:
    project.function("notify", lambda text: text.replace("tells: [people, news]", f"tells: {tells}"))
    project.write(EXAMPLE + f"notify: {{to: ['json://hunter2'], on: {on}}}\n")
    check(project.error(), f"pipeline.yaml: {place}", "the function 'notify'", "Take the newer functions/notify/")
    project.write(EXAMPLE)
    load_pipeline(project.folder)


def test_an_address_is_put_together_from_the_environment_or_a_file(tmp_path: Path) -> None:
    there = tmp_path / "mail"
    there.write_text("mailto://${WHO}:hunter2@example.org\n")
    made = "mailto://me:hunter2@example.org"
    for text in ("mailto://${WHO}:${PASS}@example.org", f"file:{there}"):
        assert resolved(SecretStr(text), {"WHO": "me", "PASS": "hunter2"}) == made
    for text in ("mailto://me:hunter2@${HOST}", f"file:{tmp_path}/none"):
        with pytest.raises(ConfigError) as caught:
            resolved(SecretStr(text), {})
        assert "hunter2" not in str(caught.value) and caught.value.remedy


WRONG_FUNCTION: dict[str, tuple[Callable[[str], str], str, str, str]] = {
    "not YAML": (lambda text: "name: [", "", "is not YAML: line 1", "Correct that line."),
    "empty": (lambda text: "", "", "is empty", "Write"),
    "a list": (lambda text: "- a", "", "holds a list; expected `key: value` settings", "Write"),
    "another name than its folder": (
        lambda text: text.replace("name: detect", "name: detector"),
        ": name",
        "it says 'detector', but the folder is 'detect'",
        "named like its folder",
    ),
    "no handler": (
        lambda text: "name: detect\n",
        ": handler",
        "is missing",
        "Add it; see 'handler' in docs/reference/function.md.",
    ),
    "a path for a handler": (
        lambda text: "name: detect\nhandler: detect/handler.py:Detect\n",
        ": handler",
        "write module:Class",
        SEE_FUNCTION,
    ),
    "an unknown key": (lambda text: text + "accept: image\n", ": accept", "unknown key", "Did you mean 'accepts'?"),
    "a version that is a number": (
        lambda text: text.replace("version: 1.0.0", "version: 1.0"),
        ": version",
        "expected text, got 1.0; put it in quotes",
        SEE_FUNCTION,
    ),
    "memory without a unit": (
        lambda text: text + "resources: {memory: 512}\n",
        ": resources.memory",
        "512 is 512 bytes; write for example 512Mi",
        SEE_FUNCTION,
    ),
    "memory in words": (
        lambda text: text + "resources: {memory: lots}\n",
        ": resources.memory",
        "'lots'",
        SEE_FUNCTION,
    ),
    "a schema that is none": (
        lambda text: text.replace("type: number", "type: numbre"),
        ": parameters.threshold",
        "'numbre'",
        "Write a JSON Schema",
    ),
    "a default outside its schema": (
        lambda text: text.replace("default: 0.5", "default: 7"),
        ": parameters.threshold.default",
        "7 is greater than the maximum of 1",
        "Change the default",
    ),
}


@pytest.mark.parametrize("what", WRONG_FUNCTION)
def test_a_wrong_function_is_told_in_one_line_with_its_file(project: Project, what: str) -> None:
    change, place, said, remedy = WRONG_FUNCTION[what]
    project.function("detect", change)
    check(project.error(), "functions/detect/function.yaml" + place, said, remedy)


def test_a_parameter_without_default_must_be_given(project: Project) -> None:
    project.function("detect", lambda text: text.replace("parameters: {", "parameters: {size: {type: integer}, "))
    check(project.error(), "pipeline.yaml: stages.detect.parameters", "needs the parameter 'size'", "Give it a value")
    project.write(with_detect("parameters: {size: 3}"))
    assert load_pipeline(project.folder).stages["detect"].spec.parameters == {"size": 3}


def test_a_schema_that_refers_elsewhere_is_refused_and_nothing_is_looked_up(project: Project) -> None:
    project.function("detect", lambda text: text.replace("type: number", "$ref: 'http://127.0.0.1:9/schema'"))
    check(project.error(), "functions/detect/function.yaml", "which is not in it", "Change the default")


def test_a_folder_without_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(tmp_path)
    check(caught.value, f"There is no pipeline.yaml in {tmp_path}", "", "trapline init DIR")


def test_a_folder_in_the_place_of_the_pipeline_is_told(project: Project) -> None:
    (project.folder / "pipeline.yaml").unlink()
    (project.folder / "pipeline.yaml").mkdir()
    check(project.error(), "pipeline.yaml cannot be read", "Is a directory", "a file")


def test_without_any_functions_that_is_said(project: Project) -> None:
    shutil.rmtree(project.folder / "functions")
    check(project.error(), "pipeline.yaml: stages.fetch", "there is no function 'fetch'", "Found: none.")


def test_what_is_right_loads_in_the_order_in_which_it_runs(project: Project) -> None:
    project.write("\ufeff" + EXAMPLE.replace("[folder]", "[folder: ]"))
    pipeline = load_pipeline(project.folder)
    assert pipeline.image_stages == ("detect", "classify")
    assert [stage.kind for stage in pipeline.stages.values()] == ["fetch", "image", "image", "gather", "notify"]
    assert pipeline.spec.triggers == ({"folder": {}},)
    assert pipeline.settle("st7/n1") == 1800
    assert pipeline.station("st7/n1") == {"latitude": 55.6, "timezone": "Europe/Copenhagen"}
    assert pipeline.station("st8/n1") == {}


def test_stages_may_be_written_in_any_order(project: Project) -> None:
    spec = yaml.safe_load(EXAMPLE)
    spec["stages"] = dict(reversed(spec["stages"].items()))
    project.write(yaml.safe_dump(spec, sort_keys=False))
    assert load_pipeline(project.folder).image_stages == ("detect", "classify")


def test_a_station_keeps_what_else_is_known_of_it_even_a_date(project: Project) -> None:
    project.write(changed("latitude: 55.6", "latitude: 55.6, installed: 2026-05-01, lure: [sugar]"))
    known = load_pipeline(project.folder).station("st7/n1")
    assert (known["installed"], known["lure"]) == ("2026-05-01", ["sugar"])


def test_names_may_have_underscores_and_hyphens(project: Project) -> None:
    (project.folder / "functions" / "detect").rename(project.folder / "functions" / "find_moths")
    project.function("find_moths", lambda text: text.replace("name: detect", "name: find_moths"))
    project.write(changed("  detect: {function: detect", "  find-moths: {function: find_moths"))
    assert "find-moths" in load_pipeline(project.folder).stages


def test_a_stages_delivery_replaces_single_fields_of_the_functions(project: Project) -> None:
    project.write(with_detect("delivery: {retry: 9}"))
    stage = load_pipeline(project.folder).stages["detect"]
    assert stage.delivery("detect").retry == 9
    assert stage.delivery("detect").timeout == stage.function.delivery.timeout


def test_parameters_come_with_their_defaults(project: Project) -> None:
    function = load_pipeline(project.folder).stages["detect"].function
    default = function.parameters["threshold"]["default"]
    assert resolve_parameters(function, {}, "here") == {"threshold": default}
    assert resolve_parameters(function, {"threshold": 0.5}, "here") == {"threshold": 0.5}


# -- a pipeline that leaves stages out still runs


OPTIONAL = {
    "everything but detect": ("fetch", "classify", "compile", "notify"),
    "fetch": ("fetch",),
    "compile": ("compile",),
    "compile and notify": ("compile", "notify"),
    "notify": ("notify",),
}


@pytest.mark.usefixtures("case")
@pytest.mark.parametrize("what", OPTIONAL)
def test_a_pipeline_without_some_stages_finishes_its_jobs_and_rests_after_a_restart(
    project: Project, what: str
) -> None:
    left_out = OPTIONAL[what]
    spec = yaml.safe_load((BASIC / "pipeline.yaml").read_text())
    spec["stages"] = {name: stage for name, stage in spec["stages"].items() if name not in left_out}
    project.write(yaml.safe_dump(spec, sort_keys=False))
    store = MemoryStore()
    first, again = Simulated(project.folder, store), Simulated(project.folder, store)
    first.play(_night)
    status = json.loads(store.get("status/st7/n1.json").data)
    assert (status["state"], status["closed"]) == ("PARTIAL", True)
    assert (status["images"]["done"], status["images"]["failed"]) == (1, 1)
    assert bool(list(store.list("results/"))) == ("compile" not in left_out)
    assert bool(list(store.list("receipts/"))) == (not {"compile", "notify"} & {*left_out})
    again.play(_rest)
    assert again.executor is not None
    assert again.executor.ran == []


async def _night(world: Simulated) -> None:
    world.put("incoming/st7/n1/a.jpg", b"moth")
    world.put("incoming/st7/n1/b.jpg", b"bad")
    world.put("incoming/st7/n1/_DONE")
    await asyncio.sleep(60)


async def _rest(world: Simulated) -> None:
    await asyncio.sleep(3600)


@pytest.mark.usefixtures("case")
def test_a_manifest_that_needs_a_fetch_is_refused_by_a_pipeline_without_one(project: Project) -> None:
    async def scenario(world: Simulated) -> None:
        manifest = {"sourceImages": [{"id": "a", "url": "https://example.org/a.jpg"}]}
        world.put("jobs/ecos/j1.json", json.dumps(manifest).encode())
        await asyncio.sleep(30)

    spec = yaml.safe_load((BASIC / "pipeline.yaml").read_text())
    del spec["stages"]["fetch"]
    project.write(yaml.safe_dump(spec, sort_keys=False))
    world = Simulated(project.folder)
    world.play(scenario)
    status = json.loads(world.store.get("status/ecos/j1.json").data)
    assert status["state"] == "FAILED"
    assert "Add a stage with `function: fetch, from: jobs/, to: incoming/`." in status["message"]
