"""rclone's remote control: telling it which folders changed behind its back, together and soon."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

PAUSE = 0.03  # seconds from a change to the call; what changes meanwhile goes into the same one
TIMEOUT = 5.0  # seconds a call may take
_AT_MOST = 500  # folders in a call; beyond, the whole bucket is forgotten

log = logging.getLogger(__name__)


def forget(control: Path, bucket: str, folders: Iterable[str]) -> bool:
    """Have rclone read these folders of a bucket anew (`""` is the bucket itself). False: it could not be told.

    The folder's own nodes are dropped (`dir`): rclone would otherwise swap the object inside a node that a running
    GET has already taken the size from. What is above it is only read again (`file`): a folder in it may be new.
    """
    call: dict[str, str] = {}
    for folder in folders:
        path = f"{bucket}/{folder}".rstrip("/")
        call[f"dir{len(call)}"] = path
        while "/" in path:
            path = path.rpartition("/")[0]
            call.setdefault(f"file={path}", path)
    return _post(control, "vfs/forget", call)


class Forgetter:
    """Forgets folders from a thread of its own, so that a writer never waits."""

    def __init__(self, control: Path, bucket: str) -> None:
        self._control = control
        self._bucket = bucket
        self._folders: set[str] = set()
        self._changed = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, folder: str) -> None:
        """Soon; a thread is started at the first use, so that a store may be made before a fork."""
        with self._changed:
            self._folders.add(folder)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="forget", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def now(self, folder: str) -> bool:
        return forget(self._control, self._bucket, [folder])

    def flush(self, timeout: float = TIMEOUT) -> bool:
        """Wait until rclone was told of everything so far."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._folders and not self._busy, timeout)

    def close(self) -> None:
        if self._thread is not None:
            self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while self._awaited():
            time.sleep(PAUSE)
            folders = self._taken()
            forget(self._control, self._bucket, folders if len(folders) <= _AT_MOST else [""])
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _awaited(self) -> bool:
        """Wait until a folder has changed. False: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._folders or self._closed)
            return bool(self._folders)

    def _taken(self) -> set[str]:
        """The folders that changed since the last call."""
        with self._changed:
            folders, self._folders = self._folders, set()
            self._busy = True
            return folders


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self._path))


def _post(control: Path, method: str, body: dict[str, str]) -> bool:
    connection = _UnixConnection(control)
    try:
        connection.request("POST", f"/{method}", json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException) as error:  # it is being restarted, and then remembers nothing
        log.debug("rclone was not told", extra={"event": "embedded.untold", "error": str(error)})
        return False
    finally:
        connection.close()
