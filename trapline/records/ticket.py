"""The ticket a worker is handed: a batch of tasks, or the order to gather a job or to notify its client."""

from __future__ import annotations

from typing import Any

from trapline.records.base import Frozen
from trapline.records.events import Audience, Told
from trapline.records.image import FileRef, Received
from trapline.records.pin import Pin


class Item(Frozen):
    """One task of a ticket."""

    rel: str  # for `gather` and `notify`: the job, or `<job>/<N>-<hash8>`
    key: str = ""  # the image's key
    etag: str = ""
    size: int = -1
    attempt: int = 1
    received: Received = Received()
    url: str = ""  # for `fetch`
    sha256: str = ""  # known already: a record of a parent stage must agree
    missing: tuple[str, ...] = ()  # stages that failed, and that a join goes on without


class Previous(Frozen):
    """The newest revision, of which a gather may take what is as it was."""

    members: FileRef  # its roll
    files: tuple[FileRef, ...]


class GatherOrder(Frozen):
    """What a `gather: job` function is asked to compile."""

    revision: str  # the folder's name
    final: bool
    roll: str  # the key of the roll: one JSON line per member, sorted by rel
    members: int
    manifest: dict[str, Any] | None = None  # without tokens
    not_received: tuple[str, ...] = ()  # names in `_DONE` that never came, at most 1,000
    not_received_count: int = 0  # … how many; where `_DONE` holds a count there are no names
    unusable: dict[str, str] = {}  # paths that cannot be keys, and why; at most 1,000
    unusable_count: int = 0  # … how many
    review: str = ""  # the key of the table in which a person says what is on the images
    review_sha256: str = ""
    review_problem: str = ""  # why it is not read
    previous: Previous | None = None  # None: there is none that was made in the same way
    finals: tuple[str, ...] = ()  # folders' names of the final revisions before, newest first


class NotifyOrder(Frozen):
    """Whom to tell of what. Tokens and addresses are read by the worker, never carried."""

    to: Audience = "client"
    event: Told = "completed"
    revision: str = ""  # `<N>-<hash8>`; empty: there is none to tell of
    summary: str = ""  # the key of the revision's own summary
    news: dict[str, Any] = {}  # what there is to say of an open job, or of a manifest that was refused
    manifest: str = ""  # the sha256 of the one that was refused: of another one nobody is told by this
    webhook_id: str
    brief: bool = False  # news, or the first of several tries, to somebody who answers so far: others are called apart
    overtaken: bool = False
    reached: tuple[int, ...] = ()  # people who were told already: places in `notify.to`


class Ticket(Frozen):
    """A batch of tasks of one stage and recipe: what an executor is handed."""

    id: str
    stage: str
    job: str
    pin: Pin
    parents: dict[str, str] = {}  # stage → the recipe its record must have
    items: tuple[Item, ...]
    limit_seconds: float  # the worker starts no PUT later than this after it got the ticket
    station: dict[str, Any] = {}
    gather: GatherOrder | None = None
    notify: NotifyOrder | None = None
