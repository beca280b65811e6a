"""A revision beside the records that it is of, and beside the revision before it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.simulation.story import Broken
from trapline.records import ImageRecord, RollEntry, load

if TYPE_CHECKING:
    from tests.simulation.world import Simulated

Roll = dict[str, RollEntry]


def check(world: Simulated, summary: dict[str, Any], lines: list[dict[str, Any]], before: Sequence[str]) -> None:
    """Compare a final revision with what it was made of; `before` are the final revisions of its job until then."""
    _as_if_whole(world, summary, lines)
    _changes(world, summary, before)


def _as_if_whole(world: Simulated, summary: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    """Results that were compiled from what changed are those of a compile that reads everything."""
    function = sys.modules["simulated_functions"].Compile()
    roll = _roll(world, summary["job"], summary["revision"]) or {}
    for entry, line in zip(roll.values(), lines, strict=True):
        record = _record(world, entry)
        if record is not None:
            whole = function.line(SimpleNamespace(entry=entry, record=record, dead_letter=None))
            if json.loads(json.dumps(whole)) != line:
                raise Broken("results are those of a whole compile", f"{summary['revision']} {line} {whole}")


def _record(world: Simulated, entry: RollEntry) -> ImageRecord | None:
    """The record that a member's line is of; None where it failed, or another is there by now."""
    prefix = world.plan.prefixes.get(entry.stage)
    data = world.bucket.data(f"{prefix}{entry.rel}.json") if entry.state in ("done", "skipped") else None
    record = load(ImageRecord, data) if data is not None else None
    if record is None:
        return None
    said = (record.recipe, record.source.sha256, ",".join(record.missing or ()))
    return record if said == (entry.recipe, entry.sha256, entry.missing) else None


def _changes(world: Simulated, summary: dict[str, Any], before: Sequence[str]) -> None:
    """What a summary says of changes is what two rolls say."""
    job, told = summary["job"], summary.get("changes")
    rolls = {name: roll for name in before if (roll := _roll(world, job, name)) is not None}
    if told is None and (not rolls or world.plan.store):
        return
    against = told["against"] if told else ""
    if against not in rolls or (against != list(rolls)[-1] and not world.plan.store):
        raise Broken("a summary says what changed", f"{job} {told} {list(rolls)}")
    old, new = rolls[against], _roll(world, job, summary["revision"]) or {}
    changed = [rel for rel in old.keys() & new.keys() if _is_other(old[rel], new[rel])]
    counts = [len(new.keys() - old.keys()), len(changed), len(old.keys() - new.keys())]
    if told is None or [told["added"], told["changed"], told["removed"]] != counts:
        raise Broken("a summary says what changed", f"{job} {told} {counts}")


def _is_other(old: RollEntry, new: RollEntry) -> bool:
    """Another state or recipe, or other bytes, where both were read."""
    return _said(old) != _said(new) or bool(old.sha256 and new.sha256 and old.sha256 != new.sha256)


def _said(entry: RollEntry) -> tuple[str, ...]:
    made = (entry.recipe,) if entry.state in ("done", "skipped") else ()
    return (entry.state, entry.stage, entry.code, entry.missing, *made)


def _roll(world: Simulated, job: str, revision: str) -> Roll | None:
    data = world.bucket.data(f"results/{job}/{revision}/members.jsonl")
    try:
        found = [RollEntry.read(line) for line in data.splitlines()] if data is not None else None
    except ValueError:
        return None
    return {entry.rel: entry for entry in found} if found is not None else None
