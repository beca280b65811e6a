"""The frozen records: everything that is written into the bucket as JSON, and the ticket a worker is handed.

Field names are what users read with `mc cat … | jq`. No behaviour beyond reading and writing.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trapline.errors import ManifestError, TraplineError
from trapline.wellformed import check_values, first_problem

SCHEMA = 1

StageState = Literal["unknown", "pending", "owed", "running", "done", "skipped", "failed", "blocked"]
MemberState = Literal["done", "skipped", "failed", "blocked", "pending"]
JobState = Literal["WAITING", "PROCESSING", "SUCCEEDED", "PARTIAL", "FAILED", "CANCELLED"]
FINAL_STATES = frozenset(("SUCCEEDED", "PARTIAL", "FAILED"))


class Frozen(BaseModel):
    """Immutable; unknown fields are kept out unless a subclass says otherwise."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, protected_namespaces=())


class Record(Frozen):
    """Anything with a `type` and a `schema`."""

    schema_: int = Field(SCHEMA, alias="schema")

    def dump(self) -> bytes:
        """The JSON that is stored."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class SchemaNewer(TraplineError):
    """A record of a newer release; it is never overwritten."""


R = TypeVar("R", bound=Record)


def load(kind: type[R], data: bytes) -> R | None:
    """Read a record; None when it does not parse (after a power loss that counts as absent).

    Raises `SchemaNewer` where a newer release wrote it.
    """
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    if isinstance(raw.get("schema"), int) and raw["schema"] > SCHEMA:
        raise SchemaNewer(f"The record has schema {raw['schema']}; this release reads up to {SCHEMA}.")
    try:
        return kind.model_validate(raw)
    except (ValidationError, RecursionError):
        return None


# -- images


class Source(Frozen):
    """The image a record is about."""

    key: str = ""  # under `incoming/`, in the bucket
    etag: str = ""  # the store's; a local shortcut for sameness
    size: int = -1  # bytes; -1: never read
    sha256: str = ""  # the image's identity; empty: never read


class Received(Frozen):
    """How an image was first noticed."""

    trigger: str = ""  # the trigger's name, or `sweep`
    at: datetime | None = None  # engine wall time


class ModelRef(Frozen):
    """A model, exactly."""

    name: str
    version: str
    sha256: str


class ProducedBy(Frozen):
    """What made a record."""

    function: str
    version: str
    model: ModelRef | None = None


class Usage(Frozen):
    """What one item cost. A batch's cost is divided evenly among its items."""

    seconds: float = 0.0  # wall time
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0


class FileRef(Frozen):
    """One file of a revision, or one beside a record."""

    name: str
    key: str
    size: int
    sha256: str
    content_type: str = "application/octet-stream"


class StageNote(Frozen):
    """One stage's part in a cumulative record."""

    outcome: Literal["done", "skipped"] = "done"
    recipe: str
    attempts: int = 1
    at: datetime | None = None  # when it was committed
    usage: Usage = Usage()
    produced_by: ProducedBy
    files: tuple[FileRef, ...] | None = None  # what the function wrote beside the record
    named: bool | None = None  # whether it gave classifications; None: no, or a release that did not say
    missing: tuple[str, ...] | None = None  # stages that it reads, and went on without


class ImageRecord(Record):
    """What a per-image stage commits: cumulative, it holds what the earlier stages knew."""

    type: Literal["trapline.image"] = "trapline.image"
    stage: str
    outcome: Literal["done", "skipped"] = "done"
    job: str = ""
    source: Source
    recipe: str
    received: Received = Received()
    attempts: int = 1
    usage: Usage = Usage()
    produced_by: ProducedBy
    stages: dict[str, StageNote] = {}  # every stage so far, this one included
    missing: tuple[str, ...] | None = None  # stages that failed, and that a join went on without
    known: dict[str, Any] = {}  # what the functions returned: `image`, `detections`, …


