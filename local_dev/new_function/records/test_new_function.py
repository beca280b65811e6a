"""What can be relied on. In the project: `python -m pytest functions/new_function`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trapline.testing import run_function

PROJECT = Path(__file__).resolve().parents[2]
NAME = "new_function"


def said(label: str, score: float = 0.9) -> dict[str, Any]:
    """What one stage knows about an image with one detection."""
    row = {"id": "d0001", "box": [0, 0, 9, 9], "classifications": [{"label": label, "score": score}]}
    return {"detections": [row]}


def joined(**stages: dict[str, Any] | None) -> dict[str, Any]:
    """The answer about one image, of which each stage knows something, or None where it failed."""
    (answer,) = run_function(PROJECT, NAME, {"a.jpg": b""}, records={"a.jpg": stages})
    assert isinstance(answer, dict)
    return answer


def test_stages_that_say_the_same_agree() -> None:
    """And are each told."""
    answer = joined(one=said("noctuid"), other=said("noctuid"))
    assert answer["detections"] == [
        {"id": "d0001", "named": {"one": "noctuid", "other": "noctuid"}, "agreed": True},
    ]


def test_stages_that_differ_do_not() -> None:
    """However sure both are."""
    assert joined(one=said("noctuid"), other=said("geometer"))[NAME]["agreed"] == 0


def test_a_name_with_a_low_score_does_not_count() -> None:
    """So that a guess decides nothing."""
    assert joined(one=said("noctuid"), other=said("geometer", 0.2))["detections"][0]["named"] == {"one": "noctuid"}


def test_a_stage_that_failed_is_told() -> None:
    """The others are used all the same."""
    answer = joined(one=said("noctuid"), other=None)
    assert answer[NAME] == {"agreed": 0, "missing": ["other"]}
