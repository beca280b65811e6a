"""A compile from what changed makes the bytes of a whole one, and reads only what it must."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.compile.handler import LINES, Compile
from trapline.errors import StoreDenied
from trapline.keys import Layout
from trapline.pipeline.load import load_pipeline
from trapline.records import (
    DeadLetter,
    FileRef,
    GatherOrder,
    ImageRecord,
    Item,
    Outcome,
    Pin,
    Previous,
    ProducedBy,
    RollEntry,
    Source,
    StageNote,
    Ticket,
)
from trapline.runtime.jobs import MEMBERS, JobStages, roll_lines
from trapline.store.base import Got
from trapline.store.memory import MemoryStore

JOB = "st7/2026-11-20"
LAYOUT = load_pipeline(Path(__file__).parents[2]).layout
PIN = Pin(stage="compile", recipe="p", function="compile", version="1", parameters={"outputs": ["csv"]})


class Store(MemoryStore):
    """A store that counts the records that are read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.refused = ""

    def get(self, key: str) -> Got:
        self.read.append(key)
        if self.refused and self.refused in key:
            raise StoreDenied(f"{key} is refused.", remedy="None.")
        return super().get(key)

    @property
    def records(self) -> int:
        return sum(key.startswith(("classifications/", "failed/")) for key in self.read)


@dataclass(frozen=True)
class Image:
    """A member as a test wants it."""

    state: str = "done"
    data: int = 0  # which bytes
    recipe: str = "r"
    known: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    kept: bool = False
    id: str = ""
    code: str = "image_truncated"


@dataclass
class Job:
    """A job's records in a store, and compiles of it."""

    store: Store = field(default_factory=Store)
    layout: Layout = LAYOUT

    def put(self, images: dict[str, Image]) -> list[RollEntry]:
        """Write what is stored of the images; their roll."""
        return [self._put(f"{JOB}/{name}", image) for name, image in sorted(images.items())]

    def _put(self, rel: str, image: Image) -> RollEntry:
        sha = hashlib.sha256(f"{rel} {image.data}".encode("utf-8", "surrogatepass")).hexdigest()
        source = Source(key=f"incoming/{rel}", etag="e", size=10 + image.data, sha256=sha)
        if image.state == "pending":
            return RollEntry(rel, "pending", id=image.id)
        if image.state == "failed":
            letter = DeadLetter(stage="detect", job=JOB, source=source, code=image.code, message="cut", remedy="again")
            self.store.put(self.layout.dead_letter("detect", rel), letter.dump())
            return RollEntry(rel, "failed", "detect", size=source.size, sha256=sha, code=image.code, id=image.id)
        made = ProducedBy(function="classify", version="1")
        note = StageNote(recipe=image.recipe, produced_by=made)
        record = ImageRecord(
            stage="classify",
            job=JOB,
            source=source,
            recipe=image.recipe,
            produced_by=made,
            stages={"detect": note, "classify": note},
            missing=image.missing or None,
            known=image.known,
        )
        data = json.dumps(record.model_dump(by_alias=True, exclude_none=True))  # half a surrogate pair stays one
        self.store.put(self.layout.record("classify", rel), data.encode())
        return RollEntry(
            rel,
            image.state,  # type: ignore[arg-type]
            "classify",
            image.recipe,
            size=source.size,
            sha256=sha,
            kept=image.kept,
            id=image.id,
            missing=",".join(image.missing),
        )

    def review(self, table: str) -> dict[str, str]:
        """Write a person's table; what an order says of it."""
        if not table:
            return {}
        self.store.put("labels/table.csv", table.encode())
        return {"review": "labels/table.csv", "review_sha256": hashlib.sha256(table.encode()).hexdigest()}

    def compile(
        self, roll: list[RollEntry], revision: str, previous: Previous | None = None, **order: Any
    ) -> tuple[dict[str, bytes], Previous, Outcome]:
        """Compile a roll: the files, the revision for the next one, the outcome."""
        station, finals = order.pop("station", {}), order.pop("finals", ())
        lines, key = roll_lines(roll), self.layout.result(JOB, f"{revision}/{MEMBERS}")
        self.store.put(key, lines)
        gather = GatherOrder(
            revision=revision, final=True, roll=key, members=len(roll), previous=previous, finals=finals, **order
        )
        ticket = Ticket(
            id="g1", stage="compile", job=JOB, pin=PIN, items=(Item(rel=JOB),), limit_seconds=60.0, station=station
        )
        stages = JobStages(self.store, self.layout, "traps", lambda name: self.store, time.monotonic)
        self.store.read.clear()
        outcome = stages.gather(ticket, gather, Compile())
        members = FileRef(name=MEMBERS, key=key, size=len(lines), sha256=hashlib.sha256(lines).hexdigest())
        files = {file.name: MemoryStore.get(self.store, file.key).data for file in outcome.files}
        return files, Previous(members=members, files=outcome.files), outcome


MOTH = {
    "image": {"width": 40, "height": 30, "captured_at": "2026-11-20T22:00:00+01:00"},
    "detections": [{"id": "d1", "box": [1.5, 2, 30, 20.25], "label": "insect", "confidence": 0.8}],
}

