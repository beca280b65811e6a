"""A per-image stage: read, call the function, commit one record per image."""

from __future__ import annotations

import errno
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trapline.errors import (
    CODES,
    ConfigError,
    Failure,
    KeyUnusable,
    NotFound,
    Permanent,
    StoreError,
    StoreUnavailable,
    SurroundingsError,
    TraplineError,
)
from trapline.images import Image
from trapline.keys import Layout
from trapline.records import (
    ImageRecord,
    Item,
    ItemOutcome,
    ProducedBy,
    SchemaNewer,
    Source,
    StageNote,
    Ticket,
    Usage,
    load,
)
from trapline.runtime.cache import ByteCache, Bytes, RecordCache
from trapline.runtime.functions import Handler
from trapline.runtime.items import ImageItem, ItemFile
from trapline.runtime.logs import FUNCTION_LOG
from trapline.store.base import Store

log = logging.getLogger("trapline.runtime")


@dataclass
class Task:
    """One item on its way through a stage."""

    item: Item
    held: Bytes
    absent: tuple[str, ...] = ()  # parent stages that failed
    parents: dict[str, ImageRecord] = field(default_factory=dict)  # the others', by stage, as the pipeline names them
    known: dict[str, Any] = field(default_factory=dict)  # what they know together
    seen: ImageItem | None = None  # None: passed through without calling the function
    result: Any = None  # what the function returned: a dict, or a Failure
    usage: Usage = Usage()

    @property
    def files(self) -> list[ItemFile]:
        """What the function wrote beside its record."""
        return list(self.seen.files.values()) if self.seen else []


