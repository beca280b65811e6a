"""A worker process: takes tickets from its parent, reads ahead, runs them one by one, sends outcomes back.

Started as `python -m trapline.executors.worker FD` with one end of a socket pair; ends when the other end closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection

from trapline.executors.opening import WorkerConfig, open_configured, open_runtime
from trapline.records import ItemOutcome, Outcome, Ticket
from trapline.runtime.runtime import Runtime

log = logging.getLogger("trapline.worker")

REST = 5.0  # seconds without work

_PR_SET_PDEATHSIG = 1
_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it


def main(fd: int) -> None:
    """Serve tickets until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    _die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    connection = Connection(socket.socket(fileno=fd).detach())
    config = WorkerConfig.model_validate_json(connection.recv_bytes())
    os.environ["TRAPLINE_MODEL_THREADS"] = str(config.threads)
    store = open_configured(config)
    runtime = open_runtime(config, store, lambda: connection.send_bytes(b"begin"))
    with contextlib.suppress(BrokenPipeError):  # the parent has gone, and so do we
        connection.send_bytes(b"ready")
        _serve(connection, runtime)
    close = getattr(store, "close", None)
    if close is not None:
        close()


def _die_with_parent() -> None:
    """Be killed when the parent dies, whatever kills it (Linux); elsewhere the closed socket ends the worker."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(connection: Connection, runtime: Runtime) -> None:
    tickets: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, runtime, tickets), name="receive", daemon=True).start()
    while (ticket := _next(tickets)) is not None:
        connection.send_bytes(b"start " + ticket.id.encode())
        try:
            outcome = runtime.run(ticket)
        except Exception:
            log.exception("event=worker.error ticket=%s stage=%s", ticket.id, ticket.stage)
            again = (ItemOutcome(rel=item.rel, result="unknown", after=5.0) for item in ticket.items)
            outcome = Outcome(ticket=ticket.id, items=tuple(again))
        connection.send_bytes(outcome.model_dump_json(exclude_defaults=True).encode())


def _next(tickets: queue.SimpleQueue[Ticket | None]) -> Ticket | None:
    """The next ticket. When there is none for a while, memory that lies free is given back."""
    try:
        return tickets.get(timeout=REST)
    except queue.Empty:
        if _malloc_trim is not None:
            _malloc_trim(0)
        return tickets.get()


def _receive(connection: Connection, runtime: Runtime, tickets: queue.SimpleQueue[Ticket | None]) -> None:
    """Take tickets in and read their images while the main thread computes."""
    try:
        while message := connection.recv_bytes():
            ticket = Ticket.model_validate_json(message)
            tickets.put(ticket)
            try:
                runtime.prefetch(ticket)
            except Exception:
                log.exception("event=prefetch.error ticket=%s", ticket.id)
    except (EOFError, OSError):
        pass  # the parent has gone
    tickets.put(None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
