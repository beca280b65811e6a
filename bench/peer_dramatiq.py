"""dramatiq over Debian's Redis: an actor per stage, each message about one image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.errand import Errand
from bench.peer import Measured, NotRun, Peer, Work
from bench.stages import environment
from bench.started import LOOPBACK, answers, free_port, running, until

REDIS = "BENCH_REDIS"  # the variable that tells a worker, and who sends to it, where Redis is
READY = "BENCH_READY"  # and in which folder a worker says that it is ready


def measure(work: Work) -> Measured:
    """From the first message sent to the last result written."""
    port, errand, log = free_port(), Errand.of(work), work.folder / "log"
    data, ready = work.folder / "redis", work.folder / "ready"
    for folder in (data, ready):
        folder.mkdir()
    told = environment(work.project) | {REDIS: f"redis://{LOOPBACK}:{port}/0", READY: str(ready)}
    redis = [_redis(), "--bind", LOOPBACK, "--port", str(port), "--dir", str(data)]
    workers = [sys.executable, "-m", "dramatiq", "bench.dramatiq_actors"]
    workers += ["--processes", str(work.workers), "--threads", "1"]
    client = [sys.executable, "-m", "bench.dramatiq_client", errand.save()]
    with running(redis, told, log, work.longest) as server:
        until("Redis", lambda: answers(port), work.longest, server, log=log)
        with running(workers, told, log, work.longest) as pool:
            until("the workers", lambda: len(os.listdir(ready)) >= work.workers, work.longest, server, pool, log=log)
            with running(client, told, log, work.longest) as sender:
                until("results", lambda: sender.poll() is not None, work.longest, server, pool, log=log)
    return errand.measured()


def _redis() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise NotRun("redis-server is not installed: apt-get install redis-server")
    return found


def _redis_version() -> str:
    words = subprocess.run([_redis(), "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return next(word.removeprefix("v=") for word in words.split() if word.startswith("v="))


PEER = Peer(
    name="dramatiq + Redis",
    setup="{workers} worker processes of one thread, two actors, Redis as it is configured by default",
    durable=(
        "kill -9 of a worker ends the whole pool, which somebody has to start again; what the worker had taken comes "
        "back after 60 s at the earliest, when one in a thousand of the broker's commands looks for it, which with an "
        "idle queue takes long (tried). kill -9 of Redis as it is configured by default, with snapshots and no "
        "append-only file, loses what was queued since the last snapshot, in a short run all of it (tried); a power "
        "cut does the same. An image that fails is tried 20 times with growing pauses, then kept as a dead letter for "
        "7 days; only a log tells of it. No fan-in here: a group's callback needs another backend."
    ),
    measure=measure,
    packages=("dramatiq", "redis"),
    programs={"redis-server": _redis_version},
)
