"""The commands about jobs and their images, as typed: from `submit` to `explain`."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trapline.cli.options import HERE, Json, Where, located
from trapline.errors import ConfigError

JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="The job: its folders under incoming/, such as st7/2026-11-20.")
]


@located
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
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Upload a folder of images, or a manifest, and follow it.

    A folder goes to incoming/JOB/, its subfolders kept; a list of checksums (`_DONE`) goes last, so that nothing can
    be missed. Files that are there already with the same content are not sent again. An image that cannot be read, or
    has a name that no store takes, is named and the others are sent; `_DONE` is empty then. An engine must run:
    `trapline up` in another terminal. Ctrl-C stops the upload or the following, never the engine.

    Exit code 0: every image is done; 3: the job ended with failures (PARTIAL or FAILED), or an image was not sent;
    4: it is cancelled; 1 or 2: nothing could be sent. With --json the job's last status is printed on stdout.

    Example: trapline submit /media/card/DCIM --job st7/2026-11-20
    """
    from trapline.cli.submit import submit as run_submit

    run_submit(where.place(), what, job, follow=follow, as_json=json_)


@located
def status(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="One job in full; without it, all jobs.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep showing it until the job is finished, or Ctrl-C.")
    ] = False,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Show how far all jobs are, or one of them in full.

    In full: images per stage, rate and time left, failures by code and what to do about them, files that were ignored
    or never came, when an open job closes, and where its results are. Works also while no engine runs.

    Example: trapline status st7/2026-11-20 --watch
    """
    from trapline.cli.status import show

    show(where.place(), job, watch=watch, as_json=json_)


@located
def results(
    job: JobName,
    to: Annotated[Path | None, typer.Option("--to", help="Copy the files of the newest results here.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw labels, hours and confidences as bars.")] = False,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Show what was found in a job, and copy the files.

    Says how often each label was found and how sure it is, what failed, whether more may come, and where the files
    are. With --to, they are copied and checked: results.jsonl (everything, an image a line), observations.csv (a row
    for each thing found), events.csv (a row for each event and label), report.html, other formats and summary.json.

    A corrected observations.csv, put at labels/JOB.csv in the bucket, makes the next results.

    Example: trapline results st7/2026-11-20 --to night
    """
    from trapline.cli.results import results as run_results

    run_results(where.place(), job, to, drawn=plot, as_json=json_)


@located
def received(
    job: JobName,
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The folder where the memory card is.")],
    images_only: Annotated[
        bool,
        typer.Option("--images-only", help="Files that no stage reads (videos, RAW, hidden photographs) may be lost."),
    ] = False,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Say whether a memory card may be wiped.

    Compares every image on the card, byte for byte, with what the engine read of the job and what the bucket holds
    now. Names what is missing or damaged, what is still to be read, and what was left out. Keys that may read status/
    alone are enough. Writes and deletes nothing.

    Exit code 0: safe to wipe; 1: not; 3: not yet, the engine has still to read something.

    Example: trapline received st7/2026-11-20 /media/card
    """
    from trapline.cli.received import received as run_received

    run_received(where.place(), job, card, images_only=images_only, as_json=json_)


@located
def retry(
    what: Annotated[str, typer.Argument(metavar="JOB|KEY", help="A job, or one image as `trapline explain` takes it.")],
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Try what failed again: everything of a job, or one image.

    Do first what `trapline status JOB` or `trapline explain KEY` says about the failure. The same as deleting the
    objects under failed/ with an S3 client.

    Example: trapline retry st7/2026-11-20
    """
    from trapline.cli.steer import retry as run_retry

    run_retry(where.place(), what, as_json=json_)


@located
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
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Run again what was made with another model, function or parameters than the present ones.

    A job keeps what it began with. This brings it up to date: stages that would be run as before keep their records,
    so that a new classifier costs no detections. It says first how many images that are and about how long they take.
    The results become a new revision; the old ones stay.

    Example: trapline reprocess st7/2026-11-20 --dry-run
    """
    from trapline.cli.reprocess import reprocess as run_reprocess

    place = where.place()
    run_reprocess(place, what, stage, dry_run=dry_run, yes=yes, as_json=json_)


@located
def cancel(job: JobName, where: Where = HERE, json_: Json = False) -> None:
    """Cancel a job; what is done stays.

    What has not begun is not begun. Puts an object `_CANCEL` into the job's folder. Delete that object with an S3
    client, and the job goes on.

    Example: trapline cancel st7/2026-11-20
    """
    from trapline.cli.steer import cancel as run_cancel

    run_cancel(where.place(), job, as_json=json_)


@located
def sweep(where: Where = HERE, json_: Json = False) -> None:
    """Have the engine look over the whole bucket now.

    For a store that tells nobody of uploads, or when something seems to have been overlooked. Does no harm.

    Example: trapline sweep
    """
    from trapline.cli.steer import sweep as run_sweep

    run_sweep(where.place(), as_json=json_)


@located
def explain(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="An image's key (incoming/…), an end of it that no other image has, the id by which a manifest "
            "lists it, or its path on a card.",
        ),
    ],
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Tell everything that happened to one image.

    When it was seen and by what; each stage with its attempts, times, function, model and record; what was found; or
    why it failed, was ignored or never came, and what to do about it.

    Example: trapline explain IMG_0042.JPG
    """
    from trapline.cli.explain import explain as run_explain

    run_explain(where.place(), key, as_json=json_)


@located
def notify(
    test: Annotated[
        str | None, typer.Option("--test", metavar="JOB", help="Send a test message now to all whom this job tells.")
    ] = None,
    listen: Annotated[
        int | None,
        typer.Option("--listen", metavar="PORT", min=0, max=65535, help="Print and check what comes to this port."),
    ] = None,
    answer: Annotated[
        int, typer.Option("--answer", metavar="STATUS", min=200, max=599, help="What --listen answers.")
    ] = 200,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Try how clients and people are told. Changes nothing in the bucket.

    --test sends a message of type trapline.test to the job's callback and to everybody in notify.to, and shows what
    was sent (secrets masked) and what was answered. Exit code 0: all took it; 1: somebody did not, or there is nobody.

    --listen is a receiver on this machine for a client's developer: it prints each message and whether its signature
    is right by TRAPLINE_WEBHOOK_SECRET, or the secret of the data folder. Ctrl-C ends it.

    Example: trapline notify --test ecos/ea12ac70
    """
    if (test is None) == (listen is None):
        raise ConfigError("Give --test JOB or --listen PORT.", remedy="`trapline notify --help` describes both.")
    if test is not None:
        from trapline.cli.notify import test as run_test

        raise typer.Exit(run_test(where.place(), test, as_json=json_))
    from trapline.cli.listen import listen as run_listen

    run_listen(where.place(), listen or 0, answer=answer, as_json=json_)
