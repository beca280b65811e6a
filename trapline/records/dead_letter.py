"""What is kept of a failure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from trapline.records.base import Record
from trapline.records.image import Received, Source


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
