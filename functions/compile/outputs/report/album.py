"""The pictures of a page: thumbnails, and crops of single things, each image read and decoded once, in threads.

They lie in one file of the compile's own folder until they are written into the page.
"""

from __future__ import annotations

import base64
import io
import os
import tempfile
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from markupsafe import Markup
from PIL import Image as Pillow

from functions.compile.outputs.report.survey import Crop, Survey
from functions.compile.picture import HUMAN, Picture, corners, sureness
from functions.compile.results import Box, Pixels, Results
from trapline.errors import Failure, KeyUnusable, StoreError, StoreUnavailable
from trapline.records.naming import label_of

SIDE = 480  # pixels of a thumbnail's longer side
MOST = 17_000  # bytes of one
CROP = 160  # pixels of a crop's side
CROP_MOST = 6_000  # bytes of one
GRID = 1000  # what the longer side of an image is where boxes are drawn over it
BOXES = 300  # drawn over one image
MARGIN = 0.12  # of the box's longer side, around a crop
_QUALITIES = (70, 40, 15)
_LARGE = 24_000_000  # pixels above which one image is decoded at a time

Place = tuple[int, int]  # where a picture lies in the file, and its bytes


@dataclass(frozen=True)
class Cut:
    """One thing, cut out."""

    place: Place
    rel: str
    when: datetime | None
    sure: float | None
    by_hand: bool  # a person named it


@dataclass(frozen=True)
class Shot:
    """One image that is shown."""

    rel: str
    when: datetime | None
    labels: Counter[str]  # how many of each are on it
    outlines: dict[str, str]  # boxes by label, as paths; the image's longer side is `GRID`
    left_out: int  # boxes that are not drawn
    place: Place | None = None  # None: it could not be read
    size: tuple[int, int] = (SIDE, SIDE * 3 // 4)  # of the thumbnail
    problem: str = ""


@dataclass
class Album:
    """What was made of the images."""

    file: IO[bytes]
    shots: list[Shot] = field(default_factory=list)  # in the order of the job
    cuts: dict[str, list[Cut]] = field(default_factory=lambda: defaultdict(list))  # by label

    def uri(self, place: Place) -> Markup:
        """A picture as an address that holds it."""
        self.file.seek(place[0])
        return Markup("data:image/webp;base64," + base64.b64encode(self.file.read(place[1])).decode("ascii"))

    def keep(self, data: bytes) -> Place:
        place = (self.file.seek(0, os.SEEK_END), len(data))
        self.file.write(data)
        return place


@dataclass
class _Made:
    """What one image became."""

    thumbnail: bytes = b""
    size: tuple[int, int] = (0, 0)
    full: tuple[int, int] | None = None
    crops: dict[int, bytes] = field(default_factory=dict)  # by the number of the thing
    problem: str = ""


@contextmanager
def picture_album(results: Results, found: Survey) -> Iterator[Album]:
    """The pictures that a survey chose. An image that cannot be read any more costs its own pictures alone."""
    with tempfile.TemporaryFile(dir=results.scratch if results.scratch.is_dir() else None) as file:
        made = Album(file)
        _fill(made, results, found)
        yield made


def _fill(made: Album, results: Results, found: Survey) -> None:
    shown, crops, things = found.shown, found.crops, defaultdict(list)
    for number, thing in crops:
        things[number].append(thing)
    studio, threads = _Studio(results), os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[int, Picture, Future[_Made]]] = deque()
        for number, picture in enumerate(results.pictures()):
            if number not in shown and number not in things:
                continue
            work = pool.submit(studio.made, picture, things.get(number, []), number in shown)
            waiting.append((number, picture, work))
            if len(waiting) > 2 * threads:
                _take(made, waiting.popleft(), shown, crops)
        while waiting:
            _take(made, waiting.popleft(), shown, crops)


