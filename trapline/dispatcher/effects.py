"""Dead letters: written before a stage counts as failed, deleted before a job that passed it may be compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from trapline.dispatcher import refusals
from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, StoreError, StoreUnavailable
from trapline.ledger.states import Job
from trapline.ledger.tasks import Bury, Effect
from trapline.records import DeadLetter, Received, Source


def queue(world: World, found: Iterable[Effect]) -> None:
    """Note what is to be written or deleted; `carry_out` does it."""
    for effect in found:
        waiting, desk = world.effects[effect.job], world.desk(effect.job)
        if effect not in waiting and effect not in desk.undeletable:
            waiting.append(effect)
            desk.effects += 1


async def carry_out(world: World, name: str) -> None:
    """Write and delete a job's dead letters, in order. What fails for a passing reason stays in the queue."""
    waiting = world.effects[name]
    while waiting:
        effect = waiting[0]
        try:
            await _carry_out(world, effect)
        except (StoreError, KeyUnusable) as error:
            if not await refusals.answers(world):
                raise
            waiting.rotate(-1)  # one key that is refused holds up no other
            if not await _refused(world, name, effect):
                raise StoreUnavailable(str(error)) from error
        waiting.remove(effect)
        world.desk(name).effects -= 1
    del world.effects[name]


async def _carry_out(world: World, effect: Effect) -> None:
    if isinstance(effect, Bury):
        await _bury(world, effect, _aside(world, effect) if effect.aside else "")
    else:
        await world.store.delete([world.layout.dead_letter(effect.stage, effect.rel)])


async def _refused(world: World, name: str, effect: Effect) -> bool:
    """The store refuses a dead letter's key. True once that was settled another way."""
    desk = world.desk(name)
    desk.refusals[effect] = desk.refusals.get(effect, 0) + 1
    if desk.refusals[effect] < refusals.TRIES:
        return False
    del desk.refusals[effect]
    if isinstance(effect, Bury):
        await _bury(world, effect, _aside(world, effect))
    else:
        desk.undeletable.add(effect)  # a fresh record beats it
    return True


def _aside(world: World, grave: Bury) -> str:
    """Where a dead letter lies whose usual key the store refuses."""
    return world.layout.quarantined(world.layout.dead_letter(grave.stage, grave.rel))


async def _bury(world: World, grave: Bury, aside: str = "") -> None:
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
        missing=world.ledger.graph.missing(image, world.ledger.graph.names.index(grave.stage)) or None,
        code=grave.code,
        message=grave.message,
        remedy=grave.remedy,
        attempts=grave.attempts,
        received=image.received or Received(),
        at=world.clock.wall(),
    )
    await world.store.put(aside or world.layout.dead_letter(grave.stage, grave.rel), letter.dump())
    world.ledger.buried(grave, aside)


async def _source(world: World, job: Job, rel: str) -> Source:
    """What the dead letter says of the image; its bytes are hashed if nobody did."""
    image = job.images[rel]
    key = world.layout.image(rel)
    if not image.sha256 and image.size > 0:
        got = (await refusals.gets(world, [key]))[0]
        if got is not None and got.entry.etag == image.etag:
            image.sha256 = hashlib.sha256(got.data).hexdigest()
    return Source(key=key, etag=image.etag, size=image.size, sha256=image.sha256)
