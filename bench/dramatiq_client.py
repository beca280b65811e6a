"""Who sends dramatiq's messages: `python -m bench.dramatiq_client ERRAND`. Waits for the results; loads no model."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from bench.errand import Errand
from bench.peer_dramatiq import REDIS
from bench.stages import results, written

_EVERY = 0.02  # seconds between two looks


def main() -> None:
    """Run the errand."""
    errand = Errand.load(sys.argv[1])
    broker = RedisBroker(url=os.environ[REDIS])
    _through(broker, errand.warm, Path(errand.folder, "warm"))
    errand.done(_through(broker, errand.files, Path(errand.folder, "results")))


def _through(broker: RedisBroker, files: list[str], folder: Path) -> float:
    paths = results(folder, files)
    began = time.monotonic()
    for args in zip(files, paths, strict=True):
        broker.enqueue(Message(queue_name="default", actor_name="detect", args=args, kwargs={}, options={}))
    while written(folder) < len(files):
        time.sleep(_EVERY)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
