"""Telling of an open job: that it began, and how far it is. One try, no receipt; what ends a job never waits for it."""

from __future__ import annotations

import logging
from typing import Any

from trapline.dispatcher import notifying, telling
from trapline.dispatcher.world import World
from trapline.ledger.states import Job
from trapline.records import Audience, Event, Item, NotifyOrder, Status

log = logging.getLogger("trapline.dispatcher")

EVERY = 60.0  # seconds between two of a job
TOGETHER = 2  # under way at a time, over all jobs
_AUDIENCES: tuple[Audience, ...] = ("client", "people")


def due(world: World, job: Job, now: float) -> tuple[Event, float] | None:
    """What there will be to tell next, and when; None: nothing as long as the job stays as it is."""
    desk = world.desk(job.name)
    over = job.closed or job.cancelled or bool(job.problem) or not job.images
    if over or not world.pipeline.tells("news"):
        return None
    if desk.fresh and _told_of(world, job, "opened"):
        return "opened", now
    if not _told_of(world, job, "progress"):
        return None
    since = now if desk.since is None else desk.since
    return "progress", max(now, since + EVERY, desk.news_at + EVERY)


def busy(world: World) -> bool:
    """Whether others have to be waited for."""
    return world.news >= TOGETHER


async def tell(world: World, name: str, event: Event) -> None:
    """Tell of an open job, whoever wants to hear it; what becomes of that is in the log alone."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    status = telling.build(world, job, world.now())
    said = (status.state, status.images, status.stages)
    desk.fresh, desk.news_at = False, world.now()
    if event == "progress" and said == desk.news_said:
        return
    desk.news_said = said
    world.news += 1
    try:
        for audience in _told_of(world, job, event):
            await _send(world, job, audience, event, status)
    finally:
        world.news -= 1


def _told_of(world: World, job: Job, event: Event) -> list[Audience]:
    """Who wants to hear of it, and can be told."""
    called = job.manifest is not None and job.manifest.callback is not None
    there = {"client": called, "people": bool(world.pipeline.spec.notify.to)}
    return [to for to in _AUDIENCES if there[to] and event in notifying.wishes(world, job, to)]


async def _send(world: World, job: Job, to: Audience, event: Event, status: Status) -> None:
    stage = world.pipeline.of_kind("notify")
    if stage is None or stage.name not in job.pins:
        return
    when = status.updated_at.isoformat() if status.updated_at else ""
    news, webhook_id = _news(job, status), notifying.webhook_id(job.name, event, when)
    order = NotifyOrder(to=to, event=event, news=news, webhook_id=webhook_id, brief=True)  # no use when it is late
    outcome = await world.executor.run(notifying.ticket_of(world, stage, job.name, Item(rel=job.name), order))
    item = outcome.setup or (outcome.items[0] if outcome.items else None)
    if item is None or item.result != "done":
        code = item.code if item else outcome.died
        log.info("event=notify.news_lost job=%s about=%s to=%s code=%s", job.name, event, to, code)


def _news(job: Job, status: Status) -> dict[str, Any]:
    """What a client reads of an open job; all of it is in the status, too."""
    said = status.model_dump(mode="json", include={"state", "images", "rate", "eta_seconds", "updated_at"})
    return {
        "job": job.name,
        **said,
        "stages": {name: count.text for name, count in status.stages.items()},
        "failures_by_code": status.failures,
        "codes": status.codes,
        "client": job.manifest.client if job.manifest else {},
    }
