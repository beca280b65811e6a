"""What is run when a function is tried: its stage, those whose findings it is handed, and with what parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from yaml import YAMLError

from trapline.errors import ConfigError
from trapline.pipeline.load import Pipeline, Stage, load_function, load_pipeline
from trapline.pipeline.parameters import resolve_parameters
from trapline.pipeline.reading import did_you_mean, parsed
from trapline.pipeline.spec import FunctionSpec, ModelChoice, PipelineSpec, StageSpec
from trapline.records import ModelRef

_NOT_TRIED = {"manifest": "a job's manifest", "summary": "a job's summary"}
_NOBODY = "given:Given"  # the handler of a stage whose records are handed over
_GIVEN = "given"  # the stage that stands for records handed over, where pipeline.yaml has none


@dataclass(frozen=True)
class Plan:
    """A pipeline of the stages that matter, in order; the last is the one tried."""

    pipeline: Pipeline
    stage: str
    notes: tuple[str, ...] = ()  # what a person should know, a line each

    @property
    def target(self) -> Stage:
        return self.pipeline.stages[self.stage]

    @property
    def function(self) -> FunctionSpec:
        return self.target.function

    @property
    def running(self) -> dict[str, FunctionSpec]:
        """The functions that will run, the one tried last; not those whose records are handed over."""
        used = [stage.function for stage in self.pipeline.stages.values()]
        return {function.name: function for function in used if function.handler != _NOBODY}

    @property
    def before(self) -> list[Stage]:
        """The stages that are run first."""
        return [stage for stage in self.pipeline.stages.values() if stage.name != self.stage]


@dataclass
class Wish:
    """What the command line asks for."""

    project: Path
    wanted: str  # a stage or a function
    settings: Mapping[str, Any] = field(default_factory=dict)  # of --set
    alone: bool = False  # pipeline.yaml is not read
    given: bool = False  # records are handed over: nothing is run first


def make_plan(wish: Wish) -> Plan:
    """Find the function and what goes before it. Raises `ConfigError`."""
    whole = _bare(wish.project) if wish.alone else load_pipeline(wish.project)
    notes: list[str] = []
    stage = _stage(wish, whole, notes)
    function = stage.function
    _check_possible(wish, stage)
    parameters = {**stage.spec.parameters, **wish.settings}
    resolve_parameters(function, parameters, "--set")
    spec = stage.spec.model_copy(update={"parameters": parameters, "alternatives": ()})
    stages = _before(wish, whole, stage)
    parents = stage.parents or tuple(stages)  # by itself, the stage that stands for given records
    stages[stage.name] = replace(stage, spec=spec, parents=parents)
    return Plan(Pipeline(whole.folder, whole.spec, stages), stage.name, tuple(notes))


def _check_possible(wish: Wish, stage: Stage) -> None:
    function = stage.function
    if function.accepts in _NOT_TRIED:
        raise ConfigError(
            f"{function.name} is handed {_NOT_TRIED[function.accepts]}, not images: it cannot be tried on files.",
            remedy="Run it in a pipeline; `trapline demo` does.",
        )
    if wish.given and function.accepts == "image":
        raise ConfigError(f"--records: {function.name} is handed images alone.", remedy="Leave out --records.")
    if stage.kind == "gather" and not stage.parents and not wish.given:
        raise ConfigError(
            f"{function.name} compiles what other stages found: alone there is nothing.",
            remedy="Leave out --alone, or hand records over with --records.",
        )


def with_model(plan: Plan, ref: ModelRef) -> Plan:
    """The plan with another model for the function that is tried."""
    function = plan.function
    if plan.target.model(function.name) is None:
        raise ConfigError(
            f"--model: {function.name} uses no model.",
            remedy=f"Add `model: {{name: {ref.name}, version: current}}` to functions/{function.name}/function.yaml.",
        )
    spec = plan.target.spec.model_copy(update={"model": ModelChoice(name=ref.name, version=ref.version)})
    stages = {**plan.pipeline.stages, plan.stage: replace(plan.target, spec=spec)}
    return replace(plan, pipeline=Pipeline(plan.pipeline.folder, plan.pipeline.spec, stages))


# -- which stage


def _bare(project: Path) -> Pipeline:
    """A pipeline of no stages, for a function by itself; of pipeline.yaml, where the bucket's models are at most."""
    nothing = StageSpec.model_validate({"function": "none", "from": "incoming/", "to": "none/"})
    try:
        return Pipeline(project.resolve(), PipelineSpec(name="try", stages={"none": nothing}, **_places(project)), {})
    except ValidationError:
        return Pipeline(project.resolve(), PipelineSpec(name="try", stages={"none": nothing}), {})


