"""What a job's stages are run with: pins and recipes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from trapline.errors import ConfigError
from trapline.pipeline.gathered import check_setting
from trapline.pipeline.load import Pipeline, Stage
from trapline.pipeline.parameters import resolve_parameters
from trapline.records import JobControl, Manifest, ModelRef, Pin, StageChoice

Models = Mapping[tuple[str, str], ModelRef]  # (name, version as written) → the model it stands for now

_AND_OUTPUTS = "+"  # between the digests of what a manifest says about the stages, and about the outputs


def digest(value: Any) -> str:
    """Thirty-two hexadecimal digits of the sha256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def resolve_pins(
    pipeline: Pipeline, manifest: Manifest | None, models: Models, keep: Mapping[str, Pin] | None = None
) -> dict[str, Pin]:
    """The pins of a job's stages; those in `keep` stay.

    Raises `ConfigError` where a manifest asks for what is not there.
    """
    choices, gathers = _choices(pipeline, manifest), _gathers(pipeline, manifest)
    pins: dict[str, Pin] = {}
    for stage in pipeline.stages.values():
        own = gathers if stage.kind == "gather" else {}
        pins[stage.name] = (keep or {}).get(stage.name) or _pin(stage, choices, own, pins, models)
    return pins


def lone_pin(stage: Stage) -> Pin:
    """The pin of a stage that runs for a job which none could be resolved for; the stage has no model."""
    above = Pin(stage="", recipe="", function="", version="")
    return _pin(stage, None, {}, dict.fromkeys(stage.parents, above), {})


def pipeline_digest(pipeline: Pipeline) -> str:
    """Digest of the stages and the versions of their functions: what an engine read when it began."""
    functions = {f.name: f.version for stage in pipeline.stages.values() for f in stage.functions.values()}
    return digest([pipeline.spec.model_dump(mode="json"), functions])


def with_what_follows(pipeline: Pipeline, stage: str) -> tuple[str, ...]:
    """A stage and every stage that builds on it, in order."""
    found = [stage]
    for other in pipeline.stages.values():
        if other.name not in found and any(parent in found for parent in other.parents):
            found.append(other.name)
    return tuple(found)


def config_digest(pipeline: Pipeline, manifest: Manifest | None) -> str:
    """Digest of what a manifest says about the stages: only when it changes is a job pinned anew."""
    config, outputs = (manifest.pipelineConfig, manifest.outputs) if manifest else (None, None)
    stages = digest(config.model_dump(mode="json") if config else None)
    return stages if outputs is None else f"{stages}{_AND_OUTPUTS}{digest(outputs)}"


def kept_pins(pipeline: Pipeline, control: JobControl, config: str) -> dict[str, Pin]:
    """The pins of a job that hold under a new `config`: all but the gather's where the outputs alone are others."""
    if control.config.partition(_AND_OUTPUTS)[0] != config.partition(_AND_OUTPUTS)[0]:
        return {}
    gather = "" if control.config == config else pipeline.layout.gather
    return {name: pin for name, pin in control.pins.items() if name != gather}


def _choices(pipeline: Pipeline, manifest: Manifest | None) -> dict[str, StageChoice] | None:
    config = manifest.pipelineConfig if manifest else None
    if config is None or not config.stages:
        return None
    types = sorted({s.spec.type for s in pipeline.stages.values() if s.spec.type})
    for choice in config.stages:
        if choice.stage not in types:
            raise ConfigError(
                f"pipelineConfig.stages: this pipeline has no stage of type {choice.stage!r}.",
                remedy=f"It has: {', '.join(types) or 'none with a type'}.",
            )
    return {choice.stage: choice for choice in config.stages}


def _gathers(pipeline: Pipeline, manifest: Manifest | None) -> dict[str, Any]:
    """The parameters of the gather's function that a manifest sets."""
    if manifest is None or manifest.outputs is None:
        return {}
    gather = pipeline.of_kind("gather")
    if gather is None:
        raise ConfigError("outputs: no stage of this pipeline gathers a job.", remedy="Leave them out.")
    outputs = list(manifest.outputs)
    check_setting(gather.function, "outputs", outputs, "outputs")
    return {"outputs": outputs}


def _pin(
    stage: Stage,
    choices: dict[str, StageChoice] | None,
    gathers: dict[str, Any],
    pins: dict[str, Pin],
    models: Models,
) -> Pin:
    choice = choices.get(stage.spec.type) if choices is not None and stage.spec.type else None
    name = _implementation(stage, choice)
    function = stage.functions[name]
    own = stage.spec.parameters if name == stage.spec.function else {}
    given = {**own, **(choice.parameters if choice else {}), **gathers}
    parameters = resolve_parameters(function, given, f"stages.{stage.name}.parameters")
    chosen = stage.model(name)
    model = models[(chosen.name, chosen.version)] if chosen else None
    when = stage.spec.when.model_dump(mode="json", exclude_none=True) if stage.spec.when else None
    enabled = choices is None or stage.spec.type is None or choice is not None
    # One file may stand under two cards, which feed it or read it otherwise: a card belongs to name and version.
    weights = [model.name, model.version, model.sha256] if model else None
    parts: list[Any] = [name, function.version, weights, parameters, when, enabled]
    return Pin(
        stage=stage.name,
        recipe=digest([*parts, [pins[parent].recipe for parent in stage.parents]]),
        function=name,
        version=function.version,
        model=model,
        parameters=parameters,
        when=when,
        enabled=enabled,
    )


def _implementation(stage: Stage, choice: StageChoice | None) -> str:
    name = choice.stageImplementation if choice and choice.stageImplementation else stage.spec.function
    if name not in stage.functions:
        raise ConfigError(
            f"pipelineConfig.stages: {name!r} is not an implementation of stage {stage.name!r}.",
            remedy=f"It has: {', '.join(stage.functions)}.",
        )
    return name


def needed_models(pipeline: Pipeline) -> set[tuple[str, str]]:
    """Every (name, version as written) that some function of the pipeline names."""
    choices = (stage.model(function) for stage in pipeline.stages.values() for function in stage.functions)
    return {(choice.name, choice.version) for choice in choices if choice}
