"""`trapline received`: whether a memory card may be wiped, by what the bucket holds of its job. Deletes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from trapline.cli import jobs, words
from trapline.cli.card import Card, CardFile, Reading, Sums, read_card
from trapline.cli.comparing import Comparison, Held, compare, shifted
from trapline.cli.follow import Display, display
from trapline.cli.place import Place
from trapline.cli.received_told import Checked, Verdict, document, tell, tell_early
from trapline.cli.upload import digests
from trapline.errors import ConfigError, NotFound, StoreDenied
from trapline.keys import Layout
from trapline.records.received import ReceivedFile, read_table
from trapline.store.base import Entry, Store

EXIT: dict[Verdict, int] = {"safe": 0, "not_safe": 1, "not_yet": 3}


def received(place: Place, job: str, folder: Path, *, images_only: bool, as_json: bool) -> None:
    """Compare a card with a job. Exits with 0 where it may be wiped, 1 where not, 3 where it is too early to tell."""
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {str(folder)!r}.", remedy="Name the folder where the card is.")
    out, store = words.console(stderr=as_json), place.store()
    name = _job(place, store, job)
    card = read_card(folder, place.layout)
    early = _too_early(store, place, name)
    if early:
        tell_early(out, name, early, as_json=as_json)
        raise SystemExit(EXIT["not_yet"])
    checked = _check(place, store, name, folder, card, out)
    checked.images_only = images_only
    if as_json:
        words.emit(document(checked))
    else:
        tell(out, checked)
    raise SystemExit(EXIT[checked.verdict])


# -- what the bucket holds


def _job(place: Place, store: Store, name: str) -> str:
    """The job that is meant; a station that may read `status/` alone cannot look for others of that name."""
    job = jobs.plain(place.layout, name)
    try:
        return jobs.known_job(place, store, name)
    except StoreDenied:
        place.layout.check_job(job)
        return job


def _too_early(store: Store, place: Place, job: str) -> str:
    """Why there is nothing to compare with yet; empty where there is."""
    try:
        if jobs.head(store, _list_key(place.layout, job)) is not None:
            return ""
    except StoreDenied:  # some stores say so where there is nothing
        return (
            f"{_list_key(place.layout, job)} is not there, or may not be read. Is the job's name right, "
            "and may these keys read status/?"
        )
    return f"No engine has looked at it yet. {jobs.engine_missing(place)}".rstrip()


def _list_key(layout: Layout, job: str) -> str:
    return layout.status_of(job, ".received.csv")


def _check(place: Place, store: Store, job: str, folder: Path, card: Card, out: Console) -> Checked:
    key = _list_key(place.layout, job)
    got = store.get(key)
    files = read_table(got.data, key)
    entries = _entries(store, place.layout, job)
    reread = _reread(store, place.layout, job) if place.endpoint is None else None
    held = Held(files, entries, _unusable(files, place.layout, job), reread)
    with display(out, words.safe(job)) as shown:
        sums = _read(card, card.images, shown)
        comparison = compare(card.images, sums, held)
        others = [file for file in card.others if _may_be_there(file, comparison, held)]
        copied = _copied(others, _read(card, others, shown) if others else {}, comparison, held)
    keep = [file for file in card.others if file.name not in copied]
    return Checked(job, folder, card, comparison, entries is not None, got.entry.modified, keep)


def _unusable(files: list[ReceivedFile], layout: Layout, job: str) -> frozenset[str]:
    """The names, as the engine's list would use them, of what it lists by whole keys: it cannot work with them."""
    keys = (file.file for file in files if file.code == "key_unusable")
    return frozenset(layout.name_in_list(job, layout.rel_of_image(key)) for key in keys)


def _entries(store: Store, layout: Layout, job: str) -> dict[str, Entry] | None:
    """The bucket's listing of a job, by the names that the engine's list uses; None where it may not be read."""
    try:
        return {
            layout.name_in_list(job, layout.rel_of_image(entry.key)): entry for entry in _listing(store, layout, job)
        }
    except StoreDenied:
        return None


def _listing(store: Store, layout: Layout, job: str) -> Iterator[Entry]:
    for folder, deep in layout.job_places(job):
        prefix = layout.image(folder)
        yield from store.list(prefix) if deep else store.level(prefix).entries


def _reread(store: Store, layout: Layout, job: str) -> Callable[[str], str]:
    """What takes the sha256 of a file of the job, where the bucket is a folder of this machine; empty: it is gone."""

    def reread(name: str) -> str:
        try:
            with store.open(layout.image(layout.rel_in_list(job, name))) as stream:
                return digests(stream)[0]
        except NotFound:
            return ""

    return reread


# -- what the card holds


def _read(card: Card, files: list[CardFile], shown: Display) -> dict[str, Sums]:
    """The checksums of files; what cannot be read is noted on the card."""
    with Reading(files) as reading:
        while not reading.over:
            shown.reading(reading.size, reading.total)
            time.sleep(0.05)
    shown.reading(reading.size, reading.total)
    card.unchecked += sorted(reading.unreadable, key=lambda file: file.name)
    return reading.sums


def _may_be_there(file: CardFile, comparison: Comparison, held: Held) -> bool:
    entry = (held.entries or {}).get(shifted(file.name, comparison.shift))
    return entry is not None and entry.size == file.size


def _copied(files: list[CardFile], sums: dict[str, Sums], comparison: Comparison, held: Held) -> set[str]:
    """The files that no stage reads and whose very bytes are in the bucket all the same."""
    found = set()
    for file in (file for file in files if file.name in sums):
        name = shifted(file.name, comparison.shift)
        same = held.reread is not None and held.reread(name) == sums[file.name].sha256
        if same or (held.entries or {})[name].etag == sums[file.name].md5:
            found.add(file.name)
    return found
