"""Dead letters: written before a stage counts as failed, deleted before a job that passed it may be compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from trapline.dispatcher.world import World
from trapline.errors import NotFound
from trapline.ledger.states import Job
from trapline.ledger.tasks import Bury, Effect
from trapline.records import DeadLetter, Received, Source


def queue(world: World, found: Iterable[Effect]) -> None:
    """Note what is to be written or deleted; `carry_out` does it."""
    for effect in found:
        waiting = world.effects[effect.job]
        if effect not in waiting:
            waiting.append(effect)
            world.desk(effect.job).effects += 1


async def carry_out(world: World, name: str) -> None:
    """Write and delete a job's dead letters, in order. What fails for a passing reason stays in the queue."""
    waiting = world.effects[name]
    while waiting:
        effect = waiting[0]
        if isinstance(effect, Bury):
            await _bury(world, effect)
        else:
            await world.store.delete([world.layout.dead_letter(effect.stage, effect.rel)])
        waiting.popleft()
        world.desk(name).effects -= 1
    del world.effects[name]


async def _bury(world: World, grave: Bury) -> None:
    job = world.ledger.jobs.get(grave.job)
    image = job.images.get(grave.rel) if job else None
    if job is None or image is None or image.epoch != grave.epoch:
        return
    source = await _source(world, job, grave.rel)
    letter = DeadLetter(
        stage=grave.stage,
        job=grave.job,
        source=source,
        recipe=job.pins[grave.stage].recipe if grave.stage in job.pins else "",
        code=grave.code,
        message=grave.message,
        remedy=grave.remedy,
        attempts=grave.attempts,
        received=image.received or Received(),
        at=world.clock.wall(),
    )
    await world.store.put(world.layout.dead_letter(grave.stage, grave.rel), letter.dump())
    world.ledger.buried(grave)


async def _source(world: World, job: Job, rel: str) -> Source:
    """What the dead letter says of the image; its bytes are hashed if nobody did."""
    image = job.images[rel]
    key = world.layout.image(rel)
    if not image.sha256 and image.size > 0:
        try:
            got = await world.store.get(key)
        except NotFound:
            return Source(key=key)
        if got.entry.etag == image.etag:
            image.sha256 = hashlib.sha256(got.data).hexdigest()
    return Source(key=key, etag=image.etag, size=image.size, sha256=image.sha256)
