"""Listings → what stands in the bucket, job by job. Pure: entries in, charts and digests out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from trapline.errors import KeyUnusable
from trapline.keys import Layout
from trapline.ledger.arrivals import Chart
from trapline.ledger.states import DoneMark
from trapline.store.base import Entry, KeyLimits

_SUM = re.compile(r"^\\?([0-9a-fA-F]{64}) [ *](.+)$")
_WRAP = 1 << 256


@dataclass
class Digest:
    """A digest of a set of (name, etag), whatever the order they come in."""

    total: int = 0
    count: int = 0

    def add(self, part: str, name: str, etag: str) -> None:
        line = "\x1f".join((part, name, etag)).encode("utf-8", "surrogatepass")
        self.total = (self.total + int.from_bytes(hashlib.blake2b(line, digest_size=32).digest(), "big")) % _WRAP
        self.count += 1

    @property
    def text(self) -> str:
        return f"{self.count}-{self.total:064x}"


@dataclass
class Overview:
    """What one pass over the whole bucket says of each job: two digests, no lists."""

    arrived: dict[str, Digest] = field(default_factory=dict)  # job → of what is under `incoming/`
    addressed: set[str] = field(default_factory=set)  # jobs with a key that the store's library can address
    dead: dict[str, Digest] = field(default_factory=dict)  # job → of its dead letters
    manifests: dict[str, str] = field(default_factory=dict)  # job → its manifest's etag
    reviews: dict[str, str] = field(default_factory=dict)  # job → its review's etag

    def incoming(self, entries: Iterable[Entry], layout: Layout) -> None:
        """Take in a page of the listing of `incoming/`."""
        for entry in entries:
            rel = layout.rel_of_image(entry.key)
            if layout.in_job(rel):
                job = layout.job_of(rel)
                note_incoming(self.arrived.setdefault(job, Digest()), entry, layout)
                if entry.usable:
                    self.addressed.add(job)

    def failed(self, entries: Iterable[Entry], layout: Layout) -> None:
        """Take in a page of the listing of `failed/`."""
        for entry in entries:
            meaning = layout.meaning(entry.key)
            if meaning.kind == "dead_letter":
                note_dead(self.dead.setdefault(meaning.job, Digest()), meaning.stage, meaning.rel, entry)

    def text(self, job: str) -> str:
        """The digest that `control/seen/<job>.json` holds."""
        arrived, dead = self.arrived.get(job, Digest()), self.dead.get(job, Digest())
        return whole_digest(arrived, dead, self.manifests.get(job, ""), self.reviews.get(job, ""))


def note_incoming(digest: Digest, entry: Entry, layout: Layout) -> None:
    """Count one object under `incoming/` into a job's digest. A file still being written is not there yet."""
    if entry.settled:
        digest.add("", layout.rel_of_image(entry.key), entry.etag)


def note_dead(digest: Digest, stage: str, rel: str, entry: Entry) -> None:
    """Count one dead letter into a job's digest."""
    digest.add(stage, rel, entry.etag)


def whole_digest(arrived: Digest, dead: Digest, manifest: str, review: str = "") -> str:
    """Both digests and the etags of manifest and review as one text."""
    return f"{arrived.text}+{dead.text}+{manifest}" + (f"+{review}" if review else "")


def mark_of(entry: Entry) -> str:
    """What tells one `_DONE` from the next: an etag alone may be of the content, and an empty one is like another."""
    return f"{entry.etag}@{int(entry.modified)}"


@dataclass
class JobListing:
    """What the listings of one job say, entry by entry."""

    arrived: Digest = field(default_factory=Digest)
    dead: Digest = field(default_factory=Digest)
    done: Entry | None = None
    manifest: str = ""  # its etag
    review: str = ""  # its etag

    @property
    def text(self) -> str:
        return whole_digest(self.arrived, self.dead, self.manifest, self.review)


def incoming(chart: Chart, listing: JobListing, entries: Iterable[Entry], layout: Layout, limits: KeyLimits) -> None:
    """Sort a job's objects under `incoming/` into its chart."""
    for entry in entries:
        note_incoming(listing.arrived, entry, layout)
        meaning = layout.meaning(entry.key)
        if not entry.settled and meaning.kind != "ignored":
            chart.unsettled += 1
        elif meaning.kind == "done":
            listing.done = entry
        elif meaning.kind == "cancel":
            chart.cancelled = True
        elif meaning.kind == "ignored":
            _ignore(chart, meaning.rel, meaning.why)
        else:
            _image(chart, meaning.rel, entry, layout, limits)


def _ignore(chart: Chart, rel: str, why: str) -> None:
    if why != "folder marker":
        chart.ignored[rel] = why


def _image(chart: Chart, rel: str, entry: Entry, layout: Layout, limits: KeyLimits) -> None:
    problem = unusable(rel, entry, layout, limits)
    if problem:
        chart.unusable[entry.key] = problem
    else:
        chart.images[rel] = (entry.etag, entry.size)


def unusable(rel: str, entry: Entry, layout: Layout, limits: KeyLimits) -> str:
    """Why an image's key cannot be worked with; empty when it can."""
    if not entry.usable:
        return "the store's library cannot address this key"
    try:
        layout.check(rel, layout.records, limits.key, limits.segment)
    except KeyUnusable as error:
        return error.message
    return ""


def records(chart: Chart, stage: str, entries: Iterable[Entry], prefix: str) -> None:
    """Note which images have a record of a stage."""
    cut = len(prefix)
    chart.records.setdefault(stage, set()).update(e.key[cut:-5] for e in entries if e.key.endswith(".json"))


def dead_letters(chart: Chart, listing: JobListing, stage: str, entries: Iterable[Entry], prefix: str) -> None:
    """Note which images have a dead letter of a stage."""
    rels = chart.dead.setdefault(stage, set())
    for entry in entries:
        if entry.key.endswith(".json"):
            rel = entry.key[len(prefix) : -5]
            rels.add(rel)
            note_dead(listing.dead, stage, rel, entry)


def read_done(etag: str, data: bytes, folder: str) -> DoneMark:
    """What a `_DONE` says: nothing, a count, or `sha256sum` output with names relative to `folder` (a rel)."""
    whole = _decoded(data)
    text = whole.strip("\r\n\t ")
    if not text:
        return DoneMark(etag)
    if text.isdecimal() and len(text) < 10:
        return DoneMark(etag, count=int(text))
    names: dict[str, str] = {}
    for line in (line.removesuffix("\r") for line in whole.split("\n")):
        if not line.strip():
            continue
        match = _SUM.match(line)
        if not match:
            return DoneMark(
                etag, problem=f"_DONE holds {line[:40]!r}; expected nothing, a count, or `sha256sum` output"
            )
        name, sha256 = _unescaped(line, match[2]).removeprefix("./"), match[1].lower()
        if names.setdefault(folder + name, sha256) != sha256:
            return DoneMark(etag, problem=f"_DONE holds {name[:80]!r} twice, with other checksums; expected it once")
    names.pop(folder + "_DONE", None)
    return DoneMark(etag, names=names)


def _decoded(data: bytes) -> str:
    """Text with or without a byte order mark; Windows shells write UTF-16."""
    coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(coding, "replace")


def _unescaped(line: str, name: str) -> str:
    """`sha256sum` marks a line with a backslash when it wrote the name with escapes."""
    if not line.startswith("\\"):
        return name
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), name)
