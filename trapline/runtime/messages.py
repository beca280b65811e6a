"""The stage that tells: what `notify` is handed. Tokens, addresses and secrets are read here, and go nowhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, BinaryIO

from trapline.errors import ConfigError, Failure, ManifestError, NotFound, Permanent
from trapline.keys import Layout
from trapline.pipeline.notices import resolved
from trapline.pipeline.spec import Notices
from trapline.records import (
    USUAL,
    Callback,
    ItemOutcome,
    Manifest,
    NotifyOrder,
    Outcome,
    Source,
    Summary,
    Ticket,
    load,
    read_manifest,
    read_sender,
)
from trapline.runtime.functions import Handler
from trapline.runtime.images import as_failure, failed
from trapline.runtime.items import NotifyItem
from trapline.runtime.jobs import as_before, ends_by_itself
from trapline.store.base import Store

WEBHOOK_SECRET = "TRAPLINE_WEBHOOK_SECRET"

Sign = Callable[[str, float], str]  # (key, seconds) → a presigned address


class Messages:
    """Runs notify tickets against one store."""

    def __init__(self, store: Store, layout: Layout, bucket: str, notices: Notices, sign: Sign | None) -> None:
        self._store = store
        self._layout = layout
        self._bucket = bucket
        self._notices = notices
        self._sign = sign

    def notify(self, ticket: Ticket, order: NotifyOrder, handler: Handler) -> Outcome:
        """Tell one message; the receipt's body is the outcome's."""
        item, handed = ticket.items[0], None
        result: Any
        try:
            if self._replaced(ticket.job, order):
                return Outcome(ticket=ticket.id)
            handed = self.item(ticket.job, order, ticket.pin.parameters)
            result = _only(list(handler.handle([handed])))
        except Exception as error:  # noqa: BLE001 - a function may raise anything
            if ends_by_itself(error, self._store, self._layout):
                return as_before(ticket, error)
            result = as_failure(error)
        if handed and handed.lacking and not order.overtaken:
            result = _with_lacking(handed, result)
        if isinstance(result, Failure):
            body = {"reached": handed.reached} if handed and handed.reached else {}
            return Outcome(ticket=ticket.id, items=(failed(item, Source(), result),), body=body)
        return Outcome(ticket=ticket.id, items=(ItemOutcome(rel=item.rel, result="done"),), body=result)

    def item(self, job: str, order: NotifyOrder, parameters: dict[str, Any], event: str = "") -> NotifyItem:
        """What the function is handed. `event`: in place of the order's, for a test."""
        summary, manifest = self._summary(order.summary), self._manifest(job)
        people, lacking = self._people(order)
        return NotifyItem(
            job=job,
            event=event or order.event,
            to=order.to,
            summary=summary,
            news=order.news,
            callback=_callback(order, manifest),
            form=manifest.told_as if manifest else "standard",
            client=_client(job, manifest),
            webhook_id=order.webhook_id,
            overtaken=order.overtaken,
            brief=order.brief,
            links=self._links(order, manifest, summary),
            people=people,
            lacking=lacking,
            open=lambda name: self._file(summary, name),
            secret=os.environ.get(WEBHOOK_SECRET, ""),
            parameters=parameters,
        )

    def _replaced(self, job: str, order: NotifyOrder) -> bool:
        """Whether the manifest that was refused is there no more: another one's client is not the one to tell."""
        if not order.manifest:
            return False
        try:
            data = self._store.get(self._layout.manifest(job)).data
        except NotFound:
            return True
        return hashlib.sha256(data).hexdigest() != order.manifest

    def _summary(self, key: str) -> Summary | None:
        summary = load(Summary, self._store.get(key).data) if key else None
        if key and summary is None:
            raise Permanent(f"{key} is no summary.", code="function_error")
        return summary

    def _manifest(self, job: str) -> Manifest | None:
        """A job's manifest; of one that is refused what can be read."""
        key = self._layout.manifest(job)
        try:
            data = self._store.get(key).data
            return read_manifest(data, key)
        except NotFound:
            return None
        except ManifestError:
            return read_sender(data)

    def _links(self, order: NotifyOrder, manifest: Manifest | None, summary: Summary | None) -> dict[str, str]:
        callback = _callback(order, manifest)
        lasting = (callback.links if callback else None) or self._notices.links
        return {file.name: self._link(file.key, lasting) for file in (summary.files if summary else ())}

    def _link(self, key: str, lasting: timedelta | None) -> str:
        if lasting is None or self._sign is None:
            return f"s3://{self._bucket}/{key}"
        return self._sign(key, lasting.total_seconds())

    def _people(self, order: NotifyOrder) -> tuple[dict[int, str], dict[int, ConfigError]]:
        """Place → address, of those not told yet; and → what is missing, where one cannot be made out."""
        people, lacking = dict[int, str](), dict[int, ConfigError]()
        for place, address in enumerate(self._notices.to if order.to == "people" else ()):
            if place not in order.reached:
                try:
                    people[place] = resolved(address)
                except ConfigError as error:
                    lacking[place] = error
        return people, lacking

    def _file(self, summary: Summary | None, name: str) -> BinaryIO:
        """A file of the revision. Raises `KeyError` where it has none of that name."""
        return self._store.open({file.name: file.key for file in (summary.files if summary else ())}[name])


def _callback(order: NotifyOrder, manifest: Manifest | None) -> Callback | None:
    """The client to tell. What a refused manifest wishes is known here alone."""
    callback = manifest.callback if manifest and order.to == "client" else None
    wished = callback is not None and any(event in callback.on for event in USUAL)
    return callback if wished or order.event != "failed" else None


def _only(results: list[Any]) -> Failure | dict[str, Any]:
    result = results[0] if len(results) == 1 else None
    if isinstance(result, Failure) or (isinstance(result, dict) and "outcome" in result):
        return result
    return Permanent("notify returned no outcome.", code="function_output")


def _with_lacking(handed: NotifyItem, result: Failure | dict[str, Any]) -> Failure:
    """What became of a message of which some have no address: the others are told all the same."""
    words = " ".join(dict.fromkeys(error.message for error in handed.lacking.values()))
    remedy = next(iter(handed.lacking.values())).remedy
    if isinstance(result, Failure):
        result.message, result.remedy = f"{result.message} {words}", f"{result.remedy} {remedy}".strip()
        return result
    handed.reached[:] = list(handed.people)
    return Permanent(words, code="notice_failed", remedy=remedy)


def _client(job: str, manifest: Manifest | None) -> dict[str, Any]:
    """How the pipeline-controller's form names a job: a request's id is the job's name."""
    return {"jobId": (manifest.jobId if manifest else "") or job, "pipelineRequestId": job}