class DeadLetter(Record):
    """A failure that will not be tried again by itself. Deleting it is a retry."""

    type: Literal["trapline.failure"] = "trapline.failure"
    stage: str
    job: str
    source: Source = Source()
    recipe: str = ""
    missing: tuple[str, ...] | None = None  # stages that failed before, and that a join went on without
    code: str
    message: str
    remedy: str = ""
    attempts: int = 1
    received: Received = Received()
    at: datetime | None = None


# -- a job


class Listed(Frozen):
    """One entry of a manifest's `sourceImages`."""

    model_config = ConfigDict(frozen=True, extra="allow")
    id: str = Field(min_length=1, max_length=512)
    url: str = Field(min_length=1, max_length=4096)
    eventId: str | None = Field(None, max_length=512)


class StageChoice(Frozen):
    """One entry of a manifest's `pipelineConfig.stages`."""

    model_config = ConfigDict(frozen=True, extra="allow")
    stage: str  # a stage's type, such as OBJECT_DETECTION
    stageImplementation: str | None = None  # a function's name
    parameters: dict[str, Any] = {}


class PipelineConfig(Frozen):
    """A manifest's wishes about the stages."""

    model_config = ConfigDict(frozen=True, extra="allow")
    stages: tuple[StageChoice, ...] = ()


class Callback(Frozen):
    """Whom to tell. The token never leaves the manifest and the request it signs."""

    model_config = ConfigDict(frozen=True, extra="allow")
    callbackUrl: str = Field(max_length=4096)
    callbackToken: str = Field("", repr=False, max_length=4096)


class Manifest(Frozen):
    """`jobs/<job>.json`: a list of images and what to do with them (the pipeline-controller's field names)."""

    model_config = ConfigDict(frozen=True, extra="allow")
    projectId: str = Field("", max_length=512)
    jobId: str = Field("", max_length=512)
    priority: int = Field(0, ge=-1000, le=1000)
    deadline: timedelta | None = Field(None, gt=timedelta(0), le=timedelta(days=3650))
    sourceImages: tuple[Listed, ...] = Field(min_length=1)
    pipelineConfig: PipelineConfig | None = None
    deployment: dict[str, Any] = {}
    callback: Callback | None = None


MANIFEST_BYTES = 64 * 2**20
MANIFEST_DEPTH = 32  # objects and lists inside each other


def read_manifest(data: bytes, where: str) -> Manifest:
    """Parse a manifest. Raises `ManifestError` with one line that names the place."""
    if len(data) > MANIFEST_BYTES:
        raise ManifestError(f"{where} has {len(data)} bytes.", remedy=f"A manifest may have {MANIFEST_BYTES}.")
    try:
        raw = json.loads(data)
        check_values(raw, MANIFEST_DEPTH)
        return Manifest.model_validate(raw)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where} is not a job manifest: {first_problem(error)}.", remedy=_MANIFEST_HINT) from None


_MANIFEST_HINT = (
    'Expected JSON like {"sourceImages": [{"id": "1", "url": "https://…/a.jpg"}]}; see docs/reference/manifest.md.'
)


class Pin(Frozen):
    """What one stage of one job is run with."""

    stage: str
    recipe: str
    function: str = ""
    version: str = ""
    model: ModelRef | None = None
    parameters: dict[str, Any] = {}
    when: dict[str, Any] | None = None
    enabled: bool = True  # False: the manifest left the stage's type out


class LastFinal(Frozen):
    """The newest final revision."""

    n: int = Field(alias="N")
    seal: str
    revision: str = ""  # the folder's name


