"""A function's parameters: its schemas, and values checked by them. Pure."""

from __future__ import annotations

from typing import Any

import jsonschema
from referencing import Registry
from referencing.exceptions import Unresolvable

from trapline.errors import ConfigError
from trapline.pipeline.reading import did_you_mean, one_line, shown
from trapline.pipeline.spec import FunctionSpec, seconds


def resolve_parameters(function: FunctionSpec, given: dict[str, Any], where: str) -> dict[str, Any]:
    """A function's parameters with defaults, checked against its schema. Raises `ConfigError` naming `where`."""
    known = list(function.parameters)
    for name, value in given.items():
        if name not in known:
            raise ConfigError(
                f"{where}: {function.name} has no parameter {shown(name)}.",
                remedy=f"It has: {', '.join(known) or 'none'}.{did_you_mean(name, known)}",
            )
        check_parameter(function, name, value, f"{where}.{name}")
    defaults = {name: schema["default"] for name, schema in function.parameters.items() if "default" in schema}
    missing = [name for name in known if name not in defaults and name not in given]
    if missing:
        raise ConfigError(
            f"{where}: {function.name} needs the parameter {missing[0]!r}.",
            remedy=f"Give it a value; see {_page(function)}.",
        )
    return {**defaults, **given}


def check_parameter(function: FunctionSpec, name: str, value: Any, place: str) -> None:
    """Check one value against a function's schema. Raises `ConfigError` naming `place`."""
    if wrong := _violation(value, function.parameters[name]):
        raise ConfigError(f"{place}: {wrong}.", remedy=f"Its schema is in {_page(function)}, under parameters.{name}.")


def check_schema(where: str, schema: dict[str, Any]) -> None:
    """Check a parameter's schema, and its default by it. Raises `ConfigError` naming `where`."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        wrong = _violation(schema["default"], schema) if "default" in schema else ""
    except jsonschema.SchemaError as error:
        raise ConfigError(
            f"{where}: {one_line(error.message)}.",
            remedy="Write a JSON Schema, such as {type: integer, default: 5}.",
        ) from None
    if wrong:
        raise ConfigError(f"{where}.default: {wrong}.", remedy="Change the default, or what the schema allows.")


def _page(function: FunctionSpec) -> str:
    return f"functions/{function.name}/function.yaml"


def _violation(value: Any, schema: dict[str, Any]) -> str:
    """What is wrong with a value by its JSON Schema; empty when nothing is. Nothing is looked up elsewhere."""
    registry: Registry[Any] = Registry()
    validator = jsonschema.Draft202012Validator(schema, registry=registry, format_checker=_FORMATS)
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except Unresolvable as missing:
        return f"its schema refers to {shown(missing.ref)}, which is not in it"
    if error is None:
        return ""
    place = "".join(f"{part}: " for part in error.absolute_path if isinstance(part, str))
    return one_line(f"{place}{error.cause or error.message}")


_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("duration", raises=ValueError)
def _is_duration(value: object) -> bool:
    """Whether it is an ISO 8601 duration as the rest of pipeline.yaml has them; raises what is wrong with it."""
    return not isinstance(value, str) or seconds(value) >= 0
