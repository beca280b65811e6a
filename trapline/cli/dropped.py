"""Images that a manifest listed once and lists no more: found by their id in the job's earlier revisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from trapline.cli import jobs
from trapline.cli.place import Place
from trapline.cli.tracing import REVISIONS, lines_of
from trapline.errors import NotFound
from trapline.store.base import Store


def listed_once(place: Place, store: Store, what: str) -> Iterator[str]:
    """The rels that the newest earlier revision to have this id gives it, job by job."""
    for entry in store.list(place.layout.prefix("jobs")):
        meaning = place.layout.meaning(entry.key)
        if meaning.kind == "manifest":
            yield from _in_job(place, store, meaning.job, what)


def _in_job(place: Place, store: Store, job: str, what: str) -> set[str]:
    summary = jobs.summary_of(store, place.layout, job)
    for final in list(reversed(summary.finals if summary else ()))[1:REVISIONS]:
        if found := _in_revision(store, place.layout.result(job, f"{final.revision}/results.jsonl"), what):
            return found
    return set()


def _in_revision(store: Store, key: str, what: str) -> set[str]:
    needles = {json.dumps(what, ensure_ascii=plain).encode("utf-8", "replace") for plain in (True, False)}
    found: set[str] = set()
    with suppress(NotFound), store.open(key) as stream:
        for line in lines_of(stream):
            if any(needle in line for needle in needles) and (said := json.loads(line)).get("id") == what:
                found.add(str(said["rel"]))
    return found
