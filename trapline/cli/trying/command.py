"""The command itself: options in, a trial run, an exit code out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trapline.cli.interrupt import Interrupted
from trapline.cli.trying.environment import go_where_it_runs
from trapline.cli.trying.files import Found, find_files
from trapline.cli.trying.given import read_records
from trapline.cli.trying.importing import explained
from trapline.cli.trying.models import Found as Model
from trapline.cli.trying.models import LocalModels
from trapline.cli.trying.pictures import Folder, made_by_trial
from trapline.cli.trying.plan import Plan, Wish, make_plan, with_model
from trapline.cli.trying.running import NotSetUp, Trial, layout_job
from trapline.cli.trying.showing import Shown
from trapline.errors import ConfigError
from trapline.pipeline.recipe import needed_models
from trapline.pipeline.spec import FunctionSpec
from trapline.records import ModelRef
from trapline.runtime.functions import check_importable, handler_class

PICTURES = Path("trapline-try")


def try_function(
    wanted: str,
    named: Sequence[str],
    *,
    project: Path,
    data: Path | None,
    model: str | None,
    settings: Sequence[str],
    records: Path | None,
    job: str | None,
    show: bool,
    out: Path | None,
    alone: bool,
    tracebacks: bool,
    as_json: bool,
) -> None:
    """Run one function on local files and print what it finds. Exits with 1 where an image failed."""
    plan = make_plan(Wish(project, wanted, parsed_settings(settings), alone, records is not None))
    layout = plan.pipeline.layout
    kept = out or PICTURES
    found = find_files(named, layout, lambda path: made_by_trial(path, kept))
    given = read_records(records) if records is not None else None
    folder = Folder(kept, plan.pipeline.spec.images.max_pixels) if show or out else None
    if folder is not None:
        folder.expect(found.files)
    root = data or Path(os.environ.get("TRAPLINE_DATA", "trapline-data"))
    models = LocalModels(plan.pipeline.folder, root.expanduser() / "buckets" / plan.pipeline.spec.bucket, layout)
    plan, refs = _with_models(plan, models, model)
    go_where_it_runs(plan)
    _check_code(plan, tracebacks)
    shown = Shown(len(found.files), as_json, tracebacks, folder is not None)
    trial = Trial(plan, models, refs, layout_job(layout, job), given)
    _introduce(shown, plan, trial, models, found)
    _run(trial, shown, found, folder)


def parsed_settings(settings: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs; a value is JSON where it reads as JSON, else text. Raises `ConfigError`."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {setting!r} is not key=value.", remedy="Write for example --set threshold=0.4.")
        if key in parsed:
            raise ConfigError(f"--set gives {key!r} twice.", remedy="Give it once.")
        try:
            parsed[key] = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            parsed[key] = value
    return parsed


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _with_models(plan: Plan, models: LocalModels, model: str | None) -> tuple[Plan, dict[tuple[str, str], ModelRef]]:
    """The plan and the model that each name in it stands for. Raises `ConfigError`."""
    refs: dict[tuple[str, str], ModelRef] = {}
    if model is not None:
        chosen = models.chosen(model)
        _check_kind(models, plan.function, chosen)
        plan = with_model(plan, chosen.ref)
        refs[(chosen.ref.name, chosen.ref.version)] = chosen.ref
    carriers = {
        (choice.name, choice.version): stage.spec.function
        for stage in plan.pipeline.stages.values()
        if (choice := stage.model(stage.spec.function))
    }
    for name, version in sorted(needed_models(plan.pipeline) - set(refs)):
        function = carriers.get((name, version), plan.function.name)
        refs[(name, version)] = models.needed(name, version, function).ref
    return plan, refs


def _check_kind(models: LocalModels, function: FunctionSpec, chosen: Model) -> None:
    """Refuse a model of another kind than the function's own, where that is here to compare with."""
    if function.model is None:
        return
    try:
        own = models.needed(function.model.name, function.model.version, function.name)
    except ConfigError:
        return
    if own.kind != chosen.kind:
        raise ConfigError(
            f"--model: {chosen.ref.name} is a {chosen.kind}; {function.name} works with a {own.kind}, as its own "
            f"{own.ref.name} is.",
            remedy=f"Name a {own.kind}.",
        )


def _check_code(plan: Plan, tracebacks: bool) -> None:
    """Import what will run, so that a mistake there is told once, with its place, before anything else."""
    folder = plan.pipeline.folder
    for function in plan.running.values():
        check_importable(folder, function)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                handler_class(function, folder)
        except Exception as error:
            raise explained(function, folder, error, tracebacks) from error


def _introduce(shown: Shown, plan: Plan, trial: Trial, models: LocalModels, found: Found) -> None:
    function = plan.function
    ref = trial.pin.model
    by = f" with {ref.name} {ref.version} ({models.where(ref)})" if ref else ""
    shown.say(f"{function.name} {function.version}{by} on {len(found.files)} file{'s' * (len(found.files) != 1)}")
    for note in (*models.notes, *plan.notes):
        shown.say(note)
    if plan.before and trial.given:
        shown.say(f"It is handed the records in {trial.given}.")
    elif plan.before:
        *others, last = (stage.name for stage in plan.before)
        names = f"{', '.join(others)} and {last}" if others else last
        shown.say(f"It is handed what {names} find{'' if others else 's'}; that runs first.")
    for why, count in found.left_out.items():
        shown.say(f"{count} left out: {why}.")


def _run(trial: Trial, shown: Shown, found: Found, folder: Folder | None) -> None:
    function = trial.plan.function.name
    try:
        with shown.progress():
            for result in trial.run(found.files):
                shown.result(result)
                if folder is not None:
                    folder.keep(result)
    except Interrupted:
        shown.summary(function, stopped=True)
        _say_kept(shown, folder)
        raise
    except NotSetUp as error:
        if shown.tracebacks and error.raised:
            sys.stderr.write(error.raised)
        raise
    shown.summary(function)
    _say_kept(shown, folder)
    if shown.failed:
        raise SystemExit(1)


def _say_kept(shown: Shown, folder: Folder | None) -> None:
    if folder is None or not (folder.pictures or folder.files):
        return
    made = [
        f"{count} {what}{'s' * (count != 1)}"
        for count, what in ((folder.pictures, "picture"), (folder.files, "file"))
        if count
    ]
    shown.say(f"{' and '.join(made)} in {folder.path}/", style="")
