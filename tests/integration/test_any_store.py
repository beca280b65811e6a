"""One and the same test over every store there is, and every way in which it can tell of an upload."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import yaml
from boto3.s3.transfer import TransferConfig

from tests.ceph.cluster import ACCESS, SECRET, Ceph
from tests.integration.engine import Engine, count_of, engine, environment, insects, night, project
from trapline.embedded.rclone import Rclone

pytestmark = pytest.mark.slow

JOB = "st 7+ü/2026-11-20"
NAMES = {
    "DCIM/IMG_0002.JPG": 2,
    "DCIM/with space.JPG": 3,
    "DCIM/a+b.JPG": 4,
    "DCIM/a%20b+%2B.JPG": 5,
    "夜の蛾 é&=#?.jpg": 6,
}
PARTS = "DCIM/in parts + ü.JPG"
Opened = Callable[[Path, Path], AbstractContextManager[Engine]]


@contextmanager
def folder(traps: Path, room: Path) -> Iterator[Engine]:
    """The embedded store: a folder that tells of itself, and its endpoint."""
    with engine(traps, room / "data") as made:
        yield made


@contextmanager
def rclone(traps: Path, room: Path) -> Iterator[Engine]:
    """An outside store that tells nobody of anything."""
    outside = Rclone(room / "outside", port=0)
    outside.bucket("traps").root.mkdir(parents=True, exist_ok=True)
    outside.start()
    keys = outside.endpoint.credentials
    try:
        with swept(traps, room, outside.endpoint.url, keys.access_key, keys.secret_key) as made:
            yield made
    finally:
        outside.stop()


@contextmanager
def swept(traps: Path, room: Path, endpoint: str, access: str, secret: str) -> Iterator[Engine]:
    """An engine that only looks: every second."""
    path = traps / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text()) | {"triggers": [], "sweeps": {"open": "PT1S", "names": "PT1S"}}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    env = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    served = Engine(traps, room / "data", environment(**env))
    try:
        served.start()
        served.told |= {"access_key": access, "secret_key": secret}
        yield served
    finally:
        served.end()


@pytest.fixture(params=["folder", "rclone, swept", "ceph, swept"])
def opened(request: pytest.FixtureRequest) -> Opened:
    if request.param == "folder":
        return folder
    if request.param == "rclone, swept":
        return rclone
    gateway: Ceph = request.getfixturevalue("gateway")
    gateway.s3.create_bucket(Bucket="traps")
    return lambda traps, room: swept(traps, room, gateway.endpoint, ACCESS, SECRET)


def test_what_is_uploaded_comes_out_as_results(opened: Opened, tmp_path: Path) -> None:
    parts = tmp_path / "parts.jpg"
    parts.write_bytes(night(7) + bytes(11 * 2**20))  # what follows an image's end is not looked at
    with opened(project(tmp_path / "traps"), tmp_path) as served:
        in_parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
        served.s3.upload_file(str(parts), served.bucket, f"incoming/{JOB}/{PARTS}", Config=in_parts)
        served.upload(JOB, {name: night(number) for name, number in NAMES.items()})
        served.closed(JOB, seconds=90)
        lines = served.lines(JOB)
        assert {name: count_of(line) for name, line in lines.items()} == {
            name: insects(number) for name, number in {**NAMES, PARTS: 7}.items()
        }
        assert lines[PARTS]["source"]["sha256"] == hashlib.sha256(parts.read_bytes()).hexdigest()
        assert served.status(JOB)["state"] == "SUCCEEDED"
        assert served.stop() == 0
