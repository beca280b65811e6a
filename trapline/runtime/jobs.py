"""The stages that bring images in and that compile a job: fetch and gather."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from trapline.errors import (
    ConfigError,
    Failure,
    KeyUnusable,
    NotFound,
    Permanent,
    StoreError,
    SurroundingsError,
    Temporary,
)
from trapline.images import MAX_PIXELS, Image
from trapline.keys import Layout
from trapline.records import (
    Changes,
    DeadLetter,
    FileRef,
    GatherOrder,
    ImageRecord,
    Item,
    ItemOutcome,
    Outcome,
    Previous,
    RollEntry,
    Source,
    Ticket,
    load,
)
from trapline.registry import Registry
from trapline.runtime import rolls
from trapline.runtime.functions import Handler
from trapline.runtime.images import answers, as_failure, failed, passing, store_failed
from trapline.runtime.items import FetchItem, GatherItem, Member, sha256_of
from trapline.runtime.rolls import Line
from trapline.store.base import Store

MEMBERS = "members.jsonl"  # beside a revision's files: the roll that it was made of

log = logging.getLogger("trapline.runtime")


class Differs(Exception):
    """A member's record is not the one that the roll names; `code`: it cannot be read, though others can."""

    def __init__(self, rel: str, stage: str, code: str = "") -> None:
        super().__init__(rel)
        self.rel = rel
        self.stage = stage
        self.code = code


