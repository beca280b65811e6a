"""`trapline status`: all jobs in a line each, or one job in full. Works when no engine runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from trapline.cli import jobs, words
from trapline.cli.failed import NAMED, tell_failed
from trapline.cli.follow import display, follow, summing_up, waiting_for
from trapline.cli.place import Place
from trapline.cli.results import where
from trapline.cli.untold import tell_untold
from trapline.records import Status
from trapline.store.base import Store

LIST_EVERY = 1.0  # seconds between two looks at all jobs

_TOLD = {
    "told": "the client was told",
    "nobody": "there is no client to tell",
    "overtaken": "a later revision is told",
    "unwanted": "the client does not want to hear",
    "dead letter": "the client could not be told",
}


def show(place: Place, job: str | None, *, watch: bool, as_json: bool) -> None:
    """Print what is known now; with `watch`, until the job is finished or Ctrl-C."""
    store = place.store()
    if job is None:
        (_watch_all if watch else _show_all)(place, store, as_json)
        return
    name = jobs.known_job(place, store, job)
    status = _watch_one(place, store, name, as_json) if watch else jobs.status_of(store, place.layout, name)
    if as_json:
        words.emit(_document(name, status))
    elif status is None:
        words.say(
            words.console(),
            f"{words.safe(name)}: no engine has looked at it yet. {jobs.engine_missing(place)}".rstrip(),
        )
    else:
        show_one(words.console(), place, status)


def _document(job: str, status: Status | None) -> dict[str, object]:
    return json.loads(status.dump()) if status else {"job": job, "state": None}


def _as_of(out: Console, place: Place, status: Status | None) -> None:
    """Say so when nobody keeps the status up to date."""
    if missing := jobs.engine_missing(place):
        said = f" This is as of {words.moment(status.updated_at)}, {words.ago(status.updated_at)}." if status else ""
        words.say(out, f"{missing}{said}", style="yellow")


# -- all jobs


def _show_all(place: Place, store: Store, as_json: bool) -> None:
    found = jobs.statuses(store, place.layout)
    if as_json:
        words.emit([_document(job, status) for job, status in found.items()])
        return
    out = words.console()
    if not found:
        words.say(out, "There are no jobs yet. Upload images, or try `trapline submit FOLDER`.")
    else:
        out.print(_table(found))
    _as_of(
        out,
        place,
        max((s for s in found.values() if s and s.updated_at), key=lambda s: str(s.updated_at), default=None),
    )


def _watch_all(place: Place, store: Store, as_json: bool) -> None:
    """Until Ctrl-C: a table that is kept up to date, or a JSON line at every change."""
    before: object = None
    out = words.console(stderr=as_json)
    with Live(console=out, auto_refresh=False) as live:
        while True:
            found = jobs.statuses(store, place.layout)
            if found != before:
                if as_json:
                    words.emit([_document(job, status) for job, status in found.items()])
                else:
                    live.update(_table(found), refresh=True)
                before = found
            time.sleep(LIST_EVERY)


def _table(found: Mapping[str, Status | None]) -> Table:
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for title in ("job", "state"):
        table.add_column(title, overflow="fold")
    for title in ("images", "failed", "rate", "left"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("revision", no_wrap=True)
    for job, status in found.items():
        table.add_row(words.safe(job), *(_cells(status) if status else ("not seen yet", "", "", "", "", "")))
    return table


def _cells(status: Status) -> tuple[str, ...]:
    images = status.images
    return (
        status.state,
        f"{images.get('done', 0)}/{images.get('total', 0)}",
        str(images.get("failed") or ""),
        words.rate(status.rate),
        words.duration(status.eta_seconds) if status.eta_seconds else "",
        status.revision.partition("-")[0],
    )


# -- one job


def _watch_one(place: Place, store: Store, job: str, as_json: bool) -> Status:
    with display(words.console(stderr=as_json), job) as shown:
        return follow(
            lambda: jobs.status_of(store, place.layout, job),
            shown,
            ended=jobs.is_final,
            serving=lambda: place.endpoint is not None or place.served() is not None,
        )


def show_one(out: Console, place: Place, status: Status) -> None:
    """Everything that a status says."""
    words.say(out, f"{words.safe(status.job)}: {status.state}", style="bold")
    words.say(out, _images(status))
    if status.stages:
        out.print(_stages(status))
    tell_failed(out, status.failures, status.failed)
    _others(out, status)
    _when(out, place, status)
    _as_of(out, place, status)


def _images(status: Status) -> str:
    images = status.images
    parts = [f"{images.get('done', 0)} of {words.plural(images.get('total', 0), 'image')} done"]
    parts += [f"{images[name]} {name}" for name in ("failed", "open", "kept", "ignored", "extra") if images.get(name)]
    expected = f"; {status.expected} expected" if status.expected is not None and not status.closed else ""
    speed = f"; {words.rate(status.rate)}" if status.rate else ""
    return ", ".join(parts) + expected + speed


def _stages(status: Status) -> Table:
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    table.add_column("stage")
    columns = ("done", "skipped", "failed", "blocked", "running", "owed", "unknown")
    shown = [c for c in columns if c == "done" or any(getattr(count, c) for count in status.stages.values())]
    for title in shown:
        table.add_column(title, justify="right")
    for name, count in status.stages.items():
        table.add_row(name, *(str(getattr(count, c)) for c in shown))
    return table


def _others(out: Console, status: Status) -> None:
    """What is in the folder and is not read, and what is not in it and should be."""
    for why, count in status.ignored.items():
        words.say(out, f"{count} ignored: {why}")
    if status.ignored_names:
        more = " …" if sum(status.ignored.values()) > NAMED else ""
        words.say(out, f"    {', '.join(words.safe(name) for name in status.ignored_names[:NAMED])}{more}")
    if extra := status.images.get("extra"):
        words.say(out, f"{words.plural(extra, 'image')} in the folder that the manifest does not list")
    if status.not_received:
        words.say(out, f"{len(status.not_received)} not received: named by `_DONE`, never came", style="red")
        for name in status.not_received[:NAMED]:
            words.say(out, f"    {words.safe(name)}")


def _when(out: Console, place: Place, status: Status) -> None:
    """What it waits for, where the results are, who was told."""
    if line := (waiting_for(status) if not status.message else summing_up(status)):
        words.say(out, line)
    if status.deadline_at and not status.closed:
        words.say(out, f"Deadline: {words.moment(status.deadline_at)}")
    for stage, version in status.newer_model.items():
        words.say(out, f"{stage}: model version {version} was promoted since; this job keeps its own.")
    if status.results:
        kind = "final" if status.closed else "provisional"
        words.say(out, f"Results ({kind}, {status.revision}): {where(place, status.results)}")
    if status.changes:
        words.say(out, f"    {words.changes(status.changes)}")
    if status.told:
        words.say(out, f"Of it, {_TOLD.get(status.told, status.told)}.")
    tell_untold(out, place, status.job)
    words.say(out, f"Updated {words.moment(status.updated_at)}", style="dim")
