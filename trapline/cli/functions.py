"""`trapline functions …`: the functions of a project, and the environments of those that have one of their own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from trapline.cli.words import console, emit, plural, safe, say
from trapline.environments.checking import (
    Problem,
    functions_of,
    own_problems,
    problems,
    unjudged,
)
from trapline.environments.chosen import chosen
from trapline.environments.making import make_environment
from trapline.environments.requirements import read_requirements
from trapline.environments.venvs import venv_of
from trapline.errors import ConfigError, SurroundingsError
from trapline.pipeline.load import Pipeline, load_function, load_pipeline
from trapline.pipeline.reading import did_you_mean
from trapline.pipeline.spec import FunctionSpec


def show_functions(project: Path, *, as_json: bool) -> None:
    """`trapline functions list`."""
    pipeline = load_pipeline(project)
    used = functions_of(pipeline)
    others = {name: spec for name, spec in _all_functions(pipeline).items() if name not in used}
    found = list(problems(pipeline.folder, used, chosen(pipeline)))
    rows = [_row(pipeline, spec, [p for p in found if spec.name in (p.function, p.rival)]) for spec in used.values()]
    rows += [_row(pipeline, spec, list(problems(pipeline.folder, {spec.name: spec}))) for spec in others.values()]
    if as_json:
        emit(rows)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("function", "version", "environment", "stages", "state"):
        table.add_column(title, overflow="fold")
    for row in rows:
        state = row["state"] + (f" ({len(row['unjudged'])} not checked)" if row["unjudged"] else "")
        stages = ", ".join(row["stages"]) or "-"
        table.add_row(row["function"], safe(row["version"]), row["environment"], stages, state)
    out = console()
    out.print(table)
    for problem in found:  # what no stage uses troubles nobody
        say(out, f"{problem.message} {problem.remedy}")


def install(project: Path, name: str, pip_args: str, *, again: bool, as_json: bool) -> None:
    """`trapline functions install`."""
    pipeline = load_pipeline(project)
    spec = _named(pipeline, name)
    if spec.environment != "own":
        raise ConfigError(
            f"Function {name!r} runs in the engine's environment.",
            remedy=f"Install what it needs there, or write `environment: own` in functions/{name}/function.yaml.",
        )
    requirements = read_requirements(pipeline.folder, name)
    out = console(stderr=True)
    wrong = next(own_problems(pipeline.folder, name, requirements), None)
    if again or wrong is not None:
        venv = make_environment(
            pipeline.folder, name, requirements, _words(pip_args), lambda line: say(out, line, "bold")
        )
        still = next(own_problems(pipeline.folder, name, requirements), None)
        if still is not None:
            raise SurroundingsError(f"{venv} is made, but: {still.message}", remedy="Change its requirements.txt.")
        told = f"Function {name} has its own environment in {venv}."
    else:
        venv = venv_of(pipeline.folder, name)
        told = f"The environment in {venv} is as functions/{name}/requirements.txt asks; --again makes it anew."
    if as_json:
        emit({"function": name, "environment": str(venv), "made": again or wrong is not None})
    else:
        say(console(), told)


def check(project: Path, *, as_json: bool) -> int:
    """`trapline functions check`. Returns the exit code."""
    pipeline = load_pipeline(project)
    functions = functions_of(pipeline)
    found = list(problems(pipeline.folder, functions, chosen(pipeline)))
    notes = {name: unjudged(read_requirements(pipeline.folder, name)) for name in functions}
    if as_json:
        emit({"problems": [_problem(problem) for problem in found], "notes": {n: t for n, t in notes.items() if t}})
        return 2 if found else 0
    out = console()
    for problem in found:
        say(out, f"{problem.message} {problem.remedy}")
    for name, note in notes.items():
        if note:
            say(out, f"Function {name!r}: {note}", "dim")
    if not found:
        say(out, f"{plural(len(functions), 'function')}: each finds the libraries that it asks for.")
    return 2 if found else 0


def _all_functions(pipeline: Pipeline) -> dict[str, FunctionSpec]:
    """Those of the pipeline, then the others in the folder."""
    used = functions_of(pipeline)
    others = sorted(p.parent.name for p in (pipeline.folder / "functions").glob("*/function.yaml"))
    return {**used, **{name: load_function(pipeline.folder, name, "") for name in others if name not in used}}


def _named(pipeline: Pipeline, name: str) -> FunctionSpec:
    functions = _all_functions(pipeline)
    if name not in functions:
        raise ConfigError(
            f"There is no function {name!r} in {pipeline.folder / 'functions'}.",
            remedy=f"Found: {', '.join(functions) or 'none'}.{did_you_mean(name, functions)}",
        )
    return functions[name]


def _row(pipeline: Pipeline, spec: FunctionSpec, found: list[Problem]) -> dict[str, Any]:
    folder, own = pipeline.folder, spec.environment == "own"
    requirements = read_requirements(folder, spec.name)
    return {
        "function": spec.name,
        "version": spec.version,
        "environment": spec.environment,
        "stages": [stage.name for stage in pipeline.stages.values() if spec.name in stage.functions],
        "state": "ready" if not found else "to install" if own else "lacks libraries",
        "folder": str(venv_of(folder, spec.name)) if own else None,
        "requirements": [str(line.requirement) for line in requirements.lines],
        "unjudged": list(requirements.unjudged),
        "problems": [_problem(problem) for problem in found],
    }


def _problem(problem: Problem) -> dict[str, str]:
    return {
        "function": problem.function,
        "requirement": problem.requirement,
        "installed": problem.installed,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--pip-args: {error}.", remedy="Quote it as a shell takes it.") from None