class Summary(Record):
    """`results/<job>/summary.json`: names the newest revision and the files that belong together."""

    type: Literal["trapline.summary"] = "trapline.summary"
    job: str
    state: JobState
    final: bool  # False: provisional, the job is open
    revision: str  # the folder's name: `r3-0a1b2c3d` or `live-0a1b2c3d`
    folder: str  # the folder's key
    files: tuple[FileRef, ...] = ()
    last_final: LastFinal | None = None
    finals: tuple[LastFinal, ...] = ()  # every final revision that is kept, oldest first
    images: dict[str, int] = {}  # counts: total, done, skipped, failed, blocked, empty, pending, kept, extra
    failures: tuple[dict[str, Any], ...] = ()  # {rel, stage, code, message, remedy}, the first 1,000
    failures_by_code: dict[str, int] = {}
    not_received: tuple[str, ...] = ()  # named by `_DONE`, never came (at most 1,000)
    not_received_count: int = 0
    done_problem: str = ""  # why `_DONE` could not be understood
    ignored: tuple[dict[str, str], ...] = ()  # {rel, why}, the first 1,000
    ignored_count: int = 0
    done_answered: str = ""  # the etag of the `_DONE` that this revision answers
    pins: dict[str, Pin] = {}
    results: dict[str, Any] = {}  # what `compile` returned
    client: dict[str, Any] = {}  # the manifest's own identifiers
    at: datetime | None = None


class Receipt(Record):
    """Proof that the client was told of one revision (or that there was nobody to tell)."""

    type: Literal["trapline.receipt"] = "trapline.receipt"
    job: str
    revision: str  # `<N>-<hash8>`
    outcome: str  # `told`, `nobody`, `overtaken`
    webhook_id: str = ""
    attempts: int = 1
    detail: dict[str, Any] = {}
    at: datetime | None = None


