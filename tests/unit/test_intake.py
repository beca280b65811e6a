"""Events as anybody may send them: each is looked up, costs nobody but itself, and makes nothing of nothing."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from trapline.errors import StoreUnavailable
from trapline.events import ObjectEvent
from trapline.events.dialects import read
from trapline.keys import Layout
from trapline.store.base import Entry
from trapline.store.folder import FolderStore
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

PROJECT = Path(__file__).parents[1] / "functions" / "basic"
NONCE = "deadbeefdeadbe01"
ODD = "\udcff"  # a byte of a file's name that is not UTF-8, as the folder's trigger tells of it

pytestmark = pytest.mark.usefixtures("case")


def play(scenario: Callable[[Simulated], Coroutine[Any, Any, None]], store: Any = None) -> Simulated:
    world = Simulated(PROJECT, store)
    world.play(scenario)
    return world


def tell(world: Simulated, key: str, kind: Any = "created", trigger: str = "webhook") -> None:
    assert world.dispatcher is not None
    world.dispatcher.notice(ObjectEvent(key, kind, trigger))


def told(*keys: str, kind: str = "created", seconds: float = 30) -> Callable[[Simulated], Coroutine[Any, Any, None]]:
    """A scenario in which an engine is told of keys, whatever stands there."""

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        for key in keys:
            tell(world, key, kind)
        await asyncio.sleep(seconds)

    return scenario


def written(store: Any) -> list[str]:
    """What lies in a bucket beside what every engine writes."""
    own = ("control/engine.json", "control/epochs/", "control/inflight.json")
    return sorted(entry.key for entry in store.list("") if not entry.key.startswith(own))


def exists(store: MemoryStore, key: str) -> bool:
    return key in [entry.key for entry in store.list(key)]


def folder_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setattr("trapline.store.folder.SETTLE", 0.0)
    return FolderStore(tmp_path / "bucket", tmp_path / "scratch")


def put_file(store: FolderStore, key: bytes) -> None:
    path = os.fsencode(store.root) + b"/" + key
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(os.fsdecode(path)).write_bytes(b"moth")


# -- one event costs itself


def test_a_canary_with_an_odd_name_keeps_nobody_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = folder_store(tmp_path, monkeypatch)
    manifest = {"projectId": "st1", "jobId": "n1", "sourceImages": [{"id": "a", "url": "incoming/st1/n1/a.jpg"}]}

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        put_file(store, f"incoming/_CANARY/{NONCE}/".encode() + b"\xff.txt")
        store.put("incoming/st1/n1/a.jpg", b"moth")
        store.put("jobs/st1/n1.json", json.dumps(manifest).encode())
        tell(world, f"incoming/_CANARY/{NONCE}/{ODD}.txt")
        tell(world, "jobs/st1/n1.json")
        await asyncio.sleep(20)

    play(scenario, store)
    assert json.loads(store.get("results/st1/n1/summary.json").data)["final"]
    assert "Traceback" not in caplog.text and "engine.retry" not in caplog.text


def test_an_event_over_which_the_engine_fails_is_dropped_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Counter[str]()

    def failing(world: Any, event: ObjectEvent, *rest: Any) -> None:
        asked[event.key] += 1
        raise ValueError("unforeseen")

    monkeypatch.setattr("trapline.dispatcher.intake._image", failing)

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        world.put("incoming/st1/n1/a.jpg", b"moth")
        world.put("incoming/st2/n1/_DONE")
        await asyncio.sleep(20)
        assert exists(world.store, "status/st2/n1.json")

    play(scenario)
    assert asked == {"incoming/st1/n1/a.jpg": 1}
    assert caplog.text.count("event=intake.dropped key='incoming/st1/n1/a.jpg'") == 1


def test_events_that_were_taken_in_are_not_taken_in_again_when_the_store_goes_away() -> None:
    """The dead letter's retry is counted once, though the canary behind it is tried until the store is back."""
    store = MemoryStore()
    away = False

    async def before(what: str, key: str) -> None:
        if away and ("canaries" in key or what in ("heads", "level")):
            raise StoreUnavailable(key)

    seen: list[str] = []

    async def scenario(world: Simulated) -> None:
        nonlocal away
        await asyncio.sleep(1)
        world.put("incoming/st1/n1/a.jpg", b"bad")
        await asyncio.sleep(5)
        assert world.dispatcher is not None
        ledger = world.dispatcher.world.ledger
        exhumed = ledger.exhumed

        def noted(name: str, stage: str, rel: str) -> None:
            seen.append(rel)
            exhumed(name, stage, rel)

        ledger.exhumed = noted  # type: ignore[method-assign]
        away = True
        world.delete("failed/detect/st1/n1/a.jpg.json")
        world.put(Layout().canary(NONCE, "a.txt"))
        await asyncio.sleep(20)
        away = False
        await asyncio.sleep(60)

    world = Simulated(PROJECT, store)
    world.before = before
    world.play(scenario)
    assert seen == ["st1/n1/a.jpg"]
    assert exists(store, Layout().canary_heard(NONCE))


