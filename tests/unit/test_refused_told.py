"""A manifest that is refused: who is told of it, how often, what is left. The real dispatcher, in simulated time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_telling import DAY, JOB, PEOPLE, Told, keys, project, read, refused, settings, told
from trapline.errors import Permanent
from trapline.records import Callback, read_sender
from trapline.testing import Simulated

__all__ = ["project", "told"]
URL = "https://platform.example.org/"


def submit(world: Simulated, callback: Any = None, **more: Any) -> None:
    world.put(f"incoming/{JOB}/moth.jpg", b"moth")
    listed = [{"id": "moth", "url": f"incoming/{JOB}/moth.jpg"}]
    said = {"callbackUrl": URL, "callbackToken": "hunter2"} if callback is None else callback
    world.put(f"jobs/{JOB}.json", json.dumps({"sourceImages": listed, "callback": said, **more}).encode())


def play(project: Path, seconds: float, *manifests: dict[str, Any]) -> Simulated:
    async def scenario(world: Simulated) -> None:
        for manifest in manifests:
            submit(world, **manifest)
            await asyncio.sleep(seconds)

    world = Simulated(project)
    world.play(scenario)
    return world


WRONG = [
    {"outputs": ["../../x"]},
    {"priority": 5000},
    {"callback": {"callbackUrl": URL, "callbackToken": "hunter2", "on": ["nothing"]}},
    {"callback": {"callbackUrl": URL, "callbackToken": "hunter2", "links": "PT1S", "format": "odd"}},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_the_client_of_a_refused_manifest_is_told_once_and_there_is_a_receipt(
    project: Path, told: Told, wrong: dict[str, Any]
) -> None:
    world = play(project, 600, wrong)
    ((_, item),) = told.items
    why = read(world.store, f"status/{JOB}.json")["message"]
    assert (item.event, item.summary, item.news["message"], item.news["state"]) == ("failed", None, why, "FAILED")
    assert (item.callback.callbackUrl, item.callback.callbackToken) == (URL, "hunter2")
    (name,) = keys(world.store, f"receipts/{JOB}/")
    assert name.startswith("refused-") and read(world.store, f"receipts/{JOB}/{name}")["outcome"] == "told"
    assert read(world.store, f"receipts/{JOB}/{name}")["webhook_id"] == item.webhook_id


def test_the_people_that_pipeline_yaml_names_are_told_of_a_refused_manifest_too(project: Path, told: Told) -> None:
    world = play(settings(project, notify={"to": PEOPLE}), 300, {"outputs": ["../../x"], "callback": {}})
    assert told.kinds("people") == ["failed"]
    assert sorted(name.partition(".")[2] for name in keys(world.store, f"receipts/{JOB}/")) == ["json", "people.json"]


def test_each_refused_manifest_is_told_by_itself_and_the_one_that_is_right_as_usual(project: Path, told: Told) -> None:
    world = play(project, 300, {"outputs": ["../../x"]}, {"outputs": ["../y"]}, {})
    assert told.kinds() == ["failed", "failed", "completed"]
    assert len({item.webhook_id for _, item in told.items}) == 3
    assert len(keys(world.store, f"receipts/{JOB}/")) == 3


def test_a_restart_tells_nobody_of_a_refused_manifest_again(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        await asyncio.sleep(300)

    world = play(project, 300, {"outputs": ["../../x"]})
    Simulated(project, store=world.store).play(scenario)
    assert told.kinds() == ["failed"]


def test_the_same_refused_manifest_dropped_once_more_is_not_told_again(project: Path, told: Told) -> None:
    world = play(project, 300, {"outputs": ["../../x"]}, {"outputs": ["../../x"]})
    assert told.kinds() == ["failed"] and len(keys(world.store, f"receipts/{JOB}/")) == 1


def test_nobody_is_told_by_a_good_manifest_that_the_one_before_it_was_refused(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        told.answer = refused()
        submit(world, outputs=["../../x"])
        await asyncio.sleep(4)
        told.answer = lambda item: {"outcome": "told"}
        data = json.dumps(
            {"sourceImages": [{"id": "moth", "url": f"incoming/{JOB}/moth.jpg"}], "callback": {"callbackUrl": URL}}
        )
        world.put(f"jobs/{JOB}.json", data.encode(), event=False)
        await asyncio.sleep(300)

    Simulated(project).play(scenario)
    assert told.kinds() == ["failed", "completed"]


def test_a_client_that_cannot_be_told_of_its_refused_manifest_is_tried_for_a_day_and_then_there_is_a_dead_letter(
    project: Path, told: Told
) -> None:
    told.answer = refused()
    world = play(project, 1.2 * DAY, {"outputs": ["../../x"]})
    assert len(told.items) == 34
    (letter,) = keys(world.store, f"failed/notify/{JOB}/")
    assert letter.startswith("refused-") and not keys(world.store, f"receipts/{JOB}/")


def test_deleting_that_dead_letter_tells_the_client_again(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        told.answer = lambda item: Permanent("gone", code="callback_failed")
        submit(world, outputs=["../../x"])
        await asyncio.sleep(300)
        (letter,) = keys(world.store, f"failed/notify/{JOB}/")
        told.answer = lambda item: {"outcome": "told"}
        world.delete(f"failed/notify/{JOB}/{letter}")
        await asyncio.sleep(300)

    world = Simulated(project)
    world.play(scenario)
    assert told.kinds() == ["failed", "failed"] and len(keys(world.store, f"receipts/{JOB}/")) == 1


def test_a_client_that_wants_no_results_is_not_told_that_there_are_none(project: Path, told: Told) -> None:
    play(project, 300, {"outputs": ["../../x"], "callback": {"callbackUrl": URL, "on": ["opened"]}})
    assert all(item.callback is None for _, item in told.items)


@pytest.mark.parametrize("token", ["whsec_hunter2hunter", "whsec_", "whsec_aHVudGVyMg-_", "whsec_hünter2"])
def test_a_secret_that_cannot_sign_is_refused_with_its_manifest_and_not_repeated(
    project: Path, told: Told, token: str
) -> None:
    world = play(project, 300, {"callback": {"callbackUrl": URL, "callbackToken": token}})
    status = read(world.store, f"status/{JOB}.json")
    assert status["state"] == "FAILED" and "callback.callbackToken" in status["message"]
    assert "not base64" in status["message"] and "nter2" not in status["message"]
    assert all(item.callback is None for _, item in told.items)


def test_a_secret_that_signs_is_taken(project: Path, told: Told) -> None:
    play(project, 300, {"callback": {"callbackUrl": URL, "callbackToken": "whsec_aHVudGVyMmh1bnRlcjI="}})
    assert told.kinds() == ["completed"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"callback": 7}',
        b'{"callback": {}}',
        b'{"callback": {"callbackUrl": 7}}',
        b'{"callback": {"callbackUrl": "https://x", "callbackToken": 7}}',
        b'{"callback": ' + b"[" * 100_000,
    ],
)
def test_a_manifest_without_an_address_that_can_be_used_has_nobody_to_tell(data: bytes) -> None:
    assert read_sender(data).callback is None


def test_of_a_refused_manifest_the_form_in_which_its_client_is_told_holds() -> None:
    said = {"projectId": "ecos", "jobId": "7", "pipelineConfig": {"stages": 7}, "sourceImages": []}
    sender = read_sender(json.dumps({**said, "callback": {"callbackUrl": URL, "callbackToken": "t"}}).encode())
    assert (sender.told_as, sender.jobId, sender.callback) == (
        "antenna",
        "7",
        Callback(callbackUrl=URL, callbackToken="t"),
    )
