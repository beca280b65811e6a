"""What a worker leaves in temporary folders goes with it, however it ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trapline.executors import scratch
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


def test_what_the_workers_of_a_killed_engine_left_is_cleared_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living, killed, new = (tmp_path / f"{scratch.PREFIX}{name}" for name in ("living", "killed", "new"))
    for folder in (living, killed, new):
        folder.mkdir()
        (folder / "half").write_bytes(b"written")
    for folder in (living, killed):
        os.utime(folder, (1e9, 1e9))
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    scratch._clear_orphans.cache_clear()
    made = scratch.Scratch()
    os.close(lock)
    assert sorted(tmp_path.iterdir()) == sorted([living, new, Path(made.folder)])
    made.clear()
    assert sorted(tmp_path.iterdir()) == sorted([living, new])