class ImageStage:
    """Runs tickets of per-image stages against one store."""

    def __init__(
        self, store: Store, layout: Layout, max_pixels: int, clock: Callable[[], float], cache_bytes: int, leaf: str
    ) -> None:
        self._store = store
        self._layout = layout
        self._max_pixels = max_pixels
        self._clock = clock
        self._bytes = ByteCache(cache_bytes)
        self._leaf = leaf  # the stage after which no other needs an image's bytes; empty: several may be last
        self._records = RecordCache()

    def prefetch(self, ticket: Ticket) -> None:
        """Read a ticket's images ahead; what goes wrong will be met again when it runs."""
        for item in ticket.items:
            try:
                self._bytes.read(self._store, item.key, item.etag)
            except (StoreError, OSError) as error:
                log.debug("event=prefetch.failed key=%r error=%s", item.key, error)

    def run(self, ticket: Ticket, handler: Callable[[], Handler]) -> list[ItemOutcome]:
        """Run a ticket. `handler` sets the function up when the first item needs it. Raises what that raises."""
        outcomes: list[ItemOutcome] = []
        until = self._clock() + ticket.limit_seconds
        tasks = [task for item in ticket.items if (task := self._read(ticket, item, outcomes)) is not None]
        called = [task for task in tasks if task.seen is not None]
        if called:
            read = self._clock()
            ready = handler()
            until += self._clock() - read  # loading a model is not the images' time
            try:
                self._call(ready, called)
            finally:
                _release(called)
        for task in tasks:
            outcomes.append(self._commit(ticket, task, until))
        if ticket.stage == self._leaf:
            for item in ticket.items:
                self._bytes.drop(item.key)
        return outcomes

    # -- reading

    def _read(self, ticket: Ticket, item: Item, outcomes: list[ItemOutcome]) -> Task | None:
        """One item's bytes and parent record; None with an outcome where it cannot run."""
        try:
            held = self._bytes.read(self._store, item.key, item.etag)
        except NotFound:
            outcomes.append(ItemOutcome(rel=item.rel, result="gone"))
            return None
        except (StoreError, SurroundingsError, KeyUnusable) as error:
            outcomes.append(store_failed(self._store, self._layout, item, error))
            return None
        source = Source(key=item.key, etag=held.etag, size=len(held.data), sha256=held.sha256)
        if held.etag != item.etag and held.sha256 != item.sha256:
            outcomes.append(ItemOutcome(rel=item.rel, result="changed", source=source))
            return None
        try:
            return self._prepare(ticket, item, held, source, outcomes)
        except (StoreError, SurroundingsError, KeyUnusable) as error:
            outcomes.append(store_failed(self._store, self._layout, item, error, source))
            return None

    def _prepare(
        self, ticket: Ticket, item: Item, held: Bytes, source: Source, outcomes: list[ItemOutcome]
    ) -> Task | None:
        if not held.data:
            outcomes.append(failed(item, source, Permanent(CODES["empty_file"].meaning, code="empty_file")))
            return None
        task = Task(item, held, tuple(stage for stage in ticket.parents if stage in item.missing))
        refused = self._parents(ticket, task, cached=True)
        if refused and ticket.parents:
            task.parents.clear()
            refused = self._parents(ticket, task, cached=False)
        if refused:
            outcomes.append(ItemOutcome(rel=item.rel, result="refused", stage=refused, source=source))
            return None
        task.known = together(list(task.parents.values()))
        task.seen = self._see(ticket, task)
        return task

    def _parents(self, ticket: Ticket, task: Task, *, cached: bool) -> str:
        """Take the records that the ticket implies; a stage of which another one (or none) stands there, if any."""
        item = task.item
        stage = ""
        for stage, recipe in ticket.parents.items():
            if stage not in task.absent:
                parent = self._parent(stage, recipe, item, task.held, cached)
                if parent is None:
                    return stage
                task.parents[stage] = parent
        return "" if _missing(task) == sorted(item.missing) else stage

    def _parent(self, stage: str, recipe: str, item: Item, held: Bytes, cached: bool) -> ImageRecord | None:
        """The record the ticket implies; None when another one (or none) stands there."""
        record = self._records.get(stage, item.rel) if cached else None
        if record is None or not _agrees(record, recipe, held):
            try:
                record = load(ImageRecord, self._store.get(self._layout.record(stage, item.rel)).data)
            except (NotFound, SchemaNewer):
                return None
        return record if record is not None and _agrees(record, recipe, held) else None

    def _see(self, ticket: Ticket, task: Task) -> ImageItem | None:
        """What the function is shown; None when it need not be called."""
        known = task.known if task.parents else None
        detections = list(known.get("detections") or []) if known else []
        when = ticket.pin.when
        if when is not None:
            detections = [d for d in detections if matches(d, when)]
        if not ticket.pin.enabled or (when is not None and not detections):
            return None
        held = task.held
        if held.decoded is None:
            held.decoded = Image(held.data, max_pixels=self._max_pixels, timezone=ticket.station.get("timezone"))
        records = {stage: task.parents[stage].known if stage in task.parents else None for stage in ticket.parents}
        made = f"{held.sha256} {ticket.pin.recipe}"
        return ImageItem(
            rel=task.item.rel,
            key=task.item.key,
            job=ticket.job,
            parameters=ticket.pin.parameters,
            station=ticket.station,
            data=held.data,
            image=held.decoded,
            record=known,
            detections=detections,
            records=records if len(records) > 1 else {},
            missing=task.absent,
            place=lambda name: self._layout.file(ticket.stage, task.item.rel, made, name),
        )

    # -- calling

    def _call(self, handler: Handler, tasks: list[Task]) -> None:
        """Call the function on a batch; where it raises for the batch, each item is tried by itself."""
        wall, cpu = self._clock(), time.process_time()
        items = [task.seen for task in tasks if task.seen is not None]
        for item in items:
            item.files.clear()  # an earlier call wrote them, that came to nothing
        try:
            results = _answers(handler, items)
        except Exception as error:  # noqa: BLE001 - a function may raise anything; it must not cost the worker
            if len(tasks) > 1:
                for task in tasks:
                    self._call(handler, [task])
                return
            results = [as_failure(error)]
        seconds, cpu_seconds = (self._clock() - wall) / len(tasks), (time.process_time() - cpu) / len(tasks)
        for task, result in zip(tasks, results, strict=True):
            task.result = result
            task.usage = Usage(
                seconds=round(seconds, 6),
                cpu_seconds=round(cpu_seconds, 6),
                bytes_in=len(task.held.data),
                bytes_out=sum(len(file.data) for file in task.files),
            )

    # -- committing

    def _commit(self, ticket: Ticket, task: Task, until: float) -> ItemOutcome:
        item = task.item
        source = Source(key=item.key, etag=task.held.etag, size=len(task.held.data), sha256=task.held.sha256)
        known, problem = self._known(task)
        if problem is not None:
            return failed(item, source, problem)
        record = self._record(ticket, task, source, known)
        try:
            data = record.dump()
        except (ValueError, TypeError) as error:
            return failed(
                item, source, Permanent(f"What the function returned is no JSON: {error}", code="function_output")
            )
        objects = [(file.ref.key, file.data, file.ref.content_type) for file in task.files]
        objects.append((self._layout.record(ticket.stage, item.rel), data, "application/json"))  # last and whole
        for key, content, content_type in objects:
            if self._clock() >= until:
                return ItemOutcome(rel=item.rel, result="late", source=source)  # the ticket is no longer ours
            try:
                self._store.put(key, content, content_type=content_type)
            except (StoreError, SurroundingsError, KeyUnusable) as error:
                return store_failed(self._store, self._layout, item, error, source)
        self._records.keep(ticket.stage, item.rel, record)
        return ItemOutcome(rel=item.rel, result=record.outcome, source=source)

    def _known(self, task: Task) -> tuple[dict[str, Any], Failure | None]:
        """The cumulative knowledge after this stage."""
        before = dict(task.known)
        if task.seen is None:
            return before, None
        if isinstance(task.result, Failure):
            return {}, task.result
        if not isinstance(task.result, dict):
            kind = type(task.result).__name__
            return {}, Permanent(
                f"The function returned {kind} for an item; expected a dict or a Failure.", code="function_output"
            )
        return merged(before, task.result)

    def _record(self, ticket: Ticket, task: Task, source: Source, known: dict[str, Any]) -> ImageRecord:
        pin, item = ticket.pin, task.item
        note = StageNote(
            outcome="skipped" if task.seen is None else "done",
            recipe=pin.recipe,
            attempts=item.attempt,
            at=datetime.now(UTC),
            usage=task.usage,
            produced_by=ProducedBy(function=pin.function, version=pin.version, model=pin.model),
            files=tuple(file.ref for file in task.files) or None,
            named=_names(task.result) or None,
            missing=tuple(sorted(task.absent)) or None,
        )
        parents = task.parents.values()
        return ImageRecord(
            stage=ticket.stage,
            outcome=note.outcome,
            job=ticket.job,
            source=source,
            recipe=pin.recipe,
            received=item.received,
            attempts=item.attempt,
            usage=task.usage,
            produced_by=note.produced_by,
            stages={stage: told for parent in parents for stage, told in parent.stages.items()} | {ticket.stage: note},
            missing=tuple(_missing(task)) or None,
            known=known,
        )


