"""Reading a project folder into a checked `Pipeline`. Every error is one line: file, place, expectation, remedy."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import jsonschema
import yaml
from pydantic import BaseModel, ValidationError

from trapline.errors import ConfigError
from trapline.keys import IMAGE_SUFFIXES, Layout
from trapline.pipeline.spec import Delivery, FunctionSpec, PipelineSpec, StageSpec

StageKind = Literal["fetch", "image", "gather", "notify"]
_ACCEPTS: dict[StageKind, str] = {"fetch": "manifest", "gather": "roll", "notify": "summary"}
_OWN_SOURCES = ("jobs", "incoming", "results")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Stage:
    """A stage as the engine uses it."""

    name: str
    kind: StageKind
    spec: StageSpec
    functions: dict[str, FunctionSpec]  # the stage's own first, then its alternatives
    parents: tuple[str, ...]  # the per-image stages it reads; empty: it reads `incoming/`

    @property
    def function(self) -> FunctionSpec:
        return self.functions[self.spec.function]

    def delivery(self, function: str) -> Delivery:
        """The function's delivery policy with the stage's overrides."""
        base = self.functions[function].delivery
        return Delivery.model_validate({**base.model_dump(), **self.spec.delivery})


@dataclass(frozen=True)
class Pipeline:
    """A project's pipeline, checked: stages in an order in which each comes after what it reads."""

    folder: Path
    spec: PipelineSpec
    stages: dict[str, Stage]

    @property
    def name(self) -> str:
        return self.spec.name

    @cached_property
    def layout(self) -> Layout:
        records = {s.name: s.spec.to for s in self.stages.values() if s.kind == "image"}
        suffixes = (
            frozenset(s.lower() for s in self.spec.images.suffixes) if self.spec.images.suffixes else IMAGE_SUFFIXES
        )
        return Layout(
            root=self.spec.root or "",
            depth=self.spec.jobs.depth,
            records=records,
            suffixes=suffixes,
            **self.spec.prefixes.model_dump(),
        )

    @cached_property
    def image_stages(self) -> tuple[str, ...]:
        """The per-image stages, parents first."""
        return tuple(s.name for s in self.stages.values() if s.kind == "image")

    def of_kind(self, kind: StageKind) -> Stage | None:
        """The one stage of a kind that a pipeline has at most once."""
        return next((s for s in self.stages.values() if s.kind == kind), None)

    def station(self, job: str) -> dict[str, Any]:
        """What is known about a job's station, as the functions see it."""
        station = self.spec.stations.get(job.split("/", maxsplit=1)[0])
        return station.model_dump(mode="json", exclude_none=True) if station else {}

    def settle(self, job: str) -> float:
        """Seconds of quiet after which a job closes by itself."""
        station = self.spec.stations.get(job.split("/", maxsplit=1)[0])
        chosen = station.settle if station and station.settle is not None else self.spec.jobs.settle
        return chosen.total_seconds()


def load_pipeline(folder: Path) -> Pipeline:
    """Read and check the project in `folder`. Raises `ConfigError`."""
    path = folder / "pipeline.yaml"
    spec = _parse(PipelineSpec, path, "A project's folder has one; `trapline init DIR` makes one that runs.")
    kinds = {name: _kind(spec, stage) for name, stage in spec.stages.items()}
    _check_prefixes(spec, kinds)
    parents = {name: _parents(spec, name, kinds) for name in spec.stages}
    stages = {}
    for name in _ordered(parents):
        functions = {
            f: load_function(folder, f, name) for f in (spec.stages[name].function, *spec.stages[name].alternatives)
        }
        stages[name] = Stage(name, kinds[name], spec.stages[name], functions, parents[name])
        _check_stage(stages[name])
    return Pipeline(folder.resolve(), spec, stages)


