"""A recipe: whatever can change an answer changes it, and nothing else does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trapline.errors import ConfigError
from trapline.pipeline.load import load_pipeline
from trapline.pipeline.recipe import config_digest, digest, needed_models, resolve_pins
from trapline.records import Manifest, ModelRef, Pin

BASIC = Path(__file__).parents[1] / "functions" / "basic"
MODEL = {("moths", "current"): ModelRef(name="moths", version="1.0.0", sha256="aa" * 32)}
PER_IMAGE = ("detect", "classify")


class Project:
    """The basic project with a model, a second classifier, and whatever a test changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(BASIC / "functions", folder / "functions")
        self.spec: dict[str, Any] = yaml.safe_load((BASIC / "pipeline.yaml").read_text())
        self.models: Mapping[tuple[str, str], ModelRef] = MODEL
        self.function("detect", lambda f: f.update(model={"name": "moths"}))
        shutil.copytree(folder / "functions/classify", folder / "functions/other")
        self.function("other", lambda f: f.update(name="other"))
        self.spec["stages"]["classify"]["alternatives"] = ["other"]

    def function(self, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        path = self.folder / "functions" / name / "function.yaml"
        function = yaml.safe_load(path.read_text())
        change(function)
        path.write_text(yaml.safe_dump(function))

    def pins(self, *stages: dict[str, Any]) -> dict[str, Pin]:
        """The pins of a job whose manifest asks for these stages; none: of a job without wishes."""
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(self.spec, sort_keys=False))
        manifest = _manifest(pipelineConfig={"stages": stages}) if stages else None
        return resolve_pins(load_pipeline(self.folder), manifest, self.models)

    def recipes(self, *stages: dict[str, Any]) -> dict[str, str]:
        return {name: pin.recipe for name, pin in self.pins(*stages).items()}


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def _manifest(**more: Any) -> Manifest:
    return Manifest.model_validate({"sourceImages": [{"id": "a", "url": "https://example.org/a.jpg"}], **more})


def stage(kind: str, **more: Any) -> dict[str, Any]:
    return {"stage": kind, **more}


DETECTION, CLASSIFICATION = stage("OBJECT_DETECTION"), stage("CLASSIFICATION")


def changes(project: Project, change: Callable[[Project], Any]) -> set[str]:
    """The stages whose recipe a change changes."""
    before = project.recipes()
    change(project)
    after = project.recipes()
    return {name for name in before if before[name] != after[name]}


MATTERS: dict[str, tuple[Callable[[Project], Any], set[str]]] = {
    "a function's version": (
        lambda p: p.function("detect", lambda f: f.update(version="1.0.1")),
        {"detect", "classify", "compile"},
    ),
    "a model's bytes": (
        lambda p: setattr(
            p, "models", {("moths", "current"): ModelRef(name="moths", version="1.0.0", sha256="bb" * 32)}
        ),
        {"detect", "classify", "compile"},
    ),
    "a model's card": (
        lambda p: setattr(
            p, "models", {("moths", "current"): MODEL[("moths", "current")].model_copy(update={"version": "1.0.1"})}
        ),
        {"detect", "classify", "compile"},
    ),
    "a parameter": (
        lambda p: p.spec["stages"]["detect"].update(parameters={"threshold": 0.7}),
        {"detect", "classify", "compile"},
    ),
    "a default": (
        lambda p: p.function("detect", lambda f: f["parameters"]["threshold"].update(default=0.6)),
        {"detect", "classify", "compile"},
    ),
    "the choice of detections": (
        lambda p: p.spec["stages"]["classify"]["when"].update(confidence=0.3),
        {"classify", "compile"},
    ),
    "an upper end of what is chosen": (
        lambda p: p.spec["stages"]["classify"]["when"].update(below=0.9),
        {"classify", "compile"},
    ),
    "no choice of detections": (lambda p: p.spec["stages"]["classify"].pop("when"), {"classify", "compile"}),
    "the function": (lambda p: p.spec["stages"]["classify"].update(function="other"), {"classify", "compile"}),
    "compile's own version": (lambda p: p.function("compile", lambda f: f.update(version="2")), {"compile"}),
}


@pytest.mark.parametrize("what", MATTERS)
def test_what_changes_answers_changes_the_recipe_of_its_stage_and_of_all_below(project: Project, what: str) -> None:
    change, expected = MATTERS[what]
    assert changes(project, change) == expected


