"""What can be relied on. In the project: `python -m pytest functions/new_function`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from trapline.testing import run_function

PROJECT = Path(__file__).resolve().parents[2]
NAME = "new_function"
FOUND = {"detections": [{"id": "d0001", "box": [10, 20, 50, 40], "label": "insect", "confidence": 0.9}]}


def picture() -> bytes:
    """A white sheet with something red on it, as a PNG file."""
    pixels = np.full((60, 80, 3), 255, np.uint8)
    pixels[10:50, 5:55] = (200, 30, 40)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def measured(parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is told about the one detection."""
    images = {"a.png": picture()}
    (answer,) = run_function(PROJECT, NAME, images, parameters, records={"a.png": FOUND})
    (detection,) = answer["detections"]
    assert isinstance(detection, dict)
    return detection


def test_a_detection_keeps_its_id_and_gets_its_length_and_colour() -> None:
    """Of the box that an earlier stage found."""
    assert measured() == {"id": "d0001", "length_px": 40, "colour": [200, 30, 40]}


def test_with_a_scale_lengths_are_told_in_millimetres_too() -> None:
    """As pipeline.yaml, or `trapline try --set`, would give it."""
    assert measured({"pixels_per_mm": 8})["length_mm"] == 5


def test_an_image_without_detections_is_done() -> None:
    """And not decoded: it may be anything."""
    none: dict[str, Any] = {"a.png": {"detections": []}}
    assert run_function(PROJECT, NAME, {"a.png": b"?"}, records=none) == [{"detections": []}]
