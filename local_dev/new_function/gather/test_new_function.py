"""What can be relied on. In the project: `python -m pytest functions/new_function`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from trapline.errors import Permanent
from trapline.testing import run_function

PROJECT = Path(__file__).resolve().parents[2]
NAME = "new_function"
FOUND: dict[str, Any] = {
    "st7/night/a.jpg": {"detections": [{"id": "d0001", "confidence": 0.9}, {"id": "d0002", "confidence": 0.3}]},
    "st7/night/b.jpg": Permanent("It ends early.", code="image_truncated"),
}


def compiled(parameters: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[list[str]]]:
    """The summary's part, and the table's rows."""
    answers = run_function(PROJECT, NAME, {}, parameters, records=FOUND)
    (summary,) = answers
    return summary, list(csv.reader(io.StringIO(answers.files[f"{NAME}.csv"].decode())))


def test_every_image_has_a_row_failed_ones_too() -> None:
    """Below the names of the columns."""
    assert compiled()[1] == [
        ["file", "state", "failure", "detections"],
        ["st7/night/a.jpg", "done", "", "2"],
        ["st7/night/b.jpg", "failed", "image_truncated", "0"],
    ]


def test_the_summary_counts_images_and_detections() -> None:
    """Those of the whole job."""
    assert compiled()[0] == {"images": 2, "detections": 2}


def test_what_is_not_sure_enough_is_not_counted() -> None:
    """By the parameter."""
    assert compiled({"least": 0.5})[0]["detections"] == 1
