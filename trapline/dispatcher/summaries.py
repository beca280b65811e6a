"""What a revision's summary says. Pure, but for the hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trapline import __version__
from trapline.dispatcher import telling
from trapline.dispatcher.world import World
from trapline.ledger import closing
from trapline.ledger.states import Job
from trapline.records import FileRef, LastFinal, Outcome, RollEntry, Summary, codes_in_words

MOST_NAMED = 1_000  # failures, ignored and missing files that a summary names


@dataclass(frozen=True)
class Compiled:
    """One compile that came to an end."""

    revision: str  # the folder's name
    as_final: LastFinal | None  # None: provisional
    entries: list[RollEntry]
    outcome: Outcome
    roll: FileRef | None = None  # None: it was given up


def summary_of(world: World, job: Job, compiled: Compiled) -> Summary:
    """The summary of a compile, as its job is now."""
    outcome, as_final = compiled.outcome, compiled.as_final
    graph = world.ledger.graph
    state = closing.final_state(graph, job) if as_final else closing.state(graph, job)
    finals = [*job.finals, as_final][-world.pipeline.spec.results.keep :] if as_final else job.finals
    failures = [f.told(rel) for rel, f in telling.failures(world, job)]
    missing = closing.not_received(job) if as_final else []
    return Summary(
        job=job.name,
        state=state,
        final=as_final is not None,
        revision=compiled.revision,
        folder=world.layout.result(job.name, f"{compiled.revision}/"),
        files=outcome.files,
        members=compiled.roll,
        changes=outcome.changes,
        last_final=finals[-1] if finals else None,
        finals=tuple(finals),
        images=_counts(compiled.entries, job),
        failures=tuple(failures[:MOST_NAMED]),
        failures_by_code=telling.by_code(world, job),
        codes=codes_in_words(telling.by_code(world, job)),
        not_received=named(missing),
        not_received_count=len(missing),
        done_problem=job.done.problem if as_final and job.done else "",
        ignored=tuple({"rel": rel, "why": why} for rel, why in sorted(job.ignored.items())[:MOST_NAMED]),
        ignored_count=len(job.ignored),
        done_answered=(job.done.etag if job.done else "") if as_final else job.answered,
        pins=job.pins,
        results=outcome.body,
        release=__version__,
        client=_client(job),
        at=world.clock.wall(),
    )


def named(missing: list[str]) -> tuple[str, ...]:
    """The first of what never came that have a name: what a count in `_DONE` misses has none."""
    return tuple(rel for rel in missing[:MOST_NAMED] if rel)


def _counts(entries: list[RollEntry], job: Job) -> dict[str, int]:
    counts = {"total": len(entries), "done": 0, "failed": 0, "pending": 0, "kept": 0, "extra": len(job.extra)}
    for entry in entries:
        counts["done" if entry.state == "skipped" else entry.state] += 1
        counts["kept"] += entry.kept
    counts["unusable"] = len(job.unusable)
    return counts


def _client(job: Job) -> dict[str, Any]:
    if job.manifest is None:
        return {}
    deployment = job.manifest.model_dump(mode="json", include={"deployment"})
    return {**job.manifest.client, **(deployment if job.manifest.deployment else {})}
