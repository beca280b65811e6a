"""Reading what is unknown: records and dead letters of images, and bytes whose etag changed."""

from __future__ import annotations

import hashlib

from trapline.dispatcher import effects, refusals
from trapline.dispatcher.world import World
from trapline.errors import CODES, KeyUnusable, NotFound, StoreDenied, StoreUnavailable
from trapline.ledger.states import Failed, Found, Job
from trapline.records import DeadLetter, ImageRecord, SchemaNewer, load
from trapline.store.base import Got

_MOST = 64


async def read(world: World, name: str) -> None:
    """Read the records of images that are unknown, deepest stage first, some at a time."""
    while name in world.ledger.jobs and (batch := world.ledger.reads(name, _MOST)):
        try:
            found = await _found(world, [rel for rel, _ in batch])
        except BaseException:
            _put_back(world, name, batch)
            raise
        for rel, epoch in batch:
            if name in world.ledger.jobs:
                effects.queue(world, world.ledger.read(name, rel, epoch, found[rel]))


def _put_back(world: World, name: str, batch: list[tuple[str, int]]) -> None:
    job = world.ledger.jobs.get(name)
    if job is not None:
        job.to_read.update({rel: None for rel, _ in batch if rel in job.images})


async def _found(world: World, rels: list[str]) -> dict[str, list[Found]]:
    graph, layout = world.ledger.graph, world.layout
    found: dict[str, list[Found]] = {rel: [] for rel in rels}
    for stage in reversed(graph.names):
        if stage in layout.records:
            got = await refusals.gets(world, [layout.record(stage, rel) for rel in rels])
            for rel, one in zip(rels, got, strict=True):
                found[rel] += _record(stage, one)
        got = await refusals.gets(world, [layout.dead_letter(stage, rel) for rel in rels])
        for rel, one in zip(rels, got, strict=True):
            found[rel] += _dead_letter(stage, one)
    return found


def _record(stage: str, got: Got | None) -> list[Found]:
    if got is None:
        return []
    try:
        record = load(ImageRecord, got.data)
    except SchemaNewer as newer:
        why = Failed(stage, "schema_newer", str(newer), CODES["schema_newer"].remedy)
        return [Found(stage, "", "", -1, "", "newer", why)]
    if record is None:
        return []
    source = record.source
    said = (stage, record.recipe, source.etag, source.size, source.sha256, record.outcome)
    skipped = tuple(name for name, note in record.stages.items() if note.outcome == "skipped")
    return [Found(*said, None, record.received, tuple(record.missing or ()), skipped)]


def _dead_letter(stage: str, got: Got | None) -> list[Found]:
    if got is None:
        return []
    try:
        letter = load(DeadLetter, got.data)
    except SchemaNewer:
        letter = None
    if letter is None:  # torn, or of a newer release: it says nothing, but it stands there until the stage passes
        return [Found(stage, "", "", -1, "", "failed")]
    source, why = letter.source, Failed(letter.stage, letter.code, letter.message, letter.remedy)
    said = (stage, letter.recipe, source.etag, source.size, source.sha256, "failed")
    return [Found(*said, why, letter.received, tuple(letter.missing or ()))]


async def hash_bytes(world: World, name: str) -> None:
    """Hash images whose etag changed while their size did not, one at a time."""
    while (job := world.ledger.jobs.get(name)) is not None and job.to_hash:
        rel = next(iter(job.to_hash))
        await _hash_one(world, job, rel)


async def _hash_one(world: World, job: Job, rel: str) -> None:
    try:
        got = await world.store.get(world.layout.image(rel))
    except NotFound:
        job.to_hash.pop(rel, None)
        world.ledger.removed(rel, world.now())
        return
    except (StoreDenied, StoreUnavailable, KeyUnusable):
        if not await refusals.answers(world):
            raise
        world.ledger.unhashed(job.name, rel)  # a worker may read it, or find out why it cannot be read
        return
    digest = hashlib.sha256(got.data).hexdigest()
    world.ledger.hashed(job.name, rel, got.entry.etag, len(got.data), digest)
