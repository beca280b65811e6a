"""Boxes and captions on a picture: pixels and marks in, pixels out. What a mark means is not here.

Lines and letters grow with the picture, so that it reads as well at 12 megapixels as at 640 pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from trapline.images.decoding import RGB
from trapline.images.image import Box

Colour = tuple[int, int, int]

# Apart from each other also for colour-blind people; each is edged with black or white, so it reads on any ground.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (154, 205, 50),
    (255, 105, 97),
    (148, 103, 189),
    (0, 206, 209),
    (188, 143, 96),
)
_LETTERS = 70  # the longer side is so many times the height of a caption's letters
_LIGHT = 0.45  # luminance from which black reads better than white
_SMALLEST = 12  # pixels of a letter
_LINES = 450  # … so many times the width of a line
_CROWDED = 0.12  # share of the picture that captions may cover before they shrink
_BOXES = 0.6  # what hiding a pixel in a box counts, beside one of a caption
_SHRUNK = 0.35  # … down to this share of their size


@dataclass(frozen=True)
class Mark:
    """One box on a picture."""

    box: Box  # x1, y1, x2, y2; pixels of the picture that is drawn on
    label: str  # boxes of one label have one colour
    caption: str = ""  # what stands at the box; empty: nothing


class Colours:
    """A colour for each label: no two alike while there are enough, and mostly the same from run to run."""

    def __init__(self) -> None:
        self._chosen: dict[str, Colour] = {}

    def of(self, label: str) -> Colour:
        """The label's colour, the same as long as this object lives."""
        if label not in self._chosen:
            first = hashlib.sha256(label.encode("utf-8", "surrogatepass")).digest()[0] % len(PALETTE)
            wanted = (*PALETTE[first:], *PALETTE[:first])
            used = list(self._chosen.values())
            self._chosen[label] = min(wanted, key=used.count)
        return self._chosen[label]


def drawn(pixels: RGB, marks: Sequence[Mark], notes: Sequence[str] = (), colours: Colours | None = None) -> RGB:
    """A copy of an upright picture (height x width x 3) with its marks, and `notes` as lines in its top left corner.

    `colours` keeps the colours of labels alike over several pictures.
    """
    picture = Pillow.fromarray(np.array(pixels))
    draw = ImageDraw.Draw(picture)
    colours = colours or Colours()
    base = max(_SMALLEST, round(max(picture.size) / _LETTERS))
    size = _fitting(draw, [mark.caption for mark in marks if mark.caption], base, picture.size)
    line = max(2, round(max(picture.size) / _LINES * size / base))
    ordered = sorted(marks, key=lambda mark: -_area(mark.box))  # small boxes over large ones
    for mark in ordered:
        _frame(draw, mark.box, picture.size, colours.of(mark.label), line)
    writer = _Writer(draw, picture.size, line, [mark.box for mark in marks])
    if notes:
        writer.note(notes, base)
    for mark in ordered:
        if mark.caption:
            writer.caption(mark, colours.of(mark.label), size)
    return np.asarray(picture)


