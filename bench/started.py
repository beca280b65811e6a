"""Programs that a peer starts: each bounded in time by itself, and ended with all it started when its block ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
_ENDING = 5.0  # seconds a program has to end by itself
_EVERY = 0.02


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, longest: float
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the block does, and never longer than `longest`, whatever becomes of this process."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["timeout", f"--kill-after={_ENDING:.0f}", f"{longest:.0f}", *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def until(what: str, holds: Callable[[], bool], longest: float, *alive: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for something while programs run. Raises `TimeoutError`, or `RuntimeError` with the log's end."""
    ends = time.monotonic() + longest
    while not holds():
        if any(process.poll() is not None for process in alive):
            raise RuntimeError(f"a program ended while {what} was awaited: {tail(log)}")
        if time.monotonic() > ends:
            raise TimeoutError(f"{what} did not come in {longest:.0f} s: {tail(log)}")
        time.sleep(_EVERY)


def tail(log: Path, most: int = 400) -> str:
    """The end of a program's log, on one line."""
    return " ".join(log.read_text(errors="replace").split())[-most:]


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def end_family(pid: int) -> None:
    """Kill all that a process started, and what that started."""
    _kill([(child, _born(child)) for child in _descendants(pid)])


def _end(process: subprocess.Popen[bytes]) -> None:
    family = [(pid, _born(pid)) for pid in (*_descendants(process.pid), *_session(process.pid))]
    if process.poll() is None:
        process.terminate()  # `timeout` passes it on
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING)
    _kill(family)
    process.kill()
    process.wait()


def _kill(family: Sequence[tuple[int, str]]) -> None:
    for pid, born in family:
        if born and _born(pid) == born:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _session(leader: int) -> Iterator[int]:
    """The rest of a process's session: also those whose parents are gone."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if int(pid) != leader and _stat(int(pid))[3:4] == [str(leader)]:
            yield int(pid)


def _born(pid: int) -> str:
    """When a process began, in the kernel's ticks: tells it from a later one with the same number."""
    return "".join(_stat(pid)[19:20])


def _stat(pid: int) -> list[str]:
    """What the kernel tells of a process from its state on; nothing where there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
