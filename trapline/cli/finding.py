"""Which image a person means: by its key or an end of it, a manifest's id, a path on a card, or a name in `_DONE`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trapline.cli import jobs, words
from trapline.cli.comparing import folded
from trapline.cli.dropped import listed_once
from trapline.cli.place import Place
from trapline.cli.upload import digests
from trapline.errors import KeyUnusable, TraplineError
from trapline.keys import Layout, slug
from trapline.records import Status
from trapline.records.received import read_table
from trapline.store.base import Store

CANDIDATES = 10  # keys that an ambiguous name lists


@dataclass(frozen=True)
class Meant:
    """The image that is meant."""

    rel: str
    card: Path | None = None  # the file of this machine that was named


def find(place: Place, store: Store, what: str) -> str:
    """The rel of the image that a person means. Raises `TraplineError` naming the candidates."""
    return find_image(place, store, what).rel


def find_image(place: Place, store: Store, what: str) -> Meant:
    """As `find`; says also whether a file of this machine was named."""
    layout = place.layout
    meaning = layout.meaning(what)
    exact = meaning.rel if meaning.kind in ("record", "dead_letter") else what.removeprefix(layout.prefix("incoming"))
    if exact and _mentioned(layout, store, exact):
        return Meant(exact)
    rels = sorted(set(_rels(layout, store)))
    ways: tuple[Callable[[], list[str]], ...] = (
        lambda: _matching(rels, exact.strip("/")),
        lambda: sorted({*_listed(place, store, what)}),
        lambda: _matching(sorted({*_named_by_done(layout, store)}), exact.strip("/")),
        lambda: [rel for rel in rels if _dropped(rel, what)],
        lambda: sorted({*listed_once(place, store, what)}),
        lambda: _matching(sorted({*_read(layout, store)} - {*rels}), exact.strip("/")),
    )
    for way in ways:
        if found := way():
            return Meant(_only(what, found, layout))
    if (file := Path(what).expanduser()).is_file():
        return Meant(_of_card(place, store, file, rels), file)
    raise TraplineError(
        f"There is no image {words.safe(what)!r} in {store.describe()}: nothing under {layout.prefix('incoming')}, no "
        "record, failure, manifest or `_DONE` names it.",
        remedy=_close(exact, rels, place),
    )


def _only(what: str, found: list[str], layout: Layout) -> str:
    if len(found) == 1:
        return found[0]
    shown = "".join(f"\n  {layout.prefix('incoming')}{words.safe(rel)}" for rel in found[:CANDIDATES])
    more = f"\n  … and {len(found) - CANDIDATES} more" if len(found) > CANDIDATES else ""
    raise TraplineError(f"{what!r} could be any of {len(found)} images; name more of the path:{shown}{more}")


def _close(what: str, rels: list[str], place: Place) -> str:
    names = {rel.rpartition("/")[2]: rel for rel in rels}
    close = difflib.get_close_matches(what.rpartition("/")[2], names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(words.safe(names[name]) for name in close)}?"
    return f"`trapline status` lists the jobs; an image's key begins with {place.layout.prefix('incoming')}."


# -- by its key, or an end of it


def _mentioned(layout: Layout, store: Store, rel: str) -> bool:
    """Whether the bucket holds anything about a path."""
    if rel.endswith("/"):
        return False
    keys = [layout.image(rel), *(layout.record(stage, rel) for stage in layout.records)]
    keys += [layout.dead_letter(stage, rel) for stage in (*layout.records, "fetch")]
    if any(_there(store, key) for key in keys):
        return True
    with suppress(KeyUnusable):
        return rel in jobs.named_by_done(store, layout, layout.job_of(rel))
    return False


def _there(store: Store, key: str) -> bool:
    try:
        return jobs.head(store, key) is not None
    except TraplineError:
        return False


def _rels(layout: Layout, store: Store) -> Iterator[str]:
    """Every path under `incoming/`, and those of failures whose image is not there."""
    for entry in store.list(layout.prefix("incoming")):
        meaning = layout.meaning(entry.key)
        if meaning.kind in ("image", "ignored") and meaning.why != "folder marker":
            yield meaning.rel
    for entry in store.list(layout.prefix("failed")):
        meaning = layout.meaning(entry.key)
        if meaning.kind == "dead_letter" and meaning.stage in (*layout.records, "fetch"):
            yield meaning.rel


def _read(layout: Layout, store: Store) -> Iterator[str]:
    """Every path of which a stage knows something: its image may be there no more."""
    for stage in layout.records:
        for entry in store.list(layout.prefix(stage)):
            meaning = layout.meaning(entry.key)
            if meaning.kind == "record":
                yield meaning.rel


def _matching(rels: list[str], end: str) -> list[str]:
    """The paths that end like this, at a `/`, or are shown so; or whose file name without its suffix is this."""
    shown = {rel: words.safe(rel) for rel in rels}
    ends = [rel for rel in rels if any(f"/{name}".endswith(f"/{end}") for name in (rel, shown[rel]))]
    return ends or [rel for rel in rels if shown[rel].rpartition("/")[2].rpartition(".")[0] == words.safe(end)]


# -- by what a manifest or a `_DONE` says


def _listed(place: Place, store: Store, what: str) -> Iterator[str]:
    """The images that manifests list under an id, or by an address."""
    prefix = place.layout.prefix("jobs")
    for entry in store.list(prefix):
        meaning = place.layout.meaning(entry.key)
        manifest = jobs.manifest_of(store, place.layout, meaning.job) if meaning.kind == "manifest" else None
        for listed in manifest.sourceImages if manifest else ():
            if what in (listed.id, listed.url):
                yield place.layout.listed(meaning.job, place.bucket, listed.id, listed.url)[0]


def _named_by_done(layout: Layout, store: Store) -> Iterator[str]:
    """What `_DONE`s name and never came."""
    for job, status in jobs.statuses(store, layout).items():
        yield from _lacking(layout, store, job, status)


def _lacking(layout: Layout, store: Store, job: str, status: Status | None) -> Iterator[str]:
    if status is not None and status.not_received_count == len(status.not_received):
        yield from status.not_received
    else:
        yield from jobs.named_by_done(store, layout, job)


def _dropped(rel: str, what: str) -> bool:
    """Whether a fetched image has the name that this id gives: its manifest may list it no more."""
    return re.fullmatch(re.escape(slug(what)) + r"-[0-9a-f]{8}\.[a-z]+", rel.rpartition("/")[2]) is not None


# -- by its path on a card


def _of_card(place: Place, store: Store, file: Path, rels: list[str]) -> str:
    """The image whose path ends most like the file's; where several do, the one with its bytes."""
    parts = [folded(part) for part in file.absolute().parts]
    ends = {rel: _common([folded(part) for part in rel.split("/")], parts) for rel in rels}
    most = max(ends.values(), default=0)
    best = [rel for rel, common in ends.items() if common == most] if most else []
    if len(best) != 1:
        best = _with_bytes(place, store, file, best) or best
    if best:
        return _only(str(file), best, place.layout)
    raise TraplineError(
        f"No image in {store.describe()} has the name of {words.safe(str(file))}, or its bytes.",
        remedy="It was not uploaded: `trapline received JOB CARD` names all that is missing of a card.",
    )


def _common(one: list[str], other: list[str]) -> int:
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def _with_bytes(place: Place, store: Store, file: Path, among: list[str]) -> list[str]:
    """The images of which the engine read the file's very bytes."""
    layout, found = place.layout, []
    with file.open("rb") as stream:
        sha256, _ = digests(stream)
    for job in {layout.job_of(rel) for rel in among} or jobs.job_names(store, layout):
        key = layout.status_of(job, ".received.csv")
        files = read_table(data, key) if (data := jobs.read_bytes(store, key)) else []
        rels = (layout.rel_in_list(job, file.file) for file in files if file.sha256 == sha256)
        found += [rel for rel in rels if not among or rel in among]
    return found
