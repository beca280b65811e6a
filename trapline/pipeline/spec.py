"""The shapes of `pipeline.yaml` and `function.yaml`. Checks that need more than one field are in `load`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
    model_validator,
)

from trapline.pipeline.notices import Addresses, Lasting, as_settings
from trapline.records import USUAL, Event

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
_HANDLER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_TRIGGER = re.compile(r"[a-z][a-z0-9_]*")
_BUCKET = re.compile(r"(?=.{3,63}$)(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](\.?[a-z0-9-])*\.?[a-z0-9]")
# Never more than a thousand years: times are added to dates.
_ISO = re.compile(r"P(?!$)(\d{1,5}D)?(T(?!$)(\d{1,6}H)?(\d{1,8}M)?(\d{1,9}(\.\d{1,6})?S)?)?")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d+)?)(Ki|Mi|Gi|k|M|G)?")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_LEAST_MEMORY = 2**20  # bytes; less is a forgotten unit
_LONGEST_PREFIX = 200  # characters


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        raise ValueError(f"{_shown(value)} is not an ISO 8601 duration; write for example PT30S, PT5M, PT2H or P1D")
    return value


def _some_time(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError(f"{value.total_seconds():g} seconds is too short; write PT1S or more")
    return value


def _memory(value: object) -> object:
    match = _SIZE.fullmatch(str(value))
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if not match:
        raise ValueError(f"{_shown(value)} is not a size; write for example 512Mi or 2Gi")
    if size < _LEAST_MEMORY:
        raise ValueError(f"{_shown(value)} is {size} bytes; write for example 512Mi or 2Gi")
    return size


def _prefix(value: object) -> object:
    text = value if isinstance(value, str) else ""
    bad = text.startswith("/") or any(part in ("", ".", "..") for part in text.split("/")[:-1])
    if bad or not text.endswith("/") or not text.isprintable() or len(text) > _LONGEST_PREFIX:
        raise ValueError(
            f"{_shown(value)} is not a prefix; write for example detections/, with no slash before it and one after"
        )
    return text


def _one(value: object) -> object:
    """A single word where a list is expected."""
    return (value,) if isinstance(value, str) else value


def _like(pattern: re.Pattern[str], what: str) -> AfterValidator:
    """Text of one shape; `what` says which, with an example."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{_shown(value)} is not {what}")
        return value

    return AfterValidator(check)


def _trigger(value: object) -> object:
    """A name, or one name with its options; no options may be written as nothing."""
    named = value if isinstance(value, dict) else {value: None}
    if len(named) == 1:
        (name, options) = next(iter(named.items()))
        if isinstance(name, str) and _TRIGGER.fullmatch(name) and isinstance(options, dict | None):
            return {name: options or {}} if isinstance(value, dict) else name
    raise ValueError(f"{_shown(value)} is not a trigger; write the name of a module in triggers/, or name: {{options}}")


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


_WORDS = "write lower-case letters, digits, hyphens and underscores, at most 63, such as"
Duration = Annotated[timedelta, BeforeValidator(_duration)]
SomeTime = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_some_time)]
Memory = Annotated[int, BeforeValidator(_memory)]
Prefix = Annotated[str, BeforeValidator(_prefix)]
Name = Annotated[str, _like(_NAME, f"a name; {_WORDS} moth-traps")]
Handler = Annotated[str, _like(_HANDLER, "a handler; write module:Class, such as functions.detect.handler:Detect")]
Folder = Annotated[
    str, _like(re.compile(r"(?!\.{1,2}$)[^/\x00]+"), "a station; write the first folder of its jobs, such as st7")
]
Suffix = Annotated[str, _like(re.compile(r"\.[^./\s]+"), "a suffix; write for example .jpg")]
Trigger = Annotated[str | dict[str, dict[str, Any]], BeforeValidator(_trigger)]
BucketName = Annotated[
    str,
    _like(
        _BUCKET,
        "a bucket's name; write 3 to 63 lower-case letters, digits, hyphens and single dots, such as moth-traps",
    ),
]


def seconds(text: str) -> float:
    """An ISO 8601 duration in seconds; raises ValueError."""
    return TypeAdapter(Duration).validate_python(_duration(text)).total_seconds()


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())


class Delivery(Strict):
    """Knative's delivery fields. Attempts = `retry` + 1; `timeout` is per item."""

    retry: int = Field(3, ge=0, le=1000)
    backoffPolicy: Literal["linear", "exponential"] = "exponential"
    backoffDelay: Duration = timedelta(seconds=1)
    backoffMax: SomeTime | None = None  # no wait between two tries is longer; None: no such limit
    timeout: SomeTime = timedelta(seconds=60)


class Resources(Strict):
    """What one worker of the function may use."""

    cpu: float = Field(1, gt=0)  # cores
    memory: Memory | None = None  # bytes; a worker above it fails its item with out_of_memory
    gpu: int = Field(0, ge=0)


class Batch(Strict):
    """How many items a ticket may hold."""

    size: int = Field(1, ge=1, le=1024)


class ModelChoice(Strict):
    """The model a function is given: `models/<name>/<version>/`; `current` is the version in force."""

    name: Name
    version: str = "current"


def _model(value: object) -> object:
    """A model's name alone stands for the version in force."""
    return {"name": value} if isinstance(value, str) else value


