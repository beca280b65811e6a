"""Statuses: what anybody may read about a job with `mc cat`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from trapline.dispatcher import refusals
from trapline.dispatcher.desk import Desk
from trapline.dispatcher.world import World
from trapline.errors import CODES
from trapline.ledger import closing
from trapline.ledger.states import (
    BLOCKED,
    DONE,
    FAILED,
    NAMES,
    OWED,
    PASSED,
    PENDING,
    RUNNING,
    SKIPPED,
    UNKNOWN,
    Failed,
    Job,
)
from trapline.records import StageCount, Status, codes_in_words
from trapline.records.received import ReceivedFile, checksums, table

EVERY = 1.0  # seconds between two statuses of one job
VERIFYING = 30.0  # seconds in which a job that was closed is looked through, before its status says so
RATE_OVER = 60.0  # seconds over which the rate is taken
RECEIVED_EVERY = 5.0
UNFIT = "key_unusable"
_NEVER_HERE = ("fetch_refused", "fetch_not_found", "fetch_too_large", "fetch_failed", "source_missing")
LINE_BYTES = 159  # of the one line, without its end


def due(world: World, name: str, now: float) -> float | None:
    """When the next status is due; None when the newest one still holds."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    if not desk.opened or (job.charted_at is None and not job.problem):
        return None
    if _marks(world, job) == desk.status_state and desk.status_seq == job.seq:
        return None
    if _verifying(job, desk, now):
        return (desk.since or now) + VERIFYING
    return now if _state_changed(world, job) else max(now, desk.status_at + EVERY)


def _verifying(job: Job, desk: Desk, now: float) -> bool:
    """Whether a job that was closed is only looked through again: its last status holds until there is work."""
    soon = desk.since is not None and now < desk.since + VERIFYING
    closed = desk.summary is not None and desk.summary.final
    return soon and closed and not (job.closed or job.cancelled or job.problem or job.count(OWED, RUNNING))


def up_to_date(world: World, name: str) -> bool:
    """Whether the newest status says all there is to say."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    return _marks(world, job) == desk.status_state and desk.status_seq == desk.received_seq == job.seq


def _state_changed(world: World, job: Job) -> bool:
    before = world.desk(job.name).status_state
    return not before or before[0] != closing.state(world.ledger.graph, job)


def _marks(world: World, job: Job) -> tuple[Any, ...]:
    """What a status depends on beside the ledger's seq."""
    desk = world.desk(job.name)
    revision = desk.summary.revision if desk.summary else ""
    done = job.done.etag if job.done else ""
    return (
        closing.state(world.ledger.graph, job),
        job.closed,
        revision,
        done,
        job.told,
        len(job.ignored),
        len(job.unusable),
        job.problem,
        _trouble(world, job),
    )


async def write(world: World, name: str) -> None:
    """Write a job's status and its one line; before them, from time to time, the lists of what was received."""
    job, desk, layout = world.ledger.jobs[name], world.desk(name), world.layout
    seq, marks, now = job.seq, _marks(world, job), world.now()
    status = build(world, job, now)
    desk.status_at = now
    # Each by itself: where one is refused the others are told all the same.
    if desk.received_seq != seq and (
        job.closed or job.cancelled or not job.busy or now - desk.received_at >= RECEIVED_EVERY + len(job.images) / 1000
    ):
        # Lists come first: who reads that a job is closed finds all its files on them.
        desk.received_at = now
        files = list(received(world, job))
        await refusals.put(world, layout.status_of(name, ".received.csv"), table(files), "text/csv; charset=utf-8")
        await refusals.put(world, layout.status_of(name, ".sha256"), checksums(files), "text/plain; charset=utf-8")
        desk.received_seq = seq
    await refusals.put(world, layout.status_of(name, ".txt"), line(job, status), "text/plain; charset=utf-8")
    await refusals.put(world, layout.status_of(name, ".json"), _padded(status.dump(), 4096))
    desk.status_seq, desk.status_state = seq, marks
    world.on_change(name)


