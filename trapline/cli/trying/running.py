"""Running a plan on local files: the real runtime over a store in memory, a few images at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trapline.cli.trying.files import LocalFile
from trapline.cli.trying.given import Records
from trapline.cli.trying.plan import Plan
from trapline.cli.trying.raised import FunctionLog, own_line, raised_in_runtime
from trapline.errors import CODES, Failure, KeyUnusable, NotFound, Permanent, TraplineError
from trapline.keys import Layout
from trapline.pipeline.load import Stage
from trapline.pipeline.recipe import Models as ModelsByName
from trapline.pipeline.recipe import resolve_pins
from trapline.records import (
    DeadLetter,
    FileRef,
    GatherOrder,
    ImageRecord,
    Item,
    ItemOutcome,
    Outcome,
    Pin,
    Received,
    RollEntry,
    Source,
    Ticket,
    load,
)
from trapline.runtime.functions import Models
from trapline.runtime.jobs import roll_lines
from trapline.runtime.runtime import Runtime
from trapline.store.memory import MemoryStore

_QUICK, _SLOW = 1.0, 4.0  # seconds: below, more images at a time; above, fewer
_RECEIVED = Received(trigger="try")
_ANSWERS = "`handle` must return a list: one dict or one Failure per item, in order."


@dataclass(frozen=True)
class WrittenFile:
    """A file that a function wrote."""

    name: str
    data: bytes = field(repr=False)


@dataclass
class Result:
    """What became of one image, or of the whole job (`file` None)."""

    file: LocalFile | None
    raw: dict[str, Any]  # the record as committed, or the dead letter
    added: dict[str, Any] = field(default_factory=dict)  # what of `known` is the function's own
    seconds: float | None = None  # of the function's call
    skipped: bool = False
    failure: Failure | None = None
    failed_stage: str = ""
    raised: str = ""  # the traceback, where the function raised
    place: str = ""  # the function's own line in it
    data: bytes = field(default=b"", repr=False)  # the image
    files: list[WrittenFile] = field(default_factory=list)


@dataclass
class _Image:
    """One image on its way through the stages."""

    file: LocalFile
    data: bytes
    item: Item
    outcomes: dict[str, ItemOutcome] = field(default_factory=dict)  # stage → what became of it
    raised: dict[str, str] = field(default_factory=dict)  # stage → traceback


class Trial:
    """Runs one plan. What functions print goes to stderr, so that stdout holds the results alone."""

    def __init__(self, plan: Plan, models: Models, refs: ModelsByName, job: str, records: Records | None) -> None:
        self.plan = plan
        self.job = job
        self.store = MemoryStore()
        self._layout = plan.pipeline.layout
        self._records = records
        self._pins = resolve_pins(plan.pipeline, None, refs)
        self._log = FunctionLog()
        self._tickets = 0
        self._runtime = Runtime(plan.pipeline, self.store, Path(), other=lambda bucket: self.store, models=models)

    @property
    def given(self) -> Path | None:
        """Where the records come from that were handed over."""
        return self._records.where if self._records is not None else None

    @property
    def pin(self) -> Pin:
        """What the function is run with."""
        return self._pins[self.plan.stage]

    def run(self, files: Sequence[LocalFile]) -> Iterator[Result]:
        """Each image's result, in order; for a gather, the job's at the end. Raises where nothing can run."""
        most, size, start = self.plan.function.batch.size, 1, 0
        gathers, gathered = self.plan.target.kind == "gather", list[_Image]()
        while start < len(files):
            began = time.monotonic()
            images = [self._put(file) for file in files[start : start + size]]
            start += size
            with self._log.heard():
                self._stages(images)
            size = _next_size(size, most, time.monotonic() - began)
            results = [self._result(image) for image in images if not gathers or self._failed(image)]
            gathered += images if gathers else []
            self._forget(images, records=not gathers)
            yield from results
        if gathers:
            with self._log.heard():
                result = self._gather(gathered)
            yield result

    # -- images in

    def _put(self, file: LocalFile) -> _Image:
        rel = f"{self.job}/{file.name}"
        item = Item(rel=rel, key=self._layout.image(rel), received=_RECEIVED)
        image = _Image(file, b"", item)
        try:
            image.data = file.path.read_bytes()
            etag = self.store.put(item.key, image.data).etag
        except OSError as error:
            self._never_ran(image, Permanent(f"The file cannot be read: {error.strerror}.", code="image_unreadable"))
        except KeyUnusable as error:
            self._never_ran(image, Permanent(error.message, code="key_unusable"))
        else:
            sha256 = hashlib.sha256(image.data).hexdigest()
            image.item = item.model_copy(update={"etag": etag, "size": len(image.data), "sha256": sha256})
        return image

    def _never_ran(self, image: _Image, problem: Failure) -> None:
        for stage in self.plan.pipeline.stages:
            image.outcomes[stage] = _as_outcome(image.item, problem)

    def _forget(self, images: Sequence[_Image], *, records: bool) -> None:
        """Let go what is done with, so that thousands of images fit; a gather still needs the records."""
        for image in images:
            image.data = b""
            with contextlib.suppress(KeyUnusable):
                self.store.delete(image.item.key)
                for stage in self._layout.records if records else ():
                    self.store.delete(self._layout.record(stage, image.item.rel))
        for prefix in (self._layout.prefix("files"), self._layout.prefix("logs")):
            for entry in list(self.store.list(prefix)):
                self.store.delete(entry.key)

    # -- through the stages

    def _stages(self, images: Sequence[_Image]) -> None:
        for stage in self.plan.pipeline.stages.values():
            if stage.kind != "image":
                continue
            if self._records is not None and stage.name != self.plan.stage:
                self._hand_over(stage, images)
                continue
            ready = [image for image in images if stage.name not in image.outcomes and self._may_run(stage, image)]
            size = stage.function.batch.size
            for first in range(0, len(ready), size):
                self._run(stage, ready[first : first + size])

    def _may_run(self, stage: Stage, image: _Image) -> bool:
        """Whether what a stage builds on is there; a join needs one of several."""
        passed = [parent for parent in stage.parents if _passed(image.outcomes.get(parent))]
        return bool(passed) if len(stage.parents) > 1 else len(passed) == len(stage.parents)

    def _run(self, stage: Stage, images: Sequence[_Image]) -> None:
        ticket = self._ticket(stage, images)
        outcome = self._run_ticket(ticket)
        by_rel = {found.rel: found for found in outcome.items}
        for image in images:
            found = by_rel[image.item.rel]
            image.outcomes[stage.name] = found
            if found.result == "failed" and found.retry is None:
                image.raised[stage.name] = self._log.take(found.message)

    def _run_ticket(self, ticket: Ticket) -> Outcome:
        with contextlib.redirect_stdout(sys.stderr):
            outcome = self._runtime.run(ticket)
        if outcome.recipe_refused:
            raise _Refused(outcome.recipe_refused)
        if outcome.setup is not None:
            raise NotSetUp(outcome.setup, self._log.take(outcome.setup.message), self.plan.pipeline.folder)
        return outcome

    def _ticket(self, stage: Stage, images: Sequence[_Image]) -> Ticket:
        self._tickets += 1
        items = [image.item.model_copy(update={"missing": self._missing(stage, image)}) for image in images]
        timeout = stage.delivery(stage.function.name).timeout.total_seconds()
        return Ticket(
            id=f"try{self._tickets}",
            stage=stage.name,
            job=self.job,
            pin=self._pins[stage.name],
            parents={parent: self._pins[parent].recipe for parent in stage.parents},
            items=tuple(items),
            limit_seconds=timeout * len(items),
            station=self.plan.pipeline.station(self.job),
        )

    def _missing(self, stage: Stage, image: _Image) -> tuple[str, ...]:
        """The failed stages that an image goes on without."""
        absent = {parent for parent in stage.parents if not _passed(image.outcomes.get(parent))}
        for parent in set(stage.parents) - absent:
            record = self._stored(parent, image)
            absent |= set(record.missing or ()) if record else set()
        return tuple(sorted(absent))

    def _hand_over(self, stage: Stage, images: Sequence[_Image]) -> None:
        """Commit the records that were given, as if the stage had found them."""
        assert self._records is not None
        for image in images:
            if stage.name in image.outcomes:
                continue
            given = self._records.of(image.item.sha256, image.file.name)
            record = next((one for one in given if one.stage == stage.name), None)
            record = record or (given[-1] if given and len(self.plan.target.parents) == 1 else None)
            if record is None:
                where = self._records.where
                problem = Permanent(f"{where} holds no record of this image.", code="source_missing", remedy=_MATCHED)
                image.outcomes[stage.name] = _as_outcome(image.item, problem)
                continue
            made = record.model_copy(
                update={"stage": stage.name, "recipe": self._pins[stage.name].recipe, "source": self._source(image)}
            )
            self.store.put(self._layout.record(stage.name, image.item.rel), made.dump())
            image.outcomes[stage.name] = ItemOutcome(rel=image.item.rel, result="done")

    # -- results out

    def _failed(self, image: _Image) -> bool:
        return any(not _passed(outcome) for outcome in image.outcomes.values())

    def _result(self, image: _Image) -> Result:
        stage = self.plan.stage
        outcome = image.outcomes.get(stage)
        if outcome is None or not _passed(outcome):
            stage = next(name for name, found in image.outcomes.items() if not _passed(found))
            return self._failure(image, stage, image.outcomes[stage])
        got = self.store.get(self._layout.record(stage, image.item.rel)).data
        record = load(ImageRecord, got)
        assert record is not None
        before: dict[str, Any] = {}
        for parent in self.plan.target.parents:
            told = self._stored(parent, image)
            before |= told.known if told else {}
        return Result(
            file=image.file,
            raw=json.loads(got),
            added=_added(before, record.known),
            seconds=None if record.outcome == "skipped" else record.usage.seconds,
            skipped=record.outcome == "skipped",
            data=image.data,
            files=self._written(image),
        )

    def _failure(self, image: _Image, stage: str, outcome: ItemOutcome) -> Result:
        problem = _as_failure(outcome)
        raised = image.raised.get(stage, "")
        letter = DeadLetter(
            stage=stage,
            job=self.job,
            source=self._source(image),
            recipe=self._pins[stage].recipe,
            code=problem.code,
            message=problem.message,
            remedy=problem.remedy,
            received=_RECEIVED,
        )
        place = own_line(raised, self.plan.pipeline.folder)
        if not place and raised_in_runtime(raised):
            problem.remedy = _ANSWERS
        return Result(
            image.file, json.loads(letter.dump()), failure=problem, failed_stage=stage, raised=raised, place=place
        )

    def _written(self, image: _Image) -> list[WrittenFile]:
        """What the function wrote beside its record."""
        prefix = f"{self._layout.prefix('files')}{self.plan.stage}/{image.item.rel}/"
        keys = [entry.key for entry in self.store.list(prefix)]
        return [WrittenFile(key.rpartition("/")[2], self.store.get(key).data) for key in keys]

    def _source(self, image: _Image) -> Source:
        item = image.item
        return Source(key=item.key, etag=item.etag, size=item.size, sha256=item.sha256)

    def _stored(self, stage: str, image: _Image) -> ImageRecord | None:
        """What a stage committed about an image; None where it failed."""
        try:
            return load(ImageRecord, self.store.get(self._layout.record(stage, image.item.rel)).data)
        except NotFound:
            return None

    # -- a whole job

    def _gather(self, images: Sequence[_Image]) -> Result:
        stage, revision = self.plan.target, "r1-try"
        entries = sorted((self._entry(image) for image in images), key=lambda entry: entry.rel)
        roll = self._layout.roll(self.job, "try")
        self.store.put(roll, roll_lines(entries))
        order = GatherOrder(revision=revision, final=True, roll=roll, members=len(entries))
        ticket = self._ticket(stage, []).model_copy(
            update={
                "items": (Item(rel=self.job),),
                "gather": order,
                "parents": {},
                "limit_seconds": stage.delivery(stage.function.name).timeout.total_seconds(),
            }
        )
        began = time.monotonic()
        outcome = self._run_ticket(ticket)
        seconds = time.monotonic() - began
        if not outcome.items:
            raise TraplineError(f"{stage.name} did not run: the disk is full.", remedy="Free some space; run it again.")
        found = outcome.items[0]
        if found.result != "done":
            problem = _as_failure(found)
            raised = self._log.take(found.message)
            letter = DeadLetter(
                stage=stage.name, job=self.job, code=problem.code, message=problem.message, remedy=problem.remedy
            )
            place = own_line(raised, self.plan.pipeline.folder)
            return Result(
                None, json.loads(letter.dump()), failure=problem, failed_stage=stage.name, raised=raised, place=place
            )
        return Result(
            None,
            {"job": self.job, "results": outcome.body, "files": [_told(file) for file in outcome.files]},
            added=outcome.body,
            seconds=seconds,
            files=[WrittenFile(file.name, self.store.get(file.key).data) for file in outcome.files],
        )

    def _entry(self, image: _Image) -> RollEntry:
        """An image's line on the roll: its deepest record, or why there is none."""
        item, parents = image.item, self.plan.target.parents
        bad = next((name for name, found in image.outcomes.items() if not _passed(found)), "")
        if bad and not any(_passed(image.outcomes.get(parent)) for parent in parents):
            result = self._failure(image, bad, image.outcomes[bad])
            key = self._layout.dead_letter(bad, item.rel)
            with contextlib.suppress(KeyUnusable):
                self.store.put(key, json.dumps(result.raw).encode())
            return RollEntry(item.rel, "failed", bad, code=result.raw["code"], sha256=item.sha256, size=item.size)
        deepest = parents[-1] if parents else ""
        record = self._stored(deepest, image)
        assert record is not None
        return RollEntry(item.rel, record.outcome, deepest, record.recipe, item.etag, item.size, item.sha256)