class JobStages:
    """Runs fetch and gather tickets against one store. `other` opens another bucket by name."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        bucket: str,
        other: Callable[[str], Store],
        clock: Callable[[], float],
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._store = store
        self._layout = layout
        self._bucket = bucket
        self._other = other
        self._clock = clock
        self._max_pixels = max_pixels

    # -- fetch

    def fetch(self, ticket: Ticket, handler: Handler) -> list[ItemOutcome]:
        """Bring listed images into the bucket, as a station would."""
        until = self._clock() + ticket.limit_seconds
        items = [self._fetch_item(ticket, item) for item in ticket.items]
        try:
            results = list(handler.handle(items))
        except Exception as error:  # noqa: BLE001 - a function may raise anything
            results = [as_failure(error)] * len(items)
        pairs = zip(ticket.items, results, strict=True)
        return [self._store_fetched(item, result, until) for item, result in pairs]

    def _fetch_item(self, ticket: Ticket, item: Item) -> FetchItem:
        return FetchItem(
            item.rel, item.key, ticket.job, item.url, self._bucket, ticket.pin.parameters, self._read_object
        )

    def _read_object(self, bucket: str | None, key: str, max_bytes: int) -> bytes:
        store = self._store if bucket is None else self._other(bucket)
        if store.head(key).size > max_bytes:
            raise Permanent(f"The object is larger than {max_bytes} bytes.", code="fetch_too_large")
        return store.get(key).data

    def _store_fetched(self, item: Item, result: Any, until: float) -> ItemOutcome:
        if isinstance(result, Failure):
            return failed(item, Source(key=item.key), result)
        if not isinstance(result, dict) or not isinstance(result.get("data"), bytes):
            return failed(item, Source(key=item.key), Permanent("fetch returned no bytes.", code="function_output"))
        if self._clock() >= until:
            return ItemOutcome(rel=item.rel, result="late")
        try:
            entry = self._store.put(item.key, result["data"], content_type=result.get("content_type"))
        except (StoreError, SurroundingsError, KeyUnusable) as error:
            return store_failed(self._store, self._layout, item, error)
        return ItemOutcome(rel=item.rel, result="done", source=Source(key=item.key, etag=entry.etag, size=entry.size))

    # -- gather

    def gather(self, ticket: Ticket, order: GatherOrder, handler: Handler) -> Outcome:
        """Compile one revision's files; what differs from the roll publishes nothing."""
        with tempfile.TemporaryDirectory(prefix="trapline-") as scratch, ExitStack() as held:
            item = self._gather_item(ticket, order, Path(scratch), held)
            return self._gathered(ticket, order, item, handler)

    def _gathered(self, ticket: Ticket, order: GatherOrder, item: GatherItem, handler: Handler) -> Outcome:
        try:
            item.review = self._review(order)
            results = list(handler.handle([item]))
            changes = self._changes(ticket.job, order)
        except Differs as differs:
            found = ItemOutcome(rel=differs.rel, result="refused", stage=differs.stage, code=differs.code)
            return Outcome(ticket=ticket.id, items=(found,))
        except Exception as error:  # noqa: BLE001 - a function may raise anything
            if ends_by_itself(error, self._store, self._layout):
                return as_before(ticket, error)
            return Outcome(ticket=ticket.id, items=(failed(ticket.items[0], Source(), _compile_failure(error)),))
        if len(results) != 1 or not isinstance(results[0], dict):
            problem = results[0] if results and isinstance(results[0], Failure) else _no_summary()
            return Outcome(ticket=ticket.id, items=(failed(ticket.items[0], Source(), problem),))
        done = ItemOutcome(rel=ticket.items[0].rel, result="done")
        return Outcome(ticket=ticket.id, items=(done,), files=tuple(item.files), changes=changes, body=results[0])

    def _gather_item(self, ticket: Ticket, order: GatherOrder, scratch: Path, held: ExitStack) -> GatherItem:
        until = self._clock() + ticket.limit_seconds

        def publish(name: str, path: Path, content_type: str) -> FileRef:
            if self._clock() >= until:
                raise Temporary("The compile took longer than its `timeout`.", code="timeout")
            key = self._layout.result(ticket.job, f"{order.revision}/{name}")
            self._store.put_file(key, path, content_type=content_type)
            return FileRef(
                name=name, key=key, size=path.stat().st_size, sha256=sha256_of(path), content_type=content_type
            )

        return GatherItem(
            job=ticket.job,
            revision=order.revision,
            final=order.final,
            manifest=order.manifest,
            station=ticket.station,
            not_received=order.not_received,
            parameters=ticket.pin.parameters,
            scratch=scratch,
            image=lambda key, sha256="": self._image(key, sha256, ticket.station),
            roll=lambda: self._roll(order),
            publish=publish,
            card=self._card,
            review_problem=order.review_problem,
            not_received_count=order.not_received_count,
            unusable=order.unusable,
            unusable_count=order.unusable_count,
            earlier=lambda name: self._earlier(order.previous, name, scratch / "earlier", held),
        )

    def _earlier(self, previous: Previous | None, name: str, folder: Path, held: ExitStack) -> Line:
        """What the newest revision says of its members; whatever is doubtful about it, each is read instead."""
        file = next((file for file in previous.files if file.name == name), None) if previous else None
        if previous is None or file is None:
            return rolls.nothing
        try:
            members = rolls.fetched(self._store, previous.members, folder / "roll")
            lines = rolls.fetched(self._store, file, folder / "lines")
        except (StoreError, KeyUnusable) as error:
            log.warning("event=gather.whole file=%r error=%s", file.key, error)
            return rolls.nothing
        if members is None or lines is None:
            log.warning("event=gather.whole file=%r why='not the one that its summary names'", file.key)
            return rolls.nothing
        return rolls.Earlier(held.enter_context(members.open("rb")), held.enter_context(lines.open("rb")))

    def _changes(self, job: str, order: GatherOrder) -> Changes | None:
        """What a final revision has against the newest before it whose roll can be read."""
        for revision in order.finals:
            try:
                key = self._layout.result(job, f"{revision}/{MEMBERS}")
                with self._store.open(key) as before, self._store.open(order.roll) as now:
                    return rolls.compared(revision, before, now)
            except (NotFound, KeyUnusable, ValueError):
                continue  # it could not be compiled then, or was torn by a power loss
            except StoreError:
                if not answers(self._store, self._layout):
                    raise
        return None

    def _roll(self, order: GatherOrder) -> Iterator[Member]:
        with self._store.open(order.roll) as stream:
            for line in stream:
                yield Member(RollEntry.read(line), self._stored)

    def _stored(self, entry: RollEntry) -> ImageRecord | DeadLetter | None:
        if entry.state in ("done", "skipped"):
            record = load(ImageRecord, self._bytes(self._layout.record(entry.stage, entry.rel), entry))
            same = (
                record is not None
                and entry.recipe in ("", record.recipe)
                and entry.sha256 in ("", record.source.sha256)
                and entry.missing == ",".join(record.missing or ())
            )
            if not same:
                raise Differs(entry.rel, entry.stage)
            return record
        if entry.state == "failed":
            key = entry.letter or self._layout.dead_letter(entry.stage, entry.rel)
            letter = load(DeadLetter, self._bytes(key, entry))
            if letter is None or letter.code != entry.code:
                raise Differs(entry.rel, entry.stage)
            return letter
        return None

    def _review(self, order: GatherOrder) -> bytes | None:
        if not order.review:
            return None
        try:
            data = self._store.get(order.review).data
        except NotFound:
            raise Differs("", "") from None
        if hashlib.sha256(data).hexdigest() != order.review_sha256:
            raise Differs("", "")
        return data

    def _image(self, key: str, sha256: str, station: Mapping[str, Any]) -> Image:
        """An image of the job, decoded on demand: never other bytes than those asked for."""
        try:
            data = self._store.get(key).data
        except NotFound:
            raise Permanent(f"{key} is not there any more.", code="source_missing") from None
        if sha256 not in ("", hashlib.sha256(data).hexdigest()):
            raise Permanent(f"{key} has changed since its record was made.", code="source_missing")
        return Image(data, max_pixels=self._max_pixels, timezone=station.get("timezone"))

    def _card(self, name: str, version: str) -> dict[str, Any]:
        """What a model's card says; empty where it is not there any more, or no card."""
        with suppress(ConfigError, StoreError, KeyUnusable):
            return Registry(self._store, self._layout).fields(name, version)
        return {}

    def _bytes(self, key: str, entry: RollEntry) -> bytes:
        try:
            return self._store.get(key).data
        except NotFound:
            raise Differs(entry.rel, entry.stage) from None
        except (StoreError, KeyUnusable):
            if not answers(self._store, self._layout):
                raise
            raise Differs(entry.rel, entry.stage, "store_refused") from None


