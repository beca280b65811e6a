"""The commands. Each is thin: what it does is in a module of its own, imported when it is called."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from trapline import __version__
from trapline.cli.author_commands import new, try_
from trapline.cli.bucket_commands import bucket_events, doctor
from trapline.cli.interrupt import saying
from trapline.cli.models_commands import models
from trapline.cli.options import Bucket, Data, Endpoint, Json, Project
from trapline.cli.place import find_place
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

app.add_typer(models)
app.add_typer(bucket_events)
app.add_typer(new)

DemoData = Annotated[
    Path | None, typer.Option("--data", help="The demo's own data folder.", show_default="trapline-demo")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port of the embedded S3 endpoint; 0 takes a free one.")]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="The job: its folders under incoming/, such as st7/2026-11-20.")
]


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


@app.command()
def up(
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    port: Port = 9900,
    json_: Json = False,
) -> None:
    """Serve this project: an S3 store, the triggers, the engine.

    Prints the store's address and keys, and one line to try. Images that are then uploaded to incoming/ are read, and
    what is on them appears under results/. It runs until Ctrl-C; what was under way then is taken up again at the next
    start. With --json, one line on stdout when it is ready: endpoint, access_key, secret_key, bucket, data, pid.

    Example: trapline up --port 9900
    """
    from trapline.cli.up import serve

    serve(find_place(project, data, bucket, endpoint), port, as_json=json_)


@app.command()
def demo(project: Project = Path(), data: DemoData = None, port: Port = 0) -> None:
    """See the main job done once, on a sample night from a light trap.

    Starts an S3 store and an engine of its own, uploads 28 images over S3, shows how they go through, and ends with a
    table of what was found. Needs no project and no keys. Exit code 0 only if every expected result is there. Ctrl-C
    at any moment leaves nothing running; run it again and it goes on where it was.

    Example: trapline demo
    """
    with saying("Stopped; nothing is left running. Run it again and it goes on."):
        from trapline.cli.demo import run_demo

        run_demo(project, data, port)


@app.command()
def submit(
    what: Annotated[
        Path, typer.Argument(metavar="FOLDER|MANIFEST", help="A folder of images, or a job manifest (.json).")
    ],
    job: Annotated[
        str | None,
        typer.Option(
            "--job",
            help="The job's name, such as st7/2026-11-20.",
            show_default="the folder's last two names, or the manifest's projectId/jobId",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Show progress until the job is finished.")] = True,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Upload a folder of images, or a manifest, and follow it.

    A folder goes to incoming/JOB/, its subfolders kept; a list of checksums (`_DONE`) goes last, so that nothing can
    be missed. Files that are there already with the same content are not sent again. An engine must run: `trapline up`
    in another terminal. Ctrl-C stops the upload or the following, never the engine.

    Exit code 0: every image is done; 3: the job ended with failures (PARTIAL or FAILED); 4: it is cancelled;
    1 or 2: it could not be sent. With --json the job's last status is printed on stdout.

    Example: trapline submit /media/card/DCIM --job st7/2026-11-20
    """
    from trapline.cli.submit import submit as run_submit

    run_submit(find_place(project, data, bucket, endpoint), what, job, follow=follow, as_json=json_)


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="One job in full; without it, all jobs.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep showing it until the job is finished, or Ctrl-C.")
    ] = False,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Show how far all jobs are, or one of them in full.

    In full: images per stage, rate and time left, failures by code and what to do about them, files that were ignored
    or never came, when an open job closes, and where its results are. Works also while no engine runs.

    Example: trapline status st7/2026-11-20 --watch
    """
    from trapline.cli.status import show

    show(find_place(project, data, bucket, endpoint), job, watch=watch, as_json=json_)


@app.command()
def results(
    job: JobName,
    to: Annotated[Path | None, typer.Option("--to", help="Copy the files of the newest results here.")] = None,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Show what was found in a job, and copy the files.

    Says how often each label was found and how sure it is, what failed, whether more may come, and where the files
    are. With --to, they are copied and checked: results.jsonl (everything, an image a line), observations.csv (a row
    for each thing found) and summary.json.

    Example: trapline results st7/2026-11-20 --to night
    """
    from trapline.cli.results import results as run_results

    run_results(find_place(project, data, bucket, endpoint), job, to, as_json=json_)


