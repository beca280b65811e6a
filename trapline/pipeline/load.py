"""Reading a project folder into a checked `Pipeline`. Every error is one line: file, place, expectation, remedy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trapline.errors import ConfigError
from trapline.keys import IMAGE_SUFFIXES, Layout
from trapline.pipeline.gathered import check_gathers, folded
from trapline.pipeline.parameters import check_schema, resolve_parameters
from trapline.pipeline.reading import did_you_mean, explained, read_settings
from trapline.pipeline.spec import Delivery, FunctionSpec, ModelChoice, PipelineSpec, StageSpec, Tells
from trapline.pipeline.stages import StageKind, check_prefixes, ordered, parents_of
from trapline.records import NEWS

_HANDED = {
    "manifest": "manifests",
    "roll": "rolls",
    "summary": "summaries",
    "image": "images",
    "records": "the records of several stages",
    "": "images with their records",
}
_TOLD: dict[Tells, str] = {"people": "people", "news": "of an open job"}
_ACCEPTS: dict[StageKind, str] = {"fetch": "manifest", "gather": "roll", "notify": "summary"}


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

    def model(self, function: str) -> ModelChoice | None:
        """The model that one of the stage's functions is given; the stage's choice is for its own function."""
        own = self.functions[function].model
        return self.spec.model or own if function == self.spec.function else own

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
        gather, notify = self.of_kind("gather"), self.of_kind("notify")
        records = {s.name: s.spec.to for s in self.stages.values() if s.kind == "image"}
        suffixes = (
            frozenset(s.lower() for s in self.spec.images.suffixes) if self.spec.images.suffixes else IMAGE_SUFFIXES
        )
        return Layout(
            root=self.spec.root or "",
            depth=self.spec.jobs.depth,
            records=records,
            suffixes=suffixes,
            gather=gather.name if gather else "",
            notify=notify.name if notify else "",
            **self.spec.prefixes.model_dump(),
        )

    @cached_property
    def image_stages(self) -> tuple[str, ...]:
        """The per-image stages, parents first."""
        return tuple(s.name for s in self.stages.values() if s.kind == "image")

    def of_kind(self, kind: StageKind) -> Stage | None:
        """The one stage of a kind that a pipeline has at most once."""
        return next((s for s in self.stages.values() if s.kind == kind), None)

    def tells(self, what: Tells) -> bool:
        """Whether there is a function for it in the stage that tells."""
        stage = self.of_kind("notify")
        return stage is not None and all(what in function.tells for function in stage.functions.values())

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
    hint = "A project's folder has one; `trapline init DIR` makes one that runs."
    spec = read_settings(PipelineSpec, folder / "pipeline.yaml", "pipeline.yaml", hint)
    kinds = check_prefixes(spec)
    check_gathers(spec, kinds)
    parents = {name: parents_of(spec, name, kinds) for name in spec.stages}
    stages = {}
    for name in ordered(parents):
        own = spec.stages[name]
        functions = {f: load_function(folder, f, name) for f in (own.function, *own.alternatives)}
        if kinds[name] == "gather":
            own = folded(spec, name, own, functions[own.function])
        stages[name] = Stage(name, kinds[name], own, functions, parents[name])
        _check_stage(stages[name])
    pipeline = Pipeline(folder.resolve(), spec, stages)
    _check_notices(pipeline)
    return pipeline


def _check_notices(pipeline: Pipeline) -> None:
    spec, stage = pipeline.spec, pipeline.of_kind("notify")
    if not spec.notify.to:
        return
    if stage is None:
        raise ConfigError(
            "pipeline.yaml: notify.to: no stage tells anybody.",
            remedy=f"Add `notify: {{function: notify, from: {spec.prefixes.results}, to: {spec.prefixes.receipts}}}`.",
        )
    wanted: dict[Tells, str] = {"people": "to", **({"news": "on"} if {*NEWS} & {*spec.notify.on} else {})}
    for what, setting in wanted.items():
        if not pipeline.tells(what):
            name = stage.function.name
            raise ConfigError(
                f"pipeline.yaml: notify.{setting}: the function {name!r} does not say that it can tell {_TOLD[what]}.",
                remedy=f"Take the newer functions/{name}/, or, where it can, "
                f"set `tells: [{what}]` in its function.yaml.",
            )


def load_function(folder: Path, name: str, stage: str) -> FunctionSpec:
    """Read `functions/<name>/function.yaml`. Raises `ConfigError`."""
    where = f"functions/{name}/function.yaml"
    path = folder / where
    if not path.exists():
        have = sorted(p.parent.name for p in (folder / "functions").glob("*/function.yaml"))
        raise ConfigError(
            f"pipeline.yaml: stages.{stage}: there is no function {name!r} (no {where}).",
            remedy=f"Found: {', '.join(have) or 'none'}.{did_you_mean(name, have)}",
        )
    spec = read_settings(FunctionSpec, path, where)
    if spec.name != name:
        raise ConfigError(
            f"{where}: name: it says {spec.name!r}, but the folder is {name!r}.",
            remedy="A function is named like its folder; change one of them.",
        )
    for parameter, schema in spec.parameters.items():
        check_schema(f"{where}: parameters.{parameter}", schema)
    return spec


def _check_stage(stage: Stage) -> None:
    where = f"pipeline.yaml: stages.{stage.name}"
    for function in stage.functions.values():
        _check_accepts(where, stage, function)
        try:
            stage.delivery(function.name)
        except ValidationError as error:
            raise explained(f"{where}.delivery.", Delivery, error) from None
    if stage.spec.when and not stage.parents:
        raise ConfigError(
            f"{where}.when: it chooses among detections, but this stage reads none.",
            remedy="Remove it, or have the stage read the prefix of a stage that detects.",
        )
    resolve_parameters(stage.function, stage.spec.parameters, f"{where}.parameters")


def _check_accepts(where: str, stage: Stage, function: FunctionSpec) -> None:
    expected = _ACCEPTS.get(stage.kind) or (("records" if len(stage.parents) > 1 else "") if stage.parents else "image")
    if function.accepts != expected and (expected or function.accepts in _ACCEPTS.values()):
        raise ConfigError(
            f"{where}: {function.name} accepts {function.accepts}, but this stage hands it {_HANDED[expected]}.",
            remedy="Check the stage's `from` and `gather`, or name another function.",
        )
