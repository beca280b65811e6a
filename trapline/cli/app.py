"""The commands. Each is thin: what it does is in a module of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from trapline.cli.place import Place, find_place
from trapline.errors import ConfigError, KeyUnusable, TraplineError

app = typer.Typer(
    name="trapline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Drop images into a bucket; read what is on them from the results prefix.\n\n"
    "Begin with `trapline init night-traps`, then in that folder `trapline up`. "
    "Every command works on the project in the current folder (the one with pipeline.yaml).",
)

Project = Annotated[Path, typer.Option("--project", help="The folder with pipeline.yaml.", show_default="the current folder")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Where the embedded store keeps its buckets.", show_default="trapline-data, or $TRAPLINE_DATA"),
]
Bucket = Annotated[
    str | None, typer.Option("--bucket", help="The bucket's name.", show_default="$TRAPLINE_BUCKET, or that in pipeline.yaml")
]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint", help="An S3 store that runs already.", show_default="$AWS_ENDPOINT_URL; else the embedded store"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The job: the folders under incoming/, such as st7/2026-11-20.")]


@app.callback()
def _options(debug: Debug = False) -> None:
    if debug:
        os.environ["TRAPLINE_DEBUG"] = "1"


@app.command()
def up(
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    port: Annotated[int, typer.Option(help="The port of the embedded S3 endpoint; 0 takes a free one.")] = 9900,
    json_: Json = False,
) -> None:
    """Serve the project in this folder: the store, the triggers and the engine.

    Prints the endpoint, its keys and a line to try. Runs until Ctrl-C; what was under way then is taken up again at
    the next start. With --json, one line on stdout when ready.
    """
    from trapline.cli.up import serve

    serve(find_place(project, data, bucket, endpoint), port, as_json=json_)


@app.command()
def demo(
    project: Project = Path(),
    data: Data = None,
    port: Annotated[int, typer.Option(help="The port of the S3 endpoint; 0 takes a free one.")] = 0,
) -> None:
    """Do the main job once on the sample night: start a store and an engine, upload over S3, show what was found.

    Exit code 0 only if every expected result is there. Ctrl-C at any moment leaves nothing running; run it again and
    it goes on where it was.
    """
    from trapline.cli.demo import run_demo

    run_demo(project, data, port)


@app.command()
def submit(
    what: Annotated[Path, typer.Argument(metavar="MANIFEST|FOLDER", help="A job manifest (.json), or a folder of images.")],
    job: Annotated[str | None, typer.Option("--job", help="The job's name, such as st7/2026-11-20.", show_default="from the folder's name")] = None,
    follow: Annotated[bool, typer.Option(help="Show progress until the job is finished.")] = True,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Upload a folder of images (and `_DONE`), or a job manifest, and follow the job to its end.

    A running engine is needed (`trapline up`, here or anywhere on the same bucket). Files that are there already with
    the same content are not sent again. Exit code 0: all done; 3: the job ended with failures.
    """
    from trapline.cli.submit import submit as run_submit

    run_submit(find_place(project, data, bucket, endpoint), what, job, follow=follow, as_json=json_)


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="The job; none: all jobs.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until the job is finished (or Ctrl-C).")] = False,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Show how far jobs are: state, counts per stage, rate, time left, failures and what to do about them."""
    from trapline.cli.status import show

    show(find_place(project, data, bucket, endpoint), job, watch=watch, as_json=json_)


@app.command()
def results(
    job: JobName,
    to: Annotated[Path | None, typer.Option("--to", help="Copy the newest results into this folder.")] = None,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Show a job's newest results: what was found, how sure, and where the files are. With --to, copy them."""
    from trapline.cli.results import results as run_results

    run_results(find_place(project, data, bucket, endpoint), job, to, as_json=json_)


@app.command()
def retry(
    what: Annotated[str, typer.Argument(metavar="JOB|KEY", help="A job, or one image's key such as incoming/st7/…/a.jpg.")],
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Try what failed again: delete the dead letters of a job, or of one image."""
    from trapline.cli.steer import retry as run_retry

    run_retry(find_place(project, data, bucket, endpoint), what, as_json=json_)


@app.command()
def cancel(
    job: JobName, project: Project = Path(), data: Data = None, bucket: Bucket = None, endpoint: Endpoint = None, json_: Json = False
) -> None:
    """Cancel a job: writes `_CANCEL` into its folder. Deleting that object lets the job go on."""
    from trapline.cli.steer import cancel as run_cancel

    run_cancel(find_place(project, data, bucket, endpoint), job, as_json=json_)


@app.command()
def sweep(project: Project = Path(), data: Data = None, bucket: Bucket = None, endpoint: Endpoint = None, json_: Json = False) -> None:
    """Ask the engine to look over the whole bucket now, instead of at its next turn."""
    from trapline.cli.steer import sweep as run_sweep

    run_sweep(find_place(project, data, bucket, endpoint), as_json=json_)


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="An image's key (incoming/…), its path under incoming/, or a unique end of it.")],
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Tell everything that happened to one image: when it was seen, each stage's attempts, model and result, or why it failed."""
    from trapline.cli.explain import explain as run_explain

    run_explain(find_place(project, data, bucket, endpoint), key, as_json=json_)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must be absent or empty.")],
    json_: Json = False,
) -> None:
    """Make a project of your own that runs as it is: the sample pipeline, its functions, models and a sample night."""
    from trapline.cli.steer import init as run_init

    run_init(folder, as_json=json_)


def run() -> None:
    """Run the command line; an error is one line with a remedy, never a traceback."""
    try:
        app(standalone_mode=True)
    except TraplineError as error:
        if os.environ.get("TRAPLINE_DEBUG"):
            raise
        print(f"trapline: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2 if isinstance(error, ConfigError | KeyUnusable) else 1) from None
    except BrokenPipeError:
        os._exit(0)  # the reader of a pipe has gone
    except OSError as error:
        if os.environ.get("TRAPLINE_DEBUG"):
            raise
        print(f"trapline: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None


def place_of(project: Path, data: Path | None) -> Place:
    """The embedded place of a project, whatever the environment says."""
    return find_place(project, data, None, None)
