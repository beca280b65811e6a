"""What is under `control/`: the engine's memory of jobs and attempts, and what the command line asks."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from trapline.records.base import Frozen, Record
from trapline.records.pin import Pin


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
    reached: dict[str, tuple[str, ...]] = {}  # `<N>-<hash8>.people` → marks of the addresses told, while others are not
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
