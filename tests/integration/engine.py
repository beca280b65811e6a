"""An engine of its own for a test: `trapline up` on a copied project, its bucket, and the processes it has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from trapline.images import Image
from trapline.models import Model
from trapline.template import copy_project

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
NIGHT = Path(__file__).resolve().parents[2] / "local_dev" / "samples" / "night" / "st7" / "2026-11-20" / "DCIM"
PROGRAM = [sys.executable, "-c", "from trapline.cli import main; main()"]
QUICK = {"depth": 2, "settle": "PT3S", "refresh": "PT0.5S"}


def night(number: int) -> bytes:
    """An image of the sample night, 1 to 28."""
    (path,) = NIGHT.glob(f"*/IMG_{number:04d}.JPG")
    return path.read_bytes()


@cache
def insects(number: int) -> int:
    """How many insects the detector finds on an image of the sample night, without any engine."""
    model = Model.load(Path(__file__).resolve().parents[2] / "functions" / "detect" / "model")
    return len(model.detect([Image(night(number))])[0])


def environment(**more: str) -> dict[str, str]:
    """This one's, without what would lead to another store."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRAPLINE_"))}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **more}


def project(folder: Path, jobs: dict[str, Any] | None = None, **stages: dict[str, Any]) -> Path:
    """A copy of the sample project with other settings of its jobs, and more of single stages. No report is made."""
    copy_project(folder)
    path = folder / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["jobs"] = jobs or QUICK
    del spec["outputs"]
    for name, more in stages.items():
        spec["stages"][name] |= more
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return folder


def until(what: Callable[[], T | None], seconds: float = 30, told: Callable[[], object] = lambda: "") -> T:
    """The first answer that is not empty."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, f"not within {seconds} s: {told()}"
        time.sleep(0.05)
    return answer


@dataclass
class Engine:
    """One `trapline up`. `start` may be called again after `kill` or `stop`."""

    project: Path
    data: Path
    env: dict[str, str] = field(default_factory=environment)
    told: dict[str, Any] = field(default_factory=dict)  # what it printed when it was ready
    process: subprocess.Popen[str] | None = None
    _clients: dict[str, S3Client] = field(default_factory=dict)  # by endpoint: a test asks every 50 ms

    def start(self) -> Engine:
        with (self.data.parent / f"{self.data.name}.log").open("a") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "up", "--project", str(self.project), "--data", str(self.data), "--port", "0", "--json"],
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        self.told = json.loads(line)
        return self

    def said(self) -> str:
        """What it wrote to stderr, over all its starts."""
        return (self.data.parent / f"{self.data.name}.log").read_text()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = 10) -> int:
        assert self.process is not None
        code = self.process.wait(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """At a test's end, whatever has become of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def trapline(self, *words: str, rc: int = 0) -> str:
        """A command of the command line on this project and this data folder: what it printed."""
        words = (*words, "--project", str(self.project), "--data", str(self.data))
        done = subprocess.run([*PROGRAM, *words], env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == rc, done.stdout + done.stderr
        return done.stdout + done.stderr

    # -- its processes

    def processes(self, *words: str) -> list[int]:
        """Those started for this data folder or by this engine, whose command has all the words."""
        mine = set(_descendants(self.process.pid)) if self.process is not None else set()
        return [
            pid for pid, line in commands() if (pid in mine or str(self.data) in line) and all(w in line for w in words)
        ]

    def workers(self) -> list[int]:
        return self.processes("trapline.executors.worker")

    def rclone(self) -> list[int]:
        return self.processes("rclone", "serve", "s3")

    # -- its bucket

    @property
    def bucket(self) -> str:
        return str(self.told["bucket"])

    @property
    def root(self) -> Path:
        """The bucket's folder."""
        return self.data / "buckets" / self.bucket

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    @property
    def s3(self) -> S3Client:
        """A client that tries again what fails."""
        endpoint = self.told["endpoint"]
        if endpoint not in self._clients:
            patient = Config(retries={"max_attempts": 2}, connect_timeout=5, read_timeout=20)
            self._clients[endpoint] = self._s3(patient)
        return self._clients[endpoint]

    @property
    def s3_at_once(self) -> S3Client:
        """A client that tells of every failure at once."""
        return self._s3(Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10))

    def _s3(self, config: Config) -> S3Client:
        return boto3.client(
            "s3",
            endpoint_url=self.told["endpoint"],
            aws_access_key_id=self.told["access_key"],
            aws_secret_access_key=self.told["secret_key"],
            region_name="us-east-1",
            config=config,
        )

    def put(self, key: str, data: bytes = b"") -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def upload(self, job: str, images: dict[str, bytes], done: bytes | None = b"") -> None:
        """A job's images and its `_DONE`, over S3."""
        s3 = self.s3
        for name, data in images.items():
            s3.put_object(Bucket=self.bucket, Key=f"incoming/{job}/{name}", Body=data)
        if done is not None:
            s3.put_object(Bucket=self.bucket, Key=f"incoming/{job}/_DONE", Body=done)

    def get(self, key: str) -> bytes | None:
        """An object over S3; None where there is none."""
        try:
            return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=key)

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def json(self, key: str) -> Any:
        data = self.get(key)
        return None if data is None else json.loads(data)

    def status(self, job: str) -> dict[str, Any]:
        return self.json(f"status/{job}.json") or {}

    def summary(self, job: str) -> dict[str, Any]:
        return self.json(f"results/{job}/summary.json") or {}

    def lines(self, job: str) -> dict[str, dict[str, Any]]:
        """The newest results, by path in the job's folder."""
        file = next(f for f in self.summary(job)["files"] if f["name"] == "results.jsonl")
        data = self.get(file["key"])
        assert data is not None
        found = [json.loads(line) for line in data.decode().split("\n") if line]
        assert len({line["rel"] for line in found}) == len(found)
        return {line["rel"].removeprefix(f"{job}/"): line for line in found}

    def closed(self, job: str, number: int = 1, seconds: float = 40) -> dict[str, Any]:
        """The summary of a job's final revision, once its client was told of it."""

        def look() -> dict[str, Any] | None:
            summary = self.summary(job)
            last = summary.get("last_final") or {}
            ready = summary.get("final") and last.get("N", 0) >= number and len(self.receipts(job)) >= number
            return summary if ready else None

        return until(look, seconds, lambda: (self.status(job), self.summary(job), self.said()[-2000:]))

    def receipts(self, job: str) -> list[str]:
        return sorted(key.rpartition("/")[2] for key in self.keys(f"receipts/{job}/"))

    def revisions(self, job: str) -> list[str]:
        page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"results/{job}/", Delimiter="/")
        return sorted(p["Prefix"].rstrip("/").rpartition("/")[2] for p in page.get("CommonPrefixes", []))


