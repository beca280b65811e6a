"""`trapline try` and `trapline new …`, as typed. What they do is in modules that are imported when called."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trapline.cli.options import Data, Json, Project

new = typer.Typer(
    name="new",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make something new in a project: `trapline new function NAME`.",
)


def try_(
    wanted: Annotated[
        str, typer.Argument(metavar="FUNCTION|STAGE", help="A folder in functions/, or a stage in pipeline.yaml.")
    ],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Images, folders of images, or patterns.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Another model: a folder with model.yaml, an ONNX file, or NAME[@VERSION].",
            show_default="that of the function's own folder",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the function; repeatable.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Write each picture with boxes and labels to trapline-try/.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="As --show, to another folder.", show_default="none")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            "--records",
            metavar="FILE",
            help="What earlier stages found: a record, or a folder of them as in the bucket.",
            show_default="the earlier stages are run",
        ),
    ] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Read no pipeline.yaml and run nothing first: the function by itself.")
    ] = False,
    job: Annotated[
        str | None,
        typer.Option("--job", help="Take the files as this job's: its station's settings apply.", show_default="none"),
    ] = None,
    tracebacks: Annotated[bool, typer.Option("--traceback", help="Show in full where a function raised.")] = False,
    project: Project = Path(),
    data: Data = None,
    json_: Json = False,
) -> None:
    """Run one function on local files, without a bucket or an engine.

    Prints what a pipeline would commit: what was found in each image, how long it took, or why it failed. A function
    that builds on what others find is handed that: the stages before it in pipeline.yaml are run first, or their
    records are named with --records. With --json, one line an image: its record, or its dead letter.

    Exit code 1 when an image failed; the others are done all the same.

    Example: trapline try detect samples/night --set threshold=0.4 --show
    """
    from trapline.cli.trying.command import try_function

    try_function(
        wanted,
        files,
        project=project,
        data=data,
        model=model,
        settings=settings or [],
        records=records,
        job=job,
        show=show,
        out=out,
        alone=alone,
        tracebacks=tracebacks,
        as_json=json_,
    )


@new.command("function")
def new_function(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: lower-case letters, digits and underscores.")],
    kind: Annotated[
        str,
        typer.Option("--kind", metavar="image|detections|records|gather", help="What it is handed; see above."),
    ] = "image",
    project: Project = Path(),
    json_: Json = False,
) -> None:
    """Make a function that works as it is: functions/NAME/, with a test.

    Kinds: `image` reads images; `detections` builds on what an earlier stage found in them; `records` joins what
    several stages found; `gather` compiles a whole job into a file. Each is a small real example to change. What to
    put into pipeline.yaml is printed, not written.

    Example: trapline new function body_length --kind detections
    """
    from trapline.cli.new_function import new_function as run_new

    run_new(project, name, kind, as_json=json_)
