"""A sweep over listings that are made up as they are read: what it costs beside what any store costs.

Run as `python -m trapline.bench.listings PROJECT IMAGES JOBS`; prints JSON. A process of its own, so that its memory
is its own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from trapline import sweep
from trapline.dispatcher import charting
from trapline.dispatcher.seams import SystemClock
from trapline.dispatcher.world import World
from trapline.keys import Layout
from trapline.pipeline.load import load_pipeline
from trapline.records import Seen
from trapline.store.base import Entry, Got, KeyLimits

_PAGE = 1_000


class Listings:
    """A bucket of finished jobs of equal size, whose listings are made page by page."""

    limits = KeyLimits()
    conditional = False

    def __init__(self, layout: Layout, images: int, jobs: int) -> None:
        self._layout = layout
        self._jobs = jobs
        self._each = images // jobs
        self._seen: dict[str, bytes] = {}

    async def pages(self, prefix: str) -> AsyncIterator[list[Entry]]:
        if prefix != self._layout.prefix("incoming"):
            return
        for job in range(self._jobs):
            for start in range(0, self._each, _PAGE):
                yield self._page(job, start)

    async def gets(self, keys: Sequence[str]) -> list[Got | None]:
        return [Got(Entry(key, "s", 1, 0.0), self._seen[key]) if key in self._seen else None for key in keys]

    def finish(self) -> None:
        """Write down for each job what a sweep knows it by, as an engine does."""
        for job in range(self._jobs):
            digest = sweep.Digest()
            for start in range(0, self._each, _PAGE):
                for entry in self._page(job, start):
                    sweep.note_incoming(digest, entry, self._layout)
            name = _name(job)
            seen = Seen(job=name, listing=sweep.whole_digest(digest, sweep.Digest(), ""), seal="", finished=True)
            self._seen[self._layout.seen(name)] = seen.dump()

    def _page(self, job: int, start: int) -> list[Entry]:
        folder = f"{self._layout.image(_name(job))}/DCIM/"
        numbers = range(start, min(start + _PAGE, self._each))
        return [Entry(f"{folder}IMG_{n:06d}.JPG", f"{job:x}-{n:x}", 2_000_000, 1.7e9) for n in numbers]


def _name(job: int) -> str:
    return f"st{job // 100:03d}/n{job % 100:03d}"


def main() -> None:
    """Sweep once, and print what it took."""
    project, images, jobs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    pipeline = load_pipeline(project)
    listings: Any = Listings(pipeline.layout, images, jobs)
    listings.finish()
    executor: Any = None  # nothing is owed
    world = World(pipeline, listings, executor, SystemClock(), Random(0), alone=True)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    for job in range(jobs):
        listings._page(job, 0)
    making = (time.monotonic() - began) * max(1, images // jobs // _PAGE)
    began = time.monotonic()
    asyncio.run(charting.full(world))
    seconds = time.monotonic() - began
    grew = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    told = {
        "images": images,
        "jobs": jobs,
        "seconds": round(seconds, 3),
        "of_it_making_listings": round(making, 3),
        "memory_grew_mb": round(grew / 1e6, 1),
        "opened": len(world.ledger.jobs),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
