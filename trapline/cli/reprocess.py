"""`trapline reprocess`: run again what was made with other recipes than the present ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from statistics import mean

import typer
from rich.table import Table

from trapline.cli import jobs, words
from trapline.cli.place import Place, writer
from trapline.cli.steer import ask
from trapline.errors import ConfigError, ManifestError, TraplineError
from trapline.pipeline.load import Pipeline
from trapline.pipeline.reading import did_you_mean
from trapline.pipeline.recipe import (
    Models,
    config_digest,
    needed_models,
    pipeline_digest,
    resolve_pins,
    with_what_follows,
)
from trapline.records import ImageRecord, JobControl, ModelRef, Pin
from trapline.registry import Registry
from trapline.store.base import Store

_LISTED, _READ = 500, 20  # records of a stage that are listed, and of those read, to learn what an image costs


@dataclass
class StalePart:
    """One stage of a job whose recipe is not the present one."""

    stage: str
    why: str  # what is different, in words
    images: int  # that would run
    seconds_each: float | None  # of one worker; None: it never ran in this job


@dataclass
class StaleJob:
    """What reprocessing a job would run again."""

    job: str
    images: int
    kept: int = 0  # whose files are gone: they keep what they have
    stages: list[StalePart] = field(default_factory=list)
    compile: bool = False  # the results alone would be compiled again, or with the rest
    problem: str = ""  # why it cannot be told

    @property
    def seconds(self) -> float:
        """Of one worker, for the stages whose cost is known."""
        return sum(part.images * (part.seconds_each or 0.0) for part in self.stages)

    @property
    def unknown(self) -> list[str]:
        """Stages of which nobody knows what they cost."""
        return [part.stage for part in self.stages if part.seconds_each is None]


def reprocess(place: Place, what: str, stage: str | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Find what is stale in a job, or in every job whose name begins so; say what it costs; ask the engine for it."""
    store, pipeline = place.store(), place.pipeline
    if stage:
        _check_stage(pipeline, stage)
    names = _names(place, store, what)
    models = _models(pipeline, Registry(store, place.layout))
    found = [_stale(place, store, name, stage or "", models) for name in names]
    todo = [one for one in found if one.stages or one.compile]
    workers = pipeline.spec.local.workers or os.cpu_count() or 1
    if not as_json:
        _show(found, todo, workers)
        if todo and not dry_run and not yes and len(todo) > 1 and sys.stdin.isatty():
            typer.confirm("Go on?", abort=True)
    if not dry_run and todo:
        _check_engine(place)
        write = writer(place)
        for one in todo:
            ask(write, place.layout, "reprocess", job=one.job, stage=stage or "")
    _tell(place, found, todo, workers, dry_run=dry_run, as_json=as_json)


def _check_stage(pipeline: Pipeline, stage: str) -> None:
    have = [s.name for s in pipeline.stages.values() if s.kind in ("image", "gather")]
    if stage not in have:
        why = "runs once and is not made again" if stage in pipeline.stages else "is no stage of this pipeline"
        remedy = f"Name one of: {', '.join(have)}.{did_you_mean(stage, have)}"
        raise ConfigError(f"--stage: {words.safe(stage)!r} {why}.", remedy=remedy)


def _check_engine(place: Place) -> None:
    """An engine that began before the pipeline was changed would run jobs as they were."""
    served = place.served() if place.endpoint is None else None
    if served is not None and served.get("pipeline", "") not in ("", pipeline_digest(place.pipeline)):
        raise TraplineError(
            "Nothing was asked for: the engine read pipeline.yaml and the functions before they were changed.",
            remedy="Stop it and start it again with `trapline up`, then ask again.",
        )


def _names(place: Place, store: Store, what: str) -> list[str]:
    if jobs.is_job(store, place.layout, what):
        return [jobs.plain(place.layout, what)]
    every = jobs.job_names(store, place.layout)
    begins = what.removeprefix(place.layout.prefix("incoming"))
    if not what.strip():
        raise ConfigError(
            "Reprocess which job? The name is empty.", remedy="Name a job, or how some begin, such as st7/2026-11."
        )
    names = [name for name in every if name.startswith(begins)]
    if not names:
        raise TraplineError(
            f"No job is named {words.safe(what)!r}, and none begins so.", remedy=jobs.nearest(begins, every, "job")
        )
    return names


def _models(pipeline: Pipeline, registry: Registry) -> Models:
    """Which model every name and version stands for now."""
    found = {}
    for name, version in needed_models(pipeline):
        real = registry.known(name).in_force if version == "current" else version
        found[name, version] = ModelRef(name=name, version=real, sha256=str(registry.fields(name, real)["sha256"]))
    return found


# -- one job


