"""The shapes of `pipeline.yaml` and `function.yaml`. Checks that need more than one field are in `load`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, field_validator

_NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_ISO = re.compile(r"^P(?!$)(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)(Ki|Mi|Gi|k|M|G)?$")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _ISO.match(value):
        raise ValueError(f"{value!r} is not an ISO 8601 duration; write for example PT30S, PT5M, PT2H or P1D")
    return value


def _byte_size(value: object) -> object:
    match = _SIZE.match(str(value))
    if not match:
        raise ValueError(f"{value!r} is not a size; write for example 512Mi or 2Gi")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def _prefix(value: object) -> object:
    text = str(value)
    if not text.endswith("/") or text.startswith("/") or "//" in text or any(p in (".", "..") for p in text.split("/")):
        raise ValueError(f"{text!r} is not a prefix; write for example detections/ (no leading slash, one at the end)")
    return text


Duration = Annotated[timedelta, BeforeValidator(_duration)]
ByteSize = Annotated[int, BeforeValidator(_byte_size)]
Prefix = Annotated[str, BeforeValidator(_prefix)]


def seconds(text: str) -> float:
    """An ISO 8601 duration in seconds; raises ValueError."""
    return TypeAdapter(Duration).validate_python(text).total_seconds()


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())


class Delivery(Strict):
    """Knative's delivery fields. Attempts = `retry` + 1; `timeout` is per item."""

    retry: int = Field(3, ge=0, le=1000)
    backoffPolicy: Literal["linear", "exponential"] = "exponential"
    backoffDelay: Duration = timedelta(seconds=1)
    timeout: Duration = timedelta(seconds=60)


class Resources(Strict):
    """What one worker of the function may use."""

    cpu: float = Field(1, gt=0)  # cores
    memory: ByteSize | None = None  # bytes; a worker above it fails its item with out_of_memory
    gpu: int = Field(0, ge=0)


class Batch(Strict):
    """How many items a ticket may hold."""

    size: int = Field(1, ge=1, le=1024)


class ModelChoice(Strict):
    """The model a function is given: `models/<name>/<version>/`; `current` is the version in force."""

    name: str = Field(pattern=_NAME)
    version: str = "current"


class FunctionSpec(Strict):
    """`functions/<name>/function.yaml`."""

    name: str = Field(pattern=_NAME)
    version: str = "0.0.0"
    description: str = ""
    handler: str = Field(pattern=r"^[\w.]+:\w+$")  # module:Class
    accepts: str = "image"  # image | manifest | roll | summary | the record it builds on
    batch: Batch = Batch()
    delivery: Delivery = Delivery()
    resources: Resources = Resources()
    model: ModelChoice | None = None
    parameters: dict[str, dict[str, Any]] = {}  # JSON Schema for each
    image: str = ""


class When(Strict):
    """Which detections a stage looks at."""

    label: tuple[str, ...] = ()
    confidence: float = Field(0.0, ge=0, le=1)

    @field_validator("label", mode="before")
    @classmethod
    def _one_label(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class StageSpec(Strict):
    """One entry of `stages:`."""

    function: str
    source: tuple[Prefix, ...] = Field(alias="from", min_length=1)
    to: Prefix
    type: str | None = None
    alternatives: tuple[str, ...] = ()
    when: When | None = None
    gather: Literal["job"] | None = None
    parameters: dict[str, Any] = {}
    delivery: dict[str, Any] = {}  # overrides single fields of the function's own
    executor: Literal["local"] | None = None

    @field_validator("source", mode="before")
    @classmethod
    def _one_prefix(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Jobs(Strict):
    """How images become jobs, and when a job is finished."""

    depth: int = Field(2, ge=1, le=8)
    settle: Duration = timedelta(minutes=30)  # quiet for so long: closed without a `_DONE`
    refresh: Duration = timedelta(seconds=5)  # quiet for so long: provisional results; closed when `_DONE` is there
    tracked: int = Field(200_000, ge=100)  # images of one job held in memory at a time


class Sweeps(Strict):
    """How often what is in the bucket is looked over, whatever events say."""

    open: Duration = timedelta(minutes=1)  # each open job
    names: Duration = timedelta(minutes=5)  # new folders and manifests
    full: Duration = timedelta(hours=6)  # everything


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
            raise ValueError(f"{value!r} is not an IANA time zone such as Europe/Copenhagen") from None
        return value


class Images(Strict):
    """What is read as an image."""

    max_pixels: int = Field(100_000_000, ge=1)
    suffixes: tuple[str, ...] | None = None  # None: every format that is read


class Results(Strict):
    """How results are kept."""

    keep: int = Field(20, ge=1)  # final revisions


class Prefixes(Strict):
    """Where the parts lie, if not in the usual places."""

    incoming: Prefix = "incoming/"
    jobs: Prefix = "jobs/"
    results: Prefix = "results/"
    receipts: Prefix = "receipts/"
    status: Prefix = "status/"
    failed: Prefix = "failed/"
    logs: Prefix = "logs/"
    quarantine: Prefix = "quarantine/"
    models: Prefix = "models/"
    control: Prefix = "control/"


class LocalExecutor(Strict):
    """The pool of worker processes on this machine."""

    workers: int | None = Field(None, ge=1, le=512)  # None: as many as cores
    threads: int = Field(1, ge=1, le=256)  # per ONNX session


class PipelineSpec(Strict):
    """`pipeline.yaml`."""

    name: str = Field(pattern=_NAME)
    bucket: str = Field("trapline", min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$")
    root: Prefix | None = None
    triggers: tuple[str | dict[str, dict[str, Any]], ...] = ("folder",)
    jobs: Jobs = Jobs()
    sweeps: Sweeps = Sweeps()
    stations: dict[str, Station] = {}
    images: Images = Images()
    results: Results = Results()
    prefixes: Prefixes = Prefixes()
    stages: dict[str, StageSpec] = Field(min_length=1)
    executor: Literal["local"] = "local"
    local: LocalExecutor = LocalExecutor()