@app.command()
def retry(
    what: Annotated[str, typer.Argument(metavar="JOB|KEY", help="A job, or one image as `trapline explain` takes it.")],
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Try what failed again: everything of a job, or one image.

    Do first what `trapline status JOB` or `trapline explain KEY` says about the failure. The same as deleting the
    objects under failed/ with an S3 client.

    Example: trapline retry st7/2026-11-20
    """
    from trapline.cli.steer import retry as run_retry

    run_retry(find_place(project, data, bucket, endpoint), what, as_json=json_)


@app.command()
def reprocess(
    what: Annotated[
        str, typer.Argument(metavar="JOB|PREFIX", help="A job, or how the names of several begin: st7/2026-11.")
    ],
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            help="Only this stage and what builds on it; the others keep what they were run with.",
            show_default="every stage",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before several jobs are run again.")] = False,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Run again what was made with another model, function or parameters than the present ones.

    A job keeps what it began with. This brings it up to date: stages that would be run as before keep their records,
    so that a new classifier costs no detections. It says first how many images that are and about how long they take.
    The results become a new revision; the old ones stay.

    Example: trapline reprocess st7/2026-11-20 --dry-run
    """
    from trapline.cli.reprocess import reprocess as run_reprocess

    place = find_place(project, data, bucket, endpoint)
    run_reprocess(place, what, stage, dry_run=dry_run, yes=yes, as_json=json_)


@app.command()
def cancel(
    job: JobName,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Cancel a job; what is done stays.

    What has not begun is not begun. Puts an object `_CANCEL` into the job's folder. Delete that object with an S3
    client, and the job goes on.

    Example: trapline cancel st7/2026-11-20
    """
    from trapline.cli.steer import cancel as run_cancel

    run_cancel(find_place(project, data, bucket, endpoint), job, as_json=json_)


@app.command()
def sweep(
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Have the engine look over the whole bucket now.

    For a store that tells nobody of uploads, or when something seems to have been overlooked. Does no harm.

    Example: trapline sweep
    """
    from trapline.cli.steer import sweep as run_sweep

    run_sweep(find_place(project, data, bucket, endpoint), as_json=json_)


@app.command()
def explain(
    key: Annotated[
        str,
        typer.Argument(metavar="KEY", help="An image's key (incoming/…), or an end of it that no other image has."),
    ],
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Tell everything that happened to one image.

    When it was seen and by what; each stage with its attempts, times, function, model and record; what was found; or
    why it failed, was ignored or never came, and what to do about it.

    Example: trapline explain IMG_0042.JPG
    """
    from trapline.cli.explain import explain as run_explain

    run_explain(find_place(project, data, bucket, endpoint), key, as_json=json_)


app.command("try")(try_)
app.command()(doctor)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must be absent or empty.")],
    json_: Json = False,
) -> None:
    """Make a project of your own that runs as it is.

    Copies the sample pipeline, its functions and models, and a night of images. Change pipeline.yaml and functions/
    there; `trapline up` in that folder serves it.

    Example: trapline init my-traps
    """
    from trapline.cli.steer import init as run_init

    run_init(folder, as_json=json_)


@app.command()
def bench(
    store: Annotated[
        str, typer.Option("--store", metavar="folder|s3", help="Over a folder, or over S3 with the engine outside.")
    ] = "folder",
    images: Annotated[int, typer.Option("--images", help="Images of each size class; not with --scale.")] = 500,
    scale: Annotated[
        bool, typer.Option("--scale", help="Measure instead how cost and memory grow, up to 100,000 images.")
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            help="With --store s3, an S3 store that runs already; keys from the AWS_* variables.",
            show_default="one of its own",
        ),
    ] = None,
    bucket: Annotated[str | None, typer.Option("--bucket", help="The bucket there.", show_default="none")] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where to make what is measured.", show_default="the temporary folder")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything that was made.")] = False,
    json_: Json = False,
) -> None:
    """Measure how fast the pipeline is on this machine, beside what the machine can do at best.

    Runs the sample functions on generated images: once in a bare loop that only reads files and calls the functions,
    once through an engine of its own. Tells images per second of both and their ratio, what the engine itself costs,
    how long one image takes from upload to its last record, start-up and memory. About four minutes on
    two cores, five with --scale. What the figures mean: docs/performance.md.

    Example: trapline bench --images 500 --json > bench.json
    """
    from trapline.cli.bench import bench as run_bench

    run_bench(store, images, endpoint, bucket, folder, scaled=scale, keep=keep, as_json=json_)


functions_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the functions, and make the environments of those that have one of their own.",
)
app.add_typer(functions_app, name="functions")


@functions_app.command("list")
def functions_list(project: Project = Path(), json_: Json = False) -> None:
    """List the functions: version, environment, stages, and whether each finds the libraries that it asks for.

    Those that no stage uses are listed as well, and nothing is run or imported.

    Example: trapline functions list
    """
    from trapline.cli.functions import show_functions

    show_functions(project, as_json=json_)


@functions_app.command("install")
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


@functions_app.command("check")
def functions_check(project: Project = Path(), json_: Json = False) -> None:
    """Check what `trapline up` checks: that every function of the pipeline finds the libraries that it asks for.

    Exit code 0: it does; 2: it does not, and each problem is told with its remedy.

    Example: trapline functions check
    """
    from trapline.cli.functions import check

    raise typer.Exit(check(project, as_json=json_))


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder with model.yaml, an .onnx file, or NAME or NAME@VERSION in the bucket."
        ),
    ],
    dataset: Annotated[
        Path,
        typer.Argument(metavar="DATASET", help="A COCO file (.json), a YOLO folder, or a folder with one per class."),
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="The folder of the pictures.", show_default="beside the data set")
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", help="The card of an .onnx file.", show_default="model.yaml beside it")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="LABEL=CATEGORY,…",
            help="What the data set calls a label of the model; `*` is every other category. May be repeated.",
            show_default="the same name",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to write to.", show_default="evaluation-NAME-VERSION")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Confidence to use a detector at.", show_default="the card's"),
    ] = None,
    most: Annotated[
        int,
        typer.Option("--most", min=1, help="Detections of one label that count per picture; COCO's tools take 100."),
    ] = 1000,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take the first pictures alone.", show_default="all")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Pictures at a time.", show_default="one per core")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws behind the intervals.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the main figures on the model's card, under quality.")
    ] = False,
    picture: Annotated[bool, typer.Option(help="Draw the figures; needs the extra `plots`.")] = True,
    project: Project = Path(),
    data: Data = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    json_: Json = False,
) -> None:
    """Measure how good a model is on pictures of which the truth is known.

    A detector is measured on boxes: average precision as COCO defines it, precision and recall. A classifier on
    folders of pictures, or on boxes, which are cut out: how often its first name, or one of five, is right. For both:
    what is confused with what, whether confidences can be believed, the best threshold, each label by itself. Figures
    have intervals: what other pictures of the kind might have given. A picture that cannot be read is named and costs
    itself alone.

    Writes evaluation.json, a page of curves (evaluation.png, .svg) and a sheet of the worst mistakes (mistakes.jpg).
    Ctrl-C leaves nothing half-written.

    Example: trapline evaluate functions/detect/model nights.json --images nights --map 'insect=*'
    """
    from trapline.cli.evaluate import Wishes, told_command
    from trapline.cli.evaluate import evaluate as run_evaluate

    wishes = Wishes(
        model=model, dataset=dataset, images=images, card=card, mapping=mapping or (), out=out, workers=workers,
        limit=limit, write_card=write_card, picture=picture, command=told_command(),
        threshold=threshold, most=most, seed=seed,
    )  # fmt: skip
    with saying("Stopped; nothing was written."):
        run_evaluate(wishes, lambda: find_place(project, data, bucket, endpoint), as_json=json_)


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
