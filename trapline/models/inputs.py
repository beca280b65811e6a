"""From decoded pixels to what a network is fed, and back: size, padding, layout. No network is run here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from trapline.images import RGB, Box, Image, Pixels
from trapline.models.boxes import Boxes
from trapline.models.card import Input

Tensor = NDArray[Any]  # batch x channels x height x width, or channels last; of the card's dtype


@dataclass(frozen=True)
class Frame:
    """Where a picture, or a part of one, lies in an input. All in input pixels."""

    width: int  # of the input
    height: int
    inner_width: int  # of the picture in it
    inner_height: int
    left: int  # padding before the picture
    top: int


@dataclass(frozen=True)
class Fed:
    """What a network is fed, and how to get back to full pixels of the picture as displayed."""

    array: RGB  # height x width x 3, of the input's size
    scale_x: float  # full pixels per input pixel, horizontally
    scale_y: float  # the same, vertically
    left: int = 0  # input pixels of padding before the picture
    top: int = 0
    x: float = 0.0  # full pixels: where the part that was fed begins in the picture
    y: float = 0.0

    def to_picture(self, boxes: Boxes) -> NDArray[np.float64]:
        """Corners n x 4 in input pixels, to full pixels of the picture. The inverse of every way of fitting."""
        scale = np.array([self.scale_x, self.scale_y] * 2)
        return (boxes - np.array([self.left, self.top] * 2)) * scale + np.array([self.x, self.y] * 2)


def frame(width: float, height: float, spec: Input, stride: int) -> Frame:
    """How something of this size, in any unit, is fitted to the input."""
    if spec.width is None or spec.height is None:
        scale = spec.max_side / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        outer = (-(-inner[0] // stride) * stride, -(-inner[1] // stride) * stride)
    else:
        outer = (spec.width, spec.height)
        scale = min(outer[0] / width, outer[1] / height)
        inner = (min(outer[0], max(1, round(width * scale))), min(outer[1], max(1, round(height * scale))))
    if spec.resize != "letterbox":
        return Frame(*outer, *outer, 0, 0)
    if spec.pad.at == "corner":
        return Frame(*outer, *inner, 0, 0)
    # An odd pixel of padding goes to the right and to the bottom, as YOLO has it.
    return Frame(*outer, *inner, (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2)


def sized(image: Image, spec: Input, stride: int) -> Fed:
    """The whole picture as `spec` wants it, decoded no finer than needed."""
    fitting = frame(image.width, image.height, spec, stride)
    longer, shorter = sorted((fitting.inner_width, fitting.inner_height), reverse=True)
    if spec.resize == "letterbox":
        source = image.pixels(max_side=longer)
    else:  # a stretched side may need more pixels than its share of the longer one
        source = image.pixels(min_side=shorter, max_side=longer)
    array = framed(_resized(source.array, fitting, spec), fitting, spec)
    scale = (image.width / fitting.inner_width, image.height / fitting.inner_height)
    return Fed(array, *scale, fitting.left, fitting.top)


def sized_part(source: Pixels, part: Box, spec: Input, stride: int) -> Fed:
    """A part of a decoded picture as `spec` wants it; `part` in full pixels, within the picture."""
    x1, y1, x2, y2 = part
    fitting = frame(x2 - x1, y2 - y1, spec, stride)
    array = framed(_part_resized(source, part, (fitting.inner_width, fitting.inner_height), spec), fitting, spec)
    scale = ((x2 - x1) / fitting.inner_width, (y2 - y1) / fitting.inner_height)
    return Fed(array, *scale, fitting.left, fitting.top, x1, y1)


def crops(image: Image, boxes: Sequence[Box], spec: Input) -> list[RGB]:
    """Each box cut out and fitted: a square with margin around it, or itself stretched or letterboxed."""
    if not boxes:
        return []
    size = (spec.width or spec.max_side, spec.height or spec.max_side)
    if spec.resize == "crop" and spec.interpolation == "bilinear":
        return image.crops(boxes, size[0], margin=spec.margin)
    parts = [_part(image, box, spec) for box in boxes]
    source = image.pixels(max_side=max(_finest(image, part, size) for part in parts))
    if spec.resize == "crop":
        return [_square(source, part, size[0], spec) for part in parts]
    return [sized_part(source, part, spec, 1).array for part in parts]


def fitted(image: Image, max_side: int) -> Pixels:
    """The picture with its longer side exactly `max_side` pixels, decoded no finer than needed."""
    fed = sized(image, Input.model_construct(max_side=max_side), 1)
    return Pixels(fed.array, fed.scale_x, fed.scale_y)


def tensor(arrays: Sequence[RGB], spec: Input) -> Tensor:
    """Equally sized pictures as one normalised batch."""
    batch = np.stack(arrays)
    if spec.channels == "bgr":
        batch = batch[..., ::-1]
    if spec.dtype == "uint8":
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if spec.layout == "nchw" else batch)
    factor = np.float32(spec.scale) / np.broadcast_to(np.asarray(spec.std, np.float32), 3)
    shift = np.broadcast_to(np.asarray(spec.mean, np.float32) / np.asarray(spec.std, np.float32), 3)
    size = batch.shape[:3]
    last = spec.layout == "nhwc"
    made = np.empty((*size, 3) if last else (size[0], 3, *size[1:]), np.float32)
    for channel in range(3):  # straight into its plane: seven times as fast as a float copy that is turned afterwards
        plane = made[..., channel] if last else made[:, channel]
        np.multiply(batch[..., channel], factor[channel], out=plane, casting="unsafe")
        if shift[channel]:
            plane -= shift[channel]
    return made.astype(np.float16) if spec.dtype == "float16" else made


def framed(array: RGB, fitting: Frame, spec: Input) -> RGB:
    """A picture of a frame's inner size, with padding around it."""
    if array.shape[:2] == (fitting.height, fitting.width):
        return array
    canvas = np.empty((fitting.height, fitting.width, 3), np.uint8)
    canvas[:] = _padding(spec)
    canvas[fitting.top : fitting.top + array.shape[0], fitting.left : fitting.left + array.shape[1]] = array
    return canvas


