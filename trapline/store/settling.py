"""Whether a file's writer is done with it, where no event says so."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import threading
import time

from trapline.store.folder import SETTLE


class Settling:
    """Files that were seen to change, until they were left alone for `SETTLE` seconds. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[object, float]] = {}  # path → what it looked like, since when

    def touched(self, path: str) -> None:
        """A file came or changed."""
        with self._lock:
            self._seen[path] = _looks(path), time.monotonic()

    def settled(self) -> list[str]:
        """Those that have settled since the last call."""
        since = time.monotonic() - SETTLE
        with self._lock:
            due = {path: looks for path, (looks, seen) in self._seen.items() if seen <= since}
            for path in due:
                del self._seen[path]
        now = {path: _looks(path) for path in due}
        for path, looks in now.items():
            if looks not in (due[path], None):
                self.touched(path)
        return [path for path, looks in now.items() if looks is not None and looks == due[path]]


def is_regular(path: str) -> bool:
    """A file, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def is_linked(path: str) -> bool:
    """Whether it has another name, too: a hard link."""
    try:
        return os.lstat(path).st_nlink > 1
    except OSError:
        return False


def is_whole(path: str) -> bool:
    """Whether nobody has this file open for writing; where that cannot be told, no."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if sys.platform != "linux" or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # refused while there is a writer
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _looks(path: str) -> object:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
