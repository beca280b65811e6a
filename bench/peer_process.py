"""A process per event: what a platform that starts a container for every upload pays, without the container."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bench.peer import Measured, Peer, Work
from bench.stages import environment, results

IMAGES = 12  # so many, or fewer: each costs a start


def measure(work: Work) -> Measured:
    """From the first process started to the last ended, as many at a time as there are workers."""
    files = work.files[:IMAGES]
    paths = results(work.folder / "results", files)
    told = environment(work.project)

    def handle(event: tuple[str, str]) -> None:
        subprocess.run(
            ["timeout", f"{work.longest:.0f}", sys.executable, "-m", "bench.event", *event],
            env=told,
            stdin=subprocess.DEVNULL,
            check=True,
        )

    began = time.monotonic()
    with ThreadPoolExecutor(work.workers) as pool:
        try:
            list(pool.map(handle, zip(map(str, files), paths, strict=True)))
        finally:
            pool.shutdown(cancel_futures=True)
    return Measured(len(files), time.monotonic() - began)


PEER = Peer(
    name="a process per event",
    setup="{workers} at a time; each loads the models, runs both stages and writes one result",
    durable=(
        "Nothing by itself: an image whose process is killed, or fails, has no result and leaves an exit code. "
        "Delivering the event again, telling of it and fan-in are for the platform around it, if that has them."
    ),
    measure=measure,
)
