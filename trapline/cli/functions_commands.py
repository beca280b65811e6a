"""`trapline functions …`, as typed. What they do is in a module of its own, imported when called."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trapline.cli.options import Json, Project

functions = typer.Typer(
    name="functions",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the functions, and make the environments of those that have one of their own.",
)


@functions.command("list")
def functions_list(project: Project = Path(), json_: Json = False) -> None:
    """List the functions: version, environment, stages, and whether each finds the libraries that it asks for.

    Those that no stage uses are listed as well, and nothing is run or imported.

    Example: trapline functions list
    """
    from trapline.cli.functions import show_functions

    show_functions(project, as_json=json_)


@functions.command("install")
def functions_install(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A function with `environment: own`.")],
    pip_args: Annotated[
        str, typer.Option("--pip-args", metavar="ARGS", help="More for `pip install`, quoted as a shell takes it.")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Make it anew even if nothing is wrong with it.")] = False,
    project: Project = Path(),
    json_: Json = False,
) -> None:
    """Make a function's own environment, from its requirements.txt.

    A venv in the project's .trapline/environments/, with this version of Trapline and what the function asks for, by
    pip and its usual settings. What was there before is replaced; an interrupted one does not count and is made anew.

    Example: trapline functions install sharpness --pip-args '--prefer-binary'
    """
    from trapline.cli.functions import install

    install(project, name, pip_args, again=again, as_json=json_)


@functions.command("check")
def functions_check(project: Project = Path(), json_: Json = False) -> None:
    """Check what `trapline up` checks: that every function of the pipeline finds the libraries that it asks for.

    Exit code 0: it does; 2: it does not, and each problem is told with its remedy.

    Example: trapline functions check
    """
    from trapline.cli.functions import check

    raise typer.Exit(check(project, as_json=json_))
