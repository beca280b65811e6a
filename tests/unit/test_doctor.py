"""What `trapline doctor` makes of what it sees, without a store."""

from __future__ import annotations

import pytest

from trapline.cli.doctor import clock


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(0.4, "ok"), (-59, "ok"), (61, "warn"), (-300, "warn"), (901, "fail"), (-7200, "fail"), (None, "ok")],
)
def test_a_clock_is_judged_by_what_s3_accepts(ahead: float | None, level: str) -> None:
    assert clock(ahead).level == level


def test_a_clock_that_is_off_is_told_with_its_way() -> None:
    assert "5 min behind" in clock(-300).message
    assert "5 min ahead of" in clock(300).message
