"""What becomes of a job manifest: the real dispatcher and runtime over a memory store, in simulated time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.test_engine import PROJECT, read, status, summary
from trapline.testing import Simulated

pytestmark = pytest.mark.usefixtures("case")


def test_a_manifest_brings_its_images_and_closes_when_each_is_accounted_for(case: Any) -> None:
    async def scenario(world: Simulated) -> None:
        world.put("incoming/ecos/j1/here.jpg", b"beetle")
        world.put("incoming/ecos/j1/other.jpg", b"moth")
        listed = [
            {"id": "one", "url": "https://example.org/moth.jpg"},
            {"id": "two", "url": "https://example.org/dead.jpg"},
            {"id": "three", "url": "incoming/ecos/j1/here.jpg"},
            {"id": "four", "url": "incoming/ecos/j1/gone.jpg"},
        ]
        manifest = {
            "projectId": "ecos",
            "jobId": "j1",
            "sourceImages": listed,
            "callback": {"callbackUrl": "https://x", "callbackToken": "secret"},
        }
        world.put("jobs/ecos/j1.json", json.dumps(manifest).encode())
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    found = summary(world.store, "ecos/j1")
    assert found["state"] == "PARTIAL" and found["images"]["total"] == 4 and found["images"]["extra"] == 1
    assert found["failures_by_code"] == {"fetch_not_found": 1, "source_missing": 1}
    assert found["results"]["labels"] == {"moth": 1, "beetle": 1}
    assert found["client"]["jobId"] == "j1"
    assert not any(
        b"secret" in world.store.get(e.key).data for e in world.store.list("") if not e.key.startswith("jobs/")
    )


def test_the_same_manifest_again_is_a_no_op_and_a_changed_parameter_reruns_what_it_changes(case: Any) -> None:
    def manifest(top_k: int, priority: int = 0) -> bytes:
        stages = [{"stage": "OBJECT_DETECTION"}, {"stage": "CLASSIFICATION", "parameters": {"top_k": top_k}}]
        listed = [{"id": str(n), "url": f"https://example.org/{n}/moth.jpg"} for n in range(3)]
        return json.dumps({"sourceImages": listed, "priority": priority, "pipelineConfig": {"stages": stages}}).encode()

    async def scenario(world: Simulated) -> list[int]:
        ran = []
        for body in (manifest(1), manifest(1), manifest(1, priority=5), manifest(2)):
            world.put("jobs/ecos/j2.json", body)
            await asyncio.sleep(60)
            ran.append(
                sum(
                    len(t.items)
                    for t in (world.executor.ran if world.executor else [])
                    if t.stage in ("detect", "classify")
                )
            )
        return ran

    world = Simulated(PROJECT)
    assert world.play(scenario) == [6, 6, 6, 9]
    assert summary(world.store, "ecos/j2")["last_final"]["N"] == 2 and sum(case.ASKED.values()) == 3


def test_a_callback_in_another_form_makes_the_revision_that_has_it_and_any_other_change_of_it_none(case: Any) -> None:
    def manifest(**callback: str) -> bytes:
        listed = [{"id": "one", "url": "https://example.org/moth.jpg"}]
        told = {"callback": {"callbackUrl": "https://x", **callback}} if callback else {}
        return json.dumps({"sourceImages": listed, **told}).encode()

    async def scenario(world: Simulated) -> list[int]:
        made = []
        antenna = {"callbackToken": "t", "format": "antenna"}
        for body in (manifest(), manifest(callbackToken="t"), manifest(**antenna), manifest(**antenna, links="PT24H")):
            world.put("jobs/ecos/j3.json", body)
            await asyncio.sleep(60)
            made.append(summary(world.store, "ecos/j3")["last_final"]["N"])
        return made

    world = Simulated(PROJECT)
    assert world.play(scenario) == [1, 1, 2, 2]
    assert case.TOLD[-1] == ("ecos/j3", summary(world.store, "ecos/j3")["revision"]) and sum(case.ASKED.values()) == 1


def test_a_stage_type_left_out_of_a_manifest_is_skipped() -> None:
    async def scenario(world: Simulated) -> None:
        manifest = {
            "sourceImages": [{"id": "1", "url": "https://example.org/moth.jpg"}],
            "pipelineConfig": {"stages": [{"stage": "OBJECT_DETECTION"}]},
        }
        world.put("jobs/ecos/j3.json", json.dumps(manifest).encode())
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    assert summary(world.store, "ecos/j3")["state"] == "SUCCEEDED"
    (record,) = [read(world.store, e.key) for e in world.store.list("classifications/")]
    assert record["outcome"] == "skipped" and record["known"]["detections"]


def test_a_manifest_that_cannot_be_used_says_so_in_the_jobs_status() -> None:
    async def scenario(world: Simulated) -> None:
        world.put("jobs/ecos/j4.json", b'{"sourceImages": 7}')
        await asyncio.sleep(30)

    world = Simulated(PROJECT)
    world.play(scenario)
    found = status(world.store, "ecos/j4")
    assert found["state"] == "FAILED" and "sourceImages" in found["message"]


def test_a_deadline_that_passes_closes_the_job_and_names_what_did_not_run() -> None:
    async def scenario(world: Simulated) -> None:
        listed = [{"id": str(n), "url": f"https://example.org/{n}/moth.jpg"} for n in range(200)]
        world.put("jobs/ecos/j5.json", json.dumps({"sourceImages": listed, "deadline": "PT1M"}).encode())
        await asyncio.sleep(600)

    world = Simulated(PROJECT, seconds=20.0, slots=1)
    world.play(scenario)
    found = summary(world.store, "ecos/j5")
    assert found["state"] in ("PARTIAL", "FAILED") and found["failures_by_code"]["deadline_passed"] > 0
    assert found["images"]["total"] == 200
    came = len(list(world.store.list("incoming/")))
    line = world.store.get("status/ecos/j5.txt").data
    assert f" {200 - came} missing ".encode() in line and b"gone" not in line


def test_two_jobs_over_the_same_images_with_other_parameters_do_not_disturb_each_other() -> None:
    async def scenario(world: Simulated) -> None:
        world.put("incoming/pool/p/a.jpg", b"moth")
        for name, threshold in (("one", 0.3), ("two", 0.7)):
            manifest = {
                "sourceImages": [{"id": "a", "url": "incoming/pool/p/a.jpg"}],
                "pipelineConfig": {"stages": [{"stage": "OBJECT_DETECTION", "parameters": {"threshold": threshold}}]},
            }
            world.put(f"jobs/ecos/{name}.json", json.dumps(manifest).encode())
        await asyncio.sleep(60)

    world = Simulated(PROJECT)
    world.play(scenario)
    for name, threshold in (("one", 0.3), ("two", 0.7)):
        found = summary(world.store, f"ecos/{name}")
        assert found["state"] == "SUCCEEDED" and found["pins"]["detect"]["parameters"]["threshold"] == threshold


def test_a_manifest_that_is_deleted_leaves_a_folder_of_which_nothing_is_extra() -> None:
    async def scenario(world: Simulated) -> None:
        for name in ("a.jpg", "b.jpg"):
            world.put(f"incoming/ecos/j6/{name}", b"moth")
        listed = [{"id": "one", "url": "incoming/ecos/j6/a.jpg"}]
        world.put("jobs/ecos/j6.json", json.dumps({"sourceImages": listed}).encode())
        await asyncio.sleep(60)
        assert status(world.store, "ecos/j6")["images"]["extra"] == 1
        world.put("incoming/ecos/j6/c.jpg", b"moth")
        await asyncio.sleep(1)
        world.delete("jobs/ecos/j6.json")
        await asyncio.sleep(3600)

    world = Simulated(PROJECT)
    world.play(scenario)
    images = summary(world.store, "ecos/j6")["images"]
    assert (images["done"], images["extra"]) == (3, 0)
