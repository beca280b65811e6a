"""What the bucket holds about one image, stage by stage. Reads only; how it is told is `explain`'s business."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from trapline.cli import jobs
from trapline.cli.place import Place
from trapline.cli.results import best_label
from trapline.errors import KeyUnusable, NotFound, TraplineError
from trapline.keys import Layout
from trapline.records import DeadLetter, ImageRecord, Pin, RollEntry, Status
from trapline.store.base import Store


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
    failure: dict[str, Any] | None = None  # code, message, remedy
    blocked_by: str = ""
    missing: list[str] = field(default_factory=list)  # stages that it went on without


@dataclass
class Explanation:
    """Everything that is known about one image."""

    key: str
    rel: str
    job: str
    job_state: str = ""
    size: int | None = None  # bytes; None: the object is not there
    sha256: str = ""  # of the object now
    sha256_read: str = ""  # of the bytes that the newest record is about
    ignored: str = ""
    unusable: str = ""
    not_received: bool = False
    trigger: str = ""
    received_at: datetime | None = None
    stages: list[StageStory] = field(default_factory=list)
    image: dict[str, Any] | None = None
    detections: list[dict[str, Any]] | None = None
    revision: str = ""  # the newest final one
    results: str = ""  # its folder's key
    state_in_revision: str | None = None  # None: it is not in it

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        labels = Counter(best_label(d)[0] for d in self.detections or ())
        counted = {
            "detections": None if self.detections is None else len(self.detections),
            "labels": dict(labels.most_common()),
        }
        document: dict[str, Any] = json.loads(json.dumps({**asdict(self), **counted}, default=datetime.isoformat))
        return {**document, "exists": self.size is not None}


def trace(place: Place, store: Store, rel: str) -> Explanation:
    """Read everything about an image."""
    layout = place.layout
    job = layout.job_of(rel)
    status = jobs.status_of(store, layout, job)
    story = Explanation(layout.image(rel), rel, job, status.state if status else "")
    story.ignored = layout.why_ignored(rel)
    _object(store, story)
    _unusable(layout, store, story, status)
    control = jobs.control_of(store, layout, job)
    _stages(place, store, story, control.pins if control else {})
    _revision(store, layout, story)
    return story


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


def _unusable(layout: Layout, store: Store, story: Explanation, status: Status | None) -> None:
    """Why the key cannot be worked with, as the engine noted it."""
    data = jobs.read_bytes(store, layout.quarantined(story.key))
    if data is not None:
        with suppress(ValueError, AttributeError):
            story.unusable = str(json.loads(data).get("why", ""))
    story.not_received = status is not None and story.rel in status.not_received


# -- the stages


def _stages(place: Place, store: Store, story: Explanation, pins: dict[str, Pin]) -> None:
    layout = place.layout
    fetch = place.pipeline.of_kind("fetch")
    failed: set[str] = set()
    if fetch and (letter := jobs.read(store, DeadLetter, layout.dead_letter(fetch.name, story.rel))):
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


def _record(store: Store, key: str) -> ImageRecord | None:
    try:
        return jobs.read(store, ImageRecord, key)
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
        failure={"code": letter.code, "message": letter.message, "remedy": letter.remedy},
    )


# -- the results


def _revision(store: Store, layout: Layout, story: Explanation) -> None:
    summary = jobs.summary_of(store, layout, story.job)
    if summary is None or summary.last_final is None:
        return
    story.revision = summary.last_final.revision
    story.results = layout.result(story.job, f"{story.revision}/")
    for line in (jobs.read_bytes(store, story.results + "members.jsonl") or b"").splitlines():
        entry = RollEntry.read(line)
        if entry.rel == story.rel:
            story.state_in_revision = entry.state
            return
