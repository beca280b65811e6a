"""Whether every function of a pipeline finds the libraries that it asks for: `trapline up` checks it first."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement

from trapline import __version__
from trapline.environments.chosen import Chosen, chosen
from trapline.environments.installed import Installed, here, inside
from trapline.environments.judging import Need, Unmet, asked, exclude_each_other, needs, unmet
from trapline.environments.requirements import Line, Requirements, read_requirements
from trapline.environments.venvs import Made, last_words, made, python_of, venv_of, wanted
from trapline.errors import ConfigError
from trapline.pipeline.load import Pipeline
from trapline.pipeline.spec import FunctionSpec

ITSELF = "trapline"


@dataclass(frozen=True)
class Problem:
    """Why a function could not run."""

    function: str
    message: str
    remedy: str
    requirement: str = ""  # as pip takes it
    installed: str = ""  # its version; empty: it is not installed, or that is not the problem
    rival: str = ""  # another function that it can never agree with


def functions_of(pipeline: Pipeline) -> dict[str, FunctionSpec]:
    """Every function that a pipeline uses, alternatives included."""
    return {spec.name: spec for stage in pipeline.stages.values() for spec in stage.functions.values()}


def check_environments(pipeline: Pipeline) -> None:
    """Raise `ConfigError` for the first problem there is. A few milliseconds; nothing is imported or run."""
    check_functions(pipeline.folder, functions_of(pipeline), chosen(pipeline))


def check_functions(project: Path, functions: Mapping[str, FunctionSpec], more: Chosen) -> None:
    """The same for some functions, which need `more` for what their parameters say. Raises `ConfigError`."""
    problem = next(problems(project, functions, more), None)
    if problem is not None:
        raise ConfigError(problem.message, remedy=problem.remedy)


def problems(project: Path, functions: Mapping[str, FunctionSpec], more: Chosen | None = None) -> Iterator[Problem]:
    """Everything that keeps these functions from running, found without running anything. Raises `ConfigError`."""
    asks = {name: read_requirements(project, name) for name in functions}
    more = more or {}
    shared = {
        name: replace(asks[name], lines=(*asks[name].lines, *more.get(name, ())))
        for name, spec in functions.items()
        if spec.environment == "shared"
    }
    yield from _shared(shared)
    for name, spec in functions.items():
        if spec.environment == "own":
            never = next(_never(name, asks[name]), None)
            wrong = [never] if never else list(own_problems(project, name, asks[name]))
            yield from wrong or _not_chosen(project, name, more.get(name, ()))


def why_not(project: Path, function: str) -> str:
    """What is wrong with a function's own environment, with the remedy; empty where nothing can be found.

    For when a worker does not start: where the metadata tell nothing, the environment's interpreter is asked.
    """
    try:
        problem = next(own_problems(project, function, read_requirements(project, function)), None)
    except ConfigError as error:
        return str(error)
    if problem is not None:
        return f"{problem.message} {problem.remedy}"
    said = last_words(python_of(venv_of(project, function))).rstrip(".")
    return f"{said}. {_anew(function)}" if said else ""


def install_command(function: str) -> str:
    """What makes a function's own environment."""
    return f"trapline functions install {function}"


# -- functions that run in the engine's environment


def _shared(asks: Mapping[str, Requirements]) -> Iterator[Problem]:
    installed = here()
    told: set[frozenset[str]] = set()  # pairs that exclude each other are told once
    for name, requirements in asks.items():
        for wrong in unmet(asked(requirements), _limits(requirements), installed):
            rival = _rival(name, wrong.need, asks, installed)
            if rival is None:
                yield _missing(name, wrong)
            elif frozenset((name, rival[0])) not in told:
                told.add(frozenset((name, rival[0])))
                yield _contradiction(name, wrong.need, *rival)


def _limits(requirements: Requirements) -> list[Need]:
    return [Need(line.requirement, where=line.where) for line in requirements.limits]


def _missing(function: str, wrong: Unmet) -> Problem:
    pip = f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(str(wrong.need))}"
    return Problem(
        function,
        f"{_who(wrong.need)} needs {wrong.need}, {_there(wrong)} in the engine's environment.",
        f"Run `{pip}`, or write `environment: own` in functions/{function}/function.yaml and run "
        f"`{install_command(function)}`.",
        str(wrong.need),
        str(wrong.installed or ""),
    )


