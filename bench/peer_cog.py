"""Cog's prediction server, without Docker: a server per worker, and a client that keeps each of them busy."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event

import httpx

from bench.peer import Measured, Peer, Work
from bench.stages import environment, results, write
from bench.started import LOOPBACK, free_port, running, until

_RUNNER = Path(__file__).with_name("cog_runner.py")
_BUSY = 5.0  # seconds that a server may say it is busy: it answers a request a little before it is free again
_AGAIN = 0.001  # seconds until it is asked again


def measure(work: Work) -> Measured:
    """From the first request to the last result written."""
    log = work.folder / "log"
    with ExitStack() as stack:
        clients = []
        for number in range(work.workers):
            port = free_port()
            told = environment(work.project) | {
                "PORT": str(port),
                "COG_PREDICT_TYPE_STUB": f"{_RUNNER}:Runner",
            }
            command = [sys.executable, "-m", "cog.server.http", "--host", LOOPBACK]
            server = stack.enter_context(running(command, told, log, work.longest))
            client = stack.enter_context(httpx.Client(base_url=f"http://{LOOPBACK}:{port}", timeout=work.longest))
            until(f"server {number}", partial(_ready, client), work.longest, server, log=log)
            clients.append(client)
        _through(clients, work.folder / "warm", work.warm)
        return Measured(len(work.files), _through(clients, work.folder / "results", work.files))


def _through(clients: Sequence[httpx.Client], folder: Path, files: Sequence[Path]) -> float:
    todo: SimpleQueue[tuple[Path, str]] = SimpleQueue()
    for one in zip(files, results(folder, files), strict=True):
        todo.put(one)
    over = Event()

    def keep_busy(client: httpx.Client) -> None:
        with suppress(Empty):
            while not over.is_set():
                path, result = todo.get_nowait()
                write(result, _predicted(client, path))

    began = time.monotonic()
    with ThreadPoolExecutor(len(clients)) as pool:
        try:
            list(pool.map(keep_busy, clients))
        finally:
            over.set()
    return time.monotonic() - began


def _predicted(client: httpx.Client, path: Path) -> dict[str, object]:
    picture = f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    request = client.build_request("POST", "/predictions", json={"input": {"image": picture}})
    answer, ends = client.send(request), time.monotonic() + _BUSY
    while answer.status_code == httpx.codes.CONFLICT and time.monotonic() < ends:
        time.sleep(_AGAIN)
        answer = client.send(request)
    told = answer.raise_for_status().json()
    if told["status"] != "succeeded":
        raise RuntimeError(f"{path}: {told['status']}: {told.get('error')}")
    output: dict[str, object] = told["output"]
    return output


def _ready(client: httpx.Client) -> bool:
    try:
        status = client.get("/health-check").json()["status"]
    except httpx.TransportError:
        return False
    if status == "SETUP_FAILED":
        raise RuntimeError("Cog's setup failed")
    return bool(status == "READY")


PEER = Peer(
    name="Cog's HTTP server",
    setup="{workers} servers, one prediction at a time each, the image in the request as a data URL",
    durable=(
        "Nothing: there is no queue, and a request lives as long as its connection. kill -9 of the model's process "
        "answers that request with `failed`, and the server stays up, unhealthy, and refuses all that follow (tried); "
        "kill -9 of the server, or a power cut, drops the request (tried). An image that fails is told of to whoever "
        "asked, as `failed`. Trying again, keeping results and fan-in are the client's."
    ),
    measure=measure,
    packages=("cog", "coglet"),
)
