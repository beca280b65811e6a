"""What becomes known about the bucket: arrivals, whole looks at a job (charts), records that were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trapline.ledger import marks
from trapline.ledger.states import (
    BLOCKED,
    FAILED,
    PASSED,
    PENDING,
    RUNNING,
    UNKNOWN,
    DoneMark,
    Found,
    Graph,
    Image,
    Job,
    ReviewMark,
)
from trapline.records import Manifest, Received, RollEntry


@dataclass
class Chart:
    """One whole look at a job in the bucket: what stood there at some moment after it began."""

    begun: float  # monotonic seconds
    begun_seq: int  # the job's seq when the look began: what changed since then, the ledger knows better
    images: dict[str, tuple[str, int]] = field(default_factory=dict)  # rel → (etag, size)
    records: dict[str, set[str]] = field(default_factory=dict)  # stage → rels
    dead: dict[str, set[str]] = field(default_factory=dict)  # stage → rels
    done: DoneMark | None = None
    review: ReviewMark | None = None
    cancelled: bool = False
    ignored: dict[str, str] = field(default_factory=dict)  # rel → why
    unusable: dict[str, str] = field(default_factory=dict)  # key → why
    unsettled: int = 0  # files that may still be being written
    prior: dict[str, RollEntry] = field(default_factory=dict)  # the last final revision's members


def arrived(
    graph: Graph, job: Job, rel: str, etag: str, size: int, received: Received, now: float, tracked: int
) -> None:
    """An image stands under `incoming/` with this etag. Repeated news changes nothing."""
    image = job.images.get(rel)
    if image is not None and image.etag == etag:
        return
    if job.manifest is not None and rel not in job.listed:
        job.extra.add(rel)
        return
    if job.deadline_passed and image is not None and image.states[graph.last] not in (UNKNOWN, PENDING):
        return  # what comes after the deadline does not reopen the job
    if image is None and job.open_images(graph.last) >= tracked:
        job.overflow = True
        return
    _stir(job, now)
    if image is not None and _may_be_same(image, size):
        _look_closer(graph, job, image, etag)
        return
    # A listed image may have been worked on before it was listed: its records are read.
    fresh = (image is None or not (image.etag or image.bytes_gone)) and rel not in job.listed
    image = image or marks.add(job, rel, len(graph.names))
    marks.new_bytes(graph, job, image, etag, size)
    image.received = received
    if job.charted_at is not None:
        if fresh and not image.graves:
            marks.settle_unknown(graph, job, image)
        else:
            job.to_read[rel] = None


def _stir(job: Job, now: float) -> None:
    """Something arrived: the job is not quiet, and not closed."""
    job.last_arrival, job.quiet_before, job.as_closed = now, 0.0, False
    job.closing_since = None
    if job.deadline_passed:
        return
    job.closed = False


def _may_be_same(image: Image, size: int) -> bool:
    """An etag changed while the size did not, and the old bytes are known: hash before believing in new bytes."""
    return bool(image.sha256) and image.size == size and size > 0


def _look_closer(graph: Graph, job: Job, image: Image, etag: str) -> None:
    image.etag = etag
    image.bytes_gone = False
    job.to_hash[image.rel] = None
    job.seq += 1
    image.touched = job.seq


def hashed(graph: Graph, job: Job, rel: str, etag: str, size: int, sha256: str) -> None:
    """The bytes now under a key were hashed: are they those that the records are about?"""
    image = job.images.get(rel)
    job.to_hash.pop(rel, None)
    if image is None:
        return
    if image.sha256 and image.sha256 != sha256:
        marks.new_bytes(graph, job, image, etag, size, sha256)
        job.to_read[rel] = None
        return
    image.etag, image.size, image.sha256 = etag, size, sha256
    job.seq += 1
    if UNKNOWN in image.states:
        job.to_read[rel] = None


def removed(graph: Graph, job: Job, rel: str) -> None:
    """An image's bytes are gone from `incoming/`; what was made of them is kept."""
    image = job.images.get(rel)
    job.ignored.pop(rel, None)
    job.extra.discard(rel)
    if image is None or image.bytes_gone:
        return
    job.seq += 1
    if image.states[graph.last] in PASSED:
        image.bytes_gone, image.etag = True, ""
    elif image.states[graph.last] in (FAILED, BLOCKED):
        image.bytes_gone, image.etag = True, ""  # a record of earlier bytes may stand: then that is what is kept
        marks.doubt(job, image, [s for s in range(len(graph.names)) if s != graph.fetch])
    elif rel in job.listed:  # it stays a member: fetched again, or told as missing
        image.etag, image.size, image.sha256 = "", -1, ""
        marks.doubt(job, image, range(len(graph.names)))
    else:
        marks.drop(job, image)


