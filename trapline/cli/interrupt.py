"""Ctrl-C as the command line takes it: an orderly end with exit code 130, whatever is being waited for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

EXIT_CODE = 130  # what a shell expects of a program that Ctrl-C ended


class Interrupted(SystemExit):
    """Ctrl-C was pressed. Not a KeyboardInterrupt: typer would turn that into `Aborted.`"""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


def listen(*others: signal.Signals) -> None:
    """From now on Ctrl-C, and these signals, raise `Interrupted` in the main thread."""
    for number in (signal.SIGINT, *others):
        signal.signal(number, _raise)


@contextmanager
def saying(line: str) -> Iterator[None]:
    """Say one line on stderr when what is inside is interrupted."""
    try:
        yield
    except Interrupted:
        sys.stderr.write(f"\n{line}\n")
        raise


def leave() -> NoReturn:
    """End now: no thread that waits for a far store is waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def _raise(*_: object) -> NoReturn:
    raise Interrupted