def build(world: World, job: Job, now: float) -> Status:
    """The status as it is now."""
    graph, desk = world.ledger.graph, world.desk(job.name)
    stages = {
        name: _stage(job, n) for n, name in enumerate(graph.names) if n != graph.fetch or job.manifest is not None
    }
    rate = _rate(world, job, now)
    left = job.counts[graph.last]
    open_images = left[UNKNOWN] + left[PENDING] + left[OWED] + left[RUNNING]
    state = closing.state(graph, job)
    failed = failures(world, job)
    missing = closing.not_received(job)
    return Status(
        job=job.name,
        state=state,
        closed=job.closed,
        images=_images(world, job),
        stages=stages,
        failures=by_code(world, job),
        codes=codes_in_words([*by_code(world, job), *_not_compiled(world, job)]),
        failed=tuple(f.told(rel) for rel, f in failed[:100]),
        ignored=dict(Counter(job.ignored.values())),
        ignored_names=tuple(sorted(job.ignored)[:20]),
        expected=_expected(job),
        not_received=tuple(m for m in missing[:100] if m),
        not_received_count=len(missing),
        rate=round(rate, 3),
        eta_seconds=round(open_images / rate, 1) if rate > 0 and open_images else None,
        settles_at=_settles_at(world, job, now),
        deadline_at=_at(world, job.deadline_at, now),
        revision=desk.summary.revision if desk.summary else "",
        results=desk.summary.folder if desk.summary else "",
        changes=_changes(desk),
        told=job.told,
        newer_model=desk.newer_model,
        message=_message(world, job, missing) or _trouble(world, job),
        seq=job.seq,
        updated_at=world.clock.wall(),
    )


def _changes(desk: Desk) -> dict[str, Any]:
    """What the newest revision has against the final one before, in counts."""
    changes = desk.summary.changes if desk.summary else None
    return changes.model_dump(exclude={"names"}) if changes else {}


def _stage(job: Job, stage: int) -> StageCount:
    row = job.counts[stage]
    total = len(job.images)
    counts = {name: row[n] for n, name in enumerate(NAMES) if name != "pending"}
    return StageCount(**counts, total=total, text=f"{row[DONE] + row[SKIPPED]}/{total}")


def _images(world: World, job: Job) -> dict[str, int]:
    row = job.counts[world.ledger.graph.last]
    return {
        "total": len(job.images),
        "done": row[DONE] + row[SKIPPED],
        "failed": row[FAILED] + row[BLOCKED] + len(job.unusable),
        "open": row[UNKNOWN] + row[PENDING] + row[OWED] + row[RUNNING],
        "kept": sum(1 for image in job.images.values() if image.bytes_gone),
        "ignored": len(job.ignored),
        "extra": len(job.extra),
    }


def by_code(world: World, job: Job) -> dict[str, int]:
    """How many images failed for which reason."""
    reasons = {(rel, failure.code) for rel, failure in failures(world, job)}
    return dict(sorted(Counter(code for _, code in reasons).items()))


def failures(world: World, job: Job) -> list[tuple[str, Failed]]:
    """(rel, failure) of each stage of an image that failed, sorted; then those whose names cannot be keys."""
    unfit = [(rel, Failed("", UNFIT, why, "")) for rel, why in unusable(world, job).items()]
    return [*closing.failures(world.ledger.graph, job), *unfit]


def unusable(world: World, job: Job) -> dict[str, str]:
    """Why each name cannot be a key, by the path under `incoming/`; what is no text in it as its codes."""
    rels = ((world.layout.rel_of_image(key), why) for key, why in sorted(job.unusable.items()))
    return {rel.encode("utf-8", "backslashreplace").decode(): why for rel, why in rels}


def _expected(job: Job) -> int | None:
    if job.manifest is not None:
        return len(job.listed)
    return (len(job.done.names) or job.done.count) if job.done else None


def _rate(world: World, job: Job, now: float) -> float:
    """Images that reached the last stage, per second, over the last minute."""
    marks = world.desk(job.name).rate_marks
    marks.append((now, job.passed_last))
    while len(marks) > 2 and marks[0][0] < now - RATE_OVER:
        marks.pop(0)
    (then, before), (last, after) = marks[0], marks[-1]
    return (after - before) / (last - then) if last > then and not job.closed else 0.0


def _settles_at(world: World, job: Job, now: float) -> Any:
    if job.closed or job.cancelled or job.manifest is not None or not job.images:
        return None
    return _at(world, closing.closes_at(job, now, world.refresh, world.pipeline.settle(job.name)), now)


def _at(world: World, when: float | None, now: float) -> Any:
    return world.clock.wall() + timedelta(seconds=when - now) if when is not None else None


