"""What dramatiq's workers import: two actors. The models are loaded before the first message is taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peer_dramatiq import READY, REDIS
from bench.stages import stages, write

dramatiq.set_broker(RedisBroker(url=os.environ[REDIS]))
stages()


@dramatiq.actor
def detect(path: str, result: str) -> None:
    """The first stage."""
    classify.send(path, result, stages().run(path, ["detect"]))


@dramatiq.actor
def classify(path: str, result: str, known: dict[str, Any]) -> None:
    """The second."""
    write(result, stages().run(path, ["classify"], known))


Path(os.environ[READY], str(os.getpid())).touch()
