"""How one image's state changes: the small moves that everything else in the ledger is made of."""

from __future__ import annotations

from collections.abc import Sequence

from trapline.ledger.states import (
    BLOCKED,
    DONE,
    EMPTY_SHA256,
    FAILED,
    OWED,
    PASSED,
    PENDING,
    RUNNING,
    SETTLED,
    SKIPPED,
    UNKNOWN,
    WORKING,
    Failed,
    Found,
    Graph,
    Image,
    Job,
)


def put(job: Job, image: Image, stage: int, state: int) -> None:
    """Set one stage's state and keep the counts."""
    old = image.states[stage]
    if old == state:
        return
    job.counts[stage][old] -= 1
    job.counts[stage][state] += 1
    image.states[stage] = state
    if state in WORKING:
        job.closed = False  # whatever made it so: what is closed has nothing open
    job.seq += 1
    image.touched = job.seq


def add(job: Job, rel: str, stages: int) -> Image:
    """A new image, unknown at every stage."""
    image = Image(rel, stages)
    job.images[rel] = image
    image.epoch = job.seq  # more than it ever was under this rel: outcomes of an earlier stay do not count
    for row in job.counts:
        row[UNKNOWN] += 1
    job.seq += 1
    image.touched = job.seq
    return image


def drop(job: Job, image: Image) -> None:
    """Forget an image whose bytes and records are gone."""
    for stage, state in enumerate(image.states):
        job.counts[stage][state] -= 1
    del job.images[image.rel]
    job.to_read.pop(image.rel, None)
    job.to_hash.pop(image.rel, None)
    job.empties.discard(image.rel)
    job.seq += 1


def owe(job: Job, image: Image, stage: int) -> None:
    """The stage may run now."""
    put(job, image, stage, OWED)
    job.ready[stage].append(image.rel)


def doubt(job: Job, image: Image, stages: Sequence[int]) -> None:
    """What is known of these stages no longer holds: read the bucket."""
    image.epoch += 1
    job.empties.discard(image.rel)
    for stage, state in enumerate(image.states):
        if stage in stages or state == RUNNING:  # the outcome of what runs counts no more
            put(job, image, stage, UNKNOWN)
    job.to_read[image.rel] = None


def settle_unknown(graph: Graph, job: Job, image: Image) -> None:
    """Give every stage that is still unknown its state by what its parents are. Nothing was found for it."""
    for stage in range(len(graph.names)):
        if image.states[stage] in (UNKNOWN, PENDING):
            _by_parents(graph, job, image, stage)


def _by_parents(graph: Graph, job: Job, image: Image, stage: int) -> None:
    above = [image.states[parent] for parent in graph.parents[stage]]
    if not all(state in SETTLED for state in above):
        put(job, image, stage, PENDING)
    elif above and not any(state in PASSED for state in above):
        put(job, image, stage, BLOCKED)
    elif image.size == 0 and stage != graph.fetch:
        put(job, image, stage, PENDING)  # its bytes may be on their way; decided when the job closes
        job.empties.add(image.rel)
    elif image.etag or (stage == graph.fetch and job.listed.get(image.rel, ("", "", ""))[2]):
        owe(job, image, stage)
    elif image.bytes_gone:
        put(job, image, stage, PENDING)  # it keeps what it has
    else:
        put(job, image, stage, PENDING)  # listed in place and not there: decided when the job closes
        job.empties.add(image.rel)


def passed(graph: Graph, job: Job, image: Image, stage: int, state: int) -> None:
    """A stage is done or skipped: what builds on it may run."""
    put(job, image, stage, state)
    image.forgive(stage)
    if stage == graph.last:
        job.passed_last += 1
    children = graph.children(stage)
    for below in graph.below(stage):
        if image.states[below] == BLOCKED or (below in children and image.states[below] in (PENDING, UNKNOWN)):
            put(job, image, below, PENDING)
            _by_parents(graph, job, image, below)


def failed(graph: Graph, job: Job, image: Image, stage: int, failure: Failed) -> None:
    """A stage failed for good: its dead letter stands in the bucket. A join goes on without it."""
    put(job, image, stage, FAILED)
    job.empties.discard(image.rel)
    image.failures = {**(image.failures or {}), stage: failure}
    image.graves |= 1 << stage
    for below in graph.below(stage):
        if all(image.states[parent] in (FAILED, BLOCKED) for parent in graph.parents[below]):
            put(job, image, below, BLOCKED)
        elif image.states[below] in (PENDING, BLOCKED):
            put(job, image, below, PENDING)
            _by_parents(graph, job, image, below)
        elif below in graph.joins and image.states[below] != UNKNOWN:
            doubt(job, image, [below, *graph.below(below)])  # it was made when more was there


def believe(graph: Graph, job: Job, image: Image, stage: int, found: Found) -> None:
    """A fresh record was found: the stage and all above it passed."""
    image.sha256 = found.sha256 or image.sha256
    image.received = image.received or found.received
    image.recipe = found.recipe
    job.empties.discard(image.rel)
    put(job, image, stage, SKIPPED if found.outcome == "skipped" else DONE)
    _passed_above(graph, job, image, stage, found)


def failed_as_found(graph: Graph, job: Job, image: Image, stage: int, found: Found) -> None:
    """A fresh dead letter was found: the stage failed, and all above it passed."""
    image.sha256 = image.sha256 or found.sha256
    image.received = image.received or found.received
    _passed_above(graph, job, image, stage, found)
    if found.failure:
        failed(graph, job, image, stage, found.failure)


def _passed_above(graph: Graph, job: Job, image: Image, stage: int, found: Found) -> None:
    """What was made of a stage's parents says that they passed, but for those that it went on without."""
    for parent in graph.parents[stage]:
        if graph.names[parent] not in found.missing:
            if image.states[parent] not in PASSED:
                put(job, image, parent, SKIPPED if graph.names[parent] in found.skipped else DONE)
            _passed_above(graph, job, image, parent, found)
        elif image.states[parent] not in (FAILED, BLOCKED):
            put(job, image, parent, BLOCKED)  # its bytes are gone, and so is the dead letter: it keeps what it has


def new_bytes(graph: Graph, job: Job, image: Image, etag: str, size: int, sha256: str = "") -> None:
    """The image's bytes are others than before: everything that was made from them is void."""
    image.etag, image.size = etag, size
    image.sha256 = EMPTY_SHA256 if size == 0 else sha256
    image.bytes_gone = False
    image.epoch += 1
    image.failures, image.attempts = None, None
    job.empties.discard(image.rel)
    for stage in range(len(graph.names)):
        put(job, image, stage, DONE if stage == graph.fetch else UNKNOWN)
    job.seq += 1
    image.touched = job.seq