class StageCount(Frozen):
    """One stage's line in a status."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    blocked: int = 0
    running: int = 0
    owed: int = 0
    unknown: int = 0
    total: int = 0
    text: str = ""  # such as `2/6`


class Status(Record):
    """`status/<job>.json`."""

    type: Literal["trapline.status"] = "trapline.status"
    job: str
    state: JobState
    closed: bool
    images: dict[str, int] = {}
    stages: dict[str, StageCount] = {}
    failures: dict[str, int] = {}  # by code
    failed: tuple[dict[str, Any], ...] = ()  # {rel, stage, code, message, remedy}, the first 100
    ignored: dict[str, int] = {}  # by reason
    ignored_names: tuple[str, ...] = ()  # the first 20
    expected: int | None = None  # by `_DONE` or the manifest
    not_received: tuple[str, ...] = ()  # the first 100 that have a name
    not_received_count: int = 0
    rate: float = 0.0  # images that reached the last stage, per second
    eta_seconds: float | None = None
    settles_at: datetime | None = None
    deadline_at: datetime | None = None
    revision: str = ""
    results: str = ""  # the folder's key
    told: str = ""  # what the newest receipt says
    newer_model: dict[str, str] = {}  # stage → version promoted since the job was pinned
    message: str = ""  # what a person should know, in one line
    seq: int = 0
    updated_at: datetime | None = None


class JobControl(Record):
    """`control/jobs/<job>.json`: what the engine must not forget about a job."""

    type: Literal["trapline.job"] = "trapline.job"
    job: str
    accepted_at: datetime | None = None
    pins: dict[str, Pin] = {}
    config: str = ""  # digest of what the pins were resolved from (manifest's choices)
    anew: tuple[str, ...] = ()  # stages that are to be pinned anew, while the others keep their pins
    listing: str = ""  # digest of (rel, etag) under the job's folder
    closed_listing: str = ""  # … as it was when the job closed
    quiet_seconds: float = 0.0
    answered: str = ""  # the etag of the `_DONE` last answered
    seal: str = ""  # of the last final revision
    deadline_passed: bool = False
    seq: int = 0


class Seen(Record):
    """`control/seen/<job>.json`: a cache by which a sweep knows a finished job from one listing."""

    type: Literal["trapline.seen"] = "trapline.seen"
    job: str
    listing: str  # digest of (rel, etag) and of the dead letters
    seal: str
    finished: bool = False  # every final revision has a receipt or a dead letter


class InflightTask(Frozen):
    """A task that ran, or waits for its next try, when the list was written."""

    stage: str
    job: str
    rel: str
    attempts: int
    etag: str = ""  # of the bytes that were tried: other bytes begin anew
    running: bool = False  # False: it waits for its next try
    alone: bool = False  # nothing else ran in the whole engine


class Inflight(Record):
    """`control/inflight.json`: attempts that must survive a crash."""

    type: Literal["trapline.inflight"] = "trapline.inflight"
    unclean_stops: int = 0  # in a row, before this run
    tasks: tuple[InflightTask, ...] = ()
    engine_deaths: dict[str, int] = {}  # stage + newline + rel → unclean stops charged to it


class Request(Record):
    """`control/requests/<id>.json`: what the command line asks of whatever engine runs."""

    type: Literal["trapline.request"] = "trapline.request"
    action: Literal["sweep", "retry", "reprocess"]
    job: str = ""
    rel: str = ""
    stage: str = ""  # for `reprocess`: this one and what builds on it alone


# -- tickets


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


class GatherOrder(Frozen):
    """What a `gather: job` function is asked to compile."""

    revision: str  # the folder's name
    final: bool
    roll: str  # the key of the roll: one JSON line per member, sorted by rel
    members: int
    manifest: dict[str, Any] | None = None  # without tokens
    not_received: tuple[str, ...] = ()


class NotifyOrder(Frozen):
    """Whom to tell of which revision. The token is read from the manifest by the worker, never carried."""

    revision: str  # `<N>-<hash8>`
    summary: str  # the key of the revision's own summary
    webhook_id: str
    overtaken: bool = False


class RollEntry(NamedTuple):
    """One member of a job, as a gather must find it. Light: a roll may have a hundred thousand of them."""

    rel: str
    state: MemberState
    stage: str = ""  # the stage of the deepest record, or of the dead letter
    recipe: str = ""
    etag: str = ""
    size: int = -1
    sha256: str = ""
    code: str = ""
    kept: bool = False  # the image itself is gone; its record stays
    id: str = ""  # the manifest's id
    event_id: str = ""
    letter: str = ""  # the key of its dead letter, where the store refuses the usual one
    missing: str = ""  # stages that a join went on without, comma between them
    skipped: str = ""  # earlier stages that had nothing to look at, likewise

    def line(self) -> str:
        """The entry as a line of JSON, without what is as usual."""
        said = {name: value for name, value in zip(self._fields, self, strict=True) if value != _USUAL.get(name)}
        return _compact(said) + "\n"

    @classmethod
    def read(cls, line: bytes) -> RollEntry:
        """The entry of a line. Raises `ValueError` where it is none."""
        try:
            said = json.loads(line)
        except RecursionError:
            said = None
        known = {name: said[name] for name in _KINDS if name in said} if isinstance(said, dict) else {}
        if known.get("state") not in _STATES or any(type(value) is not _KINDS[name] for name, value in known.items()):
            raise ValueError(f"no member: {line[:80]!r}")
        if "rel" not in known:
            raise ValueError(f"no member's name: {line[:80]!r}")
        return cls(**known)


_USUAL = RollEntry._field_defaults
_KINDS = {"rel": str, "state": str} | {name: type(value) for name, value in _USUAL.items()}
_STATES = get_args(MemberState)
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


Ticket.model_rebuild()


class ItemOutcome(Frozen):
    """What became of one item of a ticket."""

    rel: str
    result: Literal["done", "skipped", "failed", "gone", "changed", "refused", "late", "unknown"]
    source: Source = Source()
    code: str = ""
    message: str = ""
    remedy: str = ""
    retry: bool | None = None  # None: the stage's policy decides
    after: float | None = None  # seconds; with `unknown`: the store failed, try again then; a code: for this key alone
    stage: str = ""  # for `refused`: the stage whose record did not agree


class Outcome(Frozen):
    """What became of a ticket."""

    ticket: str
    items: tuple[ItemOutcome, ...] = ()
    died: str = ""  # the worker died: `worker_died`, `out_of_memory`, `timeout`
    setup: ItemOutcome | None = None  # the function could not be set up: no item ran
    recipe_refused: str = ""  # the worker cannot reproduce the recipe: why
    files: tuple[FileRef, ...] = ()  # of a gather
    body: dict[str, Any] = {}  # of a gather (the summary's `results`) or a notify (the receipt)
    started: float = 0.0  # seconds, the executor's clock
