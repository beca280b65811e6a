"""Taking in events. Each is a hint: what it says is looked up in the bucket, and one about nothing makes nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trapline import sweep
from trapline.dispatcher import charting, refusals
from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, StoreError, SurroundingsError
from trapline.events import ObjectEvent
from trapline.keys import CANARY, Layout, Meaning
from trapline.records import Received
from trapline.store.base import Entry

log = logging.getLogger("trapline.dispatcher")

Slot = tuple[str, str]  # (key, trigger): what is told of several times is looked up once
Inbox = dict[Slot, ObjectEvent]
Answer = Entry | StoreError | KeyUnusable | None  # of a HEAD; an error: the store refuses this key

_NONCE = re.compile(r"[0-9a-f]{8,32}")
_CANARIES, _HEARD = 20, 20  # how many are remembered, and how many words of each
_LOOKED_UP = ("done", "cancel", "ignored", "manifest")  # what an event of it is about may stand in the bucket


def slot_of(event: ObjectEvent, layout: Layout) -> Slot:
    """Events of one slot count as one. Of a canary each trigger's own counts."""
    return event.key, event.trigger if event.key.startswith(layout.image(CANARY)) else ""


async def take_in(world: World, inbox: Inbox) -> None:
    """Look up what each event is about and tell the ledger. An event leaves the inbox when that is done.

    Raises `StoreError` or `SurroundingsError` while the store does not answer; any other error costs its event alone.
    """
    meant = {slot: world.layout.meaning(event.key) for slot, event in inbox.items()}
    unfit = {job for job in {meaning.job for meaning in meant.values()} if job and world.unfit(job)}
    images, others = [], []
    for slot, meaning in meant.items():
        if meaning.job in unfit:
            del inbox[slot]  # a sweep puts aside what there is of it
        elif meaning.kind == "image":
            images.append((slot, meaning))
        else:
            others.append((slot, meaning))
    await _images(world, inbox, images)
    await _others(world, inbox, others)


async def _images(world: World, inbox: Inbox, images: list[tuple[Slot, Meaning]]) -> None:
    answers = await _heads(world, [key for (key, _), _ in images])
    gone = {meaning.job for (_, meaning), answer in zip(images, answers, strict=True) if answer is None}
    known = await _known(world, gone)
    for n, ((slot, meaning), answer) in enumerate(zip(images, answers, strict=True)):
        with _taken(inbox, slot) as event:
            _image(world, event, meaning, answer, known)
        if n % 1000 == 999:
            await asyncio.sleep(0)


async def _others(world: World, inbox: Inbox, others: list[tuple[Slot, Meaning]]) -> None:
    there = await _there(world, [(inbox[slot], meaning) for slot, meaning in others])
    for slot, meaning in others:
        with _taken(inbox, slot) as event:
            if meaning.kind == "canary" and event.kind == "created":
                await _canary(world, event, meaning.rel)
            elif meaning.kind == "review":
                await _review(world, meaning.job)
            elif meaning.kind == "workbook":
                await _workbook(world, event.key)
            elif meaning.kind == "request":
                world.wanted["requests"] = True
            elif meaning.job in there:
                _other(world, event, meaning)


@contextmanager
def _taken(inbox: Inbox, slot: Slot) -> Iterator[ObjectEvent]:
    """One event, which leaves the inbox unless the store is away."""
    try:
        yield inbox[slot]
    except (StoreError, SurroundingsError):
        raise
    except Exception:
        log.exception("event=intake.dropped key=%r", slot[0])
    del inbox[slot]


async def _heads(world: World, keys: Sequence[str]) -> list[Answer]:
    """What a HEAD tells of each key. Raises where the store refuses not only some of them."""
    try:
        return [*await world.store.heads(keys)] if keys else []
    except (StoreError, KeyUnusable):
        if not await refusals.answers(world):
            raise
    return [await _head(world, key) for key in keys]


async def _head(world: World, key: str) -> Answer:
    try:
        return (await world.store.heads([key]))[0]
    except (StoreError, KeyUnusable) as error:
        log.warning("event=store.refused key=%r error=%s", key, error)
        return error


async def _known(world: World, jobs: set[str]) -> set[str]:
    """Which jobs are in memory, or were an engine's before; one of which the store does not tell is."""
    seen, control = world.layout.seen, world.layout.control_job
    asked = sorted(jobs - world.ledger.jobs.keys())
    here = jobs.difference(asked)
    answers = await _heads(world, [key for job in asked for key in (seen(job), control(job))])
    return here | {job for n, job in enumerate(asked) if answers[2 * n] is not None or answers[2 * n + 1] is not None}