def load_function(folder: Path, name: str, stage: str) -> FunctionSpec:
    """Read `functions/<name>/function.yaml`. Raises `ConfigError`."""
    path = folder / "functions" / name / "function.yaml"
    if not path.is_file():
        have = sorted(p.parent.name for p in (folder / "functions").glob("*/function.yaml"))
        raise ConfigError(
            f"pipeline.yaml: stages.{stage}: there is no function {name!r} (no functions/{name}/function.yaml).",
            remedy=f"Found: {', '.join(have) or 'none'}.{_did_you_mean(name, have)}",
        )
    spec = _parse(FunctionSpec, path, "")
    for parameter, schema in spec.parameters.items():
        _check_parameter_schema(f"functions/{name}/function.yaml: parameters.{parameter}", schema)
    return spec


def resolve_parameters(function: FunctionSpec, given: dict[str, Any], where: str) -> dict[str, Any]:
    """A function's parameters with defaults, checked against its schema. Raises `ConfigError` naming `where`."""
    for name in given:
        if name not in function.parameters:
            known = ", ".join(function.parameters) or "none"
            raise ConfigError(
                f"{where}: {function.name} has no parameter {name!r}.",
                remedy=f"It has: {known}.{_did_you_mean(name, list(function.parameters))}",
            )
    for name, value in given.items():
        try:
            jsonschema.validate(value, function.parameters[name])
        except jsonschema.ValidationError as error:
            raise ConfigError(
                f"{where}.{name}: {error.message}.", remedy=f"See functions/{function.name}/function.yaml."
            ) from None
    defaults = {name: schema["default"] for name, schema in function.parameters.items() if "default" in schema}
    missing = [name for name in function.parameters if name not in defaults and name not in given]
    if missing:
        raise ConfigError(f"{where}: {function.name} needs the parameter {missing[0]!r}.", remedy="Give it a value.")
    return {**defaults, **given}


# -- one file


def _parse(kind: type[M], path: Path, hint: str) -> M:
    where = "/".join(path.parts[-3:]) if path.name == "function.yaml" else path.name
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no {path.name} in {path.parent}.", remedy=hint) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is not UTF-8 text.", remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.", remedy="Check its permissions.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"{where} is not YAML: {_yaml_problem(error)}.", remedy="Check the indentation there."
        ) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} holds no settings.", remedy=hint or "Expected `name: value` lines.")
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise _explain(where, kind, error) from None


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)


def _explain(where: str, kind: type[BaseModel], error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    place = ".".join(path)
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, path[:-1])
        return ConfigError(
            f"{where}: {place}: unknown key {path[-1]!r}.",
            remedy=f"Known here: {', '.join(known)}.{_did_you_mean(path[-1], known)}",
        )
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError(f"{where}: {place or 'the file'}: {message}.", remedy="See docs/reference/.")


