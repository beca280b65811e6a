"""`trapline bucket-events …` and `trapline doctor`, as typed. What they do is in modules imported when called."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

from typing import Annotated

import typer

from trapline.cli.options import HERE, Json, Where, located

bucket_events = typer.Typer(
    name="bucket-events",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Have the bucket itself tell the pipeline of uploads; see who is told; undo it.",
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@bucket_events.command()
@located
def setup(
    url: Annotated[
        str | None, typer.Option("--url", help="Of the trigger `webhook`; a topic is made for it (Ceph, AWS).")
    ] = None,
    topic: Annotated[str | None, typer.Option("--topic", metavar="ARN", help="A topic that is there already.")] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue", metavar="ARN", help="A queue (SQS), or a target of MinIO: arn:minio:sqs::NAME:webhook."
        ),
    ] = None,
    verify_ssl: Annotated[bool, typer.Option(help="Whether Ceph checks the certificate of --url.")] = True,
    cloudevents: Annotated[bool, typer.Option("--cloudevents", help="Ceph words events as CloudEvents.")] = False,
    dry_run: DryRun = False,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Have the bucket tell of what is new under incoming/, jobs/, labels/ and control/requests/, and of removals.

    Rules of others stay as they are, and may be run again: it brings its own rules up to date. Where the store has no
    API for this, it prints what to do by hand, and the exit code is 1.

    Example: trapline bucket-events setup --url http://engine:9910/events
    """
    from trapline.cli.bucket_events import setup as run_setup
    from trapline.cli.bucket_events import target_of

    target = target_of(url, topic, queue, verify=verify_ssl, cloudevents=cloudevents)
    raise typer.Exit(run_setup(where.place(), target, dry_run=dry_run, as_json=json_))


@bucket_events.command()
@located
def show(where: Where = HERE, json_: Json = False) -> None:
    """Show who is told of what happens in the bucket, and what the pipeline is not told.

    Example: trapline bucket-events show
    """
    from trapline.cli.bucket_events import show as run_show

    raise typer.Exit(run_show(where.place(), as_json=json_))


@bucket_events.command()
@located
def remove(dry_run: DryRun = False, where: Where = HERE, json_: Json = False) -> None:
    """Undo `setup`: the pipeline's own rules and the topic made for it go, all else stays.

    Example: trapline bucket-events remove
    """
    from trapline.cli.bucket_events import remove as run_remove

    raise typer.Exit(run_remove(where.place(), dry_run=dry_run, as_json=json_))


@located
def doctor(
    where: Where = HERE,
    canary: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds to wait for a trigger's word of an upload; 0: none is made.")
    ] = 10.0,
    json_: Json = False,
) -> None:
    """Check the way to the store: address, keys, bucket, permissions, clock, what the store can do, who it tells.

    Each check is a line, ok, warn or fail, with what mends it. At the end an object with a nasty key is uploaded, to
    see which trigger of the engine tells of it, and how soon. What it writes (under .doctor/ in the engine's own
    prefixes, and under incoming/_CANARY/) it deletes again.

    Exit code 0: nothing is wrong; 3: there are warnings; 1: something fails.

    Example: trapline doctor
    """
    from trapline.cli.doctor import doctor as run_doctor

    raise typer.Exit(run_doctor(where.place(), canary=canary, as_json=json_))
