"""A function whose workers do not start: its images wait and are not blamed, and the job's status says why."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from trapline.records import ItemOutcome, Outcome, Ticket
from trapline.testing import Simulated

PROJECT = Path(__file__).parents[1] / "functions" / "basic"
WHY = "Function 'classify' waits for its environment. Run `trapline functions install classify`."


def status(world: Simulated) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(world.store.get("status/st7/n1.json").data)
    return told


def test_the_status_says_why_and_the_job_ends_as_if_nothing_had_been(case: Any) -> None:
    told: list[dict[str, Any]] = []
    bounced: list[str] = []

    async def scenario(world: Simulated) -> None:
        executor = world.executor
        assert executor is not None
        works = executor.run

        async def run(ticket: Ticket) -> Outcome:
            if ticket.pin.function not in executor.troubles:
                return await works(ticket)
            bounced.append(ticket.id)
            waits = ItemOutcome(rel="", result="unknown", after=60.0, message=WHY)
            return Outcome(ticket=ticket.id, setup=waits)

        executor.run = run  # type: ignore[method-assign]
        executor.troubles = {"classify": WHY}
        for name in ("a", "b", "c"):
            world.put(f"incoming/st7/n1/{name}.jpg", b"moth beetle")
        world.put("incoming/st7/n1/_DONE")
        await asyncio.sleep(3600)
        told.append(status(world))
        executor.troubles = {}
        await asyncio.sleep(120)
        told.append(status(world))

    world = Simulated(PROJECT)
    world.play(scenario)
    waiting, done = told
    assert (waiting["state"], waiting["message"]) == ("PROCESSING", WHY)
    assert waiting["stages"]["detect"]["done"] == 3 and waiting["stages"]["classify"]["owed"] == 3
    assert (done["state"], done["message"], done["failures"]) == ("SUCCEEDED", "", {})
    assert len(bounced) <= 3 * 61, "an image is asked for about once a minute"
    record = json.loads(world.store.get("classifications/st7/n1/a.jpg.json").data)
    assert record["attempts"] == 1