def _not_compiled(world: World, job: Job) -> dict[str, dict[str, Any]]:
    """Code → why the results could not be compiled, as the dead letter and the summary say it; else empty."""
    summary = world.desk(job.name).summary
    failure = summary.results.get("failure") if summary and job.dead_gather else None
    return {str(failure.get("code")): failure} if isinstance(failure, dict) else {}


def _message(world: World, job: Job, missing: list[str]) -> str:
    if job.problem:
        return job.problem
    if job.done is not None and job.done.problem:
        return job.done.problem
    if job.dead_gather:
        return _compile_failed(_not_compiled(world, job))
    if missing:
        return f"_DONE {'names' if missing[0] else 'counts'} {len(missing)} more images than arrived."
    if job.overflow:
        return "More images than are held at a time; the rest follows."
    return "Cancelled: delete _CANCEL to go on." if job.cancelled else ""


def _compile_failed(failures: dict[str, dict[str, Any]]) -> str:
    general, words = CODES["compile_failed"], "The results could not be compiled"
    for code, failure in failures.items():
        message, remedy = str(failure.get("message") or ""), str(failure.get("remedy") or general.remedy)
        said = message if message not in ("", general.meaning) else ""
        return " ".join(part for part in (f"{words} ({code}).", said, remedy) if part)
    return f"{words}. {general.remedy}"


def _trouble(world: World, job: Job) -> str:
    """Why a function that a job still needs does not run, though nothing is wrong with the job."""
    troubles = world.executor.troubles
    if not troubles or job.told or job.cancelled:
        return ""
    return next((troubles[pin.function] for pin in job.pins.values() if pin.function in troubles), "")


def _padded(data: bytes, to: int) -> bytes:
    """Blanks up to a multiple of a size: an object replaced by one of its size is the cheapest to replace."""
    return data + b" " * (-len(data) % to)


def line(job: Job, status: Status) -> bytes:
    """The status as one line of at most 200 bytes: what a bad link can carry."""
    images = status.images
    text = f"{status.state} {images['done']}/{images['total']} done"
    text += f" {images['failed']} failed" if images["failed"] else ""
    lost = max(status.not_received_count, status.failures.get(UNFIT, 0))  # `_DONE` may count or name them
    lost += sum(n for code, n in status.failures.items() if code in _NEVER_HERE) + closing.never_came(job)
    text += f" {lost} missing" if lost else ""
    unclear = status.message.startswith("_DONE holds")
    text += " _DONE unreadable" if unclear else ""
    if status.closed and status.state in ("SUCCEEDED", "PARTIAL") and not (lost or unclear):
        text += f" {_arrival(job)}"
    stamp = status.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ") if status.updated_at else ""
    text += f" {stamp} {status.revision} {status.job}"
    cut = text.encode("utf-8", "replace")[:LINE_BYTES].decode("utf-8", "ignore").encode()
    return cut + b" " * (LINE_BYTES - len(cut)) + b"\n"


def _arrival(job: Job) -> str:
    """What is known of the images of a closed job that lacks nothing. Who wipes a card reads this."""
    if job.manifest is None and (job.done is None or not (job.done.names or job.done.count)):
        return "unchecked" if job.done else "no _DONE"
    if job.manifest is None and job.done is not None and not job.done.names:
        return "count met"
    gone = closing.gone(job)
    return f"{gone} gone" if gone else "all received"


def received(world: World, job: Job) -> Iterator[ReceivedFile]:
    """Every file of a job that was received, is ignored or cannot be used."""
    graph, layout = world.ledger.graph, world.layout
    for rel in sorted(job.images):
        image = job.images[rel]
        state, failure = image.states[graph.last], closing.cause(graph, image)
        code = failure.code if failure and state not in PASSED else ""
        name = layout.name_in_list(job.name, rel)
        known = "" if rel in job.to_hash else image.sha256  # until they are hashed it is of the bytes before
        yield ReceivedFile(name, max(image.size, 0), known, _word(state), code, image.etag)
    for rel, why in sorted(job.ignored.items()):
        yield ReceivedFile(layout.name_in_list(job.name, rel), state="ignored", code=why)
    for key in sorted(job.unusable):
        yield ReceivedFile(key, state="failed", code="key_unusable")


def _word(state: int) -> str:
    """A state as a station reads it: an image without anything to name is done."""
    return {SKIPPED: "done", BLOCKED: "failed"}.get(state, NAMES[state])