class NotSetUp(TraplineError):
    """The function cannot be set up: no image ran."""

    def __init__(self, outcome: ItemOutcome, raised: str, folder: Path) -> None:
        place = own_line(raised, folder)
        super().__init__(f"{outcome.message.rstrip('.')}{f' ({place})' if place else ''}.", remedy=outcome.remedy)
        self.raised = raised


class _Refused(TraplineError):
    """The runtime does not take the plan."""


_MATCHED = "A record belongs to the image whose sha256 or file name it has (`a.jpg.json` to `a.jpg`)."


def _next_size(size: int, most: int, took: float) -> int:
    """How many images to take next: as many as the function's batch, unless that keeps a person waiting."""
    wanted = size * 2 if took < _QUICK else size // 2 if took > _SLOW else size
    return max(1, min(most, wanted))


def _passed(outcome: ItemOutcome | None) -> bool:
    return outcome is not None and outcome.result in ("done", "skipped")


def _as_outcome(item: Item, problem: Failure) -> ItemOutcome:
    return ItemOutcome(
        rel=item.rel,
        result="failed",
        code=problem.code,
        message=problem.message,
        remedy=problem.remedy,
        retry=problem.retry,
        after=problem.after,
    )


def _as_failure(outcome: ItemOutcome) -> Failure:
    if outcome.result == "late":
        return Failure(CODES["timeout"].meaning, code="timeout")
    code = outcome.code if outcome.code in CODES else "function_error"
    problem = Failure(outcome.message or f"The image is {outcome.result}.", code=code, remedy=outcome.remedy)
    problem.retry, problem.after = outcome.retry, outcome.after
    return problem


def _added(before: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """What a function put into a record: all that is new or other than before, detections whole."""
    return {key: value for key, value in known.items() if key not in before or before[key] != value}


def _told(file: FileRef) -> dict[str, Any]:
    return file.model_dump(mode="json")


def layout_job(layout: Layout, named: str | None) -> str:
    """The job that the files are taken to be of: `--job`, or one of no station. Raises `KeyUnusable`."""
    job = named or "/".join(["local", *["try"] * (layout.depth - 1)])
    layout.check_job(job)
    return job
