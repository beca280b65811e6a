"""`control/jobs/<job>.json`: what must not be forgotten about a job."""

from __future__ import annotations

from typing import Any

from trapline.dispatcher import refusals
from trapline.dispatcher.world import World
from trapline.records import JobControl, load


async def save(world: World, name: str, update: dict[str, Any], *, written: bool = False) -> JobControl:
    """Change a job's control record, and write it where that changes it. One write at a time: none is lost.

    `written`: raise rather than go on with what only this engine knows.
    """
    desk = world.desk(name)
    async with desk.saving:
        before = desk.control or JobControl(job=name)
        control = before.model_copy(update=update)
        if control != desk.control or not desk.opened:
            key = world.layout.control_job(name)
            # Where this key is refused the job goes on; a restart knows less of it.
            await (world.store.put(key, control.dump()) if written else refusals.put(world, key, control.dump()))
        # What else was set while it was written stays.
        desk.control = (desk.control or before).model_copy(update=update)
    return desk.control


async def unpin(world: World, name: str, stages: tuple[str, ...] = ()) -> None:
    """The job, or these stages of it, are to be pinned anew: written down before the request for it is deleted."""
    desk = world.desk(name)
    got = (await refusals.gets(world, [world.layout.control_job(name)], refusals.SURE))[0]
    desk.control = desk.control or (load(JobControl, got.data) if got else None)
    if desk.control is not None and desk.control.pins:
        update: dict[str, Any] = {"anew": (*desk.control.anew, *stages)} if stages else {"pins": {}, "anew": ()}
        await save(world, name, update, written=True)
        desk.reopen()
        async with desk.saving:
            await world.store.delete([world.layout.seen(name)])  # or a restart takes the job for finished
    desk.reopen()
