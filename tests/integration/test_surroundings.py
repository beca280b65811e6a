"""A machine, a store or a model that is not as it should be: `trapline up` says so in one line, and soon."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from tests.integration.engine import environment, night, until
from trapline.embedded.rclone import Endpoint, Rclone
from trapline.template import copy_project

PROGRAM = [sys.executable, "-c", "from trapline.cli import main; main()"]
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
CARD = "functions/detect/model/model.yaml"


@dataclass
class Project:
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def change(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def refused(self, *options: str, seconds: float = 30) -> str:
        """What `up` says when it ends by itself: one line, an exit code that tells, no traceback."""
        done = subprocess.run(
            [*PROGRAM, "up", "--port", "0", "--json", *options],
            cwd=self.folder,
            env=environment(**self.env),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("trapline: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert "should not have happened" not in done.stderr
        return done.stderr

    @contextmanager
    def up(self, *options: str) -> Iterator[Running]:
        """An engine that runs; what it wrote is read when it has ended."""
        with (self.folder / "stderr").open("w+") as said:
            process = subprocess.Popen(
                [*PROGRAM, "up", "--port", "0", "--json", *options],
                cwd=self.folder,
                env=environment(**self.env),
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
            out = process.stdout
            assert out is not None
            try:
                line = out.readline()
                assert line, (self.folder / "stderr").read_text()
                yield Running(process, json.loads(line), self.folder / "stderr")
            finally:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                assert process.wait(20) == 0
                out.close()


@dataclass
class Running:
    process: subprocess.Popen[str]
    told: dict[str, Any]
    stderr: Path


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Project:
    copy_project(tmp_path / "traps")
    return Project(tmp_path / "traps")


# -- the data folder and the port


def test_a_port_that_is_taken_is_named(project: Project) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        said = project.refused("--port", port)
    assert f"Port {port} of 127.0.0.1 is taken" in said
    assert "choose another with `--port`" in said


@pytest.mark.parametrize("place", ["trapline-data", "trapline-data/engine", "trapline-data/buckets"])
def test_a_file_in_the_way_of_the_data_folder_is_told(project: Project, place: str) -> None:
    (project.folder / place).parent.mkdir(exist_ok=True)
    (project.folder / place).write_text("a file")
    said = project.refused()
    assert f"The data folder {project.folder / 'trapline-data'} cannot be" in said
    assert "--data" in said


def test_a_data_folder_that_cannot_be_written_is_told(project: Project) -> None:
    data = project.folder / "data"
    data.mkdir()
    with read_only(data):
        said = project.refused("--data", "data/deeper")
    assert f"The data folder {data / 'deeper'} cannot be written to" in said
    assert "Make it writable, or name another with --data." in said


def test_a_second_engine_on_the_same_data_names_the_first(project: Project) -> None:
    with project.up() as first:
        said = project.refused()
    assert f"An engine already serves {project.folder / 'trapline-data'} (pid {first.process.pid})" in said
    assert "stop it, or name another data folder" in said


def test_outside_a_project_that_is_said(project: Project, tmp_path: Path) -> None:
    project.folder = tmp_path
    said = project.refused()
    assert f"There is no pipeline.yaml in {tmp_path}." in said
    assert "`trapline init DIR` makes one" in said


def test_credentials_that_cannot_be_read_are_named(project: Project) -> None:
    (project.folder / "trapline-data/engine").mkdir(parents=True)
    (project.folder / "trapline-data/engine/credentials.json").write_text("{")
    assert "credentials.json does not hold" in project.refused()


def test_a_handler_that_is_missing_is_named(project: Project) -> None:
    (project.folder / "functions/detect/handler.py").unlink()
    said = project.refused()
    assert "functions/detect/function.yaml: handler: there is no functions/detect/handler.py" in said


def test_a_trigger_that_is_missing_is_named(project: Project) -> None:
    project.change("pipeline.yaml", "[folder]", "[foldr]")
    said = project.refused()
    assert "triggers: there is no trigger 'foldr' (no triggers/foldr.py)" in said
    assert "Found: folder, " in said


# -- models


def of_junk(project: Project) -> None:
    """A model file that is none, with a card that agrees."""
    model = project.folder / "functions/detect/model/model.onnx"
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    model.write_bytes(b"junk")
    project.change(CARD, before, hashlib.sha256(b"junk").hexdigest())


def without(name: str) -> Callable[[Project], None]:
    return lambda project: (project.folder / "functions/detect/model" / name).unlink()


def card(old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.change(CARD, old, new)


MODELS: dict[str, tuple[Callable[[Project], Any], str, str]] = {
    "another hash than its card says": (
        card("sha256: 0", "sha256: 1"),
        f"{CARD}: sha256: model.onnx has",
        "Put back the file",
    ),
    "more labels than outputs": (
        card("- insect", "- insect\n- moth"),
        "the card has 2 labels, the file's output has 1 channels",
        "one label per channel",
    ),
    "no card": (without("model.yaml"), f"{CARD}: there is no such file", "docs/reference/model.md"),
    "no file": (without("model.onnx"), f"{CARD}: file: model.onnx cannot be read", "beside its card"),
    "a file that is none": (of_junk, "model.onnx cannot be loaded", "Export it as one ONNX file"),
    "a card of another model": (
        card("name: moth-detector", "name: other"),
        "name: it says 'other', but functions/detect/function.yaml names 'moth-detector'",
        "Change one of them",
    ),
    "a card without a version": (card("version: 1.0.0\n", ""), f"{CARD}: version: is missing", "Three numbers"),
    "a card without a head": (card("head: heatmap\n", ""), f"{CARD}: head: is missing", "Add it"),
    "an empty card": (lambda p: (p.folder / CARD).write_text(""), f"{CARD}: holds no fields", "Write a model card"),
    "a broken card": (lambda p: (p.folder / CARD).write_text("a: ["), f"{CARD}: is not YAML", "Mend the line"),
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_cannot_be_used_is_told_before_any_image_is(project: Project, what: str) -> None:
    spoil, message, remedy = MODELS[what]
    spoil(project)
    said = project.refused()
    assert message in said
    assert remedy in said


def test_a_model_that_changed_after_the_first_start_is_told_at_the_next(project: Project) -> None:
    with project.up():
        pass
    (project.folder / "functions/classify/model/model.onnx").write_bytes(b"another")
    assert "functions/classify/model/model.yaml: sha256: model.onnx has" in project.refused()


# -- another store


@pytest.fixture(name="endpoint", scope="module")
def _endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    rclone = Rclone(tmp_path_factory.mktemp("outside"), port=0)
    rclone.bucket("traps")
    rclone.start()
    yield rclone.endpoint
    rclone.stop()


def keys_of(endpoint: Endpoint, **wrong: str) -> dict[str, str]:
    keys = endpoint.credentials
    right = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    return {"AWS_ENDPOINT_URL": endpoint.url, **right, **wrong}


def test_a_store_with_the_right_keys_is_served(project: Project, endpoint: Endpoint) -> None:
    project.env = keys_of(endpoint)
    with project.up() as running:
        assert running.told["endpoint"] == endpoint.url


@pytest.mark.parametrize(
    ("wrong", "message", "remedy"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "The access key is not known to", "Check AWS_ACCESS_KEY_ID."),
        ({"AWS_SECRET_ACCESS_KEY": "guess"}, "The secret key is wrong for", "Check AWS_SECRET_ACCESS_KEY."),
        ({"TRAPLINE_BUCKET": "no-such"}, "There is no bucket 'no-such' at", "mc mb <alias>/no-such"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY is not set", "Set both, or neither."),
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "'localhost:9000' is not an address", "Set AWS_ENDPOINT_URL to"),
    ],
)
def test_what_is_wrong_with_a_stores_settings_is_told(
    project: Project, endpoint: Endpoint, wrong: dict[str, str], message: str, remedy: str
) -> None:
    project.env = keys_of(endpoint, **wrong)
    said = project.refused()
    assert message in said
    assert remedy in said
    assert endpoint.credentials.secret_key not in said


def test_a_store_that_does_not_answer_is_told_soon(project: Project) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens: connections are refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        project.env = {**KEYS, "AWS_ENDPOINT_URL": url}
        began = time.monotonic()
        said = project.refused()
    assert f"The bucket 'traps' at {url} cannot be reached." in said
    assert "Check AWS_ENDPOINT_URL, and that the store runs." in said
    assert time.monotonic() - began < 15


# -- a full disk


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A mount, for those who may; whoever may not skips the test."""
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that not even root may write to, or, where nothing can be mounted, that this user may not."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    with mounted(folder, "--bind", str(folder)):
        done = subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("this needs the right to mount")
        yield


