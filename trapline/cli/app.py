"""The command line: the commands of every group under one name, and how an error is told."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from trapline import __version__
from trapline.cli.author_commands import new, try_
from trapline.cli.bucket_commands import bucket_events, doctor
from trapline.cli.engine_commands import bench, demo, init, up
from trapline.cli.evaluate_command import evaluate
from trapline.cli.functions_commands import functions
from trapline.cli.job_commands import (
    cancel,
    explain,
    notify,
    received,
    reprocess,
    results,
    retry,
    status,
    submit,
    sweep,
)
from trapline.cli.models_commands import models
from trapline.errors import ConfigError, KeyUnusable, ManifestError, TraplineError

app = typer.Typer(
    name="trapline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Drop images into a bucket; read what is on them from the results prefix.\n\n"
    "See it work: `trapline demo`. Then make a project of your own with `trapline init my-traps`, and in that folder "
    "serve it with `trapline up`.\n\n"
    "Every command works on the project in the current folder (the one with pipeline.yaml) and on its bucket: the "
    "embedded store in ./trapline-data, unless options or AWS_ENDPOINT_URL name another.",
)

for group in (models, bucket_events, new, functions):
    app.add_typer(group)
for command in (up, demo, submit, status, received, results, retry, reprocess, cancel, sweep, explain, notify):
    app.command()(command)
app.command("try")(try_)
for command in (doctor, init, bench, evaluate):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"trapline {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if debug:
        os.environ["TRAPLINE_DEBUG"] = "1"


def run() -> None:
    """Run the command line; an error is one line with a remedy, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except BrokenPipeError:
        os._exit(0)  # the reader of a pipe has gone
    except Exception as error:
        if os.environ.get("TRAPLINE_DEBUG"):
            raise
        sys.stderr.write(f"trapline: {_worded(error)}\n")
        raise SystemExit(2 if isinstance(error, ConfigError | KeyUnusable | ManifestError) else 1) from None


def _worded(error: Exception) -> str:
    from trapline.cli import words

    if isinstance(error, TraplineError):
        return "\n".join(map(words.safe, str(error).split("\n")))  # it may repeat a name from a file
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return f"This should not have happened: {type(error).__name__}: {error}. `trapline --debug …` shows where."
