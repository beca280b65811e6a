"""An image as functions see it: nothing is decoded until it is asked for, and nothing twice at the same scale."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from PIL import Image as Pillow

from trapline.errors import ConfigError
from trapline.images.decoding import RGB, Header, decode, read_header

Box = tuple[float, float, float, float]  # x1, y1, x2, y2

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".mpo"})
MAX_PIXELS = 100_000_000
KEPT = 512 * 2**20  # bytes of decoded pixels that the images of one process keep


@dataclass(frozen=True)
class Pixels:
    """Decoded pixels, and how to get from them to the full picture as it is displayed."""

    array: RGB  # upright
    scale_x: float  # full displayed pixels per pixel of `array`, horizontally
    scale_y: float  # the same, vertically


class Image:
    """One image file. Nothing is decoded until it is asked for, and nothing twice at the same scale.

    All sizes and boxes are in full pixels of the picture as it is displayed, with the camera's orientation applied.
    Of animations and multi-picture files, the first frame alone is read. Transparent parts become white, as the sheet
    behind a specimen would be. Every attribute and method raises `Permanent` (`empty_file`, `image_truncated`,
    `image_unreadable`, `image_too_large`) where the file does not allow an answer.

    `timezone` is the station's IANA zone; it applies to a capture time that carries no offset of its own.
    """

    def __init__(self, data: bytes, *, max_pixels: int = MAX_PIXELS, timezone: str | None = None) -> None:
        self._data = data
        self._max_pixels = max_pixels
        self._timezone = _zone(timezone) if timezone else None
        self._header: Header | None = None
        self._decoded: dict[int, RGB] = {}

    @property
    def width(self) -> int:
        """Pixels, as displayed."""
        head = self._head()
        return head.size[1] if head.orientation >= 5 else head.size[0]

    @property
    def height(self) -> int:
        """Pixels, as displayed."""
        head = self._head()
        return head.size[0] if head.orientation >= 5 else head.size[1]

    @property
    def format(self) -> str:
        """`JPEG`, `MPO`, `PNG`, `GIF`, `WEBP`, `BMP` or `TIFF`, whatever the file is called."""
        return self._head().format

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8; 1 where the file gives none or nonsense."""
        return self._head().orientation

    @property
    def captured_at(self) -> str | None:
        """When the camera says it took the picture, ISO 8601; no offset where neither file nor station has one."""
        moment = self._head().captured_at
        if moment is None:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._timezone)).isoformat()

    def pixels(self, *, min_side: int | None = None, max_side: int | None = None) -> Pixels:
        """The picture at the smallest scale that is cheap to decode and no smaller than asked.

        `min_side` asks for at least so many pixels along the shorter side, `max_side` along the longer one; without
        either, full resolution. JPEG decodes to 1/2, 1/4 and 1/8; other formats only whole.
        """
        return self._scaled(self._divisor(min_side, max_side))

    def full(self) -> RGB:
        """The whole picture at full resolution, kept until `release`."""
        return self._at(1)

    def crop(self, box: Box, size: int, *, margin: float = 0.0) -> RGB:
        """As `crops`, of one box."""
        return self.crops([box], size, margin=margin)[0]

    def crops(self, boxes: Sequence[Box], size: int, *, margin: float = 0.0) -> list[RGB]:
        """A `size` x `size` square around each box, from one decoding as fine as the smallest box needs.

        Large boxes whose squares hold more pixels at that scale than the whole picture come from a coarser one of
        their own. A square's side is its box's longer side with `margin` times that added all around. Where it leaves
        the picture, the picture's edge is repeated.
        """
        if not boxes:
            return []
        sides = [max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * margin) for x1, y1, x2, y2 in boxes]
        areas = [min(side, self.width) * min(side, self.height) for side in sides]
        sources = self._sources([(size, side) for side in sides], areas)
        return [_square_around(sources[n], box, sides[n], size) for n, box in enumerate(boxes)]

    def cuts(self, boxes: Sequence[Box], sizes: Sequence[tuple[int, int]]) -> Iterator[RGB]:
        """Each box's part of the picture, scaled to a width and height of its own; made one by one as they are taken.

        Decoded as for `crops`: no finer than the smallest of them needs. Boxes lie within the picture; one of whole
        pixels at its own size comes as the picture has it.
        """
        fits = [
            max((width, x2 - x1), (height, y2 - y1), key=lambda fit: fit[0] / fit[1])
            for (x1, y1, x2, y2), (width, height) in zip(boxes, sizes, strict=True)
        ]
        sources = self._sources(fits, [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes])
        return (_cut(source, box, size) for source, box, size in zip(sources, boxes, sizes, strict=True))

    def _sources(self, fits: Sequence[tuple[int, float]], areas: Sequence[float]) -> list[Pixels]:
        """What to cut each part from. Its `fits`: pixels it is to have along a side, full pixels there; its area."""
        if not fits:
            return []
        longer = max(self.width, self.height)
        needed = [self._divisor(None, min(longer, int(np.ceil(longer * wanted / full)))) for wanted, full in fits]
        finest = min(needed)
        large = [n for n, divisor in enumerate(needed) if divisor > finest]
        scales = [finest] * len(needed)
        if sum(areas[n] for n in large) > self.width * self.height:
            for n in large:
                scales[n] = min(needed[n] for n in large)
        decoded = {divisor: self._scaled(divisor) for divisor in sorted(set(scales))}
        return [decoded[divisor] for divisor in scales]

    def _scaled(self, divisor: int) -> Pixels:
        array = self._at(divisor)
        return Pixels(array, self.width / array.shape[1], self.height / array.shape[0])

    def release(self) -> None:
        """Drop the decoded pixels. They are decoded again if they are asked for again."""
        self._decoded.clear()

    def _head(self) -> Header:
        if self._header is None:
            self._header = read_header(self._data, self._max_pixels)
        return self._header

    def _divisor(self, min_side: int | None, max_side: int | None) -> int:
        if self._head().format not in ("JPEG", "MPO") or (min_side is None and max_side is None):
            return 1
        shorter, longer = sorted(self._head().size)
        for divisor in (8, 4, 2):
            if shorter // divisor >= max(1, min_side or 0) and longer // divisor >= max(1, max_side or 0):
                return divisor
        return 1

    def _at(self, divisor: int) -> RGB:
        held = self._decoded.get(divisor)
        if held is None:
            size = self._head().size
            _kept.make_room(self, 3 * size[0] * size[1] // divisor**2)
            held = self._decoded[divisor] = decode(self._data, self._head(), divisor)
        return held

    def _held(self) -> int:
        """Bytes of decoded pixels."""
        return sum(array.nbytes for array in list(self._decoded.values()))


class _Kept:
    """Which images of this process keep decoded pixels, those that decoded last at the end.

    A batch of huge pictures would fill the memory of a worker if each kept its own until the batch is done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: list[weakref.ref[Image]] = []

    def make_room(self, image: Image, size: int) -> None:
        """Drop the oldest pixels of other images until `size` more bytes are within `KEPT`."""
        with self._lock:
            others = [other for ref in self._images if (other := ref()) is not None and other is not image]
            excess = size + image._held() + sum(other._held() for other in others) - KEPT
            while others and excess > 0:
                excess -= others[0]._held()
                others.pop(0).release()
            self._images = [weakref.ref(other) for other in (*others, image)]


_kept = _Kept()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(
            f"The time zone {name!r} is not known.", remedy="Use an IANA name such as Europe/Copenhagen."
        ) from error


def _cut(source: Pixels, box: Box, size: tuple[int, int]) -> RGB:
    height, width = source.array.shape[:2]
    x1, x2 = (min(x / source.scale_x, width) for x in (box[0], box[2]))
    y1, y2 = (min(y / source.scale_y, height) for y in (box[1], box[3]))
    left, top = int(np.floor(x1)), int(np.floor(y1))
    window = Pillow.fromarray(source.array[top : int(np.ceil(y2)), left : int(np.ceil(x2))])
    return np.asarray(window.resize(size, Pillow.Resampling.LANCZOS, box=(x1 - left, y1 - top, x2 - left, y2 - top)))


def _square_around(source: Pixels, box: Box, side: float, size: int) -> RGB:
    x1, y1, x2, y2 = box
    centre = ((x1 + x2) / 2 / source.scale_x, (y1 + y2) / 2 / source.scale_y)
    half = (side / 2 / source.scale_x, side / 2 / source.scale_y)
    return _square(source.array, centre, half, size)


def _square(array: RGB, centre: tuple[float, float], half: tuple[float, float], size: int) -> RGB:
    height, width = array.shape[:2]
    left, top = int(np.floor(centre[0] - half[0])), int(np.floor(centre[1] - half[1]))
    right, bottom = int(np.ceil(centre[0] + half[0])) + 1, int(np.ceil(centre[1] + half[1])) + 1
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        inside = array[top:bottom, left:right]
    else:
        columns = np.clip(np.arange(left, right), 0, width - 1)
        rows = np.clip(np.arange(top, bottom), 0, height - 1)
        inside = array[rows[:, None], columns[None, :]]
    window = Pillow.fromarray(inside)
    x, y = centre[0] - left, centre[1] - top
    exact = (max(0.0, x - half[0]), max(0.0, y - half[1]), x + half[0], y + half[1])  # rounding may give -1e-14
    return np.asarray(window.resize((size, size), Pillow.Resampling.BILINEAR, box=exact))
