"""Running a model over a data set: pictures in, what there is and what was found out. Several processes at a time."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import signal
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from trapline.errors import Failure
from trapline.evaluation.classifying import KEPT
from trapline.evaluation.dataset import Box, Dataset, Entry, Mark, Naming, Problem
from trapline.evaluation.matching import Found, Truth
from trapline.images import Image
from trapline.models import Model

FLOOR = 0.01  # confidence from which detections are ranked
MARKS = 10_000  # things on one picture that a detector is compared with
_AHEAD = 4  # pictures per process that are handed out at a time
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Answer:
    """One picture: what is on it, and what the model says."""

    number: int  # its place in the data set
    truth: Truth  # without what could not be used
    found: Found  # of a detector; of a classifier without boxes: its best names, in the order of `truth`
    ranks: tuple[
        tuple[tuple[int, float], ...], ...
    ] = ()  # of a classifier: per thing its labels and scores, best first
    problems: tuple[Problem, ...] = ()
    sha256: str = ""  # of the file; empty where it could not be read
    read: bool = False  # whether the model has seen it
    cpu_seconds: float = 0.0  # decoding and running


@dataclass(frozen=True)
class _Work:
    """What a process knows: the model, and how to look at pictures with it."""

    model: Model
    places: Mapping[str, int]
    floor: float

    def look(self, number: int, entry: Entry) -> Answer:
        try:
            if entry.file.exists() and not entry.file.is_file():
                return _nothing(number, entry, "file_unreadable", "It is no file.")
            data = entry.file.read_bytes()
        except (FileNotFoundError, NotADirectoryError, UnicodeEncodeError):
            return _nothing(number, entry, "file_missing", "There is no such file.")
        except OSError as error:
            return _nothing(number, entry, "file_unreadable", f"{error.strerror or error}.")
        begun = time.process_time()
        try:
            image = Image(data)
            width, height = image.width, image.height
            if entry.size is not None and entry.size != (width, height):
                return _nothing(number, entry, "size_differs", _sizes(entry.size, (width, height)), data)
            marks, problems = _sound(entry, (width, height))
            marks = [mark for mark in marks if mark.label in self.places]
            if self.model.card.kind == "detector" and len(marks) > MARKS:
                return _nothing(number, entry, "too_many_boxes", _many(len(marks)), data)
            truth = _truth(marks, self.places, (width, height))
            found, ranks = self._say(image, truth, [mark.box is None for mark in marks])
        except Failure as failure:
            return _nothing(number, entry, failure.code or "image_unreadable", failure.message, data)
        spent = time.process_time() - begun
        digest = hashlib.sha256(data).hexdigest()
        return Answer(number, truth, found, ranks, tuple(problems), digest, True, spent)

    def _say(
        self, image: Image, truth: Truth, whole: Sequence[bool]
    ) -> tuple[Found, tuple[tuple[tuple[int, float], ...], ...]]:
        labels = {label: place for place, label in enumerate(self.model.card.labels)}
        if self.model.card.kind == "detector":
            (detections,) = self.model.detect([image], threshold=self.floor)
            return found_of(detections, labels), ()
        boxes = [_inside(box, self.model) if all_ else box for box, all_ in zip(_boxes(truth), whole, strict=True)]
        named = self.model.classify(self.model.crops(image, boxes), top_k=KEPT) if boxes else []
        ranks = tuple(tuple((labels[label], float(score)) for label, score in row) for row in named)
        return Found.of([], [], []), ranks


def measure(
    folder: Path, data: Dataset, names: Naming, *, floor: float = FLOOR, workers: int = 1
) -> Generator[Answer, None, None]:
    """Look at every picture of `data` with the model in `folder`; answers come as they are ready, each with its number.

    Nothing raises for one picture: its problem is in its answer. With more than one worker each is a process of its
    own, ended with this one or when the iteration is left.
    """
    if workers <= 1 or len(data.entries) < 2:
        work = _Work(Model.load(folder), names.places, floor)
        for number, entry in enumerate(data.entries):
            yield work.look(number, entry)
        return
    rest = iter(enumerate(data.entries))
    crew = _Crew(folder, names, floor, min(workers, len(data.entries)))
    while True:
        open_: dict[Future[Answer], tuple[int, Entry]] = {}
        try:
            with crew.pool(crew.workers) as pool:
                yield from _through(pool, rest, open_, crew.workers * _AHEAD)
                return
        except BrokenProcessPool:
            suspects = list(open_.values())
        for number, entry in suspects:  # one of these pictures ended a process: each alone, to know which
            yield crew.alone(number, entry)


def found_of(detections: Sequence[object], labels: Mapping[str, int]) -> Found:
    """What a model's `detect` gave for one picture, as figures are made of it."""
    rows = [(one.box, labels[one.label], one.confidence) for one in detections]  # type: ignore[attr-defined]
    return Found.of([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _through(
    pool: ProcessPoolExecutor,
    rest: Iterator[tuple[int, Entry]],
    open_: dict[Future[Answer], tuple[int, Entry]],
    most: int,
) -> Iterator[Answer]:
    """Keep the pool busy. `open_` holds what is not answered, also when the pool breaks."""
    while True:
        for number, entry in islice(rest, most - len(open_)):
            open_[pool.submit(_look, number, entry)] = (number, entry)
        if not open_:
            return
        done, _ = wait(open_, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda one: open_[one][0]):
            answer = future.result()
            del open_[future]
            yield answer


@dataclass(frozen=True)
class _Crew:
    """Processes that look at pictures."""

    folder: Path
    names: Naming
    floor: float
    workers: int

    @contextmanager
    def pool(self, workers: int) -> Iterator[ProcessPoolExecutor]:
        before = set(multiprocessing.active_children())
        start = (self.folder, dict(self.names.places), self.floor)
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, start)
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()  # Ctrl-C: what they are at is not waited for
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def alone(self, number: int, entry: Entry) -> Answer:
        try:
            with self.pool(1) as pool:
                return pool.submit(_look, number, entry).result()
        except BrokenProcessPool:
            return _nothing(number, entry, "worker_died", "The process that looked at it ended, perhaps for memory.")


_work: _Work | None = None  # of this process, where it is a worker


def _begin(folder: Path, places: Mapping[str, int], floor: float) -> None:
    global _work  # noqa: PLW0603 - a worker's model is loaded once
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _work = _Work(Model.load(folder), places, floor)


def _look(number: int, entry: Entry) -> Answer:
    assert _work is not None
    return _work.look(number, entry)


def _nothing(number: int, entry: Entry, code: str, message: str, data: bytes | None = None) -> Answer:
    digest = hashlib.sha256(data).hexdigest() if data is not None else ""
    problem = Problem(entry.name, code, message)
    return Answer(number, Truth.of([], []), Found.of([], [], []), problems=(problem,), sha256=digest)


def _sound(entry: Entry, size: tuple[int, int]) -> tuple[list[Mark], list[Problem]]:
    """What is on the picture, in its pixels; what lies outside of it is a problem."""
    marks, problems = [], []
    for mark in entry.marks:
        box = mark.box
        if box is not None and entry.shares:
            box = (box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1])
        if box is not None and (box[0] >= size[0] or box[1] >= size[1] or box[2] <= 0 or box[3] <= 0):
            where = ", ".join(f"{side:.6g}" for side in box)
            said = f"The box {where} (x1, y1, x2, y2) lies outside of the picture, {size[0]} x {size[1]}."
            name = f"{entry.name}, {mark.name}" if mark.name and entry.name not in mark.name else mark.name
            problems.append(Problem(name or entry.name, "box_outside", said))
            continue
        marks.append(Mark(mark.label, box, mark.crowd, mark.area, mark.name))
    return marks, problems


def _truth(marks: Sequence[Mark], places: Mapping[str, int], size: tuple[int, int]) -> Truth:
    whole = (0.0, 0.0, float(size[0]), float(size[1]))
    return Truth.of(
        [mark.box or whole for mark in marks],
        [places[mark.label] for mark in marks],
        [mark.crowd for mark in marks],
        [mark.area for mark in marks],
    )


def _boxes(truth: Truth) -> list[Box]:
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in truth.boxes.tolist()]


def _inside(box: Box, model: Model) -> Box:
    """A picture that is a crop already, as the box that the card's margin would have made it from."""
    spec = model.card.input
    if spec.resize != "crop":
        return box
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2 / (1 + 2 * spec.margin)
    (x1, y1), (x2, y2) = (centre - half).tolist(), (centre + half).tolist()
    return x1, y1, x2, y2


def _many(marks: int) -> str:
    return f"{marks:,} things are on it; at most {MARKS:,} are compared with what a model finds."


def _sizes(told: tuple[int, int], found: tuple[int, int]) -> str:
    turned = "; the boxes may be drawn on the unturned picture" if told == found[::-1] else ""
    return f"It is {found[0]} x {found[1]} as displayed, the data set says {told[0]} x {told[1]}{turned}."
