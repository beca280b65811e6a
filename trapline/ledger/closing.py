"""When a job is quiet, may close, may be compiled; its roll and its seal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from trapline.ledger.states import (
    BLOCKED,
    DONE,
    FAILED,
    PASSED,
    RUNNING,
    SKIPPED,
    DoneMark,
    Failed,
    Graph,
    Image,
    Job,
)
from trapline.records import JobState, MemberState, RollEntry

_NOT_LISTED = ("", "", "")


def quiet(job: Job, now: float) -> float:
    """Seconds since the last arrival, those before a restart included."""
    return job.quiet_before + max(0.0, now - job.last_arrival)


def not_received(job: Job) -> list[str]:
    """What `_DONE` names and is not there, or is there with other bytes; for a count, as many blank names."""
    if job.done is None or job.manifest is not None or not (job.done.names or job.done.count):
        return []
    if job.missing is None or not _recent(job, job.missing[0]):
        job.missing = (job.seq, _missing(job, job.done))
    return job.missing[1]


def _recent(job: Job, seq: int) -> bool:
    """Whether what was found at this seq will do: while anything runs nothing closes, and to look costs every image."""
    return seq == job.seq or (job.busy and job.seq - seq < len(job.images) // 4)


def _missing(job: Job, done: DoneMark) -> list[str]:
    if done.names:
        return sorted(rel for rel, sha in done.names.items() if not _is_here(job, rel, sha))
    present = sum(1 for image in job.images.values() if image.etag or image.bytes_gone)
    return [""] * max(0, (done.count or 0) - present)


def _is_here(job: Job, rel: str, sha256: str) -> bool:
    image = job.images.get(rel)
    if image is None:
        return rel in job.ignored
    return not image.sha256 or image.sha256 == sha256


def gone(job: Job) -> int:
    """How many images that the manifest lists or `_DONE` names are not known to be in the bucket, as it names them."""
    if job.manifest is not None:
        return sum(1 for rel in job.listed if (image := job.images.get(rel)) is None or not image.etag)
    named = job.done.names.items() if job.done else ()
    images = ((job.images.get(rel), sha) for rel, sha in named)
    return sum(1 for image, sha in images if image and not (image.etag and image.sha256 == sha))


def never_came(job: Job) -> int:
    """How many images that the manifest lists had not come when its deadline passed."""
    absent = (image for rel in job.listed if (image := job.images.get(rel)) and not (image.etag or image.bytes_gone))
    return sum(any(failed.code == "deadline_passed" for failed in (image.failures or {}).values()) for image in absent)


def may_close(job: Job, now: float, refresh: float, settle: float) -> bool:
    """The closing condition: it says nothing of work that is still running."""
    if job.cancelled or job.problem or job.unsettled:
        return False
    if job.deadline_passed:
        return True
    if job.manifest is not None:
        return not job.busy
    return quiet(job, now) >= _wait(job, refresh, settle)


def _wait(job: Job, refresh: float, settle: float) -> float:
    """Seconds of quiet that the job has to keep: few after a `_DONE`, or when only a retry reopened it."""
    if job.as_closed:
        return min(refresh, settle)
    answered = job.done is None or job.done.etag == job.answered
    unclear = job.done is not None and bool(job.done.problem)
    return settle if answered or unclear or not_received(job) else min(refresh, settle)


def closes_at(job: Job, now: float, refresh: float, settle: float) -> float | None:
    """When the closing condition will hold if nothing more arrives; None: it does not depend on time."""
    if job.cancelled or job.problem or job.manifest is not None:
        return job.deadline_at
    return now + max(0.0, _wait(job, refresh, settle) - quiet(job, now))


def gatherable(job: Job) -> bool:
    """Whether a final compile may begin: a look begun after the closing condition held found nothing open."""
    if job.closing_since is None or job.charted_at is None or job.overflow:
        return False
    return job.charted_at >= job.closing_since and not job.busy and not job.empties and not job.to_read


def state(graph: Graph, job: Job) -> JobState:
    """The job's state, as a status names it."""
    if job.cancelled:
        return "CANCELLED"
    if job.problem:
        return "FAILED"
    if job.closed:
        return final_state(graph, job)
    begun = job.count(RUNNING) or any(
        sum(row[s] for s in (DONE, SKIPPED, FAILED)) for n, row in enumerate(job.counts) if n != graph.fetch
    )
    return "PROCESSING" if begun else "WAITING"


