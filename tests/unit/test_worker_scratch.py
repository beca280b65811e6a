"""What a worker leaves in temporary folders goes with it, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trapline.executors.opening import WorkerConfig
from trapline.executors.process import WorkerProcess

PROJECT = Path(__file__).parents[1] / "functions" / "basic"


async def killed(worker: WorkerProcess) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    while not worker.gone:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("end", [killed, WorkerProcess.close])
def test_the_files_of_a_worker_go_with_it(
    end: Callable[[WorkerProcess], Awaitable[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def scenario() -> None:
        config = WorkerConfig(
            project=PROJECT, cache=tmp_path / "cache", store="s3", bucket="traps", endpoint="http://127.0.0.1:1"
        )
        worker = WorkerProcess(config)
        (folder,) = tmp_path.glob("trapline-worker-*")
        (folder / "half").write_bytes(b"written")
        await end(worker)
        while folder.exists():
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert list(tmp_path.glob("trapline-worker-*")) == []