def _rival(
    function: str, need: Need, asks: Mapping[str, Requirements], installed: Installed
) -> tuple[str, Need] | None:
    """Another function (or Trapline, the empty name) that needs versions of the same that can never agree."""
    for other in _all_needs([Need(Requirement(ITSELF))], installed, need):
        return "", other
    for name, requirements in asks.items():
        if name != function:
            for other in _all_needs(asked(requirements), installed, need):
                return name, other
    return None


def _all_needs(roots: Iterable[Need], installed: Installed, against: Need) -> Iterator[Need]:
    for need in needs(roots, installed):
        if need.name == against.name and exclude_each_other(need.requirement.specifier, against.requirement.specifier):
            yield need


def _contradiction(function: str, need: Need, rival: str, other: Need) -> Problem:
    whom = _who(other) if rival else "Trapline itself"
    if rival:
        remedy = (
            f"Write `environment: own` in the function.yaml of one of them, {function} or {rival}, and run "
            f"`trapline functions install` with its name."
        )
    else:
        what = f"a version of {need.requirement.name} that meets {other}"
        remedy = f"Ask for {what}: Trapline runs in the environment of every function."
    return Problem(
        function,
        f"{_who(need)} needs {need}, and {whom} needs {other}: no version meets both.",
        remedy,
        str(need),
        rival=rival,
    )


# -- functions that have an environment of their own


def _never(function: str, requirements: Requirements) -> Iterator[Problem]:
    """What no environment can hold beside Trapline, told before anybody tries to make one."""
    for need in asked(requirements):
        for other in _all_needs([Need(Requirement(ITSELF))], here(), need):
            yield _contradiction(function, need, "", other)


def own_problems(project: Path, function: str, requirements: Requirements) -> Iterator[Problem]:
    """What is wrong with a function's own environment. Reads the metadata in it; runs nothing."""
    venv = venv_of(project, function)
    stale = _stale(venv, made(venv), wanted(requirements.digest))
    remedy = f"Run `{install_command(function)}`."
    if stale:
        yield Problem(function, f"The environment of function {function!r} {stale}.", remedy)
        return
    installed = inside(venv)
    engines = Need(Requirement(f"{ITSELF}==={__version__}"))
    again = _anew(function)
    for wrong in unmet([engines, *asked(requirements)], _limits(requirements), installed):
        message = f"{_who(wrong.need)} needs {wrong.need}, {_there(wrong)} in the function's own environment."
        if wrong.need is engines:
            message = f"The engine is Trapline {__version__}, {_there(wrong)} in the environment of {function!r}."
        elif not wrong.need.where:
            message = f"Function {function!r}: {message}"
        yield Problem(function, message, again, str(wrong.need), str(wrong.installed or ""))


def _not_chosen(project: Path, function: str, lines: Iterable[Line]) -> Iterator[Problem]:
    """What a parameter's value needs and a function's own environment does not hold."""
    needed = [Need(line.requirement, where=line.where) for line in lines]
    for wrong in unmet(needed, (), inside(venv_of(project, function))):
        yield Problem(
            function,
            f"{_who(wrong.need)} needs {wrong.need}, {_there(wrong)} in the function's own environment.",
            f"Write it into functions/{function}/requirements.txt. {_anew(function)}",
            str(wrong.need),
            str(wrong.installed or ""),
        )


def _stale(venv: Path, was: Made | None, now: Made) -> str:
    """Why an environment does not count; empty when it does."""
    if not venv.is_dir():
        return "has not been made yet"
    if was is None:
        return "is unfinished"
    if was.python != now.python:
        return f"was made for {was.python}, and the engine runs on {now.python}"
    if was.trapline != now.trapline:
        return f"was made for Trapline {was.trapline}, and the engine is {now.trapline}"
    if was.requirements != now.requirements:
        return "was made from another requirements.txt than there is now"
    return "" if python_of(venv).is_file() else "has no interpreter any more"


# -- the words


def _anew(function: str) -> str:
    return f"Run `{install_command(function)} --again`."


def _who(need: Need) -> str:
    """Who needs it: a line of a file, or the distribution that the line leads to."""
    if not need.by:
        return need.where or "Trapline"
    return f"{need.by[-1]} ({need.where})" if need.where else need.by[-1]


def _there(wrong: Unmet) -> str:
    return "which is not installed" if wrong.installed is None else f"but {wrong.installed} is installed"


def unjudged(requirements: Requirements) -> str:
    """A word about lines that cannot be checked; empty where there are none."""
    return f"not checked: {', '.join(requirements.unjudged)}" if requirements.unjudged else ""
