"""A process of its own for what somebody else's file asks for: it may never end, or crash."""

# ruff: noqa: PLC0415 - the process imports what it runs while its parent does the same

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from trapline.errors import ConfigError, TraplineError

_PR_SET_PDEATHSIG = 1
T = TypeVar("T")


class Apart:
    """Runs functions in another process, which ends with this one. `seconds`: what they may take, all together."""

    def __init__(self, seconds: float) -> None:
        self._seconds = self._left = seconds
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=None if os.environ.get("TRAPLINE_DEBUG") else subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # a Ctrl-C is its parent's to answer
            )
            self._connection = Connection(ours.detach())

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def run(self, file: str, work: Callable[..., T], *args: object) -> T:
        """What `work` returns or raises there. Raises `ConfigError`, naming `file`, where it takes too long or dies."""
        began = time.monotonic()
        try:
            self._connection.send((work, args))
            if not self._connection.poll(max(0.0, self._left)):
                raise _late(file, self._seconds)
            answer: T | Exception = self._connection.recv()
        except (EOFError, OSError):
            raise _dead(file, self._process.wait()) from None
        finally:
            self._left -= time.monotonic() - began
        if isinstance(answer, Exception):
            raise answer
        return answer


def _late(file: str, seconds: float) -> ConfigError:
    return ConfigError(
        f"{file} was not loaded and tried within {seconds:g} seconds, and was stopped.",
        remedy="Give a large model more time with --seconds; a small one that takes so long is broken: export it anew.",
    )


def _dead(file: str, code: int) -> ConfigError:
    if code == -signal.SIGKILL:
        return ConfigError(
            f"{file} was killed while it was tried, as happens when memory runs out.",
            remedy="Export it for smaller pictures, or for one at a time, or add it where there is more memory.",
        )
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ConfigError(
        f"{file} makes onnxruntime crash ({how}).",
        remedy="Do not use this file; export it anew with the library that it comes from.",
    )


# -- in the other process


def main(fd: int) -> None:
    """Run what is asked for until the parent hangs up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    connection = Connection(socket.socket(fileno=fd).detach())
    import trapline.cli.models_trial
    import trapline.models.inspecting  # noqa: F401

    while True:
        try:
            work, args = connection.recv()
        except EOFError:
            return
        connection.send(_answer(work, args))


def _answer(work: Callable[..., object], args: tuple[object, ...]) -> object:
    try:
        return work(*args)
    except TraplineError as error:
        return error
    except Exception as error:  # noqa: BLE001 - told there; not every exception can be sent as it is
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