def ends_by_itself(error: BaseException, store: Store, layout: Layout) -> bool:
    """Whether the whole store (or disk) fails, and not just a key of this job."""
    alone = isinstance(error, StoreError) and answers(store, layout)
    return passing(error) and not alone


def as_before(ticket: Ticket, error: BaseException) -> Outcome:
    """The store does not answer, or its disk is full: nothing ran, and the ticket is owed as before."""
    full = isinstance(error, OSError)
    told = (
        f"The disk of {tempfile.gettempdir()} is full. Free some space; the engine goes on by itself."
        if full
        else error
    )
    log.warning("event=store.failed stage=%s job=%r error=%s", ticket.stage, ticket.job, told)
    return Outcome(ticket=ticket.id)


def _compile_failure(error: BaseException) -> Failure:
    if isinstance(error, StoreError):  # a key of this compile is refused, or failed just now
        return Failure(error.message, code="store_refused")
    found = as_failure(error)
    if found.code == "function_error":
        found.code = "compile_failed"
    return found


def _no_summary() -> Failure:
    return Permanent("The function returned no summary; expected one dict.", code="function_output")


def roll_lines(entries: Iterable[RollEntry]) -> bytes:
    """A roll as it is stored: one JSON line a member."""
    return "".join(entry.line() for entry in entries).encode("utf-8", "surrogatepass")
