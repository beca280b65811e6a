"""What the bucket holds about one image, stage by stage. Reads only; how it is told is `explain`'s business."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

from trapline.cli import jobs
from trapline.cli.follow import waiting_for
from trapline.cli.place import Place
from trapline.cli.results import where
from trapline.errors import CODES, KeyUnusable, NotFound, TraplineError
from trapline.keys import Layout
from trapline.records import DeadLetter, ImageRecord, Pin, RollEntry
from trapline.store.base import Store

REVISIONS = 5  # final revisions that are looked into, the newest first


@dataclass
class StageStory:
    """One stage's part."""

    stage: str
    outcome: str  # done | skipped | failed | blocked | waiting
    key: str = ""  # of the record, or of the dead letter
    attempts: int = 0
    at: datetime | None = None
    seconds: float | None = None
    function: str = ""
    version: str = ""
    model: dict[str, Any] | None = None
    recipe: str = ""
    current: bool | None = None  # whether the recipe is the job's present one; None: nobody knows
    failure: dict[str, Any] | None = None  # code, meaning, message, remedy, retried
    source: str = ""  # the sha256 of the image that this is about
    blocked_by: str = ""
    missing: list[str] = field(default_factory=list)  # stages that it went on without


@dataclass
class InRevision:
    """What a final revision says of the image."""

    revision: str
    state: str
    sha256: str  # of the bytes that it was made of


@dataclass
class Explanation:
    """Everything that is known about one image."""

    key: str
    rel: str
    job: str
    where: str = ""  # a path of this machine, or an address
    job_state: str = ""
    job_open: str = ""  # what an open job waits for, in words
    job_message: str = ""
    refused: bool = False  # the job has no work; `job_message` says why
    refused_manifest: str = ""  # its manifest's key, where it has one
    cancelled: bool = False  # a `_CANCEL` stands
    engine_missing: str = ""
    card: dict[str, Any] | None = None  # the file of this machine that was named: path, sha256
    size: int | None = None  # bytes; None: the object is not there
    sha256: str = ""  # of the object now
    sha256_read: str = ""  # of the bytes that the newest record is about
    ignored: str = ""
    unusable: str = ""
    not_received: bool = False  # `_DONE` names it with other bytes than are there, or it is not there
    done_sha256: str = ""  # what `_DONE` says
    listed: bool | None = None  # whether the job's manifest lists it; None: there is no manifest
    manifest_id: str = ""
    trigger: str = ""
    received_at: datetime | None = None
    stages: list[StageStory] = field(default_factory=list)
    image: dict[str, Any] | None = None
    detections: list[dict[str, Any]] | None = None
    revision: str = ""  # the newest final one
    results: str = ""  # its folder's key
    state_in_revision: str | None = None  # None: it is not in it
    revisions: list[InRevision] = field(default_factory=list)  # the newest final ones that have it, newest first
    review: dict[str, Any] | None = None  # what a person says of it at labels/<job>.csv, as the newest results have it


def trace(place: Place, store: Store, rel: str) -> Explanation:
    """Read everything about an image."""
    layout = place.layout
    job = layout.job_of(rel)
    story = Explanation(layout.image(rel), rel, job, where(place, layout.image(rel)))
    story.ignored = layout.why_ignored(rel)
    story.engine_missing = jobs.engine_missing(place)
    _object(store, story)
    _job(layout, store, story)
    _unusable(layout, store, story)
    _manifest(place, store, story)
    control = jobs.control_of(store, layout, job)
    _stages(place, store, story, control.pins if control else {})
    _revisions(store, layout, story)
    return story


def _job(layout: Layout, store: Store, story: Explanation) -> None:
    status = jobs.status_of(store, layout, story.job)
    story.cancelled = jobs.cancelled(store, layout, story.job)
    if status is not None:
        story.job_state, story.job_message = status.state, status.message
        story.job_open = waiting_for(status)
        story.refused = jobs.refused(status)
    if story.refused and jobs.head(store, layout.manifest(story.job)):
        story.refused_manifest = layout.manifest(story.job)
    story.done_sha256 = jobs.named_by_done(store, layout, story.job).get(story.rel, "")
    story.not_received = story.done_sha256 not in ("", story.sha256) and not story.ignored


def _manifest(place: Place, store: Store, story: Explanation) -> None:
    manifest = jobs.manifest_of(store, place.layout, story.job)
    if manifest is None:
        return
    story.listed = False
    for listed in manifest.sourceImages:
        if place.layout.listed(story.job, place.bucket, listed.id, listed.url)[0] == story.rel:
            story.listed, story.manifest_id = True, listed.id
            return


def _object(store: Store, story: Explanation) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with store.open(story.key) as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
                size += len(piece)
    except (NotFound, KeyUnusable):
        return
    story.size, story.sha256 = size, digest.hexdigest()


def _unusable(layout: Layout, store: Store, story: Explanation) -> None:
    """Why the key cannot be worked with, as the engine noted it."""
    data = jobs.read_bytes(store, layout.quarantined(story.key))
    if data is not None:
        with suppress(ValueError, AttributeError):
            story.unusable = str(json.loads(data).get("why", ""))


# -- the stages


