"""What the dispatcher keeps for one open job beside the ledger's own data."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from trapline.ledger.tasks import Effect
from trapline.records import Audience, DeadLetter, JobControl, Summary


@dataclass(frozen=True)
class Rejected:
    """A manifest that was refused."""

    sha256: str  # of its bytes: written once more it is no other one
    why: str


@dataclass
class Desk:
    """One open job: what was read and written for it, and what is under way. Times are monotonic seconds."""

    rests_until: float = 0.0  # the engine itself failed over this job
    since: float | None = None  # when the job was opened
    stale: bool = False  # what is being read of it for that is no longer all
    opened: bool = False  # its control record, manifest and pins are known
    control: JobControl | None = None
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)  # while the control record is being written
    manifest_etag: str = ""
    refused: str = ""  # a recipe that no worker can reproduce, and why
    refused_why: str = ""
    told_problem: str = ""
    rejected: Rejected | None = None  # why the job has no work, where that is its manifest
    rejected_told: set[Audience] = field(default_factory=set)
    manifest_digest: str = ""
    chart_wanted: bool = True
    chart_seq: int = -1  # the ledger's seq of which the last chart shows everything; -1: of none
    listing: str = ""  # digest of what was under `incoming/` at the last chart
    whole: str = ""  # … and of the dead letters
    effects: int = 0  # dead letters being written or deleted
    refusals: dict[Effect, int] = field(default_factory=dict)  # dead letter → how often the store refused it
    undeletable: set[Effect] = field(default_factory=set)  # dead letters that the store does not let go
    summary: Summary | None = None
    review_doubted: bool = False  # its bytes are not those that were read, whatever its etag says
    copies: dict[str, tuple[str, str]] = field(default_factory=dict)  # file → (its copy's etag, sha256)
    untidy: bool = False  # copies and leftovers of the newest results are still to be seen to
    compiling: str = ""  # the ticket of the compile that runs
    gather_tries: int = 0
    times_refused: int = 0  # … in a row
    refused_n: int = 0  # a revision's number under which the store took no file
    gather_at: float = 0.0  # not before
    live_at: float = 0.0  # provisional results: not before
    notify_tries: dict[str, int] = field(default_factory=dict)
    notify_at: dict[str, float] = field(default_factory=dict)
    notify_letters: dict[str, DeadLetter] = field(default_factory=dict)  # given up, and not written yet
    fresh: bool = False  # nothing was known of the job before this engine
    news_at: float = -1e9  # when somebody was last told how far it is
    news_said: tuple[Any, ...] = ()
    status_seq: int = -1  # what the newest status covers
    status_at: float = -1e9
    status_state: tuple[Any, ...] = ()
    received_seq: int = -1
    received_at: float = -1e9
    rate_marks: list[tuple[float, int]] = field(default_factory=list)  # (time, images through the last stage)
    sealed_seq: int = -1  # the seq whose seal was compared last
    finished_at: float | None = None
    newer_model: dict[str, str] = field(default_factory=dict)
    quarantined: set[str] = field(default_factory=set)  # keys noted as unusable
    again: dict[str, float] = field(default_factory=dict)  # what failed for a passing reason → not before
    failures: dict[str, int] = field(default_factory=dict)  # … and how often in a row

    def tell_again(self) -> None:
        """Who was not told may be told anew, from the first try."""
        self.notify_tries.clear()
        self.notify_at.clear()
        self.notify_letters.clear()
        self.rejected_told.clear()

    def reopen(self) -> None:
        """Read the control record, manifest and pins (again), whatever is being read of them now."""
        self.opened, self.stale = False, True
