"""One worker process as its parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from multiprocessing.connection import Connection
from pathlib import Path

from trapline.environments.venvs import PYTHON_PATHS
from trapline.executors.opening import WorkerConfig
from trapline.executors.scratch import Scratch
from trapline.records import Outcome, Ticket

log = logging.getLogger("trapline.executors")

REMEMBERED = 256  # images whose bytes a worker is believed to hold
GRACE = 2.0  # seconds beyond a ticket's limit before its worker is killed
SETTING_UP = 300.0  # seconds a function may take to be set up (a large model)
STARTING = 60.0  # seconds a worker may take to start
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MMAP = 32 * 2**20  # bytes: the most that glibc takes
_TRIM = 256 * 2**20  # bytes that may lie free at the end of the heap


class WorkerProcess:
    """Sends tickets to one process and gets their outcomes; knows when it died and over what.

    `python`: the interpreter of another environment than the engine's. Raises `OSError` where that cannot be run.
    """

    def __init__(self, config: WorkerConfig, python: Path | None = None) -> None:
        self._scratch = Scratch()
        own = {**environment(config.threads), "PYTHONUNBUFFERED": "1", "TMPDIR": self._scratch.folder}
        ours, theirs = socket.socketpair()
        try:
            with theirs, ours:
                self._process = subprocess.Popen(
                    [*_interpreter(python), "-m", "trapline.executors.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={**_surroundings(python), **own},
                    start_new_session=True,  # a Ctrl-C is the engine's to answer
                )
                self._connection = Connection(ours.detach())
        except OSError:
            self._scratch.clear()
            raise
        self._connection.send_bytes(config.model_dump_json().encode())
        self._waiting: OrderedDict[str, tuple[Ticket, asyncio.Future[Outcome]]] = OrderedDict()
        self._running: tuple[str, float] | None = None  # ticket id, when it began
        self._setting_up = False  # the running ticket's function is being set up
        self._held: OrderedDict[str, None] = OrderedDict()
        self._since = time.monotonic()
        self._ready = False
        self._last = self._since
        self.why_gone = ""
        self.gone = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._connection.fileno(), self._readable)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def started(self) -> bool:
        """Whether it came so far as to take tickets."""
        return self._ready

    async def exit_code(self) -> int:
        """How the process ended, once it has."""
        return await asyncio.to_thread(self._process.wait)

    @property
    def load(self) -> int:
        """Tickets it holds."""
        return len(self._waiting)

    @property
    def idle_for(self) -> float:
        """Seconds since it last had anything to do."""
        return 0.0 if self._waiting else time.monotonic() - self._last

    @property
    def busy_for(self) -> float:
        """Seconds that the ticket it runs has taken so far."""
        return time.monotonic() - self._running[1] if self._running else 0.0

    def holds(self, rels: set[str]) -> int:
        """How many of these images it probably has in memory."""
        return sum(1 for rel in rels if rel in self._held)

    async def run(self, ticket: Ticket) -> Outcome:
        """Send a ticket and wait for what becomes of it."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting[ticket.id] = (ticket, future)
        self._last = time.monotonic()
        for item in ticket.items:
            self._held[item.rel] = None
            self._held.move_to_end(item.rel)
        while len(self._held) > REMEMBERED:
            self._held.popitem(last=False)
        try:
            self._connection.send_bytes(ticket.model_dump_json(exclude_defaults=True).encode())
        except OSError:
            self._died("worker_died")
        return await future

    def revoke(self, ticket: str) -> None:
        """End it if this ticket is all it has; the ticket comes back as it was."""
        if not self.gone and self._waiting.keys() == {ticket}:
            self._kill("")

    def check(self, memory: int | None) -> None:
        """Kill it when it hangs or needs more memory than it may."""
        if self.gone:
            return
        if self._process.poll() is not None:
            self._died("worker_died")
        elif self._over_time():
            self._kill("timeout")
        elif memory is not None and _resident(self.pid) > memory:
            self._kill("out_of_memory")

    async def close(self) -> None:
        """Hang up and wait; it is killed if it does not end by itself."""
        if not self.gone:
            self._drop_connection()
            self.gone = True
        for _, future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        self._process.kill()
        await asyncio.to_thread(self._ended)

    # -- what it says

    def _readable(self) -> None:
        try:
            message = self._connection.recv_bytes()
        except (EOFError, OSError):
            self._died("worker_died")
            return
        if message == b"ready":
            self._ready = True
        elif message.startswith(b"start "):
            self._running, self._setting_up = (message[6:].decode(), time.monotonic()), True
        elif message == b"begin" and self._running is not None:
            self._running, self._setting_up = (self._running[0], time.monotonic()), False
        else:
            self._came_back(Outcome.model_validate_json(message))

    def _came_back(self, outcome: Outcome) -> None:
        _, future = self._waiting.pop(outcome.ticket)
        self._running = None
        self._last = time.monotonic()
        if not future.done():
            future.set_result(outcome)

    # -- its end

    def _over_time(self) -> bool:
        if self._running is None:
            return not self._ready and time.monotonic() - self._since > STARTING
        ident, began = self._running
        ticket = self._waiting[ident][0]
        limit = SETTING_UP if self._setting_up else ticket.limit_seconds + GRACE
        return time.monotonic() - began > max(limit, ticket.limit_seconds)

    def _kill(self, why: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._died(why)

    def _died(self, why: str) -> None:
        """The ticket it ran is suspect; those it had not begun come back as they were."""
        if self.gone:
            return
        self.gone, self.why_gone = True, why
        self._drop_connection()
        suspect = self._running[0] if self._running else ""
        for ident, (_, future) in self._waiting.items():
            if not future.done():
                future.set_result(Outcome(ticket=ident, died=why if ident == suspect else ""))
        self._waiting.clear()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._loop.run_in_executor(None, self._ended)

    def _ended(self) -> None:
        """Wait for the process, and remove the files that it worked with."""
        self._process.wait()
        self._scratch.clear()

    def _drop_connection(self) -> None:
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()


def _interpreter(python: Path | None) -> list[str]:
    """In an environment of its own a worker sees that alone: not the folder it is started in, either."""
    return [sys.executable] if python is None else [str(python), "-P"]


def _surroundings(python: Path | None) -> dict[str, str]:
    """The engine's environment variables; for another interpreter, as if its environment had been activated."""
    if python is None:
        return dict(os.environ)
    kept = {name: value for name, value in os.environ.items() if name not in PYTHON_PATHS}
    path = os.pathsep.join((str(python.parent), os.environ.get("PATH", os.defpath)))
    return {**kept, "VIRTUAL_ENV": str(python.parent.parent), "PATH": path}


def environment(threads: int) -> dict[str, str]:
    """What a worker's environment has besides its parent's.

    Numeric libraries start no threads of their own beside the pool. The C library (glibc) keeps the memory of one
    picture for the next, instead of giving it back and having the kernel clear it anew: an eighth of a 12 MP picture's
    time. What a worker at rest does not need it gives back itself.
    """
    quiet = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**quiet, "MALLOC_MMAP_THRESHOLD_": str(_MMAP), "MALLOC_TRIM_THRESHOLD_": str(_TRIM)}


def _resident(pid: int) -> int:
    """Bytes of memory a process occupies; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
