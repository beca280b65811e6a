"""What is known after a stage, and answers that no later stage could build on."""

from __future__ import annotations

from typing import Any

import pytest

from trapline.runtime.images import merged

FOUND = {"image": {"width": 8}, "detections": [{"id": "d1", "label": "moth"}, {"id": "d2", "label": "fly"}]}


def test_an_answer_goes_over_what_was_known_and_detections_meet_by_their_id() -> None:
    known, problem = merged(FOUND, {"light": 3, "detections": [{"id": "d2", "label": "bee"}, {"id": "d9"}]})
    assert problem is None
    assert known["image"] == {"width": 8}
    assert known["light"] == 3
    assert known["detections"] == [{"id": "d1", "label": "moth"}, {"id": "d2", "label": "bee"}, {"id": "d9"}]


@pytest.mark.parametrize("before", [{}, FOUND], ids=["first", "later"])
@pytest.mark.parametrize("told", [None, "none", {"id": "d1"}, [None], ["d1"], [{"id": ["d1"]}], [{"id": None}]])
def test_detections_of_another_form_are_the_functions_failure(before: dict[str, Any], told: Any) -> None:
    _, problem = merged(before, {"detections": told})
    assert problem is not None
    assert problem.code == "function_output"


def test_a_detection_that_builds_on_another_needs_its_id() -> None:
    assert merged({}, {"detections": [{"label": "moth"}]})[1] is None
    _, problem = merged(FOUND, {"detections": [{"label": "moth"}]})
    assert problem is not None
    assert "`id`" in problem.message
