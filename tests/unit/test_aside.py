"""What triggers ask of the store: stored in the end, where the store was away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from trapline.cli.aside import Aside
from trapline.errors import KeyUnusable, StoreUnavailable
from trapline.keys import Layout
from trapline.store.base import Entry
from trapline.store.memory import MemoryStore


class Away(MemoryStore):
    """A store that refuses so many writes."""

    def __init__(self, refusals: int, error: type[Exception] = StoreUnavailable) -> None:
        super().__init__()
        self.left, self.error, self.asked = refusals, error, 0

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        self.asked += 1
        self.left -= 1
        if self.left >= 0:
            raise self.error("away")
        return super().put(key, data, content_type=content_type, create_only=create_only)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trapline.cli.aside.AGAIN", (0.01, 0.01, 0.01))


def test_a_manifest_is_stored_and_told_of_although_the_store_was_away() -> None:
    store, told = Away(3), list[str]()
    aside = Aside(store, Layout(), told.append)
    aside.put("jobs/a/b.json", b"{}")
    until(lambda: told == ["jobs/a/b.json"])
    assert store.get("jobs/a/b.json").data == b"{}"
    aside.close()


def test_what_cannot_be_stored_is_given_up_and_never_told_of() -> None:
    store, told = Away(99), list[str]()
    aside = Aside(store, Layout(), told.append)
    aside.put("jobs/a/b.json", b"{}")
    until(lambda: store.asked == 4)
    time.sleep(0.1)
    aside.close()
    assert store.asked == 4 and told == []


def test_a_key_that_no_store_takes_is_not_tried_again() -> None:
    store = Away(99, KeyUnusable)
    aside = Aside(store, Layout(), lambda key: None)
    aside.put("jobs/a/b.json", b"{}")
    until(lambda: store.asked == 1)
    time.sleep(0.1)
    aside.close()
    assert store.asked == 1


def test_a_quarantine_that_was_emptied_takes_messages_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trapline.cli.aside.MOST", 3)
    monkeypatch.setattr("trapline.cli.aside.LOOK_AGAIN", 0.2)
    store = MemoryStore()
    aside = Aside(store, Layout(), lambda key: None)

    def kept() -> list[str]:
        return [entry.key for entry in store.list("quarantine/")]

    def post(*messages: str) -> None:
        for message in messages:
            aside.quarantine(message.encode(), "odd", "webhook")

    post("a", "b", "c", "d")
    until(lambda: "quarantine.full" in caplog.text)
    assert len(kept()) == 3 and "delete what is under quarantine/events/" in caplog.text
    for key in kept():
        store.delete(key)
    time.sleep(0.3)
    post("a")
    time.sleep(0.1)
    post("e")
    until(lambda: len(kept()) == 2)
    aside.close()


def test_a_full_quarantine_is_not_listed_for_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trapline.cli.aside.MOST", 3)
    listed = list[str]()

    class Listed(MemoryStore):
        def list(self, prefix: str) -> Iterator[Entry]:
            listed.append(prefix)
            return super().list(prefix)

    aside = Aside(Listed(), Layout(), lambda key: None)
    for number in range(50):
        aside.quarantine(str(number).encode(), "odd", "webhook")
    aside._thread.submit(lambda: None).result()
    aside.close()
    assert len(listed) == 1


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
