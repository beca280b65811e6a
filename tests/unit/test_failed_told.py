"""What `trapline status` and `trapline submit` say of failures."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from trapline.cli.failed import tell_failed

WRONG = "The function could not be set up: Model moths 1.0.0: labels: the card has 2 labels."


def told(counts: dict[str, int], *failures: dict[str, Any]) -> str:
    out = io.StringIO()
    tell_failed(Console(file=out, width=200, highlight=False, markup=False), counts, failures)
    return out.getvalue()


def failure(rel: str, stage: str = "detect", **more: str) -> dict[str, Any]:
    return {"rel": rel, "stage": stage, "code": "model_unusable", "message": WRONG, "remedy": "", **more}


def test_why_a_model_cannot_be_used_is_told_in_its_own_words() -> None:
    said = told({"model_unusable": 2}, failure("a.jpg", remedy="Give one label per channel."), failure("b.jpg"))
    assert WRONG in said and "Give one label per channel." in said
    assert said.count("labels: the card") == 1


def test_of_several_messages_the_first_is_told_as_such_with_what_to_do_in_general() -> None:
    said = told({"model_unusable": 2}, failure("a.jpg"), failure("b.jpg", message="another"))
    assert f"The first: {WRONG}" in said and "Check the model's card and file" in said and "another" not in said


def test_an_image_that_failed_at_several_stages_is_listed_once_with_them() -> None:
    said = told({"model_unusable": 1}, *(failure("a.jpg", stage) for stage in ("detect", "sharpness", "crop")))
    assert said.count("a.jpg") == 1 and "a.jpg (detect, sharpness, crop)" in said and "more under" not in said


def test_a_code_that_this_release_does_not_know_and_control_characters_are_told_harmlessly() -> None:
    said = told({"odd": 4}, failure("a\x1b.jpg", code="odd", message="x\x1b[2J\ny"))
    assert "4 failed, odd" in said and "\x1b" not in said and "… and 1 more under failed/" in said
