"""A folder for one worker's temporary files, which goes with the worker however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "trapline-worker-"
_YOUNG = 60.0  # seconds in which a folder may not be locked yet by the engine that made it


class Scratch:
    """Locked while its engine lives. Without room for a folder there is none, and `folder` is the system's own."""

    def __init__(self) -> None:
        _clear_orphans()
        self._made: str | None = None
        self._lock = -1
        with contextlib.suppress(OSError):
            self._made = tempfile.mkdtemp(prefix=PREFIX)
            self._lock = _locked(self._made)
        self.folder = self._made or tempfile.gettempdir()

    def clear(self) -> None:
        """Remove the folder and all that is in it."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _locked(folder: str) -> int:
    """A descriptor that holds the folder's lock. Raises `OSError` where another process has it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


@functools.cache
def _clear_orphans() -> None:
    """Once in an engine's life: remove what the workers of engines left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _YOUNG:
                continue
            lock = _locked(str(folder))
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
