"""Closing a job with `_DONE`, and knowing when the engine has answered it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from trapline.cli import jobs
from trapline.cli.place import Place, writer
from trapline.cli.steer import ask
from trapline.cli.upload import Sent, done_body
from trapline.keys import DONE, Layout
from trapline.records import Status
from trapline.store.base import Store
from trapline.sweep import mark_of

Ended = Callable[[Status], bool]

NEAR, FAR = 3.0, 15.0  # seconds, beyond `refresh`, in which an engine here or elsewhere would have stirred


class DoneMark:
    """The `_DONE` of one upload: written unless the one that is there says the same and nothing is new.

    It names what was sent. Where something could not be sent it is empty: a list would be met, and the job's line would
    say that all was received.
    """

    def __init__(self, place: Place, sender: Store, reader: Store, job: str, sent: Sent, *, whole: bool = True) -> None:
        self._place, self._sender, self._reader, self._job = place, sender, reader, job
        self._key = place.layout.marker(job, DONE)
        self._body = done_body(sent.sums) if whole else b""
        self._quiet = place.pipeline.spec.jobs.refresh.total_seconds() + (FAR if place.endpoint else NEAR)
        self._last: tuple[datetime | None, float] = (None, time.monotonic())  # the newest status, since when
        self._written = bool(sent.files) or jobs.read_bytes(reader, self._key) != self._body
        if self._written:
            self._write()

    def answered_by(self, status: Status) -> bool:
        """Whether this status is the job's end, all that was sent included."""
        if status.updated_at != self._last[0]:
            self._last = (status.updated_at, time.monotonic())
        quiet = time.monotonic() - self._last[1] > self._quiet
        if status.state == "CANCELLED":
            return jobs.cancelled(self._reader, self._place.layout, self._job)
        if jobs.is_final(status):
            return not status.closed or answers(self._reader, self._place.layout, self._job) or quiet
        if quiet and status.settles_at and not status.images.get("open") and not self._written:
            self._written = True  # an older upload's `_DONE` said the same and is spent: the job waits for more
            self._write()
        return False

    def _write(self) -> None:
        self._sender.put(self._key, self._body, content_type="text/plain; charset=utf-8")
        notify_far_engine(self._place, self._job)


def answers(store: Store, layout: Layout, job: str) -> bool:
    """Whether the newest final results answer the `_DONE` that stands there now."""
    marker = jobs.head(store, layout.marker(job, DONE))
    if marker is None:
        return False
    summary, control = jobs.summary_of(store, layout, job), jobs.control_of(store, layout, job)
    return mark_of(marker) in (summary.done_answered if summary else "", control.answered if control else "")


def notify_far_engine(place: Place, job: str) -> None:
    """An engine elsewhere may get no events from its store: it is asked to look."""
    if place.endpoint is not None:
        ask(writer(place), place.layout, "sweep", job=job)