def chart(graph: Graph, job: Job, seen: Chart, received: Received, tracked: int) -> None:
    """Take in a whole look at a job."""
    first = job.charted_at is None
    if (job.ignored.keys(), job.unusable.keys()) != (seen.ignored.keys(), seen.unusable.keys()):
        job.missing = None  # `_DONE` may name them
        job.seq += 1
    job.ignored, job.unusable = seen.ignored, seen.unusable
    job.overflow = False
    _marks(job, seen)
    for rel, (etag, size) in seen.images.items():
        image = job.images.get(rel)
        if image is None or (image.etag != etag and image.touched <= seen.begun_seq):
            arrived(graph, job, rel, etag, size, received, seen.begun, tracked)
            if image is None and not first:
                _with_records(graph, job, rel, seen)
    recorded = seen.records.get(graph.names[graph.last], set())
    lasting = [rels for stage, rels in seen.dead.items() if graph.names.index(stage) != graph.fetch]
    for rel in sorted(recorded.union(*lasting) - seen.images.keys()):
        if (listed := job.images.get(rel)) is None:
            _kept(graph, job, rel, tracked)
        elif first and rel in recorded and not listed.etag:
            listed.bytes_gone = True
    for image in list(job.images.values()):
        if first or image.touched <= seen.begun_seq:
            _compare(graph, job, image, seen, first)
    job.unsettled = seen.unsettled
    job.charted_at = seen.begun
    job.seq += 1 if first else 0


def _with_records(graph: Graph, job: Job, rel: str, seen: Chart) -> None:
    """An image that appears together with records of it (a restored bucket) is read before it is run."""
    image = job.images.get(rel)
    if image is None:
        return
    if any(rel in rels for rels in (*seen.records.values(), *seen.dead.values())):
        job.empties.discard(rel)
        marks.doubt(job, image, [s for s in range(len(graph.names)) if s != graph.fetch])


def _marks(job: Job, seen: Chart) -> None:
    if (seen.done and seen.done.etag) != (job.done and job.done.etag):
        job.done, job.missing = seen.done, None
        job.seq += 1
    if seen.review != job.review:
        job.review = seen.review
        job.closed, job.closing_since = False, None
        job.seq += 1
    if seen.cancelled != job.cancelled:
        job.cancelled = seen.cancelled
        job.seq += 1


def _kept(graph: Graph, job: Job, rel: str, tracked: int) -> None:
    """A last-stage record or a dead letter whose image is gone (retention): still a member."""
    if job.manifest is not None and rel not in job.listed:
        return
    if job.open_images(graph.last) >= tracked:  # it is unknown until it is read
        job.overflow = True
        return
    image = marks.add(job, rel, len(graph.names))
    image.bytes_gone = True
    image.touched = 0


def _compare(graph: Graph, job: Job, image: Image, seen: Chart, first: bool) -> None:
    """One image against what the listings say of it."""
    rel = image.rel
    if rel not in seen.images and image.etag and not first:
        removed(graph, job, rel)
        return
    recorded = [s for s, name in enumerate(graph.names) if rel in seen.records.get(name, ())]
    dead = [s for s, name in enumerate(graph.names) if rel in seen.dead.get(name, ())]
    image.graves = sum(1 << s for s in dead)
    if UNKNOWN in image.states:
        if first and not recorded and not dead:
            _nothing_found(graph, job, image)
        elif not _as_before(graph, job, image, seen.prior.get(rel)):
            job.to_read[rel] = None
        return
    if any(image.states[s] in PASSED for s in dead):
        job.to_read[rel] = None  # a dead letter outlived its stage's success
    lost = [s for s in range(len(graph.names)) if _lost(graph, image, s, recorded, dead)]
    if lost and image.states[lost[0]] == FAILED:
        exhumed(graph, job, lost[0], rel)  # whoever deleted it wants it tried again, though nobody told of it
    elif lost:
        marks.doubt(job, image, [lost[0], *graph.below(lost[0])])


def _nothing_found(graph: Graph, job: Job, image: Image) -> None:
    if image.bytes_gone:
        marks.drop(job, image)
    else:
        marks.settle_unknown(graph, job, image)