def _padding(spec: Input) -> NDArray[np.uint8]:
    if spec.pad.colour is not None:
        return np.full(3, spec.pad.colour, np.uint8)
    mean = np.clip(np.asarray(spec.mean) / spec.scale, 0, 255).astype(np.uint8)
    return mean[::-1] if spec.channels == "bgr" else mean


def _resized(array: RGB, fitting: Frame, spec: Input) -> RGB:
    size = (fitting.inner_width, fitting.inner_height)
    if (array.shape[1], array.shape[0]) == size:
        return array
    return np.asarray(Pillow.fromarray(array).resize(size, _filter(spec)))


def _part_resized(source: Pixels, part: Box, size: tuple[int, int], spec: Input) -> RGB:
    """The part of a picture at another size; only its own pixels are copied."""
    height, width = source.array.shape[:2]
    x1, x2 = (min(max(side / source.scale_x, 0.0), width) for side in (part[0], part[2]))
    y1, y2 = (min(max(side / source.scale_y, 0.0), height) for side in (part[1], part[3]))
    left, top = min(math.floor(x1), width - 1), min(math.floor(y1), height - 1)
    right, bottom = max(left + 1, math.ceil(x2)), max(top + 1, math.ceil(y2))
    cut = source.array[top:bottom, left:right]
    within = (x1 - left, y1 - top, x2 - left, y2 - top)
    if (cut.shape[1], cut.shape[0]) == size and within == (0, 0, *size):
        return cut
    if within[2] - within[0] < 1e-3 or within[3] - within[1] < 1e-3:  # thinner than a pixel can be
        within = (0, 0, cut.shape[1], cut.shape[0])
    return np.asarray(Pillow.fromarray(cut).resize(size, _filter(spec), box=within))


def _filter(spec: Input) -> Pillow.Resampling:
    return Pillow.Resampling[spec.interpolation.upper()]


# -- crops


def _part(image: Image, box: Box, spec: Input) -> Box:
    """The box with its margin: within the picture, or, for a square, around its middle and perhaps beyond."""
    x1, y1, x2, y2 = box
    more = spec.margin * max(x2 - x1, y2 - y1)
    if spec.resize == "crop":
        half = max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * spec.margin) / 2
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        return x - half, y - half, x + half, y + half
    left, top = min(max(0.0, x1 - more), image.width - 1), min(max(0.0, y1 - more), image.height - 1)
    return left, top, max(left + 1, min(image.width, x2 + more)), max(top + 1, min(image.height, y2 + more))


def _finest(image: Image, part: Box, size: tuple[int, int]) -> int:
    """Pixels along the picture's longer side that give the part its size."""
    longer = max(image.width, image.height)
    needed = max(size[0] / (part[2] - part[0]), size[1] / (part[3] - part[1]))
    return max(1, min(longer, math.ceil(longer * needed)))


def _square(source: Pixels, part: Box, size: int, spec: Input) -> RGB:
    """A square cut out; beyond the picture its edge is repeated."""
    height, width = source.array.shape[:2]
    x1, x2 = part[0] / source.scale_x, part[2] / source.scale_x
    y1, y2 = part[1] / source.scale_y, part[3] / source.scale_y
    columns = np.clip(np.arange(math.floor(x1), math.ceil(x2)), 0, width - 1)
    rows = np.clip(np.arange(math.floor(y1), math.ceil(y2)), 0, height - 1)
    cut = Pillow.fromarray(source.array[np.ix_(rows, columns)])
    left, top = math.floor(x1), math.floor(y1)
    within = (x1 - left, y1 - top, x2 - left, y2 - top)
    return np.asarray(cut.resize((size, size), _filter(spec), box=within))
