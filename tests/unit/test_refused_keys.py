"""A store that answers, and refuses single keys for good: each costs what it is for, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trapline.errors import KeyUnusable, StoreDenied, StoreUnavailable
from trapline.store.base import Entry, Got
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

PROJECT = Path(__file__).resolve().parents[1] / "functions" / "basic"
JOB, OTHER = "st1/n1", "st2/n1"
ERRORS: dict[str, Callable[[str], Exception]] = {
    "denied": lambda key: StoreDenied(f"{key}: 403"),
    "unavailable": lambda key: StoreUnavailable(f"{key}: 500"),
    "unusable": lambda key: KeyUnusable(f"{key}: 400"),
}


class Refusing(MemoryStore):
    """Refuses the keys of which `refuses` says so, whatever is asked of them."""

    def __init__(self, refuses: Callable[[str, str], bool], error: str) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.on = False
        self._refuses = refuses
        self._error = ERRORS[error]

    def _ask(self, what: str, key: str) -> None:
        self.asked[key] += 1
        if self.on and self._refuses(what, key):
            raise self._error(key)

    def get(self, key: str) -> Got:
        self._ask("get", key)
        return super().get(key)

    def head(self, key: str) -> Entry:
        self._ask("head", key)
        return MemoryStore.get(self, key).entry

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        self._ask("put", key)
        return super().put(key, data, content_type=content_type, create_only=create_only)

    def delete(self, key: str) -> None:
        self._ask("delete", key)
        super().delete(key)


def play(store: Refusing, seconds: float = 600.0, images: int = 12) -> Simulated:
    """Two jobs of some images each, and a `_DONE`."""
    world = Simulated(PROJECT, store)

    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(1.0)
        for job in (JOB, OTHER):
            for number in range(images):
                world.put(f"incoming/{job}/{number:02}.jpg", b"bad" if number == 11 else b"moth")
            world.put(f"incoming/{job}/_DONE")
        store.on = True
        await asyncio.sleep(seconds)
        store.on = False

    world.play(scenario)
    return world


def summary(store: MemoryStore, job: str) -> dict[str, Any]:
    return dict(json.loads(store._objects[f"results/{job}/summary.json"].data))


def lines(store: MemoryStore, job: str) -> dict[str, dict[str, Any]]:
    folder = summary(store, job)["folder"]
    found = [json.loads(line) for line in store._objects[f"{folder}results.jsonl"].data.splitlines()]
    return {line["rel"].rpartition("/")[2]: line for line in found}


def fine(store: MemoryStore, job: str) -> None:
    assert summary(store, job)["final"]
    assert Counter(line["state"] for line in lines(store, job).values()) == {"done": 11, "failed": 1}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("what", ["get", "put", "head", "every"])
@pytest.mark.parametrize("prefix", ["incoming", "detections", "classifications"])
def test_a_key_of_one_image_costs_that_image(prefix: str, what: str, error: str) -> None:
    key = f"{prefix}/{JOB}/03.jpg" + ("" if prefix == "incoming" else ".json")
    store = Refusing(lambda asked, other: other == key and what in (asked, "every"), error)
    play(store)
    fine(store, OTHER)
    found = lines(store, JOB)
    assert len(found) == 12 and sum(line["state"] == "done" for line in found.values()) >= 10
    bad = found["03.jpg"]
    assert bad["state"] == "done" or bad["code"] in ("store_refused", "key_unusable")
    if what == "every" and prefix != "incoming":
        assert bad["state"] == "failed"
    assert store.asked[key] < 200


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("what", ["get", "put", "delete", "every"])
def test_a_dead_letter_that_is_refused_is_put_aside_and_its_image_is_told(what: str, error: str) -> None:
    key = f"failed/detect/{JOB}/11.jpg.json"
    store = Refusing(lambda asked, other: other == key and what in (asked, "every"), error)
    play(store)
    fine(store, OTHER)
    found = lines(store, JOB)
    assert len(found) == 12 and sum(line["state"] == "done" for line in found.values()) == 11
    assert found["11.jpg"]["code"] in ("image_unreadable", "store_refused")


OF_A_JOB = {
    "status": f"status/{JOB}.json",
    "one line": f"status/{JOB}.txt",
    "received": f"status/{JOB}.received.csv",
    "control": f"control/jobs/{JOB}.json",
    "seen": f"control/seen/{JOB}.json",
    "copy": f"results/{JOB}/results.jsonl",
    "inflight": "control/inflight.json",
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("key", OF_A_JOB.values(), ids=OF_A_JOB)
def test_a_key_of_a_job_costs_no_results(key: str, error: str) -> None:
    store = Refusing(lambda asked, other: other == key, error)
    play(store)
    for job in (JOB, OTHER):
        fine(store, job)
    assert store.asked[key] < 400


@pytest.mark.parametrize("error", ERRORS)
def test_a_summary_that_is_refused_is_told_in_the_status_and_leaves_no_heap_of_revisions(error: str) -> None:
    key = f"results/{JOB}/summary.json"
    store = Refusing(lambda asked, other: other == key, error)
    play(store)
    fine(store, OTHER)
    status = json.loads(store._objects[f"status/{JOB}.json"].data)
    assert status["state"] == "FAILED" and "results/st1/n1/summary.json" in status["message"]
    assert len({k.split("/")[3] for k in store._objects if k.startswith(f"results/{JOB}/r")}) <= 1


@pytest.mark.parametrize("error", ERRORS)
def test_a_receipt_that_is_refused_does_not_tell_the_client_again_and_again(case: Any, error: str) -> None:
    store = Refusing(lambda asked, other: other.startswith(f"receipts/{JOB}/"), error)
    play(store)
    fine(store, JOB)
    assert Counter(job for job, _ in case.TOLD)[JOB] == 1


@pytest.mark.parametrize("error", ERRORS)
def test_a_thousandth_of_all_keys_may_be_refused(error: str) -> None:
    """Of ever so many keys: what is made for images here, three in a hundred."""
    store = Refusing(lambda asked, other: other.startswith(("det", "cla", "fai")) and hash_of(other) % 33 == 0, error)
    play(store, seconds=1200.0, images=60)
    for job in (JOB, OTHER):
        assert summary(store, job)["final"] and len(lines(store, job)) == 60
        for name, line in lines(store, job).items():
            refused = any(
                hash_of(f"{prefix}/{job}/{name}.json") % 33 == 0 for prefix in ("detections", "classifications")
            )
            expected = ("failed",) if refused or name == "11.jpg" else ("done",)
            assert line["state"] in expected, line
    assert sum(store.asked.values()) < 60_000


def hash_of(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