@pytest.fixture(name="disk")
def _disk(project: Project) -> Path:
    disk = project.folder / "disk"
    disk.mkdir()
    return disk


@pytest.mark.parametrize("size", ["4k", "200k"])
def test_a_disk_without_room_is_told_at_start(project: Project, disk: Path, size: str) -> None:
    with mounted(disk, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        said = project.refused("--data", "disk")
    assert f"The disk of {disk}" in said
    assert "is full. Free some space" in said


def test_an_engine_survives_a_full_disk_says_so_and_goes_on_when_there_is_room(project: Project, disk: Path) -> None:
    project.change("pipeline.yaml", "settle: PT30M", "settle: PT30M, refresh: PT1S")
    with mounted(disk, "-t", "tmpfs", "-o", "size=20m", "tmpfs"), project.up("--data", "disk") as engine:
        engine.process.send_signal(signal.SIGSTOP)
        job = disk / "buckets/traps/incoming/st7/n1"
        job.mkdir(parents=True)
        for number in (1, 2, 3):
            (job / f"{number}.JPG").write_bytes(night(number))
        (job / "_DONE").touch()
        fill(disk / "fill")
        engine.process.send_signal(signal.SIGCONT)
        until(lambda: "is full" in engine.stderr.read_text(), 30, engine.stderr.read_text)
        assert engine.process.poll() is None
        (disk / "fill").unlink()
        status = disk / "buckets/traps/status/st7/n1.json"
        until(lambda: status.is_file() and json.loads(status.read_text())["closed"], 60, engine.stderr.read_text)
        told = json.loads(status.read_text())
        assert (told["state"], told["images"]["done"]) == ("SUCCEEDED", 3)
        assert not list((disk / "buckets/traps").glob("failed/**/*.json"))


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            for size in (65_536, 4096):
                fill_by(file, bytes(size))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def fill_by(file: IO[bytes], block: bytes) -> None:
    while True:
        if file.write(block) < len(block):
            return


# -- after first use


def test_a_depth_that_changed_after_first_use_is_told_with_the_one_that_holds(project: Project) -> None:
    with project.up():
        pass
    project.change("pipeline.yaml", "depth: 2", "depth: 3")
    done = subprocess.run(
        [*PROGRAM, "up", "--port", "0"],
        cwd=project.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "pipeline.yaml: jobs.depth is 3, but this bucket was begun with 2. Set jobs.depth to 2" in done.stderr


def test_a_broken_pipeline_is_told_by_up_as_it_is_by_every_command(project: Project) -> None:
    shutil.copyfile(project.folder / "README.md", project.folder / "pipeline.yaml")
    assert "pipeline.yaml" in project.refused()