def _release(tasks: list[Task]) -> None:
    """Let decoded pixels go; the bytes stay for the next stage."""
    for task in tasks:
        if task.held.decoded is not None:
            task.held.decoded.release()


def _agrees(record: ImageRecord, recipe: str, held: Bytes) -> bool:
    return record.recipe == recipe and record.source.sha256 == held.sha256


def _names(result: Any) -> bool:
    """Whether what a function returned holds classifications."""
    found = result.get("detections") if isinstance(result, dict) else None
    return isinstance(found, list) and any(isinstance(one, dict) and one.get("classifications") for one in found)


def _missing(task: Task) -> list[str]:
    """The failed stages that an image goes on without: parents, and those that its parents' records name."""
    return sorted({*task.absent, *(stage for parent in task.parents.values() for stage in parent.missing or ())})


def together(records: Sequence[ImageRecord]) -> dict[str, Any]:
    """What the records of an image's parent stages know; where several say something, the last one's stands.

    Detections are merged by their id.
    """
    known = dict(records[0].known) if records else {}
    for record in records[1:]:
        both, problem = merged(known, record.known)
        known = both if problem is None else {**known, **record.known}
    return known


def matches(detection: dict[str, Any], when: dict[str, Any]) -> bool:
    """Whether a stage that chooses by `when` looks at a detection."""
    labels = when.get("label") or ()
    said, below = detection.get("confidence", 1.0), when.get("below")
    confidence = float(said) if isinstance(said, int | float) else 1.0  # a function may leave it out, or not know it
    sure = confidence >= when.get("confidence", 0.0) and (below is None or confidence < below)
    return sure and (not labels or detection.get("label") in labels)


