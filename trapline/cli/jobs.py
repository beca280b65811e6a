"""What the bucket says about jobs: names, statuses, summaries. Reads only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from trapline.cli.place import Place
from trapline.cli.words import safe
from trapline.errors import KeyUnusable, NotFound, TraplineError
from trapline.keys import DONE, Layout
from trapline.records import FINAL_STATES, JobControl, Manifest, Record, Status, Summary, load, read_manifest
from trapline.store.base import Entry, Store
from trapline.sweep import read_done

R = TypeVar("R", bound=Record)

_READERS = 8  # statuses read at a time
_NAMED = 5  # jobs that an error names


def read(store: Store, kind: type[R], key: str) -> R | None:
    """A record, or None where there is none that can be read."""
    data = read_bytes(store, key)
    return load(kind, data) if data is not None else None


def read_bytes(store: Store, key: str) -> bytes | None:
    """An object's bytes, or None."""
    try:
        return store.get(key).data
    except NotFound:
        return None


def head(store: Store, key: str) -> Entry | None:
    """An object's entry, or None."""
    try:
        return store.head(key)
    except NotFound:
        return None


def status_of(store: Store, layout: Layout, job: str) -> Status | None:
    """A job's newest status."""
    return read(store, Status, layout.status_of(job, ".json"))


def summary_of(store: Store, layout: Layout, job: str) -> Summary | None:
    """A job's newest summary."""
    return read(store, Summary, layout.summary(job))


def control_of(store: Store, layout: Layout, job: str) -> JobControl | None:
    """What the engine keeps about a job."""
    return read(store, JobControl, layout.control_job(job))


def manifest_of(store: Store, layout: Layout, job: str) -> Manifest | None:
    """A job's manifest, where it has one that can be read."""
    data = read_bytes(store, layout.manifest(job))
    with suppress(TraplineError):
        return read_manifest(data, layout.manifest(job)) if data is not None else None
    return None


def named_by_done(store: Store, layout: Layout, job: str) -> dict[str, str]:
    """What a job's `_DONE` names: rel → sha256. Empty for one without names, and where a manifest rules instead."""
    found: dict[str, str] = {}
    for key in layout.markers(job, DONE):
        if data := read_bytes(store, key):
            found |= read_done("", data, layout.rel_of_image(key).removesuffix(DONE)).names
    return {} if found and head(store, layout.manifest(job)) else found


def is_final(status: Status) -> bool:
    """Whether nothing more happens to a job by itself."""
    return status.state == "CANCELLED" or (status.state in FINAL_STATES and (status.closed or bool(status.message)))


def refused(status: Status) -> bool:
    """Whether a job is not worked on as it is: its manifest, or what the pipeline needs, is not right."""
    return status.state == "FAILED" and not status.closed and bool(status.message)


def cancelled(store: Store, layout: Layout, job: str) -> bool:
    """Whether a `_CANCEL` stands in the job's folder."""
    return any(head(store, key) for key in layout.markers(job, "_CANCEL"))


def statuses(store: Store, layout: Layout) -> dict[str, Status | None]:
    """Every job in the bucket with its status; None where no engine has looked at it yet."""
    names = job_names(store, layout)
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(names, pool.map(lambda job: status_of(store, layout, job), names), strict=True))


def job_names(store: Store, layout: Layout) -> list[str]:
    """Every job that has a status, a manifest, or a folder under `incoming/`; sorted."""
    names = {key.removesuffix(".json") for key in _below(store, layout.prefix("status")) if key.endswith(".json")}
    names |= {key.removesuffix(".json") for key in _below(store, layout.prefix("jobs")) if key.endswith(".json")}
    names |= _folders(store, layout, layout.prefix("incoming"))
    return sorted(name for name in names if name.count("/") == layout.depth - 1)


def known_job(place: Place, store: Store, name: str) -> str:
    """The job that a person named: `st7/2026-11-20`, with or without `incoming/` or a last `/`.

    Raises `TraplineError`, naming what there is.
    """
    job = plain(place.layout, name)
    if is_job(store, place.layout, name):
        return job
    names = job_names(store, place.layout)
    raise TraplineError(f"There is no job {safe(name)!r} in {store.describe()}.", remedy=nearest(job, names, "job"))


def plain(layout: Layout, name: str) -> str:
    """A job's name without `incoming/` and a last `/`."""
    return name.removeprefix(layout.prefix("incoming")).strip("/")


def is_job(store: Store, layout: Layout, name: str) -> bool:
    """Whether the bucket knows a job of this name."""
    job = plain(layout, name)
    try:
        layout.check_job(job)
    except KeyUnusable:
        return False
    if head(store, layout.status_of(job, ".json")) or head(store, layout.manifest(job)):
        return True
    return next(iter(store.list(layout.image(f"{job}/"))), None) is not None or job in job_names(store, layout)


def nearest(name: str, have: Iterable[str], thing: str) -> str:
    """The remedy for a name that is not there: what is, closest first."""
    names = list(have)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.7) or [n for n in names if name in n][:_NAMED]
    if close:
        return f"Did you mean {' or '.join(map(safe, close))}?"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"There are: {', '.join(map(safe, names[:_NAMED]))}{more}." if names else f"There is no {thing} at all yet."


def engine_missing(place: Place) -> str:
    """One line to say when no engine serves the embedded store; empty when one does, or nobody can tell."""
    if place.endpoint is not None or place.served() is not None:
        return ""
    return f"No engine serves {place.data}; start one with `trapline up`."


def _below(store: Store, prefix: str) -> Iterator[str]:
    for entry in store.list(prefix):
        yield entry.key[len(prefix) :]


def _folders(store: Store, layout: Layout, prefix: str) -> set[str]:
    """The jobs that have anything under a prefix of `incoming/`."""
    level = store.level(prefix)
    jobs, deeper = layout.jobs_at((entry.key for entry in level.entries), level.folders)
    for folder in deeper:
        jobs |= _folders(store, layout, folder)
    return jobs
