"""Libraries that only some values of a parameter need: what `libraries` says beside its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from trapline.environments.requirements import Line
from trapline.errors import ConfigError
from trapline.pipeline.load import Pipeline
from trapline.pipeline.reading import shown
from trapline.pipeline.spec import FunctionSpec

KEYWORD = "libraries"  # {value: requirement}, such as {parquet: "pyarrow>=20.0"}

Chosen = Mapping[str, tuple[Line, ...]]  # function → what its parameters, as they are set, ask for


def chosen(pipeline: Pipeline) -> Chosen:
    """What the functions of a pipeline need for the values that it gives them. Raises `ConfigError`."""
    found: dict[str, tuple[Line, ...]] = {}
    for stage in pipeline.stages.values():
        for name, function in stage.functions.items():
            given = stage.spec.parameters if name == stage.spec.function else {}
            found[name] = (*found.get(name, ()), *needed_for(function, given))
    return {name: lines for name, lines in found.items() if lines}


def needed_for(function: FunctionSpec, given: Mapping[str, Any]) -> tuple[Line, ...]:
    """What a function needs for these parameters, defaults included. Raises `ConfigError`."""
    found: list[Line] = []
    for name, schema in function.parameters.items():
        libraries = schema.get(KEYWORD)
        if isinstance(libraries, dict):
            wanted = list(_values(given.get(name, schema.get("default"))))
            texts = {value: text for value, text in libraries.items() if value in wanted}
            found += [_line(function, name, value, text) for value, text in texts.items()]
    return tuple(found)


def _values(value: Any) -> Iterator[str]:
    """The words of a parameter: its value, or those of its list."""
    for word in value if isinstance(value, list) else [value]:
        if isinstance(word, str):
            yield word


def _line(function: FunctionSpec, parameter: str, value: str, text: Any) -> Line:
    try:
        requirement = Requirement(str(text))
    except InvalidRequirement:
        raise ConfigError(
            f"functions/{function.name}/function.yaml: parameters.{parameter}.{KEYWORD}.{value}: {shown(text)} is not "
            "a requirement.",
            remedy="Write a name and the versions that will do, such as pyarrow>=20.0.",
        ) from None
    return Line(requirement, f"{value!r} in {function.name}'s {parameter}")
