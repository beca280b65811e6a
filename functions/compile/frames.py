"""Boxes as the fields write them. All are in the frame of the image as displayed, cut to it where its size is known."""

from __future__ import annotations

from functions.compile.picture import Mapping, Picture, corners

Box = tuple[float, float, float, float]

_DIGITS = 6  # of a share: a thousandth of a pixel


def within(picture: Picture, detection: Mapping) -> Box | None:
    """x1, y1, x2, y2 in pixels. A detection without a box is about the whole image; None where that has no size."""
    box, size = corners(detection), picture.size
    if box is None:
        return (0, 0, *size) if size else None
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    if size is None:
        return x1, y1, x2, y2
    return _cut(x1, size[0]), _cut(y1, size[1]), _cut(x2, size[0]), _cut(y2, size[1])


def shares(picture: Picture, detection: Mapping) -> Box | None:
    """x, y, width, height of a box as shares of the image's sides; None where the image's size is not known."""
    box, size = within(picture, detection), picture.size
    if box is None or size is None:
        return None
    x1, y1, x2, y2 = (round(side / size[n % 2], _DIGITS) for n, side in enumerate(box))
    return x1, y1, round(x2 - x1, _DIGITS), round(y2 - y1, _DIGITS)


def _cut(side: float, most: float) -> float:
    return min(max(side, 0), most)
