"""A job's live status."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from trapline.records.base import Frozen, Record
from trapline.records.states import JobState


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
    codes: dict[str, dict[str, str]] = {}  # {meaning, remedy} of each of these codes
    failed: tuple[dict[str, Any], ...] = ()  # {rel, stage, code, meaning, message, remedy}, the first 100
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
    changes: dict[str, Any] = {}  # of a final revision against the one before: `against`, added, changed, removed
    told: str = ""  # what the newest receipt says
    newer_model: dict[str, str] = {}  # stage → version promoted since the job was pinned
    message: str = ""  # what a person should know, in one line
    seq: int = 0
    updated_at: datetime | None = None
