"""When the command line writes a job's `_DONE`, and when it writes it again."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from trapline.cli.done import DoneMark
from trapline.cli.upload import Sent, done_body
from trapline.keys import Layout
from trapline.records import Status
from trapline.store.memory import MemoryStore

JOB = "st7/n1"
KEY = f"incoming/{JOB}/_DONE"
SUMS = {"a.jpg": "ab" * 32}
PLACE: Any = SimpleNamespace(
    layout=Layout(),
    endpoint=None,
    pipeline=SimpleNamespace(spec=SimpleNamespace(jobs=SimpleNamespace(refresh=timedelta(seconds=5)))),
)
WAITING = Status(
    job=JOB,
    state="PROCESSING",
    closed=False,
    images={"total": 1, "open": 0},
    settles_at=datetime(2026, 11, 20, tzinfo=UTC),
    updated_at=datetime(2026, 11, 20, tzinfo=UTC),
)


def writes(sent: Sent, there: bytes | None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often `_DONE` was written: at first, and after a status that stood still for a minute."""
    store, counts, now = MemoryStore(), [0], [0.0]
    if there is not None:
        store.put(KEY, there)
    put = store.put

    def counted(key: str, *given: Any, **more: Any) -> Any:
        counts[-1] += 1
        return put(key, *given, **more)

    monkeypatch.setattr(store, "put", counted)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    mark = DoneMark(PLACE, store, store, JOB, sent)
    counts.append(0)
    for now[0] in (1.0, 30.0, 61.0):
        assert not mark.answered_by(WAITING)
    return counts


def test_what_was_just_written_is_not_written_again_however_long_the_results_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert writes(sent(files=1), done_body(SUMS), monkeypatch) == [1, 0]
    assert writes(sent(files=0), None, monkeypatch) == [1, 0]


def test_one_of_an_older_upload_that_is_spent_is_written_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert writes(sent(files=0), done_body(SUMS), monkeypatch) == [0, 1]


def test_where_something_could_not_be_sent_nothing_is_named() -> None:
    store = MemoryStore()
    DoneMark(PLACE, store, store, JOB, sent(files=1), whole=False)
    assert store.get(KEY).data == b""


def sent(files: int) -> Sent:
    return Sent(files=files, sums=SUMS)