def _lost(graph: Graph, image: Image, stage: int, recorded: list[int], dead: list[int]) -> bool:
    """The ledger believes in a record or dead letter that the listing does not show."""
    state = image.states[stage]
    if state == FAILED:
        failure = image.failure(stage)
        return stage not in dead and not (failure and failure.letter)
    if stage == graph.fetch:
        return False  # it leaves no record: the image itself is what it made
    deepest = not any(image.states[below] in PASSED for below in graph.below(stage))
    return state in PASSED and deepest and stage not in recorded


def _as_before(graph: Graph, job: Job, image: Image, entry: RollEntry | None) -> bool:
    """Whether the last revision's member list settles the image without reading anything."""
    if entry is None or image.graves or entry.state not in ("done", "skipped") or not entry.sha256:
        return False
    if entry.missing or len(graph.before_last) + 1 < len(graph.names):
        return False  # it says nothing of the other stages
    pin = job.pins.get(entry.stage)
    if pin is None or pin.recipe != entry.recipe or entry.etag != image.etag or entry.stage != graph.names[graph.last]:
        return False
    said = (entry.stage, entry.recipe, entry.etag, entry.size, entry.sha256, entry.state)
    skipped = tuple(entry.skipped.split(",")) if entry.skipped else ()
    marks.believe(graph, job, image, graph.last, Found(*said, skipped=skipped))
    return True


def read(graph: Graph, job: Job, rel: str, epoch: int, found: list[Found]) -> bool:
    """Records and dead letters of one image were read, deepest first. False: a dead letter is to be removed."""
    image = job.images.get(rel)
    if image is None or image.epoch != epoch:
        return True
    doubtful = [f for f in found if _needs_hash(image, f)]
    if doubtful and not any(_fresh(job, image, f) for f in found if f.outcome != "failed"):
        image.sha256 = doubtful[0].sha256
        job.to_hash[rel] = None
        return True
    dead = {f.stage: f for f in found if f.outcome == "failed"}
    for f in found:
        stage, letter = graph.names.index(f.stage), dead.get(f.stage)
        if image.states[stage] in PASSED or f.outcome == "failed":
            continue
        if image.states[stage] == FAILED and (letter is None or _cut_off(graph, job, image, stage, letter)):
            continue  # its dead letter was written after this was read, or holds all the same
        if f.outcome == "newer":
            marks.put(job, image, stage, RUNNING)  # until its dead letter is found or written
        elif not f.missing and _fresh(job, image, f):
            marks.believe(graph, job, image, stage, f)
    return _dead_letters(graph, job, image, found)


def _dead_letters(graph: Graph, job: Job, image: Image, found: list[Found]) -> bool:
    clean = True
    for f in sorted((f for f in found if f.outcome == "failed"), key=lambda f: graph.names.index(f.stage)):
        stage = graph.names.index(f.stage)
        image.graves |= 1 << stage
        if image.states[stage] in PASSED and not _cut_off(graph, job, image, stage, f):
            clean = False
        elif (
            f.failure
            and (image.states[stage] in PASSED or (_fresh(job, image, f) and _same_inputs(graph, image, stage, f)))
            and image.states[stage] not in (FAILED, BLOCKED)
        ):
            marks.failed_as_found(graph, job, image, stage, f)
    clean = _joined(graph, job, image, found) and clean
    present = {graph.names.index(f.stage) for f in found if f.outcome == "failed"}
    for stage in range(len(graph.names)):
        if image.graves & 1 << stage and stage not in present:  # it was deleted: that is a retry from the first try
            image.graves &= ~(1 << stage)
            if image.attempts:
                image.attempts.pop(stage, None)
    _nothing_more(graph, job, image)
    return clean


def _joined(graph: Graph, job: Job, image: Image, found: list[Found]) -> bool:
    """Records of joins that went on without something hold only while that is missing still.

    False: such a record stands beside a dead letter, which is to be removed.
    """
    clean, letters = True, {f.stage: f for f in found if f.outcome == "failed"}
    for f in found:
        stage, letter = graph.names.index(f.stage), letters.get(f.stage)
        waits = f.missing and f.outcome != "failed" and image.states[stage] not in PASSED
        cut_off = letter is not None and _cut_off(graph, job, image, stage, letter)
        if waits and not cut_off and _fresh(job, image, f) and _same_inputs(graph, image, stage, f):
            marks.believe(graph, job, image, stage, f)
            clean = clean and letter is None
    return clean


