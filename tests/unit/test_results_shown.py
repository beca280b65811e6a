"""What `trapline results` says of a summary, whatever made it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trapline.cli.place import Place
from trapline.cli.results import show_found
from trapline.pipeline.load import load_pipeline
from trapline.records import Summary

PIPELINE = load_pipeline(Path(__file__).parents[2])


def shown(**found: Any) -> list[str]:
    """The lines of the table of labels, without its lines and spaces."""
    stream = io.StringIO()
    summary = Summary(
        job="st7/night", state="SUCCEEDED", final=True, revision="r1-0a1b2c3d", folder="results/x/", results=found
    )
    show_found(Console(file=stream, width=100), Place(PIPELINE, Path("data"), "traps", None), summary)
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_a_labels_count_and_mean_score_are_both_those_of_the_summary() -> None:
    lines = shown(labels={"Xestia": 4, "Agrotis": 1}, scores={"Xestia": 0.75}, detections=5)
    assert "Xestia 4 0.75" in lines and "Agrotis 1" in lines and "all 5" in lines


@pytest.mark.parametrize("scores", [None, [], {}, {"Xestia": "high"}, {"Xestia": True}])
def test_scores_that_are_none_are_left_out(scores: Any) -> None:
    assert "Xestia 4" in shown(labels={"Xestia": 4}, scores=scores)


def test_the_share_that_people_call_right_leaves_out_what_nobody_can_tell() -> None:
    lines = shown(review={"reviewed": 33, "right": 20, "unknown": 1})
    assert "Reviewed by people: 33 detections, 20 (62 %) as named." in lines
