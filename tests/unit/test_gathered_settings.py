"""`outputs`, `events` and `project`: settings of pipeline.yaml and of manifests that are parameters of the gather."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.test_engine import PROJECT, status, summary
from trapline.environments.checking import check_environments
from trapline.errors import ConfigError
from trapline.pipeline.load import Pipeline, load_pipeline
from trapline.pipeline.recipe import config_digest, kept_pins, resolve_pins
from trapline.records import JobControl, Manifest, Pin
from trapline.testing import Simulated

NOWHERE = "trapline-library-of-nowhere>=3"
OUTPUTS = {
    "type": "array",
    "items": {"enum": ["csv", "parquet"]},
    "uniqueItems": True,
    "default": ["csv"],
    "libraries": {"parquet": NOWHERE},
}
PARAMETERS = {"outputs": OUTPUTS, "events": {"type": "object", "default": {}}}


class Project:
    """The basic project, whose compile has outputs and events."""

    def __init__(self, folder: Path, parameters: dict[str, Any]) -> None:
        self.folder = folder
        shutil.copytree(PROJECT, folder)
        path = folder / "functions/compile/function.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "parameters": parameters}))
        self.spec: dict[str, Any] = yaml.safe_load((folder / "pipeline.yaml").read_text())

    def load(self, **settings: Any) -> Pipeline:
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump({**self.spec, **settings}, sort_keys=False))
        return load_pipeline(self.folder)


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", PARAMETERS)


def _manifest(**more: Any) -> Manifest:
    return Manifest.model_validate({"sourceImages": [{"id": "a", "url": "https://example.org/a.jpg"}], **more})


def pin(pipeline: Pipeline, **manifest: Any) -> Pin:
    return resolve_pins(pipeline, _manifest(**manifest), {})["compile"]


def test_the_settings_are_parameters_of_the_gather_and_part_of_its_recipe_alone(project: Project) -> None:
    plain, told = project.load(), project.load(outputs="parquet", events={"gap": "PT60S"})
    before, after = resolve_pins(plain, None, {}), resolve_pins(told, None, {})
    assert before["compile"].parameters == {"outputs": ["csv"], "events": {}}
    assert after["compile"].parameters == {"outputs": ["parquet"], "events": {"gap": "PT60S"}}
    assert {name for name in after if after[name].recipe != before[name].recipe} == {"compile"}


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an output that there is not": (
        {"outputs": ["csv", "xlsx"]},
        "pipeline.yaml: outputs: 'xlsx' is not one of ['csv', 'parquet']",
        "function.yaml, under parameters.outputs",
    ),
    "one that the function does not declare": (
        {"project": {"title": "Moths"}},
        "pipeline.yaml: project: compile has no parameter 'project'",
        "Remove it, or declare it",
    ),
    "no list": ({"outputs": {"csv": True}}, "pipeline.yaml: outputs: expected a list", "See docs"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_refused_with_place_and_remedy(project: Project, what: str) -> None:
    settings, said, remedy = WRONG[what]
    with pytest.raises(ConfigError) as caught:
        project.load(**settings)
    assert caught.value.message.startswith(said) and remedy in caught.value.remedy


def test_a_stage_that_says_something_else_is_refused_and_the_same_is_not(project: Project) -> None:
    project.spec["stages"]["compile"]["parameters"] = {"outputs": ["csv"]}
    assert project.load(outputs=["csv"]).stages["compile"].spec.parameters == {"outputs": ["csv"]}
    with pytest.raises(ConfigError, match=r"outputs: stages\.compile\.parameters\.outputs is \['csv'\], not the same"):
        project.load(outputs=["parquet"])


def test_a_pipeline_that_gathers_nothing_has_no_use_for_them(project: Project) -> None:
    del project.spec["stages"]["compile"], project.spec["stages"]["notify"]
    with pytest.raises(ConfigError, match=r"outputs: no stage of this pipeline gathers a job"):
        project.load(outputs=["csv"])
    with pytest.raises(ConfigError, match=r"^outputs: no stage of this pipeline gathers a job"):
        resolve_pins(project.load(), _manifest(outputs=["csv"]), {})


def test_a_manifests_outputs_win_for_its_job(project: Project) -> None:
    pipeline = project.load(outputs=["csv"])
    assert pin(pipeline).parameters["outputs"] == ["csv"]
    assert pin(pipeline, outputs=["parquet"]).parameters["outputs"] == ["parquet"]
    with pytest.raises(ConfigError, match=r"^outputs: 'xlsx' is not one of \['csv', 'parquet'\]"):
        pin(pipeline, outputs=["xlsx"])


def test_other_outputs_in_a_manifest_pin_the_gather_anew_and_nothing_else(project: Project) -> None:
    pipeline = project.load()
    pins = resolve_pins(pipeline, None, {})

    def kept(before: Manifest, after: Manifest) -> set[str]:
        control = JobControl(job="a/b", pins=pins, config=config_digest(pipeline, before))
        return set(kept_pins(pipeline, control, config_digest(pipeline, after)))

    plain, other = _manifest(), _manifest(outputs=["parquet"])
    assert kept(plain, plain) == kept(other, other) == set(pins)
    assert kept(plain, other) == kept(other, plain) == set(pins) - {"compile"}
    assert kept(plain, _manifest(outputs=["parquet"], pipelineConfig={"stages": []})) == set()


def test_a_library_that_a_chosen_output_needs_is_missed_before_the_start(project: Project) -> None:
    check_environments(project.load(outputs=["csv"]))
    with pytest.raises(ConfigError) as caught:
        check_environments(project.load(outputs=["csv", "parquet"]))
    assert caught.value.message == (
        f"'parquet' in compile's outputs needs {NOWHERE}, which is not installed in the engine's environment."
    )
    assert "-m pip install" in caught.value.remedy


def test_the_default_counts_as_chosen(tmp_path: Path) -> None:
    always = Project(tmp_path / "project", {"outputs": {**OUTPUTS, "default": ["parquet"]}})
    with pytest.raises(ConfigError, match="needs trapline-library-of-nowhere"):
        check_environments(always.load())


def play(project: Project, outputs: list[list[str] | None]) -> Simulated:
    """A job whose manifest says one after another."""
    world = Simulated(project.folder)

    async def scenario(world: Simulated) -> None:
        for wanted in outputs:
            body: dict[str, Any] = {"sourceImages": [{"id": "1", "url": "https://example.org/moth.jpg"}]}
            world.put("jobs/ecos/j1.json", json.dumps(body | ({"outputs": wanted} if wanted else {})).encode())
            await asyncio.sleep(60)

    world.play(scenario)
    return world


def test_a_manifest_with_other_outputs_makes_a_revision_and_runs_no_image_again(case: Any, project: Project) -> None:
    project.load()
    world = play(project, [None, ["csv"], ["csv"]])
    found = summary(world.store, "ecos/j1")
    assert found["last_final"]["N"] == 2
    assert sum(case.ASKED.values()) == 1


@pytest.mark.usefixtures("case")
@pytest.mark.parametrize(
    ("wanted", "why"), [("xlsx", "'xlsx' is not one of ['csv', 'parquet']"), ("parquet", f"needs {NOWHERE}")]
)
def test_a_manifest_that_asks_for_what_cannot_be_made_is_refused_at_once(
    project: Project, wanted: str, why: str
) -> None:
    project.load()
    world = play(project, [[wanted]])
    told = status(world.store, "ecos/j1")
    assert told["state"] == "FAILED" and why in told["message"]
    assert [entry.key for entry in world.store.list("quarantine/")]