def _take(album: Album, one: tuple[int, Picture, Future[_Made]], shown: frozenset[int], crops: dict[Crop, str]) -> None:
    number, picture, work = one
    made = work.result()
    if number in shown:
        album.shots.append(_shot(album, picture, made))
    for thing, data in made.crops.items():
        detection, top = picture.named[thing]
        sure, by_hand = sureness(detection, top), top.get("by") == HUMAN
        album.cuts[crops[number, thing]].append(Cut(album.keep(data), picture.rel, picture.local, sure, by_hand))


def _shot(album: Album, picture: Picture, made: _Made) -> Shot:
    size = made.full or picture.size
    drawn = _outlines(picture, GRID / max(size)) if size else {}
    return Shot(
        rel=picture.rel,
        when=picture.local,
        labels=Counter(label_of(*named) for named in picture.named),
        outlines=drawn,
        left_out=max(0, len(picture.named) - BOXES),
        place=album.keep(made.thumbnail) if made.thumbnail else None,
        size=made.size if made.thumbnail else Shot.size,
        problem=made.problem,
    )


def _outlines(picture: Picture, scale: float) -> dict[str, str]:
    """The boxes of an image by label, so many pixels of the image as there are being one of the grid."""
    paths: dict[str, str] = defaultdict(str)
    for detection, top in picture.named[:BOXES]:
        box = corners(detection)
        if box is not None:
            x1, y1, x2, y2 = (round(min(max(corner * scale, -GRID), 2 * GRID)) for corner in box)
            paths[label_of(detection, top)] += f"M{x1} {y1}h{x2 - x1}v{y2 - y1}H{x1}z"
    return dict(paths)


class _Studio:
    """Makes the pictures of one image at a time in each thread."""

    def __init__(self, results: Results) -> None:
        self._image = results.image
        self._large = threading.Lock()

    def made(self, picture: Picture, things: list[int], whole: bool) -> _Made:
        if self._image is None or picture.key is None:
            return _Made(problem="The image was not at hand.")
        try:
            return self._made(self._image(picture.key, picture.sha256 or ""), picture, things, whole)
        except StoreUnavailable:
            raise  # ends by itself, for the whole job: the compile is tried again
        except (Failure, StoreError, KeyUnusable) as problem:
            return _Made(problem=problem.message)

    def _made(self, image: Pixels, picture: Picture, things: list[int], whole: bool) -> _Made:
        full = image.width, image.height
        with self._large if full[0] * full[1] > _LARGE else nullcontext():
            made = _Made(full=full, crops=_crops(image, picture, things))
            if whole:
                thumbnail = Pillow.fromarray(image.pixels(max_side=min(SIDE, max(full))).array)
                thumbnail.thumbnail((SIDE, SIDE), Pillow.Resampling.LANCZOS)
                made.thumbnail, made.size = _encoded(thumbnail, MOST)
            image.release()
        return made


def _crops(image: Pixels, picture: Picture, things: list[int]) -> dict[int, bytes]:
    boxes = {thing: box for thing in things if (box := _inside(picture, thing, image)) is not None}
    cut = image.crops(list(boxes.values()), CROP, margin=MARGIN)
    return {thing: _encoded(Pillow.fromarray(array), CROP_MOST)[0] for thing, array in zip(boxes, cut, strict=True)}


def _inside(picture: Picture, thing: int, image: Pixels) -> Box | None:
    """A thing's box as far as it lies in the picture; None where nothing of it does."""
    found = corners(picture.named[thing][0])
    if found is None:
        return None
    x1, x2 = (min(max(x, 0.0), float(image.width)) for x in sorted((found[0], found[2])))
    y1, y2 = (min(max(y, 0.0), float(image.height)) for y in sorted((found[1], found[3])))
    return (x1, y1, x2, y2) if x2 - x1 >= 1 and y2 - y1 >= 1 else None


def _encoded(picture: Any, most: int) -> tuple[bytes, tuple[int, int]]:
    """A picture in so many bytes at most: at lower quality, and then smaller, where it needs more. And its size."""
    while True:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=quality, method=2)
            if buffer.tell() <= most or max(picture.size) <= 16:
                return buffer.getvalue(), picture.size
        picture = picture.resize([max(1, side * 2 // 3) for side in picture.size], Pillow.Resampling.LANCZOS)
