"""The ledger's own data: images, jobs, tickets in flight. Decisions are in `ledger` and `closing`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from trapline.records import LastFinal, Manifest, Pin, Received, StageState, in_words

UNKNOWN, PENDING, OWED, RUNNING, DONE, SKIPPED, FAILED, BLOCKED = range(8)
NAMES: tuple[StageState, ...] = ("unknown", "pending", "owed", "running", "done", "skipped", "failed", "blocked")
PASSED = (DONE, SKIPPED)  # the next stage may run
SETTLED = (DONE, SKIPPED, FAILED, BLOCKED)  # accounted for
WORKING = (UNKNOWN, OWED, RUNNING)  # a job does not close while any image stands so

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Failed(NamedTuple):
    """Why an image failed at a stage."""

    stage: str
    code: str
    message: str
    remedy: str
    letter: str = ""  # the key of the dead letter, where the store refuses the usual one

    def told(self, rel: str) -> dict[str, str]:
        """As a status and a summary name it."""
        words = in_words(self.code)
        return {"rel": rel, **self._asdict(), "meaning": words["meaning"], "remedy": self.remedy or words["remedy"]}


class Found(NamedTuple):
    """A record or dead letter of one stage, as read from the bucket."""

    stage: str
    recipe: str
    etag: str
    size: int
    sha256: str
    outcome: str  # `done`, `skipped`; a dead letter: `failed`; written by a newer release: `newer`
    failure: Failed | None = None
    received: Received = Received()
    missing: tuple[str, ...] = ()  # stages that a join went on without
    skipped: tuple[str, ...] = ()  # earlier stages that had nothing to look at


class Image:
    """One image of a job, and where it stands at every stage."""

    __slots__ = (
        "attempts",
        "bytes_gone",
        "epoch",
        "etag",
        "failures",
        "graves",
        "received",
        "recipe",
        "rel",
        "sha256",
        "size",
        "states",
        "touched",
    )

    def __init__(self, rel: str, stages: int) -> None:
        self.rel = rel
        self.etag = ""  # the store's, of the bytes that are there now; empty: no bytes yet
        self.size = -1
        self.sha256 = ""  # of the bytes that are there now, once somebody read them
        self.states = bytearray(stages)
        self.epoch = 0  # moves when the bytes or the recipe change: older outcomes no longer count
        self.touched = 0  # the job's seq when this was last observed
        self.failures: dict[int, Failed] | None = None  # stage → why it failed
        self.attempts: dict[int, int] | None = None  # stage → tries that counted
        self.graves = 0  # bit per stage: a dead letter is known to stand in the bucket
        self.bytes_gone = False
        self.recipe = ""  # of the last stage's record that was read, which may be older than the job's pin
        self.received: Received | None = None

    def failure(self, stage: int) -> Failed | None:
        """Why a stage failed; None when it did not."""
        return self.failures.get(stage) if self.failures and self.states[stage] == FAILED else None

    def forgive(self, stage: int) -> None:
        """A stage has not failed after all, or is tried again."""
        if self.failures:
            self.failures.pop(stage, None)


@dataclass(frozen=True)
class Graph:
    """The per-image stages, parents first. `fetch` is stage 0 where the pipeline has it, -1 otherwise."""

    names: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...]
    fetch: int = -1
    last: int = -1  # the stage that `compile` reads

    def children(self, stage: int) -> list[int]:
        return [s for s, parents in enumerate(self.parents) if stage in parents]

    def below(self, stage: int) -> list[int]:
        """Every stage that builds on this one, in order."""
        found: list[int] = []
        for s, parents in enumerate(self.parents):
            if any(p == stage or p in found for p in parents):
                found.append(s)
        return found

    def above(self, stage: int) -> list[int]:
        """Every stage that this one builds on."""
        found: set[int] = set()
        todo = list(self.parents[stage])
        while todo:
            s = todo.pop()
            if s not in found:
                found.add(s)
                todo.extend(self.parents[s])
        return sorted(found)

    @cached_property
    def before_last(self) -> tuple[int, ...]:
        """Every stage that the last one builds on."""
        return tuple(self.above(self.last))

    @cached_property
    def joins(self) -> frozenset[int]:
        """The stages that build on several others, and may go on without some of them."""
        return frozenset(s for s, parents in enumerate(self.parents) if len(parents) > 1)

    def missing(self, image: Image, stage: int) -> tuple[str, ...]:
        """The failed stages that an image goes on without at a stage: its parents', and what those went on without."""
        return tuple(sorted(self.names[s] for s in self._missing(image, stage))) if self.joins else ()

    def _missing(self, image: Image, stage: int) -> set[int]:
        found: set[int] = set()
        for parent in self.parents[stage]:
            lost = image.states[parent] in (FAILED, BLOCKED)
            found |= {parent} if lost else self._missing(image, parent)
        return found


