"""What a job's revisions are known by: the summary that names the newest, and the receipts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from trapline.records.base import Frozen, Record
from trapline.records.image import FileRef
from trapline.records.pin import Pin
from trapline.records.states import JobState


class LastFinal(Frozen):
    """The newest final revision."""

    n: int = Field(alias="N")
    seal: str
    revision: str = ""  # the folder's name
    failed: bool = False  # it could not be compiled: it has no results
    updates: bool = False  # an earlier final revision with results was named
    people: bool = False  # those that pipeline.yaml's `notify` names are to be told of it, too


class Changes(Frozen):
    """What a final revision has that an earlier one had otherwise."""

    against: str  # that revision's folder's name
    added: int = 0
    changed: int = 0  # of other bytes, made with another recipe, or in another state
    removed: int = 0  # dropped from the manifest, or deleted
    names: dict[str, tuple[str, ...]] = {}  # the first 100 of each


class Summary(Record):
    """`results/<job>/summary.json`: names the newest revision and the files that belong together."""

    type: Literal["trapline.summary"] = "trapline.summary"
    job: str
    state: JobState
    final: bool  # False: provisional, the job is open
    revision: str  # the folder's name: `r3-0a1b2c3d` or `live-0a1b2c3d`
    folder: str  # the folder's key
    files: tuple[FileRef, ...] = ()
    members: FileRef | None = None  # the roll that it was made of
    changes: Changes | None = None  # against the final revision before; None: there is none that can be read
    last_final: LastFinal | None = None
    finals: tuple[LastFinal, ...] = ()  # every final revision that is kept, oldest first
    images: dict[str, int] = {}  # counts: total = done + failed + pending; kept of these; beside them extra, unusable
    failures: tuple[dict[str, Any], ...] = ()  # {rel, stage, code, meaning, message, remedy}, the first 1,000
    failures_by_code: dict[str, int] = {}
    codes: dict[str, dict[str, str]] = {}  # {meaning, remedy} of each of these codes
    not_received: tuple[str, ...] = ()  # named by `_DONE`, never came (at most 1,000)
    not_received_count: int = 0
    done_problem: str = ""  # why `_DONE` could not be understood
    ignored: tuple[dict[str, str], ...] = ()  # {rel, why}, the first 1,000
    ignored_count: int = 0
    done_answered: str = ""  # the etag of the `_DONE` that this revision answers
    pins: dict[str, Pin] = {}
    results: dict[str, Any] = {}  # what `compile` returned
    release: str = ""  # of Trapline, that made it
    client: dict[str, Any] = {}  # the manifest's own identifiers
    at: datetime | None = None


class Receipt(Record):
    """Proof that one revision was told, or that there was nobody to tell or no wish to hear.

    `<N>-<hash8>.json` is about the client, `<N>-<hash8>.people.json` about those that pipeline.yaml names. In place of
    `<N>-<hash8>`, `refused-<hash8>` is a manifest that was refused.
    """

    type: Literal["trapline.receipt"] = "trapline.receipt"
    job: str
    revision: str  # `<N>-<hash8>`, or `refused-<hash8>`
    outcome: str  # `told`, `nobody`, `overtaken`, `unwanted`
    webhook_id: str = ""
    attempts: int = 1
    detail: dict[str, Any] = {}
    at: datetime | None = None