Tells = Literal["people", "news"]


class FunctionSpec(Strict):
    """`functions/<name>/function.yaml`."""

    page: ClassVar[str] = "function.md"  # where it is described, in docs/reference

    name: Name
    version: str = "0.0.0"
    description: str = ""
    handler: Handler
    accepts: str = "image"  # image | manifest | roll | summary | records (a join) | the record it builds on
    batch: Batch = Batch()
    delivery: Delivery = Delivery()
    resources: Resources = Resources()
    environment: Literal["shared", "own"] = "shared"  # own: a venv made from its requirements.txt
    model: ModelChoice | None = None
    parameters: dict[str, dict[str, Any]] = {}  # JSON Schema for each
    tells: Annotated[tuple[Tells, ...], BeforeValidator(_one)] = ()  # what it can, beside a client of a revision
    image: str = ""


class When(Strict):
    """Which detections a stage looks at."""

    label: Annotated[tuple[str, ...], BeforeValidator(_one)] = ()
    confidence: float = Field(0.0, ge=0, le=1)  # this or more
    below: float | None = Field(None, gt=0, le=1)  # less than this; None: no such limit

    @model_validator(mode="after")
    def _lets_some_through(self) -> When:
        if self.below is not None and self.below <= self.confidence:
            raise ValueError(f"nothing lies from {self.confidence:g} up and below {self.below:g}")
        return self


class StageSpec(Strict):
    """One entry of `stages:`."""

    function: Name
    source: Annotated[tuple[Prefix, ...], BeforeValidator(_one)] = Field(alias="from", min_length=1)
    to: Prefix
    type: str | None = None
    alternatives: tuple[Name, ...] = ()
    when: When | None = None
    gather: Literal["job"] | None = None
    parameters: dict[str, Any] = {}
    model: Annotated[ModelChoice | None, BeforeValidator(_model)] = None  # in place of the function's own
    delivery: dict[str, Any] = {}  # overrides single fields of the function's own
    executor: Literal["local"] | None = None


class Jobs(Strict):
    """How images become jobs, and when a job is finished."""

    depth: int = Field(2, ge=1, le=8)
    settle: Duration = timedelta(minutes=30)  # quiet for so long: closed without a `_DONE`
    refresh: Duration = timedelta(seconds=5)  # quiet for so long: provisional results; closed when `_DONE` is there
    tracked: int = Field(200_000, ge=100)  # images of one job held in memory at a time


class Sweeps(Strict):
    """How often what is in the bucket is looked over, whatever events say."""

    open: SomeTime = timedelta(minutes=1)  # each open job
    names: SomeTime = timedelta(minutes=5)  # new folders and manifests
    full: SomeTime = timedelta(hours=6)  # everything


class Station(Strict):
    """What is known about a station: the first folder of its jobs."""

    model_config = ConfigDict(frozen=True, extra="allow")
    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)
    timezone: str | None = None
    settle: Duration | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            ZoneInfo(value or "UTC")
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{_shown(value)} is not an IANA time zone such as Europe/Copenhagen") from None
        return value


class Images(Strict):
    """What is read as an image."""

    max_pixels: int = Field(100_000_000, ge=1)
    suffixes: tuple[Suffix, ...] | None = None  # None: every format that is read


class Results(Strict):
    """How results are kept."""

    keep: int = Field(20, ge=1)  # final revisions


class Notices(Strict):
    """Whom the operators want told, and how links are made. Never part of a pin or a recipe."""

    to: Addresses = ()  # Apprise URLs
    on: tuple[Event, ...] = USUAL
    links: Annotated[Duration, Lasting] | None = None  # presigned https links, good for so long; None: s3://


class Prefixes(Strict):
    """Where the parts lie, if not in the usual places."""

    incoming: Prefix = "incoming/"
    jobs: Prefix = "jobs/"
    results: Prefix = "results/"
    receipts: Prefix = "receipts/"
    status: Prefix = "status/"
    failed: Prefix = "failed/"
    logs: Prefix = "logs/"
    files: Prefix = "files/"
    quarantine: Prefix = "quarantine/"
    models: Prefix = "models/"
    labels: Prefix = "labels/"
    control: Prefix = "control/"


class LocalExecutor(Strict):
    """The pool of worker processes on this machine."""

    workers: int | None = Field(None, ge=1, le=512)  # None: as many as cores
    threads: int = Field(1, ge=1, le=256)  # per ONNX session


class PipelineSpec(Strict):
    """`pipeline.yaml`."""

    name: Name
    bucket: BucketName = "trapline"
    root: Prefix | None = None
    triggers: tuple[Trigger, ...] = ("folder",)
    jobs: Jobs = Jobs()
    sweeps: Sweeps = Sweeps()
    stations: dict[Folder, Station] = {}
    images: Images = Images()
    results: Results = Results()
    outputs: Annotated[tuple[str, ...] | None, BeforeValidator(_one)] = None  # these three: see `gathered`
    events: dict[str, Any] | None = None
    project: dict[str, Any] | None = None
    notify: Annotated[Notices, BeforeValidator(as_settings)] = Notices()
    prefixes: Prefixes = Prefixes()
    stages: dict[Name, StageSpec] = Field(min_length=1)
    executor: Literal["local"] = "local"
    local: LocalExecutor = LocalExecutor()
