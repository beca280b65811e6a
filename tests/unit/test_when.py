"""Which detections a stage sees that chooses by `when`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.pipeline.spec import When
from trapline.runtime.images import matches


def seen(detection: dict[str, Any], **when: Any) -> bool:
    """As the engine does it: through the settings, and the form that they have in a job's pins."""
    return matches(detection, When.model_validate(when).model_dump(mode="json", exclude_none=True))


@pytest.mark.parametrize(
    ("detection", "when", "expected"),
    [
        ({"label": "moth", "confidence": 0.6}, {"confidence": 0.6}, True),
        ({"label": "moth", "confidence": 0.59}, {"confidence": 0.6}, False),
        ({"label": "moth", "confidence": 0.6}, {"below": 0.6}, False),
        ({"label": "moth", "confidence": 0.59}, {"below": 0.6}, True),
        ({"label": "moth", "confidence": 0.5}, {"confidence": 0.4, "below": 0.6}, True),
        ({"label": "moth", "confidence": 0.5}, {"label": "beetle", "below": 0.6}, False),
        ({"label": "moth"}, {"below": 0.6}, False),  # what does not say how sure it is counts as sure
        ({"label": "moth"}, {"label": ["moth", "beetle"]}, True),
        ({"label": "moth", "confidence": None}, {"confidence": 0.9}, True),
    ],
)
def test_a_stage_sees_the_detections_that_it_chooses(
    detection: dict[str, Any], when: dict[str, Any], expected: bool
) -> None:
    assert seen(detection, **when) == expected


@given(st.floats(0, 1), st.floats(0.01, 1))
def test_two_stages_that_part_at_one_confidence_see_each_detection_once(confidence: float, parted: float) -> None:
    detection = {"label": "moth", "confidence": confidence}
    assert seen(detection, below=parted) != seen(detection, confidence=parted)