words = st.text(max_size=6) | st.sampled_from(["\ud800", "\u2028", "=1+1", "1e400"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
facts = st.just(MOTH) | st.dictionaries(
    st.sampled_from(["image", "detections", "more", "z"]) | words, values, max_size=3
)
images = st.builds(
    Image,
    state=st.sampled_from(["done", "done", "skipped", "failed", "pending"]),
    data=st.integers(0, 1),
    recipe=st.sampled_from(["r", "s"]),
    missing=st.sampled_from([(), ("second",)]),
    kept=st.booleans(),
    id=st.sampled_from(["", "NScx"]),
    code=st.sampled_from(["image_truncated", "timeout"]),
)
HEAD = "file,detection_id,label\n"
reviews = st.sampled_from(["", f"{HEAD}a.jpg,d1,moth\n", f"{HEAD}a.jpg,d1,beetle\nb.jpg,,moth\nz.jpg,,moth\n"])
# What a record says follows from its image and recipe.
said = st.fixed_dictionaries({(data, recipe): facts for data in (0, 1) for recipe in ("r", "s")})
nights = st.dictionaries(st.sampled_from(["a.jpg", "b.jpg", "ü/ c.jpg", "d.jpg", "e\u2028.jpg"]), images, max_size=5)


def _known(night: dict[str, Image], said: dict[Any, dict[str, Any]]) -> dict[str, Image]:
    return {name: Image(**{**vars(image), "known": said[image.data, image.recipe]}) for name, image in night.items()}


@settings(deadline=None, max_examples=60)
@given(nights, nights, said, st.booleans(), st.tuples(reviews, reviews))
def test_the_bytes_are_those_of_a_whole_compile(
    before: dict[str, Image],
    now: dict[str, Image],
    said: dict[Any, dict[str, Any]],
    moved: bool,
    reviewed: tuple[str, str],
) -> None:
    job = Job()
    first_how: dict[str, Any] = {"station": {"latitude": 1.5, "z": ["a"]}, **job.review(reviewed[0])}
    _, first, _ = job.compile(job.put(_known(before, said)), "live-00000001", **first_how)
    roll = job.put(_known(now, said))
    how: dict[str, Any] = {"station": {"latitude": 2 if moved else 1.5}}
    how["manifest"] = {"deployment": {"locationName": "Amager"}} if moved else None
    how |= job.review(reviewed[1])
    part, _, one = job.compile(roll, "r2-00000002", first, **how)
    whole, _, other = job.compile(roll, "r2-00000002", **how)
    assert part == whole
    assert (one.body, one.items) == (other.body, other.items)


def night(count: int = 20) -> dict[str, Image]:
    return {f"{n:03}.jpg": Image(known=MOTH) for n in range(count)}


def test_a_late_image_costs_one_record() -> None:
    job = Job()
    _, first, _ = job.compile(job.put(night(20)), "r1-00000001")
    assert job.store.records == 20
    files, second, _ = job.compile(job.put(night(21)), "r2-00000002", first)
    assert job.store.records == 1
    assert {json.loads(line)["revision"] for line in files[LINES].splitlines()} == {"r2-00000002"}
    job.compile(job.put({**night(21), "000.jpg": Image(data=1, known=MOTH)}), "r3-00000003", second)
    assert job.store.records == 1, "a revision that was made from what changed serves the next"


def test_failures_are_read_every_time() -> None:
    job, bad = Job(), {"x.jpg": Image(state="failed")}
    _, first, _ = job.compile(job.put(night(5) | bad), "r1-00000001")
    files, *_ = job.compile(job.put(night(5) | bad), "r2-00000002", first)
    assert job.store.records == 1
    assert json.loads(files[LINES].splitlines()[-1])["failure"]["code"] == "image_truncated"


def _other_hash(job: Job, first: Previous) -> Previous:
    return first.model_copy(update={"files": tuple(f.model_copy(update={"sha256": "0" * 64}) for f in first.files)})


def _other_roll(job: Job, first: Previous) -> Previous:
    return first.model_copy(update={"members": first.members.model_copy(update={"sha256": "0" * 64})})


def _deleted(job: Job, first: Previous) -> Previous:
    job.store.delete(next(file.key for file in first.files if file.name == LINES))
    return first


def _overwritten(job: Job, first: Previous) -> Previous:
    key = next(file.key for file in first.files if file.name == LINES)
    job.store.put(key, MemoryStore.get(job.store, key).data.replace(b"insect", b"badger"))
    return first


def _refused(job: Job, first: Previous) -> Previous:
    job.store.refused = "r1-00000001"
    return first


def _unnamed(job: Job, first: Previous) -> Previous:
    return first.model_copy(update={"files": ()})


@pytest.mark.parametrize("doubt", [_other_hash, _other_roll, _deleted, _overwritten, _refused, _unnamed])
def test_whatever_is_doubtful_everything_is_read(doubt: Callable[[Job, Previous], Previous]) -> None:
    job = Job()
    before, first, _ = job.compile(job.put(night()), "r1-00000001")
    files, *_ = job.compile(job.put(night()), "r2-00000002", doubt(job, first))
    assert job.store.records == 20
    assert files[LINES] == before[LINES].replace(b"r1-00000001", b"r2-00000002")


def test_changes_are_told_against_the_newest_revision_whose_roll_can_be_read() -> None:
    job = Job()
    job.compile(job.put(night(3)), "r1-00000001")
    job.compile(job.put(night(4)), "r2-00000002")
    job.store.put(job.layout.result(JOB, f"r2-00000002/{MEMBERS}"), b'{"rel": "torn')
    finals = ("r3-00000003", "r2-00000002", "r1-00000001")
    *_, outcome = job.compile(job.put(night(5)), "r4-00000004", finals=finals)
    assert outcome.changes is not None and outcome.changes.model_dump() == {
        "against": "r1-00000001",
        "added": 2,
        "changed": 0,
        "removed": 0,
        "names": {"added": (f"{JOB}/003.jpg", f"{JOB}/004.jpg")},
    }


def test_a_first_revision_has_nothing_to_be_compared_with() -> None:
    job = Job()
    *_, outcome = job.compile(job.put(night(3)), "r1-00000001")
    assert outcome.changes is None
