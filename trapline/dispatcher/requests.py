"""What the command line asks for, through the bucket."""

from __future__ import annotations

import logging

from trapline.dispatcher import charting, control_record
from trapline.dispatcher.world import World
from trapline.records import Request, load

log = logging.getLogger("trapline.dispatcher")


async def answer(world: World) -> None:
    """Read every request, act on it, delete it."""
    prefix = world.layout.prefix("control") + "requests/"
    keys = [entry.key async for page in world.store.pages(prefix) for entry in page]
    if not keys:
        return
    for got in await world.store.gets(keys):
        request = load(Request, got.data) if got else None
        if request is not None:
            log.info("event=request action=%s job=%s", request.action, request.job)
            await _act(world, request)
    await world.store.delete(keys)


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
        desk.notify_tries.clear()
        desk.notify_at.clear()
        charting.reopen(world, job)
    elif request.action == "reprocess":
        await control_record.unpin(world, job)
