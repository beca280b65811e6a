"""What the command line asks for, through the bucket."""

from __future__ import annotations

import logging

from trapline.dispatcher import charting, control_record, refusals
from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, StoreError
from trapline.pipeline.recipe import with_what_follows
from trapline.records import Request, load

log = logging.getLogger("trapline.dispatcher")


async def answer(world: World) -> None:
    """Read every request, act on it, delete it."""
    prefix = world.layout.prefix("control") + "requests/"
    keys = [entry.key async for page in world.store.pages(prefix) for entry in page]
    if not keys:
        return
    for got in await refusals.gets(world, keys):
        mark = (got.entry.key, got.entry.etag) if got else ("", "")
        request = load(Request, got.data) if got and mark not in world.answered else None
        if request is not None:
            log.info("event=request action=%s job=%s", request.action, request.job)
            await _act(world, request)
            world.answered.add(mark)  # one that cannot be deleted is answered once
    for key in keys:
        await _delete(world, key)


async def _delete(world: World, key: str) -> None:
    try:
        await world.store.delete([key])
    except (StoreError, KeyUnusable) as error:
        if not await refusals.answers(world):
            raise
        log.warning("event=request.not_deleted key=%r error=%s", key, error)
        return
    world.answered = {mark for mark in world.answered if mark[0] != key}


async def _act(world: World, request: Request) -> None:
    if request.action == "sweep" and not request.job:
        world.wanted["full"] = True
        return
    job = request.job or world.layout.job_of(request.rel)
    if world.unfit(job):
        return
    world.ledger.job(job, world.now())
    desk = world.desk(job)
    desk.chart_wanted = True
    if request.action == "retry":
        desk.gather_tries, desk.gather_at = 0, 0.0
        desk.tell_again()
        charting.reopen(world, job)
    elif request.action == "reprocess" and (not request.stage or request.stage in world.pipeline.stages):
        await control_record.unpin(
            world, job, with_what_follows(world.pipeline, request.stage) if request.stage else ()
        )