INDIFFERENT: dict[str, Callable[[Project], Any]] = {
    "the pipeline's name": lambda p: p.spec.update(name="other"),
    "the bucket": lambda p: p.spec.update(bucket="other"),
    "a station": lambda p: p.spec.update(stations={"st7": {"latitude": 5}}),
    "when jobs close": lambda p: p.spec.update(jobs={"settle": "PT1H"}),
    "the delivery": lambda p: p.spec["stages"]["detect"].update(delivery={"retry": 9}),
    "a batch's size": lambda p: p.function("detect", lambda f: f.update(batch={"size": 16})),
    "the resources": lambda p: p.function("detect", lambda f: f.update(resources={"memory": "1Gi"})),
    "a description": lambda p: p.function("detect", lambda f: f.update(description="new words")),
    "the container's image": lambda p: p.function("detect", lambda f: f.update(image="example.org/detect:2")),
    "a parameter's default written out": lambda p: p.spec["stages"]["detect"].update(parameters={"threshold": 0.5}),
    "a function that is not chosen": lambda p: p.function("other", lambda f: f.update(version="9")),
    "the order of stages": lambda p: p.spec.update(stages=dict(reversed(p.spec["stages"].items()))),
}


@pytest.mark.parametrize("what", INDIFFERENT)
def test_what_changes_no_answer_changes_no_recipe(project: Project, what: str) -> None:
    assert changes(project, INDIFFERENT[what]) == set()


def test_a_manifest_that_names_every_stage_as_it_is_changes_nothing(project: Project) -> None:
    assert project.recipes(DETECTION, CLASSIFICATION) == project.recipes()


def test_a_manifest_chooses_an_alternative_with_parameters_of_its_own(project: Project) -> None:
    project.spec["stages"]["classify"]["parameters"] = {"top_k": 2}
    chosen = stage("CLASSIFICATION", stageImplementation="other", parameters={"top_k": 3})
    pin = project.pins(DETECTION, chosen)["classify"]
    assert (pin.function, pin.parameters["top_k"]) == ("other", 3)
    bare = project.pins(DETECTION, stage("CLASSIFICATION", stageImplementation="other"))["classify"]
    assert bare.parameters["top_k"] != 2  # the stage's parameters are meant for its own function
    assert len({pin.recipe, bare.recipe, project.pins()["classify"].recipe}) == 3


def test_a_manifests_parameters_go_before_the_stages(project: Project) -> None:
    project.spec["stages"]["detect"]["parameters"] = {"threshold": 0.1}
    assert project.pins()["detect"].parameters == {"threshold": 0.1}
    asked = project.pins(stage("OBJECT_DETECTION", parameters={"threshold": 0.9}), CLASSIFICATION)
    assert asked["detect"].parameters == {"threshold": 0.9}


def test_a_type_that_a_manifest_leaves_out_is_not_run_and_types_that_it_cannot_name_are(project: Project) -> None:
    pins = project.pins(DETECTION)
    assert {name for name, pin in pins.items() if not pin.enabled} == {"classify"}
    assert pins["detect"].recipe == project.pins()["detect"].recipe
    assert pins["classify"].recipe != project.pins()["classify"].recipe


@pytest.mark.parametrize(
    ("asked", "said", "remedy"),
    [
        (stage("SEGMENTATION"), "no stage of type 'SEGMENTATION'", "It has: CLASSIFICATION, OBJECT_DETECTION."),
        (stage("CLASSIFICATION", stageImplementation="detect"), "'detect' is not an implementation", "classify, other"),
        (
            stage("OBJECT_DETECTION", parameters={"threshold": 2}),
            "threshold: 2 is greater than the maximum of 1",
            "schema",
        ),
        (stage("OBJECT_DETECTION", parameters={"treshold": 1}), "has no parameter 'treshold'", "'threshold'?"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told_with_what_can(
    project: Project, asked: dict[str, Any], said: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        project.pins(asked)
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_pin_says_all_that_a_worker_needs(project: Project) -> None:
    pin = project.pins()["detect"]
    assert (pin.stage, pin.function, pin.version) == ("detect", "detect", "1.0.0")
    assert pin.model == MODEL[("moths", "current")]
    assert Pin.model_validate_json(pin.model_dump_json()) == pin


def test_only_the_models_that_some_function_names_are_needed(project: Project) -> None:
    project.pins()
    assert needed_models(load_pipeline(project.folder)) == {("moths", "current")}


def test_only_a_manifests_wishes_about_stages_pin_a_job_anew(project: Project) -> None:
    project.pins()
    pipeline = load_pipeline(project.folder)
    plain, wishes = _manifest(priority=1), _manifest(pipelineConfig={"stages": [DETECTION]})
    assert config_digest(pipeline, None) == config_digest(pipeline, plain) != config_digest(pipeline, wishes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(json_values, json_values)
def test_a_digest_tells_values_apart_and_does_not_mind_the_order_of_keys(one: Any, other: Any) -> None:
    same = repr(_sorted(one)) == repr(_sorted(other))
    assert (digest(one) == digest(other)) == same
    assert digest(one) == digest(_sorted(one))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(part) for part in value] if isinstance(value, list) else value
