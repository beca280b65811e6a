"""The limit: the same handlers, batches and threads in as many processes; the same files are read, none is written."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess as Process
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from trapline.embedded.rclone import dies_with
from trapline.errors import SurroundingsError
from trapline.executors.process import environment
from trapline.images import Image
from trapline.models import Model
from trapline.models.session import THREADS
from trapline.pipeline.load import Pipeline, Stage, load_pipeline
from trapline.pipeline.parameters import resolve_parameters
from trapline.runtime.functions import Handler, handler_class
from trapline.runtime.images import matches, merged
from trapline.runtime.items import Context, ImageItem

_WARM = 2  # batches each process runs before the clock starts
_LONGEST = 1800.0  # seconds one loop may take


@dataclass(frozen=True)
class Bare:
    """What a bare loop took."""

    images: int
    seconds: float
    cpu_seconds: float  # of all its processes

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def loop(project: Path, files: Sequence[Path], processes: int) -> Bare:
    """Run every per-image stage of a project over files, in some processes that share them out batch by batch.

    Raises `SurroundingsError` where a function cannot be set up, or fails.
    """
    spawn = multiprocessing.get_context("spawn")
    ready, taken, told = spawn.Barrier(processes + 1), spawn.Value("q", 0), spawn.SimpleQueue()
    paths = [str(path) for path in files]
    workers = [
        spawn.Process(target=_work, args=(str(project), paths, processes, ready, taken, told), daemon=True)
        for _ in range(processes)
    ]
    with _running(project, workers):
        with suppress(BrokenBarrierError):  # told of below
            ready.wait(_LONGEST)
        began = time.monotonic()
        _ended(workers)
        seconds = time.monotonic() - began
    return Bare(len(files), seconds, sum(told.get() for _ in workers))


def single(project: Path, files: Sequence[Path]) -> float:
    """Seconds that one image takes by itself, in a process of its own: the median over some files."""
    spawn = multiprocessing.get_context("spawn")
    told = spawn.SimpleQueue()
    worker = spawn.Process(target=_alone, args=(str(project), [str(path) for path in files], told), daemon=True)
    with _running(project, [worker]):
        _ended([worker])
    took: list[float] = told.get()
    return statistics.median(took)


@contextmanager
def _running(project: Path, workers: Sequence[Process]) -> Iterator[None]:
    """Start processes in the environment that an engine gives its workers; none is left."""
    threads = load_pipeline(project).spec.local.threads
    wanted = {THREADS: str(threads), **environment(threads)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.kill()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ended(workers: Sequence[Process]) -> None:
    for worker in workers:
        worker.join(_LONGEST)
        if worker.exitcode != 0:
            raise SurroundingsError(
                "A process of the bare loop did not end well; what it said stands above.",
                remedy="See whether `trapline demo` works.",
            )


def _alone(project: str, paths: list[str], told: Any) -> None:
    chain, took = _chain(project), []
    chain.run([Path(paths[0])])
    for path in paths:
        began = time.monotonic()
        chain.run([Path(path)])
        took.append(time.monotonic() - began)
    told.put(took)


def _work(project: str, paths: list[str], processes: int, ready: Barrier, taken: Any, told: Any) -> None:
    try:
        chain = _chain(project)
        for start in range(_WARM):
            chain.run([Path(path) for path in paths[start * chain.batch : (start + 1) * chain.batch]])
    except BaseException:
        ready.abort()
        raise
    ready.wait(_LONGEST)
    before = time.process_time()
    while batch := _taken(paths, chain.batch, processes, taken):
        chain.run([Path(path) for path in batch])
    told.put(time.process_time() - before)


def _chain(project: str) -> Chain:
    if (end_with := dies_with(os.getppid())) is not None:
        end_with()
    return Chain(load_pipeline(Path(project)))


def _taken(paths: list[str], batch: int, processes: int, taken: Any) -> list[str]:
    """The next files; towards the end fewer at a time, so that no process is left with all of the rest."""
    with taken.get_lock():
        start = taken.value
        size = min(batch, max(1, -(-(len(paths) - start) // processes)))
        taken.value += size
    return paths[start : start + size]


class Chain:
    """The per-image stages of a pipeline, set up, one after the other."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._steps = [Step(pipeline, pipeline.stages[name]) for name in pipeline.image_stages]
        self.batch = max(step.batch for step in self._steps)

    def run(self, paths: Sequence[Path]) -> list[dict[str, Any]]:
        """Read files and call every stage on them. Returns what is known of each."""
        images = [
            (str(path), Image(data, max_pixels=self._pipeline.spec.images.max_pixels), data)
            for path in paths
            for data in (path.read_bytes(),)
        ]
        known: list[dict[str, Any]] = [{} for _ in images]
        for step in self._steps:
            step.run(images, known)
        for _, image, _ in images:
            image.release()
        return known


class Step:
    """One stage."""

    def __init__(self, pipeline: Pipeline, stage: Stage) -> None:
        function = stage.function
        self.batch = function.batch.size
        self._when = stage.spec.when.model_dump(exclude_none=True) if stage.spec.when else None
        self._parameters = resolve_parameters(function, stage.spec.parameters, "bench")
        self._handler: Handler = handler_class(function, pipeline.folder)()
        model = None
        if function.model is not None:
            model = Model.load(pipeline.folder / "functions" / function.name / "model")
        setup = getattr(self._handler, "setup", None)
        if setup is not None:
            setup(Context(function=function.name, parameters=self._parameters, recipe="bench", model=model))

    def run(self, images: Sequence[tuple[str, Image, bytes]], known: list[dict[str, Any]]) -> None:
        for chosen in _batches([n for n in range(len(images)) if self._wants(known[n])], self.batch):
            items = [self._item(*images[n], known[n]) for n in chosen]
            for n, result in zip(chosen, self._handler.handle(items), strict=True):
                if not isinstance(result, dict):
                    raise SurroundingsError(f"{images[n][0]}: the function failed: {result}.")
                known[n], problem = merged(known[n], result)
                if problem is not None:
                    raise SurroundingsError(f"{images[n][0]}: {problem.message}")

    def _wants(self, known: dict[str, Any]) -> bool:
        return self._when is None or bool(self._chosen(known))

    def _chosen(self, known: dict[str, Any]) -> list[dict[str, Any]]:
        found = known.get("detections") or []
        return list(found) if self._when is None else [d for d in found if matches(d, self._when)]

    def _item(self, rel: str, image: Image, data: bytes, known: dict[str, Any]) -> ImageItem:
        return ImageItem(
            rel=rel,
            key=rel,
            job="bench",
            parameters=self._parameters,
            station={},
            data=data,
            image=image,
            record=known or None,
            detections=self._chosen(known),
        )


def _batches(chosen: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]
