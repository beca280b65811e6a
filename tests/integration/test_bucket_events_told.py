"""What a gateway of Ceph sends once `trapline bucket-events` has set it up, as the pipeline reads it."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from tests.ceph.cluster import Ceph
from tests.integration.engine import PROGRAM, environment, project, until
from tests.integration.loopback import Handler, Server
from trapline.events.dialects import read
from trapline.events.told import StoreEvent

pytestmark = pytest.mark.slow

UPLOADED = [
    "incoming/st7/n1/a.JPG",
    "incoming/st7/n1/with space +plus é 夜 %20.JPG",
    "incoming/st7/n1/a//b.JPG",
    "jobs/p/j.json",
    "control/requests/r.json",
]


class Told:
    """Everything that came in."""

    def __init__(self) -> None:
        self.events: list[StoreEvent] = []
        self.lock = threading.Lock()

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        with self.lock:
            self.events += read(body, headers).events

    def keys(self, kind: str) -> list[str]:
        with self.lock:
            return [event.keys[0] for event in self.events if event.kind == kind]


def receiver(told: Told) -> Server:
    class Receiver(Handler):
        def do_POST(self) -> None:
            told.take(self.rfile.read(int(self.headers["Content-Length"])), dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Server(Receiver)


@pytest.mark.parametrize("words", [[], ["--cloudevents"]], ids=["records", "cloudevents"])
def test_uploads_and_removals_that_matter_are_told_with_their_keys_and_nothing_else_is(
    gateway: Ceph, tmp_path: Path, words: list[str]
) -> None:
    s3, bucket, told = gateway.s3, f"told{len(words)}", Told()
    s3.create_bucket(Bucket=bucket)
    with receiver(told) as server:
        events = [*PROGRAM, "bucket-events"]
        where = ["--project", str(project(tmp_path / "traps")), "--bucket", bucket]
        url = ["--url", f"http://127.0.0.1:{server.port}/"]
        subprocess.run([*events, "setup", *url, *words, *where], env=environment(**gateway.env), check=True)
        try:
            for key in (*UPLOADED, "failed/detect/x.json", "results/st7/n1/r.jsonl", "status/st7/n1.json"):
                s3.put_object(Bucket=bucket, Key=key, Body=b"x")
            tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
            s3.put_object_tagging(Bucket=bucket, Key=UPLOADED[0], Tagging=tags)  # type: ignore[arg-type]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "failed/detect/x.json"}]})
            s3.delete_object(Bucket=bucket, Key="results/st7/n1/r.jsonl")
            until(lambda: set(told.keys("created")) >= set(UPLOADED) and told.keys("removed"), 90, lambda: told.events)
            assert set(told.keys("created")) == set(UPLOADED)
            assert set(told.keys("removed")) == {"failed/detect/x.json"}
        finally:
            subprocess.run([*events, "remove", *where], env=environment(**gateway.env), check=True)