def _places(project: Path) -> dict[str, Any]:
    """The bucket and its prefixes by pipeline.yaml; nothing where that is not there or cannot be read."""
    try:
        said = parsed((project / "pipeline.yaml").read_text("utf-8"))
    except (OSError, ValueError, YAMLError):
        return {}
    return {key: said[key] for key in ("bucket", "root", "prefixes") if key in said} if isinstance(said, dict) else {}


def _stage(wish: Wish, whole: Pipeline, notes: list[str]) -> Stage:
    """The stage that is tried: one of the pipeline's, or one made for a function that has none."""
    if wish.wanted in whole.stages:
        return _only(whole.stages[wish.wanted], whole.stages[wish.wanted].spec.function)
    places = [stage for stage in whole.stages.values() if wish.wanted in stage.functions]
    if len(places) > 1:
        names = ", ".join(stage.name for stage in places)
        notes.append(f"{wish.wanted} is a function of the stages {names}; it is tried as {places[0].name}.")
    if places:
        return _only(places[0], wish.wanted)
    return _unplaced(whole, _function(wish, whole), notes, wish.alone)


def _function(wish: Wish, whole: Pipeline) -> FunctionSpec:
    folder = whole.folder / "functions"
    have = sorted(path.parent.name for path in folder.glob("*/function.yaml"))
    if wish.wanted not in have:
        known = sorted({*have, *whole.stages})
        raise ConfigError(
            f"There is no function or stage {wish.wanted!r} in {whole.folder}.",
            remedy=f"Found: {', '.join(known) or 'none'}.{did_you_mean(wish.wanted, known)}",
        )
    return load_function(whole.folder, wish.wanted, wish.wanted)


def _only(stage: Stage, function: str) -> Stage:
    """A stage with one of its functions. Parameters and model in pipeline.yaml are those of the stage's own."""
    if function == stage.spec.function:
        return replace(stage, functions={function: stage.functions[function]})
    spec = stage.spec.model_copy(update={"function": function, "parameters": {}, "model": None})
    return replace(stage, spec=spec, functions={function: stage.functions[function]})


def _unplaced(whole: Pipeline, function: FunctionSpec, notes: list[str], alone: bool) -> Stage:
    parents = () if alone else feeding(whole, function.accepts)
    if not alone:
        reads = " and ".join(whole.stages[parent].spec.to for parent in parents) or whole.spec.prefixes.incoming
        notes.append(f"{function.name} is not in pipeline.yaml; it is tried as a stage that reads {reads}.")
    kind = "gather" if function.accepts == "roll" else "image"
    spec = StageSpec.model_validate(
        {
            "function": function.name,
            "from": tuple(whole.stages[parent].spec.to for parent in parents) or whole.spec.prefixes.incoming,
            "to": whole.spec.prefixes.results if kind == "gather" else f"{function.name}/",
            "gather": "job" if kind == "gather" else None,
        }
    )
    return Stage(function.name, "gather" if kind == "gather" else "image", spec, {function.name: function}, parents)


def feeding(whole: Pipeline, accepts: str) -> tuple[str, ...]:
    """The stages that a function which is in no pipeline yet would read, by what it accepts."""
    images = whole.image_stages
    if accepts == "image" or not images:
        return ()
    if accepts == "records":
        return images
    if accepts == "roll":
        gather = whole.of_kind("gather")
        return gather.parents if gather else images[-1:]
    named = [name for name in images if whole.stages[name].spec.to == f"{accepts}/" or name == accepts]
    return tuple(named[:1] or images[:1])


# -- what goes before


def _before(wish: Wish, whole: Pipeline, stage: Stage) -> dict[str, Stage]:
    """The stages whose findings it is handed, parents first; those that only stand for given records are empty."""
    if wish.given:
        names = stage.parents or (_GIVEN,)
        return {
            name: _stand_in(name, whole.stages[name].spec.to if name in whole.stages else "given/") for name in names
        }
    needed: set[str] = set()
    for name in reversed(list(whole.stages)):
        if name in stage.parents or any(name in whole.stages[other].parents for other in needed):
            needed.add(name)
    return {name: _only(own, own.spec.function) for name, own in whole.stages.items() if name in needed}


def _stand_in(name: str, to: str) -> Stage:
    spec = StageSpec.model_validate({"function": _GIVEN, "from": "incoming/", "to": to})
    return Stage(name, "image", spec, {_GIVEN: FunctionSpec(name=_GIVEN, handler=_NOBODY)}, ())
