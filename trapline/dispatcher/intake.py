"""Taking in events. Each is a hint: what it says is looked up in the bucket."""

from __future__ import annotations

import asyncio
import json
import logging
import re

from trapline import sweep
from trapline.dispatcher import charting, refusals
from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, StoreError
from trapline.events import ObjectEvent
from trapline.keys import CANARY, Meaning
from trapline.records import Received
from trapline.store.base import Entry

log = logging.getLogger("trapline.dispatcher")

_NONCE = re.compile(r"[0-9a-f]{8,32}")
_CANARIES, _HEARD = 20, 20  # how many are remembered, and how many words of each


async def take_in(world: World, events: list[ObjectEvent]) -> None:
    """Look up what each event is about and tell the ledger."""
    meant = [(event, world.layout.meaning(event.key)) for event in events]
    meant = [(event, m) for event, m in meant if not (m.job and world.unfit(m.job))]  # a sweep puts it aside
    images = [(event, m) for event, m in meant if m.kind == "image"]
    images, entries = await _looked_up(world, images)
    for n, ((event, meaning), entry) in enumerate(zip(images, entries, strict=True)):
        _image(world, event, meaning, entry)
        if n % 1000 == 999:
            await asyncio.sleep(0)
    for event, meaning in meant:
        if meaning.kind == "canary" and event.kind == "created":
            await _canary(world, event, meaning.rel)
        elif meaning.kind == "review":
            await _review(world, meaning.job)
        elif meaning.kind != "image":
            _other(world, event, meaning)


async def _looked_up(
    world: World, images: list[tuple[ObjectEvent, Meaning]]
) -> tuple[list[tuple[ObjectEvent, Meaning]], list[Entry | None]]:
    """What events of images are about, as far as the store tells; a job with a key it refuses is looked at whole."""
    try:
        return images, await world.store.heads([event.key for event, _ in images]) if images else []
    except (StoreError, KeyUnusable):
        if not await refusals.answers(world):
            raise
    told, entries = [], []
    for event, meaning in images:
        try:
            entries += await world.store.heads([event.key])
            told.append((event, meaning))
        except (StoreError, KeyUnusable) as error:
            log.warning("event=store.refused key=%r error=%s", event.key, error)
            _look_again(world, meaning.job)
    return told, entries


def _image(world: World, event: ObjectEvent, meaning: Meaning, entry: Entry | None) -> None:
    now = world.now()
    if entry is None:
        if meaning.job in world.ledger.jobs:
            world.ledger.removed(meaning.rel, now)
        else:
            _look_again(world, meaning.job)
        return
    if not entry.settled or sweep.unusable(meaning.rel, entry, world.layout, world.store.limits):
        world.ledger.job(meaning.job, now)
        world.desk(meaning.job).chart_wanted = True
        return
    received = Received(trigger=event.trigger, at=world.clock.wall())
    world.ledger.arrived(meaning.rel, entry.etag, entry.size, received, now)


def _other(world: World, event: ObjectEvent, meaning: Meaning) -> None:
    """Markers, manifests, dead letters and requests: the job (or the request) is looked at anew."""
    if meaning.kind in ("done", "cancel", "ignored"):
        _look_again(world, meaning.job)
    elif meaning.kind == "manifest":
        _look_again(world, meaning.job)
        world.desk(meaning.job).reopen()
    elif meaning.kind == "request":
        world.wanted["requests"] = True
    elif meaning.kind == "dead_letter" and event.kind == "removed":
        _exhumed(world, meaning)


async def _review(world: World, job: str) -> None:
    """A review came, changed or went: of a job that there is."""
    if job in world.ledger.jobs or (await refusals.heads(world, [world.layout.summary(job)]))[0] is not None:
        _look_again(world, job)
    else:
        log.warning("event=review.of_no_job key=%r", world.layout.review(job))


async def _canary(world: World, event: ObjectEvent, rel: str) -> None:
    """Somebody tries whether events come: say who told of it, and under which key."""
    nonce = rel.removeprefix(CANARY).partition("/")[0]
    if not _NONCE.fullmatch(nonce):
        return
    there = (await refusals.heads(world, [event.key]))[0] is not None
    heard = world.canaries.setdefault(nonce, [])
    heard.append({"trigger": event.trigger, "key": event.key, "there": there, "at": world.clock.wall().isoformat()})
    del heard[:-_HEARD]
    body = {"type": "trapline.canary", "schema": 1, "heard": heard}
    await refusals.put(world, world.layout.canary_heard(nonce), json.dumps(body, ensure_ascii=False).encode())
    while len(world.canaries) > _CANARIES:
        world.canaries.pop(next(iter(world.canaries)))


def _look_again(world: World, job: str) -> None:
    world.ledger.job(job, world.now())
    world.desk(job).chart_wanted = True


def _exhumed(world: World, meaning: Meaning) -> None:
    """A dead letter was deleted: that is a retry."""
    stage = world.pipeline.stages.get(meaning.stage)
    if stage is None:
        return
    if stage.kind in ("image", "fetch"):
        if meaning.job in world.ledger.jobs and world.ledger.jobs[meaning.job].charted_at is not None:
            world.ledger.exhumed(meaning.job, meaning.stage, meaning.rel)
        else:
            _look_again(world, meaning.job)
        return
    job = meaning.job
    _look_again(world, job)
    desk = world.desk(job)
    desk.gather_tries, desk.gather_at = 0, 0.0
    desk.tell_again()
    if stage.kind == "gather" and job in world.ledger.jobs:
        charting.reopen(world, job)