@dataclass
class DoneMark:
    """What a `_DONE` says. Neither count nor names: it only closes."""

    etag: str
    count: int | None = None
    names: dict[str, str] = field(default_factory=dict)  # rel → sha256, lower case
    problem: str = ""


class Retry(NamedTuple):
    """A task that waits for its next try."""

    at: float
    stage: int
    rel: str


@dataclass
class Held:
    """A ticket that is out."""

    job: str
    stage: int
    rels: dict[str, int]  # rel → the image's epoch when it was handed out
    since: float


@dataclass(frozen=True, slots=True)
class ReviewMark:
    """The table in which a person says what is on a job's images."""

    etag: str
    sha256: str = ""  # of the table
    problem: str = ""  # why it is not read


class Job:
    """A job: its images, queues and counts, and what is known about its results."""

    def __init__(self, name: str, stages: int, now: float) -> None:
        self.name = name
        self.images: dict[str, Image] = {}
        self.counts = [[0] * 8 for _ in range(stages)]
        self.ready: list[deque[str]] = [deque() for _ in range(stages)]
        self.retries: list[Retry] = []  # a heap
        self.suspects: deque[tuple[int, list[str]]] = deque()  # groups that may hold what kills workers
        self.to_read: dict[str, None] = {}
        self.to_hash: dict[str, None] = {}
        self.empties: set[str] = set()
        self.ignored: dict[str, str] = {}
        self.unusable: dict[str, str] = {}
        self.extra: set[str] = set()
        self.unsettled = 0  # files that may still be being written: the job is not quiet
        self.overflow = False  # images beyond the bound were seen and left for a later sweep
        self.seq = 1
        # the manifest
        self.manifest: Manifest | None = None
        self.listed: dict[str, tuple[str, str, str]] = {}  # rel → (id, eventId, url to fetch or "")
        self.problem = ""  # why the manifest cannot be used
        self.priority = 0
        # recipes
        self.pins: dict[str, Pin] = {}
        # opening and closing, in seconds of the monotonic clock
        self.last_arrival = now
        self.quiet_before = 0.0  # quiet counted before this engine started
        self.done: DoneMark | None = None
        self.review: ReviewMark | None = None
        self.as_closed = False  # nothing arrived since the last final revision
        self.missing: tuple[int, list[str]] | None = None  # (seq, what `_DONE` names and is not there)
        self.answered = ""  # etag of the `_DONE` that the last final revision answers
        self.cancelled = False
        self.paused = False  # its recipes are being settled: nothing is handed out
        self.deadline_at: float | None = None
        self.deadline_passed = False
        self.closing_since: float | None = None
        self.charted_at: float | None = None  # when the last complete look at the bucket began
        self.closed = False
        # results
        self.seal = ""  # of the last final revision
        self.finals: list[LastFinal] = []
        self.untold: list[LastFinal] = []  # final revisions without receipt or dead letter
        self.untold_people: list[LastFinal] = []  # … of those that pipeline.yaml's `notify` names
        self.told = ""
        self.dead_gather = False
        self.gathering = False
        self.compiled_seq = 0  # the seq that the newest results cover
        self.compiled_at = now
        self.passed_last = 0  # images that reached the last stage while this engine ran

    def count(self, *states: int) -> int:
        """How many (stage, image) pairs stand in one of these states."""
        return sum(row[state] for row in self.counts for state in states)

    def open_images(self, last: int) -> int:
        """How many images have not come to an end at the last stage."""
        row = self.counts[last]
        return row[UNKNOWN] + row[PENDING] + row[OWED] + row[RUNNING]

    @property
    def busy(self) -> bool:
        """Whether anything is unknown, owed or running, or still to be read."""
        return bool(self.to_hash) or self.count(*WORKING) > 0
