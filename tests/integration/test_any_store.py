"""One and the same test over every store there is, and every way in which it can tell of an upload."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from tests.ceph.cluster import ACCESS, SECRET, Ceph
from tests.integration.engine import Engine, count_of, engine, insects, night, project
from tests.integration.outside import outside
from tests.integration.uploaders import aws, aws_cli, mc, minio_client
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
BY_PROGRAMS = {"mc/from a card + ü.JPG": 8, "aws/from a card + ü.JPG": 9}
Opened = Callable[[Path, Path], AbstractContextManager[Engine]]


@contextmanager
def folder(traps: Path, room: Path) -> Iterator[Engine]:
    """The embedded store: a folder that tells of itself, and its endpoint."""
    with engine(traps, room / "data") as made:
        yield made


@contextmanager
def rclone(traps: Path, room: Path) -> Iterator[Engine]:
    """An outside store that tells nobody of anything."""
    store = Rclone(room / "outside", port=0)
    store.bucket("traps").root.mkdir(parents=True, exist_ok=True)
    store.start()
    keys = store.endpoint.credentials
    try:
        with swept(traps, room, store.endpoint.url, keys.access_key, keys.secret_key) as made:
            yield made
    finally:
        store.stop()


@contextmanager
def swept(traps: Path, room: Path, endpoint: str, access: str, secret: str, **env: str) -> Iterator[Engine]:
    """An engine that only looks: every second."""
    settings = {"triggers": [], "sweeps": {"open": "PT1S", "names": "PT1S"}}
    with outside(traps, room, settings, endpoint, access, secret, **env) as served:
        yield served


@contextmanager
def posted(traps: Path, room: Path, endpoint: str, access: str, secret: str, **env: str) -> Iterator[Engine]:
    """An engine that is told by the store, and as good as never looks."""
    settings = {"triggers": [{"webhook": {"port": 0}}], "sweeps": {"open": "PT1H", "names": "PT1H"}}
    with outside(traps, room, settings, endpoint, access, secret, **env) as served:
        served.trapline("bucket-events", "setup", "--url", served.told["triggers"]["webhook"])
        yield served
        served.trapline("bucket-events", "remove")


WAYS = ["folder", "rclone by sweep", "ceph by sweep", "ceph by webhook"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[Opened, str]:
    """How to open an engine on the store, and which trigger its images are seen by."""
    store, _, trigger = request.param.partition(" by ")
    if store == "folder":
        return folder, "folder"
    if store == "rclone":
        return rclone, trigger
    gateway: Ceph = request.getfixturevalue("gateway")
    gateway.s3.create_bucket(Bucket=f"by-{trigger}")
    opened = swept if trigger == "sweep" else posted
    return lambda traps, room: opened(
        traps, room, gateway.endpoint, ACCESS, SECRET, TRAPLINE_BUCKET=f"by-{trigger}"
    ), trigger


def by_programs(served: Engine, room: Path) -> dict[str, int]:
    """Uploads by the programs that are installed; CI has the AWS command line."""
    carried = {}
    for name, number in BY_PROGRAMS.items():
        (room / "card" / name).parent.mkdir(parents=True)
        (room / "card" / name).write_bytes(night(number))
        to = f"{served.bucket}/incoming/{JOB}/{name}"
        if name.startswith("mc/") and minio_client():
            mc(served, room)("cp", str(room / "card" / name), f"trap/{to}")
            carried[name] = number
        if name.startswith("aws/") and (aws_cli() or os.environ.get("CI")):
            aws(served, room)("s3", "cp", str(room / "card" / name), f"s3://{to}")
            carried[name] = number
    return carried


def test_what_is_uploaded_comes_out_as_results(way: tuple[Opened, str], tmp_path: Path) -> None:
    opened, trigger = way
    parts = tmp_path / "parts.jpg"
    parts.write_bytes(night(7) + bytes(11 * 2**20))  # what follows an image's end is not looked at
    with opened(project(tmp_path / "traps", {"depth": 2, "settle": "PT1H", "refresh": "PT0.5S"}), tmp_path) as served:
        in_parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
        served.s3.upload_file(str(parts), served.bucket, f"incoming/{JOB}/{PARTS}", Config=in_parts)
        carried = by_programs(served, tmp_path)
        served.upload(JOB, {name: night(number) for name, number in NAMES.items()})
        served.closed(JOB, seconds=90)
        lines = served.lines(JOB)
        assert {name: count_of(line) for name, line in lines.items()} == {
            name: insects(number) for name, number in {**NAMES, **carried, PARTS: 7}.items()
        }
        assert lines[PARTS]["source"]["sha256"] == hashlib.sha256(parts.read_bytes()).hexdigest()
        seen = {served.json(f"detections/{JOB}/{name}.json")["received"]["trigger"] for name in lines}
        assert trigger in seen <= {trigger, "sweep"}  # a job that is new is looked through once, however it was told of
        assert served.status(JOB)["state"] == "SUCCEEDED"
