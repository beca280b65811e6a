"""The commands that run an engine, as typed: `up`, `demo`, `bench`; and `init`, which makes a project to serve."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trapline.cli.interrupt import saying
from trapline.cli.options import HERE, Json, Project, Where, located

DemoData = Annotated[
    Path | None, typer.Option("--data", help="The demo's own data folder.", show_default="trapline-demo")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port of the embedded S3 endpoint; 0 takes a free one.")]


@located
def up(where: Where = HERE, port: Port = 9900, json_: Json = False) -> None:
    """Serve this project: an S3 store, the triggers, the engine.

    Prints the store's address and keys, and one line to try. Images that are then uploaded to incoming/ are read, and
    what is on them appears under results/. It runs until Ctrl-C; what was under way then is taken up again at the next
    start. With --json, one line on stdout when it is ready: endpoint, access_key, secret_key, bucket, data, pid.

    Example: trapline up --port 9900
    """
    from trapline.cli.up import serve

    serve(where.place(), port, as_json=json_)


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
