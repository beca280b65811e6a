"""Settings of `pipeline.yaml` and of manifests that are parameters of the function that gathers. Pure."""

from __future__ import annotations

from typing import Any

from trapline.errors import ConfigError
from trapline.pipeline.parameters import check_parameter
from trapline.pipeline.reading import shown
from trapline.pipeline.spec import FunctionSpec, PipelineSpec, StageSpec
from trapline.pipeline.stages import StageKind

NAMES = ("outputs", "events", "project")  # each is a top-level setting and a parameter


def settings(spec: PipelineSpec) -> dict[str, Any]:
    """Those that a `pipeline.yaml` gives."""
    told = spec.model_dump(mode="json", include=set(NAMES))
    return {name: told[name] for name in NAMES if told[name] is not None}


def check_gathers(spec: PipelineSpec, kinds: dict[str, StageKind]) -> None:
    """Raise `ConfigError` where such a setting is given and no stage gathers."""
    if "gather" not in kinds.values():
        for name in settings(spec):
            raise ConfigError(
                f"pipeline.yaml: {name}: no stage of this pipeline gathers a job.",
                remedy="Remove it, or add a stage with `gather: job`.",
            )


def folded(spec: PipelineSpec, name: str, stage: StageSpec, function: FunctionSpec) -> StageSpec:
    """The stage that gathers, with the settings among its parameters. Raises `ConfigError`."""
    given = settings(spec)
    for setting, value in given.items():
        place = f"pipeline.yaml: {setting}"
        check_setting(function, setting, value, place)
        if stage.parameters.get(setting, value) != value:
            raise ConfigError(
                f"{place}: stages.{name}.parameters.{setting} is {shown(stage.parameters[setting])}, not the same.",
                remedy="Say it in one of the two places.",
            )
    return stage.model_copy(update={"parameters": {**stage.parameters, **given}})


def check_setting(function: FunctionSpec, setting: str, value: Any, place: str) -> None:
    """Raise `ConfigError` where the function has no such parameter, or takes no such value."""
    if setting not in function.parameters:
        raise ConfigError(
            f"{place}: {function.name} has no parameter {setting!r} that would take it.",
            remedy=f"Remove it, or declare it in functions/{function.name}/function.yaml, under parameters.",
        )
    check_parameter(function, setting, value, place)
