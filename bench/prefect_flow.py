"""What runs as the Prefect flow: a task per stage and image, in a pool of processes.

`python -m bench.prefect_flow ERRAND`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.futures import wait
from prefect.task_runners import ProcessPoolTaskRunner

from bench.errand import Errand
from bench.stages import results, stages, write


@task
def detect(path: str) -> dict[str, Any]:
    """The first stage."""
    return stages().run(path, ["detect"])


@task
def classify(path: str, known: dict[str, Any], result: str) -> None:
    """The second."""
    write(result, stages().run(path, ["classify"], known))


@flow
def night(warm: list[str], files: list[str], folder: str) -> float:
    """Both stages over a night's images. Returns the seconds that those took which are not for warming up."""
    _through(warm, Path(folder, "warm"))
    began = time.monotonic()
    _through(files, Path(folder, "results"))
    return time.monotonic() - began


def _through(files: list[str], folder: Path) -> None:
    named = classify.map(files, detect.map(files), results(folder, files))
    for future in wait(named).done:
        future.result()


def main() -> None:
    """Run the errand."""
    errand = Errand.load(sys.argv[1])
    pooled = night.with_options(task_runner=ProcessPoolTaskRunner(max_workers=errand.workers))
    errand.done(pooled(errand.warm, errand.files, errand.folder))


if __name__ == "__main__":
    main()
