"""The project's per-image functions, set up as the bare loop sets them up, one image and one stage at a time."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from trapline.bench.bare import Step
from trapline.executors.process import environment as worker_environment
from trapline.images import Image
from trapline.models.session import THREADS
from trapline.pipeline.load import load_pipeline

PROJECT = "BENCH_PROJECT"  # the variable that tells a peer's process which project it runs


class Stages:
    """Handlers with their models, ready."""

    def __init__(self, project: Path) -> None:
        pipeline = load_pipeline(project)
        self._max_pixels = pipeline.spec.images.max_pixels
        self._steps = {name: Step(pipeline, pipeline.stages[name]) for name in pipeline.image_stages}

    def run(self, path: str, stages: Sequence[str] = (), known: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read a file and run some stages on it, by default all. Returns what is known of it then."""
        data = Path(path).read_bytes()
        with _opened(data, self._max_pixels) as image:
            found = [known or {}]
            for name in stages or self._steps:
                self._steps[name].run([(path, image, data)], found)
        if "detections" not in found[0]:
            raise ValueError(f"{path}: a stage failed")
        return found[0]


@cache
def stages() -> Stages:
    """This process's stages, of the project that its environment names."""
    return Stages(Path(os.environ[PROJECT]))


def environment(project: Path) -> dict[str, str]:
    """What a peer's process needs: the project, this interpreter, and as many threads as a worker of Trapline's has."""
    threads = load_pipeline(project).spec.local.threads
    as_a_worker = {THREADS: str(threads), **worker_environment(threads)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    root = str(Path(__file__).parents[1])
    return os.environ | as_a_worker | {PROJECT: str(project), "PATH": path, "PYTHONPATH": root}


def write(result: str, known: dict[str, Any]) -> None:
    """Write what is known of an image as JSON; the file appears whole."""
    part = Path(f"{result}.part")
    part.write_text(json.dumps(known))
    part.rename(result)


def results(folder: Path, files: Sequence[object]) -> list[str]:
    """A result file's path for each image."""
    folder.mkdir(parents=True)
    return [str(folder / f"{number}.json") for number, _ in enumerate(files)]


def written(folder: Path) -> int:
    """How many results there are."""
    return sum(name.endswith(".json") for name in os.listdir(folder))


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image]:
    image = Image(data, max_pixels=max_pixels)
    try:
        yield image
    finally:
        image.release()
