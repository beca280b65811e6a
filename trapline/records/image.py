"""The record that a per-image stage commits, and its parts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from trapline.records.base import Frozen, Record


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
