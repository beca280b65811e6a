"""Prefect on one machine: a local server over SQLite, and one flow with a task per stage and image in a process pool.

A flow run per image would be a process per image; the pool keeps the models.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import httpx

from bench.errand import Errand
from bench.peer import Measured, Peer, Work
from bench.stages import environment
from bench.started import LOOPBACK, free_port, running, until


def measure(work: Work) -> Measured:
    """From the first task submitted to the last ended; the results are written by then."""
    port, errand, log, home = free_port(), Errand.of(work), work.folder / "log", work.folder / "home"
    home.mkdir()
    url = f"http://{LOOPBACK}:{port}/api"
    told = environment(work.project) | {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port), "--no-ui"]
    flow = [sys.executable, "-m", "bench.prefect_flow", errand.save()]
    with running(prefect, told, log, work.longest) as server:
        until("Prefect's server", lambda: _healthy(url), work.longest, server, log=log)
        with running(flow, told, log, work.longest) as run:
            until("the flow's end", lambda: run.poll() is not None, work.longest, server, log=log)
    return errand.measured()


def _healthy(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/health").is_success
    return False


PEER = Peer(
    name="Prefect",
    setup="its server over SQLite, one flow, a task per stage and image in a pool of {workers} processes",
    durable=(
        "kill -9 of a process of the pool fails the whole flow; of the flow's own process leaves the run `Running`, "
        "with nobody going on with it, unless an automation on heartbeats marks it; of the server is survived: the "
        "flow waits for it, and its SQLite file has the states (each tried, but for the automation). Results are kept "
        "in memory unless persistence is turned on, so a flow that is run again, as after a power cut, does all of it "
        "again. An image that fails is a failed task on the server, and fails the flow. Fan-in is a task that takes "
        "all the others' results."
    ),
    measure=measure,
    packages=("prefect",),
)
