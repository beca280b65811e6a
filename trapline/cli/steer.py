"""`retry`, `cancel`, `sweep` and `init`: small writes into the bucket, and a new project."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from trapline.cli import jobs, words
from trapline.cli.finding import find
from trapline.cli.place import Place, writer
from trapline.errors import TraplineError
from trapline.keys import CANCEL, Layout
from trapline.pipeline.load import Pipeline
from trapline.records import Request
from trapline.store.base import Store
from trapline.template import copy_project


def ask(
    store: Store,
    layout: Layout,
    action: Literal["sweep", "retry", "reprocess"],
    *,
    job: str = "",
    rel: str = "",
    stage: str = "",
) -> None:
    """Leave a request for whatever engine serves the bucket; it reads them every few seconds."""
    key = layout.request(f"{action}-{secrets.token_hex(6)}")
    store.put(key, Request(action=action, job=job, rel=rel, stage=stage).dump(), content_type="application/json")


def retry(place: Place, what: str, *, as_json: bool) -> None:
    """Delete the dead letters of a job, or of one image; each is then tried again."""
    store, layout = place.store(), place.layout
    rel = "" if jobs.is_job(store, layout, what) else find(place, store, what)
    job = layout.job_of(rel) if rel else jobs.plain(layout, what)
    letters = [key for key in _letters(place.pipeline, store, job, rel) if jobs.head(store, key)]
    if letters:
        write = writer(place)
        for key in letters:
            write.delete(key)
        ask(write, layout, "retry", job=job, rel=rel)
    _say_retried(place, rel or job, letters, as_json)


def _letters(pipeline: Pipeline, store: Store, job: str, rel: str) -> Iterator[str]:
    """The keys of the dead letters that may be there."""
    layout = pipeline.layout
    for stage in pipeline.stages.values():
        if stage.kind in ("image", "fetch"):
            yield from [layout.dead_letter(stage.name, rel)] if rel else _of_job(store, layout, stage.name, job)
        elif stage.kind == "gather" and not rel:
            yield layout.dead_letter(stage.name, job)
        elif not rel:
            yield from _of_job(store, layout, stage.name, job)


def _of_job(store: Store, layout: Layout, stage: str, job: str) -> Iterator[str]:
    prefix = f"{layout.prefix('failed')}{stage}/"
    for place, deep in layout.job_places(job):
        entries = store.list(prefix + place) if deep else store.level(prefix + place).entries
        yield from (entry.key for entry in entries if entry.key.endswith(".json"))


def _say_retried(place: Place, what: str, letters: list[str], as_json: bool) -> None:
    if as_json:
        words.emit({"retried": len(letters), "deleted": letters})
        return
    out = words.console()
    if not letters:
        words.say(out, f"{words.safe(what)} has no failures to try again.")
        return
    words.say(out, f"{words.plural(len(letters), 'failure')} of {words.safe(what)} will be tried again.")
    _warn(place)


def cancel(place: Place, job: str, *, as_json: bool) -> None:
    """Write `_CANCEL` into a job's folder."""
    store, layout = place.store(), place.layout
    name = jobs.known_job(place, store, job)
    key = layout.marker(name, CANCEL)
    already = jobs.cancelled(store, layout, name)
    status = jobs.status_of(store, layout, name)
    if status is not None and status.closed and not already:
        raise TraplineError(
            f"{name} is finished ({status.state}): there is nothing to cancel.",
            remedy=f"See `trapline results {name}`.",
        )
    if not already:
        write = writer(place)
        write.put(key, b"")
        ask(write, layout, "sweep", job=name)
    if as_json:
        words.emit({"job": name, "key": key, "already": already})
        return
    out = words.console()
    said = "was cancelled already" if already else "is cancelled"
    words.say(out, f"{words.safe(name)} {said}. To go on, delete {words.safe(key)}.")
    _warn(place)


def sweep(place: Place, *, as_json: bool) -> None:
    """Ask the engine to look over the whole bucket."""
    ask(writer(place), place.layout, "sweep")
    if as_json:
        words.emit({"asked": True})
        return
    missing = jobs.engine_missing(place)
    waits = f"The request waits in the bucket. {missing}"
    asked = "The engine is asked to look over the whole bucket; it begins within 5 seconds."
    words.say(words.console(), waits if missing else asked)


def init(folder: Path, *, as_json: bool) -> None:
    """Make a project in a new folder."""
    made = copy_project(folder)
    if as_json:
        words.emit({"folder": str(folder.absolute()), "files": [str(path) for path in made]})
        return
    out = words.console()
    words.say(
        out, f"Made {folder}: the sample pipeline, its functions and models, and a night of images. It runs as it is:"
    )
    words.say(out, f"  cd {shlex.quote(str(folder))}")
    words.say(out, "  trapline up")


def _warn(place: Place) -> None:
    if missing := jobs.engine_missing(place):
        words.say(words.console(stderr=True), missing)