def _stages(place: Place, store: Store, story: Explanation, pins: dict[str, Pin]) -> None:
    layout = place.layout
    fetch = place.pipeline.of_kind("fetch")
    failed: set[str] = set()
    if fetch and (letter := _letter(store, layout.dead_letter(fetch.name, story.rel))):
        story.stages.append(_failure(letter, layout.dead_letter(fetch.name, story.rel)))
        failed.add(fetch.name)
    for name in place.pipeline.image_stages:
        parents = place.pipeline.stages[name].parents or ((fetch.name,) if fetch else ())
        stage = _stage(layout, store, story, name, pins.get(name))
        bad = [parent for parent in parents if parent in failed]
        if stage.outcome == "waiting" and bad:
            stage.outcome, stage.blocked_by = "blocked", bad[0]
        if stage.outcome in ("failed", "blocked"):
            failed.add(name)
        story.stages.append(stage)


def _stage(layout: Layout, store: Store, story: Explanation, name: str, pin: Pin | None) -> StageStory:
    """A stage's record; else its dead letter; else it has not run."""
    key = layout.record(name, story.rel)
    with suppress(KeyUnusable):
        if record := _record(store, key):
            _take(story, record)
            return _success(record, key, pin)
        key = layout.dead_letter(name, story.rel)
        if letter := jobs.read(store, DeadLetter, key):
            story.trigger, story.received_at = letter.received.trigger, letter.received.at
            story.sha256_read = letter.source.sha256
            return _failure(letter, key, pin)
    return StageStory(name, "waiting")


def _letter(store: Store, key: str) -> DeadLetter | None:
    with suppress(KeyUnusable):
        return jobs.read(store, DeadLetter, key)
    return None


def _record(store: Store, key: str) -> ImageRecord | None:
    try:
        return jobs.read(store, ImageRecord, key)
    except KeyUnusable:
        return None
    except TraplineError as error:
        raise TraplineError(f"{key}: {error.message}", remedy="Upgrade Trapline.") from None


def _take(story: Explanation, record: ImageRecord) -> None:
    """What a record says of the image as a whole; the deepest one is read last."""
    story.trigger, story.received_at = record.received.trigger, record.received.at
    story.sha256_read = record.source.sha256
    image, found = record.known.get("image"), record.known.get("detections")
    story.image = image if isinstance(image, dict) else None
    story.detections = [d for d in found if isinstance(d, dict)] if isinstance(found, list) else None


def _success(record: ImageRecord, key: str, pin: Pin | None) -> StageStory:
    note, made = record.stages.get(record.stage), record.produced_by
    return StageStory(
        record.stage,
        record.outcome,
        key,
        attempts=record.attempts,
        at=note.at if note else None,
        seconds=record.usage.seconds,
        function=made.function,
        version=made.version,
        model=made.model.model_dump() if made.model else None,
        recipe=record.recipe,
        current=pin.recipe == record.recipe if pin else None,
        missing=list(record.missing or ()),
        source=record.source.sha256,
    )


def _failure(letter: DeadLetter, key: str, pin: Pin | None = None) -> StageStory:
    return StageStory(
        letter.stage,
        "failed",
        key,
        attempts=letter.attempts,
        at=letter.at,
        recipe=letter.recipe,
        current=pin.recipe == letter.recipe if pin else None,
        failure=words_of(letter),
        source=letter.source.sha256,
    )


def words_of(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter's own words, and whether such a failure is tried again by itself."""
    said = letter.model_dump(include={"code", "meaning", "message", "remedy"})
    return {**said, "retried": letter.code in CODES and CODES[letter.code].retried}


# -- the results


def _revisions(store: Store, layout: Layout, story: Explanation) -> None:
    summary = jobs.summary_of(store, layout, story.job)
    if summary is None or summary.last_final is None:
        return
    story.revision = summary.last_final.revision
    story.results = layout.result(story.job, f"{story.revision}/")
    names = [final.revision for final in reversed(summary.finals)] or [story.revision]
    for name in names[:REVISIONS]:
        if line := _line_of(store, layout.result(story.job, f"{name}/members.jsonl"), story.rel):
            entry = RollEntry.read(line)
            story.revisions.append(InRevision(name, entry.state, entry.sha256))
    newest = next((told for told in story.revisions if told.revision == story.revision), None)
    story.state_in_revision = newest.state if newest else None
    if newest:
        _review(store, story)


def _review(store: Store, story: Explanation) -> None:
    """What a person says of the image, and of each of its detections."""
    line = _line_of(store, f"{story.results}results.jsonl", story.rel)
    review = json.loads(line).get("review") if line else None
    story.review = review if isinstance(review, dict) else None


def _line_of(store: Store, key: str, rel: str) -> bytes | None:
    """The line about an image in a file that has one for each."""
    needles = {json.dumps(rel, ensure_ascii=plain).encode("utf-8", "replace") for plain in (True, False)}
    with suppress(NotFound), store.open(key) as stream:
        for line in lines_of(stream):
            if any(needle in line for needle in needles) and json.loads(line).get("rel") == rel:
                return line
    return None


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a file that may be too large to hold."""
    rest = b""
    while piece := stream.read(1 << 20):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest
