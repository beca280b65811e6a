"""What `trapline explain` says first of an image that is not in the bucket any more. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from trapline.cli.fate import fate
from trapline.cli.tracing import Explanation, InRevision
from trapline.errors import CODES

SHA, OTHER = "a" * 64, "b" * 64


def named(**known: Any) -> Explanation:
    """An image that `_DONE` names and that is not in the bucket."""
    story = Explanation("incoming/st7/n1/a.jpg", "st7/n1/a.jpg", "st7/n1")
    story.not_received, story.done_sha256 = True, SHA
    for name, value in known.items():
        setattr(story, name, value)
    return story


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"sha256_read": SHA}, "What was read of it stays."),
        ({"revisions": [InRevision("r2-0a", "done", SHA)]}, "The results of r2-0a have it."),
    ],
)
def test_an_image_that_was_read_and_deleted_later_is_gone(known: dict[str, Any], says: str) -> None:
    told = fate(named(**known))
    assert told.kind == "gone" and says in told.what and "upload it again" in told.todo


def test_one_that_came_with_other_bytes_before_it_was_deleted_is_not_what_was_named() -> None:
    told = fate(named(sha256_read=OTHER))
    assert told.kind == "not_received" and "another sha256" in told.what


def test_one_of_which_nothing_is_known_never_came() -> None:
    told = fate(named())
    assert (told.kind, told.what) == ("not_received", CODES["not_received"].meaning)