class _Writer:
    """Writes captions where they hide least, and never beyond the picture's edge."""

    def __init__(self, draw: ImageDraw.ImageDraw, size: tuple[int, int], line: int, boxes: Sequence[Box]) -> None:
        self._draw = draw
        self._size = size
        self._line = line
        self._boxes = np.array(boxes, np.float32).reshape(-1, 4)
        self._taken = np.empty((0, 4), np.float32)

    def note(self, lines: Sequence[str], size: int) -> None:
        font, pad = _font(size), size // 3
        texts = [_cut(self._draw, text, font, self._size[0] - 4 * pad) for text in lines]
        height = _height(font)
        wide = max(self._draw.textlength(text, font=font) for text in texts)
        area = (0.0, 0.0, wide + 2 * pad, height * len(texts) + 2 * pad)
        self._draw.rectangle(area, fill=(0, 0, 0))
        for number, text in enumerate(texts):
            self._draw.text((pad, pad + number * height), text, font=font, fill=(255, 255, 255))
        self._taken = np.vstack([self._taken, np.array(area, np.float32)])

    def caption(self, mark: Mark, colour: Colour, size: int) -> None:
        font, pad = _font(size), max(1, size // 6)
        text = _cut(self._draw, mark.caption, font, self._size[0] - 2 * pad)
        width, height = self._draw.textlength(text, font=font) + 2 * pad, _height(font) + pad
        places = [self._inside(left, top, width, height) for left, top in _beside(mark.box, width, height, self._line)]
        area = min(places, key=self._hidden)
        dark = _luminance(colour) > _LIGHT
        self._draw.rectangle(area, fill=colour, outline=(0, 0, 0) if dark else (255, 255, 255))
        self._draw.text(
            (area[0] + pad, area[1] + pad / 2), text, font=font, fill=(0, 0, 0) if dark else (255, 255, 255)
        )
        self._taken = np.vstack([self._taken, np.array(area, np.float32)])

    def _inside(self, left: float, top: float, width: float, height: float) -> Box:
        left = max(0.0, min(left, self._size[0] - 1 - width))
        top = max(0.0, min(top, self._size[1] - 1 - height))
        return (left, top, left + width, top + height)

    def _hidden(self, area: Box) -> float:
        """Pixels of earlier captions, and of what is in boxes, that a caption would hide; captions count more."""
        return _common(area, self._taken) + _BOXES * _common(area, self._boxes)


def _frame(draw: ImageDraw.ImageDraw, box: Box, size: tuple[int, int], colour: Colour, line: int) -> None:
    """Lines around a box, in its colour between two thin ones that set it off from whatever is behind it."""
    x1, y1, x2, y2 = box
    edge = (0, 0, 0) if _luminance(colour) > _LIGHT else (255, 255, 255)
    thin = max(1, line // 3)
    for grown, width, fill in ((line + 2 * thin, line + 2 * thin, edge), (line + thin, line, colour)):
        left, right = max(0.0, min(x1, x2) - grown), min(size[0] - 1.0, max(x1, x2) + grown)
        top, bottom = max(0.0, min(y1, y2) - grown), min(size[1] - 1.0, max(y1, y2) + grown)
        if left <= right and top <= bottom:  # otherwise it lies outside the picture
            draw.rectangle((left, top, right, bottom), outline=fill, width=width)


def _beside(box: Box, width: float, height: float, line: int) -> list[tuple[float, float]]:
    """Where a caption may stand, best first: above, below, right, left, inside."""
    x1, y1, x2, y2 = box
    line = line + 2 * max(1, line // 3)
    return [
        (x1 - line, y1 - height - line),
        (x1 - line, y2 + line),
        (x2 - width + line, y1 - height - line),
        (x2 - width + line, y2 + line),
        (x2 + line, y1),
        (x1 - width - line, y1),
        (x1 + line, y1 + line),
    ]


def _fitting(draw: ImageDraw.ImageDraw, captions: Sequence[str], base: int, size: tuple[int, int]) -> int:
    """The captions' height: smaller where there are so many that they would hide the picture."""
    font = _font(base)
    covered = sum(draw.textlength(_on_one_line(text), font=font) for text in captions) * _height(font)
    share = covered / (size[0] * size[1])
    shrunk = base if share <= _CROWDED else base * max(_SHRUNK, (_CROWDED / share) ** 0.5)
    return max(_SMALLEST, round(shrunk))


def _cut(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, most: float) -> str:
    """A text that is no wider than the picture."""
    text = _on_one_line(text)
    if draw.textlength(text, font=font) <= most:
        return text
    while text and draw.textlength(f"{text}…", font=font) > most:
        text = text[:-1]
    return f"{text}…"


def _on_one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    """Pixels from one line to the next."""
    if isinstance(font, ImageFont.FreeTypeFont):
        ascent, descent = font.getmetrics()
        return ascent + descent
    return int(font.getbbox("Ay")[3])


def _luminance(colour: Colour) -> float:
    red, green, blue = (part / 255 for part in colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _area(box: Box) -> float:
    return abs(box[2] - box[0]) * abs(box[3] - box[1])


def _common(area: Box, others: NDArray[np.float32]) -> float:
    """Pixels that an area shares with others (n x 4), those that several share counted for each."""
    low = np.maximum(np.array(area[:2], np.float32), others[:, :2])
    high = np.minimum(np.array(area[2:], np.float32), others[:, 2:])
    return float(np.prod(np.clip(high - low, 0, None), axis=1).sum())
