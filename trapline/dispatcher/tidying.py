"""After a compile: the copies under stable names, and what no summary names any more."""

from __future__ import annotations

import asyncio
import re

from trapline.dispatcher import refusals
from trapline.dispatcher.world import World
from trapline.records import FileRef, Summary
from trapline.store.base import Entry

REVISION = re.compile(r"^r(\d+)-[0-9a-f]{8}$")  # a final revision's folder


async def tidy(world: World, name: str) -> None:
    """Bring the copies up to date and remove what no summary names. Never while the job is compiled."""
    desk = world.desk(name)
    if desk.summary is not None:
        await _copies(world, name, desk.summary.files)
        await _clear(world, name, desk.summary)
    desk.untidy = False


async def _copies(world: World, name: str, files: tuple[FileRef, ...]) -> None:
    """Convenience copies under stable names, where they are not those of this revision."""
    copies = world.desk(name).copies
    for file in files:
        copy = world.layout.result(name, file.name)
        (there,) = await refusals.heads(world, [copy])
        if there is not None and await _is_copy(world, there, file, copies.get(file.name)):
            copies[file.name] = (there.etag, file.sha256)
        elif (made := await refusals.copy(world, file.key, copy, file.content_type)) is not None:
            copies[file.name] = (made.etag, file.sha256)


async def _is_copy(world: World, there: Entry, file: FileRef, known: tuple[str, str] | None) -> bool:
    """Whether a copy is of this file. `known`: its etag and the hash of its bytes, as they were found last."""
    if known is not None and known[0] == there.etag:
        return known[1] == file.sha256
    return there.size == file.size and await refusals.sha256(world, there.key) == file.sha256


async def _clear(world: World, name: str, new: Summary) -> None:
    """Remove what no summary names any more: provisional folders, revisions beyond `results.keep`, leftovers."""
    kept = {new.revision, *(f.revision for f in new.finals)}
    level = await world.store.level(world.layout.result(name))
    for folder in level.folders:
        revision = folder.rstrip("/").rpartition("/")[2]
        if revision not in kept and (REVISION.match(revision) or revision.startswith("live-")):
            keys = [entry.key async for page in world.store.pages(folder) for entry in page]
            await world.store.delete(keys)
            await asyncio.sleep(0)