async def _there(world: World, told: list[tuple[ObjectEvent, Meaning]]) -> set[str]:
    """The jobs that `_known` names, and those of which there is what these events are about."""
    jobs = {meaning.job for _, meaning in told if meaning.kind in _LOOKED_UP}
    jobs |= {meaning.job for event, meaning in told if meaning.kind == "dead_letter" and event.kind == "removed"}
    here = jobs & world.ledger.jobs.keys()
    asked = [(event.key, m.job) for event, m in told if m.kind in _LOOKED_UP and m.job not in here]
    answers = await _heads(world, [key for key, _ in asked])
    here |= {job for (_, job), answer in zip(asked, answers, strict=True) if answer is not None}
    return here | await _known(world, jobs - here)


def _image(world: World, event: ObjectEvent, meaning: Meaning, answer: Answer, known: set[str]) -> None:
    now = world.now()
    if answer is None:
        if meaning.job in world.ledger.jobs:
            world.ledger.removed(meaning.rel, now)
        elif meaning.job in known:
            _look_again(world, meaning.job)
    elif isinstance(answer, Entry) and _workable(world, meaning.rel, answer):
        received = Received(trigger=event.trigger, at=world.clock.wall())
        world.ledger.arrived(meaning.rel, answer.etag, answer.size, received, now)
    else:
        _look_again(world, meaning.job)


def _workable(world: World, rel: str, entry: Entry) -> bool:
    return entry.settled and not sweep.unusable(rel, entry, world.layout, world.store.limits)


def _other(world: World, event: ObjectEvent, meaning: Meaning) -> None:
    """Markers, manifests and dead letters: the job is looked at anew."""
    if meaning.kind in ("done", "cancel", "ignored"):
        _look_again(world, meaning.job)
    elif meaning.kind == "manifest":
        _look_again(world, meaning.job)
        world.desk(meaning.job).reopen()
    elif meaning.kind == "dead_letter" and event.kind == "removed":
        _exhumed(world, meaning)


async def _review(world: World, job: str) -> None:
    """A review came, changed or went: of a job that there is."""
    results, table = await refusals.heads(world, [world.layout.summary(job), world.layout.review(job)])
    if job in world.ledger.jobs or results is not None:
        _look_again(world, job)
    elif table is not None:
        await charting.review_of_no_job(world, job)


async def _workbook(world: World, key: str) -> None:
    if (await refusals.heads(world, [key]))[0] is not None:
        await charting.workbook(world, key)


async def _canary(world: World, event: ObjectEvent, rel: str) -> None:
    """Somebody tries whether events come: say who told of it, and under which key, as long as it is there."""
    nonce = rel.removeprefix(CANARY).partition("/")[0]
    if not _NONCE.fullmatch(nonce):
        return
    there = (await refusals.heads(world, [event.key]))[0] is not None
    if not there and not await _released(world, nonce):
        await _forget(world, nonce)
        return
    heard = world.canaries.setdefault(nonce, [])
    heard.append({"trigger": event.trigger, "key": event.key, "there": there, "at": world.clock.wall().isoformat()})
    del heard[:-_HEARD]
    body = {"type": "trapline.canary", "schema": 1, "heard": heard}  # the key may be no text: JSON's escapes say it
    await refusals.put(world, world.layout.canary_heard(nonce), json.dumps(body).encode())
    if not await _released(world, nonce):  # taken away meanwhile, and perhaps before this was written
        await _forget(world, nonce)
    while len(world.canaries) > _CANARIES:
        await _forget(world, next(iter(world.canaries)))


async def _released(world: World, nonce: str) -> bool:
    """Whether there is a canary of this nonce, whatever its name."""
    try:
        async for page in world.store.pages(world.layout.canary(nonce, "")):
            return bool(page)
    except (StoreError, KeyUnusable) as error:
        if not await refusals.answers(world):
            raise
        log.warning("event=store.refused key=%r error=%s", world.layout.canary(nonce, ""), error)
    return False


async def _forget(world: World, nonce: str) -> None:
    """Nothing is left of what was said of a canary."""
    if nonce not in world.canaries:
        return
    try:
        await world.store.delete([world.layout.canary_heard(nonce)])
    except (StoreError, KeyUnusable) as error:
        if not await refusals.answers(world):
            raise
        log.warning("event=canary.not_deleted nonce=%s error=%s", nonce, error)
    del world.canaries[nonce]


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