def _stale(place: Place, store: Store, name: str, stage: str, models: Models) -> StaleJob:
    control, status = (
        jobs.control_of(store, place.layout, name),
        jobs.status_of(store, place.layout, name),
    )
    images = status.images if status else {}
    one = StaleJob(name, images.get("total", 0), images.get("kept", 0))
    if control is None or not control.pins:
        one.problem = "not begun yet: it will be run as things are now"
        return one
    manifest = jobs.manifest_of(store, place.layout, name)
    asked = with_what_follows(place.pipeline, stage) if stage else tuple(place.pipeline.stages)
    same = control.config == config_digest(place.pipeline, manifest)
    keep = _kept(place.pipeline, control, stage) if stage and same else {}
    try:
        pins = resolve_pins(place.pipeline, manifest, models, keep)
    except (ConfigError, ManifestError) as error:
        one.problem = str(error)
        return one
    for known in place.pipeline.stages.values():
        before = control.pins.get(known.name)
        added = before is None and known.name not in asked  # it passes over what was there before it
        if added or (before is not None and before.recipe == pins[known.name].recipe):
            continue
        if known.kind == "image":
            why, each = _difference(before, pins[known.name]), _seconds_each(place, store, name, known.name)
            blocked = status.stages[known.name].blocked if status and known.name in status.stages else 0
            one.stages.append(StalePart(known.name, why, max(0, one.images - one.kept - blocked), each))
        one.compile = one.compile or known.kind == "gather"
    return one


def _kept(pipeline: Pipeline, control: JobControl, stage: str) -> dict[str, Pin]:
    anew = with_what_follows(pipeline, stage)
    return {name: pin for name, pin in control.pins.items() if name not in anew}


def _difference(before: Pin | None, now: Pin) -> str:
    """What of a recipe changed, in words."""
    if before is None or before.enabled != now.enabled:
        return "it did not run then" if now.enabled else "it is left out now"
    told = []
    if (before.function, before.version) != (now.function, now.version):
        told.append(f"{before.function} {before.version} → {now.function} {now.version}")
    if before.model != now.model:
        names = [f"{model.name} {model.version}" if model else "none" for model in (before.model, now.model)]
        told.append(f"model {' → '.join(names)}")
    changed = sorted(
        key for key in {*before.parameters, *now.parameters} if before.parameters.get(key) != now.parameters.get(key)
    )
    told += [f"parameter{'s' if len(changed) > 1 else ''} {', '.join(changed)}"] if changed else []
    told += ["when changed"] if before.when != now.when else []
    return "; ".join(told) or "what it builds on changed, or the release of Trapline"


def _seconds_each(place: Place, store: Store, job: str, stage: str) -> float | None:
    """What an image cost at a stage when it ran last, by some of its records. One that was passed over cost nothing."""
    prefix = place.layout.prefix(stage)
    keys = [e.key for e in islice(store.list(f"{prefix}{job}/"), _LISTED) if e.key.endswith(".json")]
    records = _records(store, keys[:: max(1, len(keys) // _READ)][:_READ])
    spent = [note.usage.seconds for record in records if (note := record.stages.get(stage))]
    return mean(spent) if spent else None


def _records(store: Store, keys: Iterable[str]) -> list[ImageRecord]:
    found = (jobs.read(store, ImageRecord, key) for key in keys)
    return [record for record in found if record is not None]


# -- telling


def _show(found: list[StaleJob], todo: list[StaleJob], workers: int) -> None:
    out = words.console()
    for one in (one for one in found if one.problem):
        words.say(out, f"{words.safe(one.job)}: {one.problem}.")
    if not todo:
        if not all(one.problem for one in found):
            words.say(out, "Nothing to do: everything is as the present recipes make it.")
        return
    table = Table(box=None, pad_edge=False)
    for head in ("job", "stage", "images", "about", "why"):
        table.add_column(head, justify="right" if head in ("images", "about") else "left", overflow="fold")
    for one in todo:
        for part in one.stages:
            each = part.seconds_each
            cost = words.duration(part.images * each / workers) if each is not None else "unknown"
            table.add_row(words.safe(one.job), part.stage, f"{part.images:,}", cost, part.why)
        if one.compile and not one.stages:
            table.add_row(words.safe(one.job), "compile", "", "", "the results are compiled again")
    out.print(table)
    images = sum(max((part.images for part in one.stages), default=0) for one in todo)
    total = words.duration(sum(one.seconds for one in todo) / workers)
    unknown = sorted({stage for one in todo for stage in one.unknown})
    more = f", and what {', '.join(unknown)} cost{'s' if len(unknown) == 1 else ''}" if unknown else ""
    said = f"{words.plural(images, 'image')} of {words.plural(len(todo), 'job')}: about {total} with"
    words.say(out, f"{said} {words.plural(workers, 'worker')}, by what they took last{more}.")
    if kept := sum(one.kept for one in todo):
        words.say(out, f"{words.plural(kept, 'image')} whose files are gone keep what they have.")


def _tell(
    place: Place, found: list[StaleJob], todo: list[StaleJob], workers: int, *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        seconds = round(sum(one.seconds for one in todo) / workers, 1)
        every = [{**asdict(one), "seconds_of_one_worker": round(one.seconds, 3)} for one in found]
        words.emit({"jobs": every, "asked": 0 if dry_run else len(todo), "workers": workers, "seconds": seconds})
        return
    out = words.console()
    if todo and dry_run:
        words.say(out, "Nothing was asked for: leave --dry-run out to have it done.")
    elif todo and (missing := jobs.engine_missing(place)):
        words.say(out, "Asked for. It begins when an engine does.")
        words.say(words.console(stderr=True), missing)
    elif todo:
        words.say(out, "Asked for. The engine begins within 5 seconds; `trapline status` shows how far it is.")
