"""Somebody who looks at a bucket all the time, in its folder and over S3, and notes whatever should never be seen."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.integration.engine import Engine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIXES = ("detections", "classifications", "failed", "results", "receipts", "status")
PAUSE = 0.1  # seconds between two looks
SEEN_WITHIN = 1.5  # seconds in which S3 must show what stands in the folder: one, and something for a busy machine
AT_ONCE = 12  # objects read over S3 in one look


class Away(Exception):
    """The endpoint does not answer now."""


class Watcher:
    """Looks from a thread of its own while it is entered."""

    def __init__(self, served: Engine, rng: Random) -> None:
        self.wrong: list[str] = []
        self.looks = {"folder": 0, "s3": 0, "away": 0, "finals": 0}
        self._served = served
        self._rng = rng
        self._stamps: dict[Path, tuple[int, int, int]] = {}
        self._named: dict[str, str] = {}  # key of a file that a final summary named → its sha256
        self._client: tuple[str, S3Client] | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join(30)

    def last_look(self) -> None:
        """Everything once more, and every file that was ever named by a final summary."""
        self._stamps.clear()
        self._folder()
        for key, sha256 in self._named.items():
            self._note(_sha256(self._file(key)) == sha256, f"{key} is not what a final summary named")

    def _run(self) -> None:
        try:
            while not self._end.wait(PAUSE):
                self._folder()
                self._over_s3()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            self.wrong.append(f"the watcher failed: {error!r}")

    def _note(self, right: bool, what: str) -> None:
        if not right:
            self.wrong.append(what)

    # -- the folder

    def _folder(self) -> None:
        self.looks["folder"] += 1
        for prefix in PREFIXES:
            for folder, _, names in os.walk(self._served.root / prefix):
                for name in names:
                    self._changed(Path(folder, name))

    def _changed(self, path: Path) -> None:
        """One file, if it is another than at the last look."""
        try:
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._stamps.get(path) == stamp:
                return
            data = path.read_bytes()
        except FileNotFoundError:
            return
        self._stamps[path] = stamp
        key = path.relative_to(self._served.root).as_posix()
        self._check(key, data, "folder", self._file)

    def _file(self, key: str) -> bytes | None:
        path = self._served.root / key
        return path.read_bytes() if path.is_file() else None

    # -- S3

    def _over_s3(self) -> None:
        try:
            for key in self._some():
                data = self._get(key)
                if data is not None:
                    self.looks["s3"] += 1
                    self._check(key, data, "S3", self._patiently)
        except Away:
            self.looks["away"] += 1

    def _some(self) -> list[str]:
        """Some of what stands in the folder: every summary and status, and a few of the rest."""
        keys = [path.relative_to(self._served.root).as_posix() for path in list(self._stamps)]
        always = [key for key in keys if key.endswith("summary.json") or key.startswith("status/")]
        return self._rng.sample(always, min(AT_ONCE // 2, len(always))) + self._rng.sample(
            keys, min(AT_ONCE // 2, len(keys))
        )

    def _patiently(self, key: str) -> bytes | None:
        """An object over S3, as soon as it is seen there, within a second."""
        end = time.monotonic() + SEEN_WITHIN
        while (data := self._get(key)) is None and time.monotonic() < end:
            time.sleep(0.05)
        return data

    def _get(self, key: str) -> bytes | None:
        try:
            answer = self._s3().get_object(Bucket=self._served.bucket, Key=key)
            data = answer["Body"].read()
        except BotoCoreError as error:
            raise Away from error
        except ClientError as error:
            code = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code == 404:
                return None
            raise Away from error
        self._note(len(data) == answer["ContentLength"], f"S3: {key} came cut off")
        return data

    def _s3(self) -> S3Client:
        """A client of the endpoint that is served now: it has another port after every start."""
        url = str(self._served.told["endpoint"])
        if self._client is None or self._client[0] != url:
            self._client = url, self._served.s3_at_once
        return self._client[1]

    # -- what must hold

    def _check(self, key: str, data: bytes, where: str, read: Callable[[str], bytes | None]) -> None:
        if key.endswith(".json"):
            found = self._parsed(key, data, where)
            if key.count("/") == 3 and key.startswith("results/") and key.endswith("/summary.json") and found:
                self._summary(found, where, read)
        elif key.endswith(".jsonl"):
            self._note(data.endswith(b"\n") or not data, f"{where}: {key} ends in the middle of a line")
            for line in data.splitlines():
                self._parsed(key, line, where)

    def _parsed(self, key: str, data: bytes, where: str) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            self._note(False, f"{where}: {key} does not parse: {len(data)} bytes ending in {data[-40:]!r}")
            return None

    def _summary(self, summary: dict[str, Any], where: str, read: Callable[[str], bytes | None]) -> None:
        """A final summary's files are there, whole, and stay what they are."""
        if not summary["final"]:
            return
        self.looks["finals"] += 1
        for file in summary["files"]:
            data = read(file["key"])
            if data is None or (len(data), _sha256(data)) != (file["size"], file["sha256"]):
                size = "missing" if data is None else f"{len(data)} bytes"
                self._note(False, f"{where}: {file['key']} is {size}, not what {summary['revision']}'s summary says")
            before = self._named.setdefault(file["key"], file["sha256"])
            self._note(before == file["sha256"], f"{where}: {file['key']} was named before, with another hash")


def answers(served: Engine) -> bool:
    """Whether the endpoint serves now."""
    try:
        served.s3_at_once.list_objects_v2(Bucket=served.bucket, MaxKeys=1)
    except (BotoCoreError, ClientError):
        return False
    return True


def _sha256(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()
