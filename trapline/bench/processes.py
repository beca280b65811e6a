"""What an engine's processes cost, as Linux counts it: CPU seconds and memory, read from /proc."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trapline.errors import SurroundingsError

EVERY = 0.2  # seconds between two looks
_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = ("dispatcher", "workers", "compile", "endpoint")


@dataclass
class Cost:
    """CPU seconds by role, and the most memory one process of a role had, in bytes."""

    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_ROLES, 0.0))
    peak: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_ROLES, 0))

    @property
    def seconds(self) -> float:
        return sum(self.cpu.values())

    def since(self, before: Cost) -> Cost:
        """What was added since then; peaks are of the whole life."""
        return Cost({role: self.cpu[role] - before.cpu[role] for role in _ROLES}, self.peak)


class Watch:
    """Looks at a process and all it starts, in a thread, until `stop`."""

    def __init__(self, pid: int, workers: int) -> None:
        if sys.platform != "linux":
            raise SurroundingsError(
                "`trapline bench` reads CPU time and memory from /proc, which this system does not have.",
                remedy="Run it on Linux.",
            )
        self._pid = pid
        self._workers = workers
        self._cpu: dict[int, float] = {}
        self._peak: dict[int, int] = {}
        self._roles: dict[int, str] = {pid: "dispatcher"}
        self.resident: list[tuple[float, int]] = []  # (monotonic seconds, the dispatcher's bytes then)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def cost(self) -> Cost:
        """All that was used so far."""
        with self._lock:
            self._look()
            cost = Cost()
            for pid, role in self._roles.items():
                cost.cpu[role] += self._cpu.get(pid, 0.0)
                cost.peak[role] = max(cost.peak[role], self._peak.get(pid, 0))
            return cost

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            with self._lock, suppress(OSError):
                self._look()
                self.resident.append((time.monotonic(), _status(self._pid, "VmRSS")))

    def _look(self) -> None:
        for pid in _family(self._pid):
            with suppress(OSError, IndexError, ValueError):
                self._cpu[pid] = cpu_seconds(pid)
                self._peak[pid] = _status(pid, "VmHWM")
                if pid not in self._roles and (role := self._role(pid)):
                    self._roles[pid] = role

    def _role(self, pid: int) -> str:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if command == Path(f"/proc/{self._pid}/cmdline").read_bytes():
            return ""  # forked, and about to become something else
        if b"trapline.executors.worker" not in command:
            return "endpoint"
        pool = sum(role == "workers" for role in self._roles.values())
        return "workers" if pool < self._workers else "compile"  # the pool is started first


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from _family(int(child))


def cpu_seconds(pid: int) -> float:
    """CPU seconds, user and system, that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0