@contextmanager
def engine(project: Path, data: Path, **env: str) -> Iterator[Engine]:
    """An engine that is ready; it is gone afterwards."""
    made = Engine(project, data, environment(**env))
    try:
        yield made.start()
    finally:
        made.end()


def found(line: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is on an image, as far as two runs must agree: boxes and names, and a failure's code."""
    if line.get("failure"):
        return [(line["failure"]["code"],)]
    return [
        (tuple(one["box"]), one["label"], tuple(c["label"] for c in one.get("classifications") or []))
        for one in line["detections"] or []
    ]


def commands() -> Iterator[tuple[int, str]]:
    """Every process that runs, and its command line."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if line and (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield int(path.name), line


def resident(pids: Iterable[int]) -> int:
    """The bytes of memory that the largest of these processes occupies."""
    page = os.sysconf("SC_PAGE_SIZE")
    sizes = [0]
    for pid in pids:
        with suppress(OSError):
            sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page)
    return max(sizes)


def gone(pids: Iterable[int], seconds: float = 5) -> None:
    """Fails unless these processes end."""
    until(
        lambda: not [pid for pid in pids if _runs(pid)], seconds, lambda: [c for c in commands() if c[0] in set(pids)]
    )


def _runs(pid: int) -> bool:
    return any(pid == found for found, _ in commands())


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(path.parent.name))
    found, left = [pid], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def count_of(line: dict[str, Any]) -> int | str:
    """How many insects a line of the results names, or its failure code."""
    return str(line["failure"]["code"]) if line.get("failure") else len(line["detections"])
