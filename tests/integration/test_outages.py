"""A disk that fills up, a store that is gone for half a minute: nothing is lost, and nobody has to do anything."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.integration.calm import contents, differences, drop, told
from tests.integration.engine import Engine, engine, environment, project, until
from tests.integration.test_surroundings import mounted
from tests.integration.watcher import Watcher, answers
from trapline.embedded.rclone import Rclone

IMAGES = 90
GONE = 30.0  # seconds
ROOM = 60_000  # bytes: a dead letter or a summary fits in, the results do not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", name="traps")
def _traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which nothing is tried twice: an outage of the store may cost no function a try."""
    once = {stage: {"delivery": {"retry": 0}} for stage in ("detect", "classify", "compile", "notify")}
    made = project(tmp_path_factory.mktemp("outages") / "traps", {"settle": "PT1H", "refresh": "PT0.5S"}, **once)
    path = made / "pipeline.yaml"
    path.write_text(path.read_text() + "sweeps: {open: PT2S, names: PT2S}\n")
    return made


def records(served: Engine) -> int:
    return sum(1 for _ in (served.root / "classifications").rglob("*.json"))


def same(served: Engine, calm: dict[str, bytes], watcher: Watcher) -> None:
    told(served)
    watcher.last_look()
    assert served.stop() == 0
    assert differences(contents(served.root), calm) == []
    assert watcher.wrong == []


# -- a full disk


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield folder


def fill(path: Path, room: int = 0) -> None:
    """Somebody else's file takes all there is, but for some bytes."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4096):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
        os.ftruncate(file.fileno(), max(0, file.tell() - room))


@pytest.mark.parametrize("moment", ["the first image", "the middle", "the compile", "the compile, and a little room"])
def test_a_disk_that_fills_up_stops_the_work_until_there_is_room(
    traps: Path, images: dict[str, bytes], calm: dict[str, bytes], tmp_path: Path, moment: str
) -> None:
    after = {"the first image": 0, "the middle": IMAGES // 3}.get(moment, IMAGES - 4)
    with (
        small_disk(tmp_path / "data", "40m") as disk,
        engine(traps, disk, TMPDIR=str(disk)) as served,
        Watcher(served, Random(1)) as watcher,
    ):
        if after == 0:
            served.signal(signal.SIGSTOP)
        drop(served, images)
        until(lambda: records(served) >= after, 60, served.said)
        fill(disk / "somebody's", ROOM if "room" in moment else 0)
        served.signal(signal.SIGCONT)
        until(lambda: "is full. Free some space" in served.said(), 30, served.said)
        time.sleep(8)
        assert served.process is not None and served.process.poll() is None
        assert not list(served.root.glob("failed/compile/**/*.json"))
        (disk / "somebody's").unlink()
        same(served, calm, watcher)


# -- the store


def stopped(served: Engine) -> None:
    """The endpoint says nothing at all for a while."""
    (pid,) = served.rclone()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(GONE)
    os.kill(pid, signal.SIGCONT)


def killed(served: Engine) -> None:
    """The endpoint is killed whenever it is started again."""
    end = time.monotonic() + GONE
    while time.monotonic() < end:
        for pid in served.rclone():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)


@pytest.mark.parametrize("gone", [stopped, killed])
def test_the_endpoint_of_a_folder_may_be_gone_for_a_while(
    traps: Path, images: dict[str, bytes], calm: dict[str, bytes], tmp_path: Path, gone: Callable[[Engine], None]
) -> None:
    with engine(traps, tmp_path / "data") as served, Watcher(served, Random(1)) as watcher:
        drop(served, images)
        until(lambda: records(served) > 5, 60, served.said)
        gone(served)
        until(lambda: answers(served), 15)
        same(served, calm, watcher)


@dataclass
class Outside:
    """An S3 store that is not the engine's own."""

    data: Path
    rclone: Rclone = field(init=False)

    def start(self, port: int = 0) -> None:
        self.rclone = Rclone(self.data, port=port)
        self.rclone.bucket("traps")
        self.rclone.start()

    def go_away(self) -> None:
        """For a while; it comes back where it was, with what it had."""
        self.rclone.stop()
        time.sleep(GONE)
        self.start(self.rclone.port)

    def keys(self) -> dict[str, str]:
        keys = self.rclone.endpoint.credentials
        return {
            "AWS_ENDPOINT_URL": self.rclone.endpoint.url,
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        }


class Remote(Engine):
    """An engine whose bucket is in an outside store, looked at through that store's own folder."""

    outside: Outside

    @property
    def root(self) -> Path:
        return self.outside.data / "buckets" / self.bucket


@contextmanager
def remote(traps: Path, folder: Path) -> Iterator[Remote]:
    outside = Outside(folder / "outside")
    outside.start()
    served = Remote(traps, folder / "data", environment(**outside.keys()))
    served.outside = outside
    try:
        served.start()
        keys = outside.rclone.endpoint.credentials
        served.told |= {"access_key": keys.access_key, "secret_key": keys.secret_key}
        yield served
    finally:
        served.end()
        outside.rclone.stop()


@pytest.mark.parametrize("moment", ["the first image", "the middle", "the compile"])
def test_an_s3_store_may_be_gone_for_a_while(
    traps: Path, images: dict[str, bytes], calm: dict[str, bytes], tmp_path: Path, moment: str
) -> None:
    after = {"the first image": 0, "the middle": IMAGES // 3}.get(moment, IMAGES - 2)
    with remote(traps, tmp_path) as served, Watcher(served, Random(1)) as watcher:
        s3 = served.s3_at_once
        for name, data in images.items():
            s3.put_object(Bucket=served.bucket, Key=f"incoming/{name}", Body=data)
        until(lambda: records(served) >= after, 60, served.said)
        served.outside.go_away()
        same(served, calm, watcher)