def _fields_at(kind: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that are known at a place, following the models down."""
    for part in path:
        field = kind.model_fields.get(part)
        inner = _model_in(field.annotation if field else None)
        kind = inner or kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model), None)


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _check_parameter_schema(where: str, schema: dict[str, Any]) -> None:
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        if "default" in schema:
            jsonschema.validate(schema["default"], schema)
    except (jsonschema.SchemaError, jsonschema.ValidationError) as error:
        raise ConfigError(
            f"{where}: {error.message}.", remedy="Expected a JSON Schema, such as {type: integer, default: 5}."
        ) from None


# -- the stages together


def _kind(spec: PipelineSpec, stage: StageSpec) -> StageKind:
    if stage.gather:
        return "gather"
    if spec.prefixes.jobs in stage.source:
        return "fetch"
    return "notify" if spec.prefixes.results in stage.source else "image"


def _check_prefixes(spec: PipelineSpec, kinds: dict[str, StageKind]) -> None:
    writers: dict[str, str] = {}
    own = spec.prefixes.model_dump()
    for name, stage in spec.stages.items():
        if stage.to in writers:
            raise ConfigError(
                f"pipeline.yaml: stages.{name}.to: {stage.to} is already written by {writers[stage.to]!r}.",
                remedy="Give each stage a prefix of its own; two functions for one prefix are `alternatives`.",
            )
        writers[stage.to] = name
        _check_output(name, stage, kinds[name], own)
    for first, one in writers.items():
        for second, other in writers.items():
            if first != second and second.startswith(first):
                raise ConfigError(
                    f"pipeline.yaml: stages.{other}.to: {second} lies under {first}, which {one!r} writes.",
                    remedy="Choose prefixes that do not contain each other.",
                )


def _check_output(name: str, stage: StageSpec, kind: StageKind, own: dict[str, str]) -> None:
    expected = {"fetch": own["incoming"], "gather": own["results"], "notify": own["receipts"]}.get(kind)
    if expected and stage.to != expected:
        raise ConfigError(
            f"pipeline.yaml: stages.{name}.to: it writes {stage.to}.", remedy=f"This kind of stage writes {expected}."
        )
    for source in stage.source:
        if stage.to.startswith(source) or source.startswith(stage.to):
            raise ConfigError(
                f"pipeline.yaml: stages.{name}.to: {stage.to} lies where the stage itself reads ({source}).",
                remedy="A stage that wrote there would start itself again; choose another prefix.",
            )
    for part, prefix in own.items():
        if kind == "image" and (stage.to.startswith(prefix) or prefix.startswith(stage.to)):
            raise ConfigError(
                f"pipeline.yaml: stages.{name}.to: {stage.to} lies in {prefix}, which is kept for {part}.",
                remedy=f"Choose another prefix, such as {name}/.",
            )


def _parents(spec: PipelineSpec, name: str, kinds: dict[str, StageKind]) -> tuple[str, ...]:
    stage = spec.stages[name]
    if kinds[name] in ("fetch", "notify"):
        return ()
    if len(stage.source) > 1:
        raise ConfigError(
            f"pipeline.yaml: stages.{name}.from: it reads {len(stage.source)} prefixes.",
            remedy="A stage reads one prefix.",
        )
    source = stage.source[0]
    if source == spec.prefixes.incoming and kinds[name] == "image":
        return ()
    writer = next((other for other, s in spec.stages.items() if s.to == source and kinds[other] == "image"), None)
    if writer is None:
        have = [spec.prefixes.incoming, *(s.to for other, s in spec.stages.items() if kinds[other] == "image")]
        raise ConfigError(
            f"pipeline.yaml: stages.{name}.from: nothing writes {source}.",
            remedy=f"It can read: {', '.join(have)}.{_did_you_mean(source, have)}",
        )
    return (writer,)


def _ordered(parents: dict[str, tuple[str, ...]]) -> list[str]:
    """Stage names, parents first, otherwise as written. Raises where stages read each other in a circle."""
    done: list[str] = []
    left = dict(parents)
    while left:
        ready = [name for name, needs in left.items() if all(need in done for need in needs)]
        if not ready:
            raise ConfigError(
                f"pipeline.yaml: the stages {', '.join(sorted(left))} read each other in a circle.",
                remedy=f"One of them has to read incoming/. ({_OWN_SOURCES[1]}/ holds the images.)",
            )
        done.append(ready[0])
        del left[ready[0]]
    return done


def _check_stage(stage: Stage) -> None:
    where = f"pipeline.yaml: stages.{stage.name}"
    expected = _ACCEPTS.get(stage.kind)
    for function in stage.functions.values():
        accepts_image = function.accepts not in _ACCEPTS.values()
        if (expected and function.accepts != expected) or (not expected and not accepts_image):
            raise ConfigError(
                f"{where}.function: {function.name} accepts {function.accepts}, but this stage hands it {expected or 'images'}.",
                remedy="Check the stage's `from` and `gather`.",
            )
        _check_delivery(where, stage, function.name)
    resolve_parameters(stage.function, stage.spec.parameters, f"{where}.parameters")


def _check_delivery(where: str, stage: Stage, function: str) -> None:
    try:
        stage.delivery(function)
    except ValidationError as error:
        raise _explain(f"{where}.delivery", Delivery, error) from None
