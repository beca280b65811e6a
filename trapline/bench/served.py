"""An engine as a user starts it, over a folder or over S3, filled with images and watched from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from trapline.bench import images
from trapline.bench.processes import Watch
from trapline.bench.projects import BUCKET
from trapline.embedded.credentials import credentials
from trapline.embedded.rclone import Rclone, dies_with
from trapline.errors import NotFound, SurroundingsError
from trapline.keys import Layout
from trapline.pipeline.load import load_pipeline
from trapline.records import Request, Status, Summary, load
from trapline.store.base import Store
from trapline.store.folder import FolderStore
from trapline.store.open import open_store, settings_from
from trapline.store.s3 import S3Settings

Kind = Literal["folder", "s3"]

LONGEST = 900.0  # seconds that one wait may take
_STARTING = 60.0
_UPLOADS = 8  # at a time
_SETTLED = 5.5  # seconds after which a file that another process wrote counts as whole
_TIME = "%Y-%m-%d %H:%M:%S,%f"
_TIME_CHARS = 23


@dataclass(frozen=True)
class Outside:
    """An S3 endpoint that runs already, and the bucket in it."""

    endpoint: str
    bucket: str


class Served:
    """One project's engine. `start` and `stop` it as often as needed; the bucket stays until `close`."""

    def __init__(self, project: Path, data: Path, kind: Kind, workers: int, outside: Outside | None = None) -> None:
        self.kind = kind
        self.workers = workers
        self._project, self._data, self._outside = project, data, outside
        self._rclone: Rclone | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.watch: Watch | None = None
        self.layout: Layout = load_pipeline(project).layout
        self.bucket = outside.bucket if outside else BUCKET
        self.store: Store = self._open()
        self.told: dict[str, str] = {}  # what `up --json` said

    @property
    def folder(self) -> Path:
        """The embedded bucket's own folder; over S3, that of the endpoint of this run."""
        root = self._data if self.kind == "folder" else self._data / "endpoint"
        return root / "buckets" / self.bucket

    @property
    def endpoint_pid(self) -> int | None:
        """The process that serves S3, if it is not one of the engine's."""
        return self._rclone.pid if self._rclone else None

    # -- the engine

    def start(self) -> float:
        """Start an engine. Returns the seconds until it took in events."""
        began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trapline.cli", "up", "--json", *self._options()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
            preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509 - it makes two system calls and takes no lock
        )
        self.watch = Watch(self._process.pid, self.workers)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SurroundingsError(
                f"The engine did not start (exit code {self._process.wait()}).",
                remedy=f"See {self._data}/engine/engine.log, with --keep.",
            )
        self.told = json.loads(line)
        return time.monotonic() - began

    def stop(self, *, kill: bool = False) -> None:
        """End the engine; with `kill`, as a power cut would."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        process.wait(_STARTING)
        if self.watch is not None:
            self.watch.stop()

    def close(self) -> None:
        """End the engine and the endpoint; remove what was written to an outside bucket."""
        self.stop()
        if self._outside is not None and self.layout.root:  # never all of somebody's bucket
            with ThreadPoolExecutor(_UPLOADS) as pool:
                list(pool.map(lambda entry: self.store.delete(entry.key), self.store.list(self.layout.root)))
        if self._rclone is not None:
            self._rclone.stop()

    def _open(self) -> Store:
        if self._outside is not None:
            return open_store(settings_from(self.bucket, endpoint=self._outside.endpoint))
        if self.kind == "folder":
            return FolderStore(self.folder, self._data / "engine" / "scratch", shared=("incoming", "jobs"))
        self._rclone = Rclone(self._data / "endpoint", port=0)
        self._rclone.start()
        self._rclone.bucket(self.bucket)
        return open_store(self.s3())

    def s3(self) -> S3Settings:
        """How an S3 client reaches the bucket."""
        if self._outside is not None:
            return settings_from(self.bucket, endpoint=self._outside.endpoint)
        if self._rclone is not None:
            url, keys = self._rclone.endpoint.url, self._rclone.credentials
        else:
            url, keys = self.told["endpoint"], credentials(self._data / "engine" / "credentials.json")
        return S3Settings(
            bucket=self.bucket, endpoint=url, access_key=keys.access_key, secret_key=keys.secret_key, path_style=True
        )

    def _options(self) -> list[str]:
        where = ["--project", str(self._project), "--data", str(self._data), "--port", "0", "--bucket", self.bucket]
        if self.kind == "s3":
            where += ["--endpoint", self.s3().endpoint or ""]
        return where

    def _environment(self) -> Mapping[str, str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_ENDPOINT", "TRAPLINE_"))}
        if self.kind == "s3" and self._outside is None:
            keys = self.s3()
            environment |= {"AWS_ACCESS_KEY_ID": keys.access_key or "", "AWS_SECRET_ACCESS_KEY": keys.secret_key or ""}
        return environment

    # -- what it works on

    def fill(self, job: str, drawn: list[bytes], count: int, marks: tuple[str, ...] = ("_DONE",)) -> None:
        """Put images into a job, and marks such as `_DONE`."""
        folder = self.layout.image(job)
        if self.kind == "folder":
            for mark in marks:
                self.put(f"{job}/{mark}", b"")
            images.write(self.folder / folder, drawn, count)
            return
        keys = [(f"{job}/{name}", n) for n, name in enumerate(images.named(count))]
        with ThreadPoolExecutor(_UPLOADS) as pool:
            for mark in marks:
                self.put(f"{job}/{mark}", b"")
            list(pool.map(lambda k: self.put(k[0], images.commented(drawn[k[1] % len(drawn)], k[0])), keys))

    def put(self, rel: str, data: bytes) -> None:
        """Put one object under `incoming/`."""
        self.store.put(self.layout.image(rel), data)

    def delete(self, rel: str) -> None:
        """Delete one object under `incoming/`."""
        self.store.delete(self.layout.image(rel))

    def sweep(self) -> None:
        """Have the engine look over the bucket, as `trapline sweep` does."""
        key = f"{self.layout.prefix('control')}requests/{uuid.uuid4().hex}.json"
        self.store.put(key, Request(action="sweep").dump())

    def status(self, job: str) -> Status | None:
        with suppress(NotFound):
            return load(Status, self.store.get(self.layout.status_of(job, ".json")).data)
        return None

    def summary(self, job: str) -> Summary | None:
        with suppress(NotFound):
            return load(Summary, self.store.get(self.layout.summary(job)).data)
        return None

    def final(self, job: str, revision: int = 1) -> bool:
        """Whether a job's final revision of this number (or a later one) is named."""
        summary = self.summary(job)
        return summary is not None and summary.final and len(summary.finals) >= revision

    def until(self, what: str, holds: Callable[[], bool], every: float = 0.02, longest: float = LONGEST) -> float:
        """Wait for something. Returns the wall time at which it was seen."""
        ends = time.monotonic() + longest
        while not holds():
            if self._process is not None and self._process.poll() is not None:
                raise SurroundingsError(f"The engine ended while {what} was awaited.", remedy="Run it with --keep.")
            if time.monotonic() > ends:
                raise SurroundingsError(f"{what} did not come in {longest:.0f} s.", remedy="Run it with --keep.")
            time.sleep(every)
        return time.time()

    def logged(self, event: str, words: str = "", since: float = 0.0) -> list[tuple[float, str]]:
        """Lines of the engine's log about an event, with their wall times."""
        found = []
        for path in sorted((self._data / "engine").glob("engine.log*"), reverse=True):
            for line in path.read_text(errors="replace").splitlines():
                if f"event={event} " in f"{line} " and words in line and re.match(r"\d{4}-", line):
                    at = datetime.strptime(line[:_TIME_CHARS], _TIME).timestamp()
                    if at >= since:
                        found.append((at, line))
        return found
