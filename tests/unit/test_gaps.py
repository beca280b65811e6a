"""When a bucket is looked over that several connections tell of: once an outage, and never later than it can help."""

from __future__ import annotations

from trapline.events.outage import Gaps

ALL = ("incoming/", "jobs/", "failed/")


def test_the_bucket_is_looked_over_once_all_connections_are_made() -> None:
    gaps = Gaps(ALL)
    assert [gaps.opened(name) for name in ALL] == [False, False, True]


def test_after_an_outage_it_is_looked_over_once() -> None:
    gaps = Gaps(ALL)
    for name in ALL:
        gaps.opened(name)
    assert not any(gaps.failed(name) for name in (*ALL, *ALL))
    assert gaps.deaf() == set(ALL)
    assert [gaps.opened(name) for name in reversed(ALL)] == [False, False, True]


def test_one_connection_that_was_cut_alone_is_waited_for_alone() -> None:
    gaps = Gaps(ALL)
    for name in ALL:
        gaps.opened(name)
    assert not gaps.failed("jobs/")
    assert gaps.opened("jobs/")


def test_one_that_still_fails_holds_up_nobody() -> None:
    gaps = Gaps(ALL)
    assert not gaps.opened("incoming/")
    assert not gaps.failed("jobs/")
    assert gaps.opened("failed/")
    assert not gaps.failed("jobs/")
    assert gaps.opened("jobs/")
