"""What can be relied on. In the project: `python -m pytest functions/new_function`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFilter

from trapline.errors import Failure
from trapline.testing import run_function

PROJECT = Path(__file__).resolve().parents[2]
NAME = "new_function"


def picture(*, blurred: bool = False) -> bytes:
    """A picture of noise, as a PNG file."""
    noise = np.random.default_rng(7).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    made = Pillow.fromarray(noise)
    stream = io.BytesIO()
    (made.filter(ImageFilter.GaussianBlur(6)) if blurred else made).save(stream, "PNG")
    return stream.getvalue()


def test_a_blurred_image_is_told_from_a_sharp_one() -> None:
    """Of the same picture."""
    sharp, blurred = run_function(PROJECT, NAME, {"a.png": picture(), "b.png": picture(blurred=True)})
    assert sharp[NAME]["variance"] > blurred[NAME]["variance"]
    assert (sharp[NAME]["blurred"], blurred[NAME]["blurred"]) == (False, True)


def test_the_parameter_moves_the_line_between_them() -> None:
    """As pipeline.yaml, or `trapline try --set`, would."""
    (found,) = run_function(PROJECT, NAME, {"a.png": picture()}, {"least": 1_000_000})
    assert found[NAME]["blurred"] is True


def test_a_file_that_is_no_image_fails_alone() -> None:
    """The others are done all the same."""
    bad, good = run_function(PROJECT, NAME, {"bad.png": b"no image", "good.png": picture()})
    assert isinstance(bad, Failure)
    assert NAME in good