def _answers(handler: Handler, items: list[Any]) -> list[Any]:
    results = list(handler.handle(items))
    if len(results) != len(items):
        raise Permanent(f"The function returned {len(results)} results for {len(items)} items.", code="function_output")
    return results


def merged(before: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], Failure | None]:
    """What is known after a stage: its answer over what was known; detections are merged by their id."""
    known = {**before, **now}
    found = now.get("detections", [])
    if not (isinstance(found, list) and all(isinstance(one, dict) and _named(one) for one in found)):
        return {}, Permanent(
            "`detections` has to be a list of objects, each with an `id` that is text, or none.", code="function_output"
        )
    if "detections" not in now or "detections" not in before:
        return known, None
    if not all("id" in one for one in found):
        return {}, Permanent("A detection that builds on an earlier one needs its `id`.", code="function_output")
    told = {one["id"]: one for one in found}
    merged = [{**d, **told.pop(d.get("id"), {})} for d in before["detections"]]
    known["detections"] = [*merged, *told.values()]
    return known, None


def _named(detection: dict[str, Any]) -> bool:
    return isinstance(detection.get("id", ""), str)


def failed(item: Item, source: Source, problem: Failure) -> ItemOutcome:
    """The outcome of an item that failed."""
    return ItemOutcome(
        rel=item.rel,
        result="failed",
        source=source,
        code=problem.code,
        message=problem.message[:2000],
        remedy=problem.remedy,
        retry=problem.retry,
        after=problem.after,
    )


STORE_PAUSE = 5.0  # seconds


def store_failed(
    store: Store, layout: Layout, item: Item, error: TraplineError, source: Source | None = None
) -> ItemOutcome:
    """The store did not do what it should: it is tried again, and costs the item nothing.

    Where the store answers, and refuses this one key, the outcome says so: that is not tried for ever.
    """
    if isinstance(error, KeyUnusable):
        return failed(item, source or Source(), Permanent(error.message, code="key_unusable"))
    log.warning("event=store.failed key=%r error=%s", item.key, error)
    alone = isinstance(error, StoreError) and answers(store, layout)
    return ItemOutcome(
        rel=item.rel,
        result="unknown",
        after=STORE_PAUSE,
        source=source or Source(),
        code="store_refused" if alone else "",
        message=error.message,
    )


def answers(store: Store, layout: Layout) -> bool:
    """Whether the store does what it should for a key that is nobody's image."""
    try:
        store.head(layout.engine)
    except NotFound:
        return True
    except (StoreError, SurroundingsError):
        return False
    return True


def passing(error: BaseException | None) -> bool:
    """Whether the store does not answer, or a disk is full: that costs no try, and ends by itself."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or isinstance(error, StoreUnavailable | SurroundingsError)


def as_failure(error: BaseException) -> Failure:
    """Anything that was raised, as a failure. What is not one already follows the stage's policy."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, MemoryError):
        return Failure("The function ran out of memory.", code="out_of_memory")
    if isinstance(error, ConfigError):  # what a model says of itself once it is run
        return Failure(error.message, code="model_unusable", remedy=error.remedy)
    logging.getLogger(FUNCTION_LOG).error("raised: %s", "".join(traceback.format_exception(error))[-8000:])
    return Failure(f"{type(error).__name__}: {error}"[:2000])
