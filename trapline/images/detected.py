"""What earlier stages say is on a picture, checked before anything is cut out: ids and boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trapline.errors import Permanent
from trapline.images.image import Box, Image


def detected(image: Image, detections: Sequence[Mapping[str, Any]]) -> list[tuple[str, Box]]:
    """Each detection's id and box, in their order. Without detections the image is not even opened.

    A box may leave the picture in part. Raises `Permanent` where an id is missing or there twice, and where a box is
    none or lies outside the picture altogether: then the record and the picture do not belong together.
    """
    found = [(_identity(detection, number), detection) for number, detection in enumerate(detections, start=1)]
    if len({ident for ident, _ in found}) < len(found):
        seen = [ident for ident, _ in found]
        twice = next(ident for ident in seen if seen.count(ident) > 1)
        raise _wrong(f"Two detections have the id {twice!r}.", "Give each detection of an image an id of its own.")
    return [(ident, _box(image, ident, detection)) for ident, detection in found]


def _identity(detection: Mapping[str, Any], number: int) -> str:
    ident = detection.get("id")
    if isinstance(ident, str) and ident:
        return ident
    told = "no id" if ident in (None, "") else f"the id {str(ident)[:40]!r}, which is no text"
    raise _wrong(f"Detection {number} has {told}.", "Have the stage that detects give each an `id`, such as 'd0001'.")


def _box(image: Image, ident: str, detection: Mapping[str, Any]) -> Box:
    corners = detection.get("box")
    if not isinstance(corners, list | tuple) or len(corners) != 4 or not all(map(_finite, corners)):
        raise _wrong(f"Detection {ident!r} has the box {str(corners)[:80]}.", "Expected four numbers: x1, y1, x2, y2.")
    x1, y1, x2, y2 = (float(corner) for corner in corners)
    if x2 <= x1 or y2 <= y1:
        raise _wrong(
            f"Detection {ident!r} has the box {list(corners)}, which holds nothing.",
            "Expected x1, y1, x2, y2 with x2 > x1 and y2 > y1.",
        )
    if x1 >= image.width or y1 >= image.height or x2 <= 0 or y2 <= 0:
        raise _wrong(
            f"Detection {ident!r} has the box {list(corners)}, outside its picture of {image.width} x {image.height}.",
            "Boxes are in full pixels of the picture as it is displayed.",
        )
    return (x1, y1, x2, y2)


def _finite(corner: object) -> bool:
    return isinstance(corner, int | float) and not isinstance(corner, bool) and math.isfinite(corner)


def _wrong(message: str, remedy: str) -> Permanent:
    return Permanent(message, code="function_output", remedy=remedy)
