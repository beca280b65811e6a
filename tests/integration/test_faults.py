"""`kill -9` at random of engine, workers and store while images arrive: what is left is what a calm run leaves.

A round is its seed. `TRAPLINE_FAULT_SEED=N pytest -m slow tests/integration/test_faults.py` begins with seed N.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.integration.calm import IMAGES, JOBS, contents, differences, drop, told
from tests.integration.engine import Engine, gone, project
from tests.integration.watcher import Watcher

FIRST_SEED = int(os.environ.get("TRAPLINE_FAULT_SEED", "2026"))
ROUNDS = 10
VICTIMS = ("engine", "worker", "rclone", "engine rclone", "worker rclone", "engine worker", "worker worker")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="traps")
def _traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("faults") / "traps", {"settle": "PT1H", "refresh": "PT0.5S"})


def test_a_calm_run_leaves_a_record_of_every_image(calm: dict[str, bytes]) -> None:
    cut_off = IMAGES // 61
    assert sum(key.startswith("classifications/") for key in calm) == IMAGES - cut_off
    assert sum(key.startswith("failed/detect/") for key in calm) == cut_off
    assert sum(key.startswith("receipts/") for key in calm) == len(JOBS)


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + ROUNDS))
def test_whatever_is_killed_whenever_the_results_are_those_of_a_calm_run(
    traps: Path, images: dict[str, bytes], calm: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    rng, served = Random(seed), Engine(traps, tmp_path / "data").start()
    over_s3 = rng.random() < 0.5
    story = [f"TRAPLINE_FAULT_SEED={seed}", "over S3" if over_s3 else "into the folder"]
    try:
        with Watcher(served, Random(seed)) as watcher, arriving(served, images, over_s3):
            for _ in range(rng.randint(3, 5)):
                time.sleep(rng.uniform(0.05, 1.8))
                story.append(kill(served, rng.choice(VICTIMS), rng))
            told(served)
        watcher.last_look()
        assert served.stop() == 0
        assert differences(contents(served.root), calm) == [], story
        assert watcher.wrong == [], story
        assert watcher.looks["finals"] >= len(JOBS) and watcher.looks["s3"] > 0, story
    finally:
        print(*story, served.said()[-4000:], sep="\n")
        served.end()


def kill(served: Engine, victims: str, rng: Random) -> str:
    """End some processes at the same moment; an engine is started again, whatever else starts again by itself."""
    assert served.process is not None
    of = {"engine": [served.process.pid], "worker": served.workers(), "rclone": served.rclone()}
    pids = {rng.choice(of[word]) for word in victims.split() if of[word]}
    others = [pid for pid in served.processes() if pid not in pids]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if "engine" in victims:
        served.wait()
        gone(others)
        served.start()
    return f"killed {victims}"


@contextmanager
def arriving(served: Engine, images: dict[str, bytes], over_s3: bool) -> Iterator[None]:
    """The images arrive while the block runs, and have all arrived when it ends."""
    work = upload if over_s3 else drop
    thread = threading.Thread(target=work, args=(served, images), daemon=True)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()


def upload(served: Engine, images: dict[str, bytes]) -> None:
    """As a station's client does over a bad link: each again and again until it is taken."""
    left = list(images.items())
    while left:
        with suppress(BotoCoreError, ClientError):
            s3, url = served.s3_at_once, served.told["endpoint"]
            while left and served.told["endpoint"] == url:
                s3.put_object(Bucket=served.bucket, Key=f"incoming/{left[0][0]}", Body=left[0][1])
                del left[0]
        time.sleep(0.1)