def _same_inputs(graph: Graph, image: Image, stage: int, found: Found) -> bool:
    """Whether what a join had before it is what it would have now."""
    if not graph.joins or image.bytes_gone:
        return True
    lost = {graph.names[s] for s in graph.above(stage) if image.states[s] in (FAILED, BLOCKED)}
    return lost.issuperset(found.missing) and set(graph.missing(image, stage)).issubset(found.missing)


def _cut_off(graph: Graph, job: Job, image: Image, stage: int, found: Found) -> bool:
    """The deadline passed before anybody knew that the stage had passed after all: it stays so."""
    code = found.failure.code if found.failure else ""
    return (
        job.deadline_passed
        and code == "deadline_passed"
        and found.recipe == job.pins[found.stage].recipe
        and not any(image.states[below] in PASSED for below in graph.below(stage))
    )


def _nothing_more(graph: Graph, job: Job, image: Image) -> None:
    if image.bytes_gone and image.states[graph.last] == UNKNOWN:
        if FAILED not in image.states and image.rel in job.listed:
            image.bytes_gone = False  # nothing is kept of it: fetched again, or told as missing
            marks.settle_unknown(graph, job, image)
            return
        if FAILED not in image.states:
            marks.drop(job, image)
            return
        for stage in [s for s, state in enumerate(image.states) if state == UNKNOWN]:
            marks.put(job, image, stage, BLOCKED)  # it failed elsewhere, and what is gone cannot be tried again
    else:
        marks.settle_unknown(graph, job, image)


def _fresh(job: Job, image: Image, found: Found) -> bool:
    """Whether a record or dead letter is about these bytes and this recipe. Time never decides."""
    pin = job.pins.get(found.stage)
    if image.bytes_gone:
        return True
    if pin is None or found.recipe != pin.recipe:
        return False
    if found.failure and found.failure.code == "deadline_passed" and not job.deadline_passed:
        return False  # the deadline was moved
    if not image.etag:
        return found.outcome == "failed"  # `fetch` failed: there are no bytes to compare
    return found.etag == image.etag or bool(image.sha256 and found.sha256 == image.sha256)


def _needs_hash(image: Image, found: Found) -> bool:
    same_bytes_possible = found.size == image.size and found.size > 0 and bool(found.sha256)
    return bool(image.etag) and found.etag != image.etag and same_bytes_possible and not image.sha256


def listed(graph: Graph, job: Job, manifest: Manifest, targets: Mapping[str, tuple[str, str, str]], now: float) -> None:
    """A manifest was accepted: the job is its list. `targets`: rel → (id, eventId, url to fetch or "")."""
    job.manifest, job.listed = manifest, dict(targets)
    job.priority = manifest.priority
    for rel in [rel for rel in job.images if rel not in targets]:
        if job.images[rel].etag:
            job.extra.add(rel)
        marks.drop(job, job.images[rel])
    job.extra -= targets.keys()
    for rel in targets:
        if rel not in job.images:
            image = marks.add(job, rel, len(graph.names))
            job.to_read[rel] = None
            image.touched = 0
    _stir(job, now)
    job.closed, job.closing_since = False, None
    job.seq += 1


def pinned(graph: Graph, job: Job, pins: Mapping[str, object]) -> None:
    """The job's recipes changed: every image is read anew under them."""
    for image in job.images.values():
        image.attempts, image.failures = None, None
        first = 1 if graph.fetch == 0 and image.etag and image.states[0] in PASSED else 0
        marks.doubt(job, image, range(first, len(graph.names)))
    job.closing_since, job.closed = None, False
    job.seq += 1


def exhumed(graph: Graph, job: Job, stage: int, rel: str) -> None:
    """A dead letter was deleted: the stage is read again, and runs if nothing stands there."""
    image = job.images.get(rel)
    if image is None or image.states[stage] not in (FAILED,):
        return
    image.graves &= ~(1 << stage)
    image.forgive(stage)
    image.attempts = None
    job.closing_since, job.closed = None, False
    marks.doubt(job, image, [stage, *graph.below(stage)])


def cancelled_work(graph: Graph, job: Job) -> None:
    """Nothing of a cancelled job runs: what is running will be read when it goes on."""
    for image in job.images.values():
        for stage in range(len(graph.names)):
            if image.states[stage] == RUNNING:
                marks.doubt(job, image, [stage])