def final_state(graph: Graph, job: Job) -> JobState:
    """What a closed job ends as."""
    if job.dead_gather:
        return "FAILED"
    missing = bool(not_received(job) or job.unusable or (job.done and job.done.problem))
    bad = job.counts[graph.last][FAILED] + job.counts[graph.last][BLOCKED]
    if bad and bad == len(job.images):
        return "FAILED"
    failed = any(row[FAILED] for row in job.counts)  # perhaps at a stage that the results do without
    return "PARTIAL" if failed or bad or missing else "SUCCEEDED"


def roll(graph: Graph, job: Job) -> Iterator[RollEntry]:
    """Every member, sorted by rel; those not settled are `pending`."""
    for rel in sorted(job.images):
        yield _entry(graph, job, job.images[rel])


def _entry(graph: Graph, job: Job, image: Image) -> RollEntry:
    last, stage, recipe, code, letter = image.states[graph.last], "", "", "", ""
    state: MemberState = "pending"
    if last in PASSED:
        state, stage = "skipped" if last == SKIPPED else "done", graph.names[graph.last]
        recipe = (image.bytes_gone and image.recipe) or job.pins[stage].recipe  # a kept record keeps its own
    elif last in (FAILED, BLOCKED) and (failure := cause(graph, image)):
        state, stage, code, letter = "failed", failure.stage, failure.code, failure.letter
    ident, event, _ = job.listed.get(image.rel, _NOT_LISTED)
    return RollEntry(
        image.rel,
        state,
        stage,
        recipe,
        image.etag,
        image.size,
        image.sha256,
        code,
        image.bytes_gone,
        ident,
        event,
        letter,
        ",".join(graph.missing(image, graph.last)) if last in PASSED else "",
        ",".join(graph.names[s] for s in graph.before_last if image.states[s] == SKIPPED),
    )


def cause(graph: Graph, image: Image) -> Failed | None:
    """Why the last stage did not pass: the first that failed on the way to it."""
    way = (*graph.before_last, graph.last)
    return next((failure for stage in way if (failure := image.failure(stage))), None)


def seal(graph: Graph, job: Job, manifest: str, station: str, recipe: str) -> str:
    """Hash of everything `compile` is handed. `manifest` and `station` are digests; `recipe` is compile's own."""
    total = hashlib.sha256()
    for line in _sealed(graph, job):
        total.update("\x1f".join(line).encode("utf-8", "surrogatepass") + b"\n")
    total.update(beside_roll(job, manifest, station, recipe))
    return total.hexdigest()


def beside_roll(job: Job, manifest: str, station: str, recipe: str) -> bytes:
    """What `compile` is handed beside its roll, for a hash of both; as `seal` has it."""
    missing = not_received(job)
    parts = [manifest, station, recipe, str(len(missing)), *missing, *sorted(job.unusable)]
    parts += [job.done.problem] if job.done and job.done.problem else []
    parts += [f"review {job.review.sha256 or job.review.problem}"] if job.review else []
    return "\x1e".join(parts).encode("utf-8", "surrogatepass")


def _sealed(graph: Graph, job: Job) -> Iterator[tuple[str, ...]]:
    for entry in roll(graph, job):
        if entry.state in ("done", "skipped"):
            yield entry.rel, entry.sha256, entry.recipe, *_done_without(job.images[entry.rel], entry)
        else:
            beside = [one for one in _failed(job.images[entry.rel]) if one != f"{entry.stage}:{entry.code}"]
            yield entry.rel, entry.stage, entry.code, *beside


def _done_without(image: Image, entry: RollEntry) -> list[str]:
    """What an image that is done goes without."""
    failed = _failed(image)
    return [entry.missing, *failed] if entry.missing or failed else []


def _failed(image: Image) -> list[str]:
    return [f"{f.stage}:{f.code}" for stage in sorted(image.failures or ()) if (f := image.failure(stage))]


def failures(graph: Graph, job: Job) -> Iterator[tuple[str, Failed]]:
    """(rel, failure) of every stage of an image that failed, sorted."""
    for rel in sorted(rel for rel, image in job.images.items() if image.failures):
        image = job.images[rel]
        yield from ((rel, f) for stage in sorted(image.failures or ()) if (f := image.failure(stage)))