# -- events about nothing


ABOUT_NOTHING = {
    "image": "incoming/ghost/n1/a.jpg",
    "beside the folders": "incoming/a.jpg",
    "marker": "incoming/ghost/n1/_DONE",
    "cancel": "incoming/ghost/n1/_CANCEL",
    "ignored": "incoming/ghost/n1/a.mov",
    "manifest": "jobs/ghost/n1.json",
    "dead letter": "failed/detect/ghost/n1/a.jpg.json",
    "dead letter of the results": "failed/compile/ghost/n1.json",
    "dead letter of the notice": "failed/notify/ghost/n1/1-00000000.json",
    "review": "labels/ghost/n1.csv",
    "canary": f"incoming/_CANARY/{NONCE}/a.txt",
    "record": "detections/ghost/n1/a.jpg.json",
    "above": "incoming/../../x.jpg",
    "a zero byte": "jobs/a\x00/b.json",
    "a line": "incoming/st\n1/n1/_DONE",
    "half a pair": "incoming/st\ud800/n1/a.jpg",
    "empty": "incoming//n1/a.jpg",
}


@pytest.mark.parametrize("kind", ["created", "removed"])
@pytest.mark.parametrize("key", ABOUT_NOTHING.values(), ids=ABOUT_NOTHING)
def test_an_event_about_nothing_leaves_nothing(key: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    store = play(told(key, kind=kind)).store
    assert written(store) == []
    assert "store.refused" not in caplog.text and "job.refused" not in caplog.text
    assert "Traceback" not in caplog.text and "engine.retry" not in caplog.text


def test_an_ambiguous_key_is_settled_by_which_object_exists_although_its_job_is_ambiguous() -> None:
    key = "incoming/st+7/n%41/a.jpg"
    detail = {"bucket": {"name": "traps"}, "object": {"key": key}}
    (event,) = read(json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": detail})).events
    assert len(event.keys) == 2
    store = MemoryStore()
    store.put(key, b"moth")

    async def scenario(world: Simulated) -> None:
        for hint in event.hints("webhook"):
            tell(world, hint.key)
        await asyncio.sleep(20)

    play(scenario, store)
    assert [e.key for e in store.list("control/jobs/")] == ["control/jobs/st+7/n%41.json"]


def test_a_burst_of_images_costs_one_question_each_and_a_known_job_none_for_its_marker() -> None:
    asked = Counter[str]()

    class Counting(MemoryStore):
        def head(self, key: str) -> Entry:
            asked[key] += 1
            return super().head(key)

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        for number in range(2000):
            world.put(f"incoming/st1/n{number % 3}/{number}.jpg", b"moth")
        await asyncio.sleep(1)
        burst.update(asked)
        for number in range(3):
            world.put(f"incoming/st1/n{number}/_DONE")
        await asyncio.sleep(600)

    burst = Counter[str]()
    play(scenario, Counting())
    assert {key: n for key, n in burst.items() if key.startswith("incoming/") and n > 1} == {}
    assert sum(n for key, n in burst.items() if key.startswith("control/")) == 0
    assert not any(key.endswith("_DONE") for key in asked)


REMOVED = {
    "an image": "incoming/st1/n1/a.jpg",
    "a dead letter": "failed/detect/st1/n1/b.jpg.json",
    "the marker": "incoming/st1/n1/_DONE",
}


@pytest.mark.parametrize("key", REMOVED.values(), ids=REMOVED)
def test_what_goes_from_a_job_that_left_memory_opens_it_again(key: str) -> None:
    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        world.put("incoming/st1/n1/a.jpg", b"moth")
        world.put("incoming/st1/n1/b.jpg", b"bad")
        world.put("incoming/st1/n1/_DONE")
        await asyncio.sleep(40)
        assert world.dispatcher is not None
        jobs = world.dispatcher.world.ledger.jobs
        assert "st1/n1" not in jobs
        world.delete(key)
        await asyncio.sleep(0.5)
        assert "st1/n1" in jobs

    play(scenario)


@pytest.mark.parametrize("key", ["incoming/st1/n1/a.jpg", "incoming/st1/n1/_DONE", "jobs/st1/n1.json"])
@pytest.mark.parametrize("refused", ["the key", "everything"])
@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_a_question_that_fails_for_a_passing_reason_loses_no_event(key: str, refused: str, seconds: float) -> None:
    """Found long before a sweep would."""
    away = False

    class Passing(MemoryStore):
        def head(self, asked: str) -> Entry:
            if away and (asked == key or refused == "everything"):
                raise StoreUnavailable(asked)
            return super().head(asked)

    async def before(what: str, asked: str) -> None:
        if away and refused == "everything":
            raise StoreUnavailable(asked)

    async def scenario(world: Simulated) -> None:
        nonlocal away
        await asyncio.sleep(1)
        away = True
        world.put(key, b"{}" if key.startswith("jobs/") else b"moth")
        await asyncio.sleep(seconds)
        away = False
        await asyncio.sleep(45)
        assert exists(world.store, "status/st1/n1.json")

    world = Simulated(PROJECT, Passing())
    world.before = before
    world.play(scenario)


# -- canaries


def test_canaries_of_nobody_write_nothing_and_the_forgotten_are_taken_away() -> None:
    layout = Layout()

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        for number in range(50):
            tell(world, layout.canary(f"{number:08x}", "a.txt"))
        await asyncio.sleep(5)
        assert not list(world.store.list("control/canaries/"))
        for number in range(50):
            world.put(layout.canary(f"{number:08x}", "a.txt"))
        await asyncio.sleep(5)

    store = play(scenario).store
    kept = [entry.key for entry in store.list("control/canaries/")]
    assert kept == [layout.canary_heard(f"{number:08x}") for number in range(30, 50)]


@pytest.mark.parametrize("when", ["before", "while it is written"])
def test_an_event_that_comes_late_writes_nothing_of_a_canary_that_is_gone(when: str) -> None:
    layout = Layout()
    key, answer = layout.canary(NONCE, "a.txt"), layout.canary_heard(NONCE)

    async def before(what: str, asked: str) -> None:
        if what == "put" and asked == answer and when == "while it is written":
            for one in (key, answer):
                world.store.delete(one)

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        world.put(key)
        if when == "before":
            await asyncio.sleep(2)
            assert exists(world.store, answer)
            for one in (key, answer):
                world.store.delete(one)
            tell(world, key, trigger="sqs")
        await asyncio.sleep(20)

    world = Simulated(PROJECT)
    world.before = before
    world.play(scenario)
    assert written(world.store) == []


def test_two_triggers_that_tell_of_one_canary_at_once_are_both_named() -> None:
    layout = Layout()

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        world.store.put(layout.canary(NONCE, "a.txt"), b"")
        for trigger in ("sqs", "webhook"):
            tell(world, layout.canary(NONCE, "a.txt"), trigger=trigger)
        await asyncio.sleep(5)

    heard = json.loads(play(scenario).store.get(layout.canary_heard(NONCE)).data)["heard"]
    assert {one["trigger"] for one in heard} == {"sqs", "webhook"}


# -- names that no key can be made of


@pytest.mark.parametrize(
    ("key", "as_told", "put_aside"),
    [
        (b"incoming/st\xff/n2/a.jpg", f"incoming/st{ODD}/n2/a.jpg", "incoming/st\\xff"),
        (b"jobs/a/\xff.json", f"jobs/a/{ODD}.json", "jobs/a/\\xff.json"),
        (b"incoming/st\n/n2/a.jpg", "incoming/st\n/n2/a.jpg", "incoming/st\n"),
    ],
)
def test_a_job_with_an_odd_name_is_put_aside_once(
    key: bytes,
    as_told: str,
    put_aside: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = folder_store(tmp_path, monkeypatch)

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1)
        put_file(store, key)
        store.put("incoming/st1/n1/a.jpg", b"moth")
        store.put("incoming/st1/n1/_DONE", b"")
        tell(world, as_told)
        await asyncio.sleep(4000)

    play(scenario, store)
    said = caplog.text
    play(told(), store)  # a restart looks the whole bucket over
    assert json.loads(store.get("results/st1/n1/summary.json").data)["final"]
    assert [e.key for e in store.list("control/jobs/")] == ["control/jobs/st1/n1.json"]
    kept = [json.loads(store.get(entry.key).data)["key"] for entry in store.list("quarantine/")]
    assert put_aside in kept and {key.rstrip("/") for key in kept} <= {put_aside, put_aside + "/n2"}
    assert all(said.count(f"key={key!r} ") <= 1 for key in kept)
    assert "Traceback" not in caplog.text and "engine.retry" not in caplog.text
