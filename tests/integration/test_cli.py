"""The command line against one engine, as a new user types it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trapline.store.s3 import S3Settings, S3Store
from trapline.template import copy_project

NIGHT = Path("samples/night/st7/2026-11-20/DCIM")
PROGRAM = [sys.executable, "-c", "from trapline.cli import main; main()"]
BAD = "101MEDIA/IMG_0027.JPG"  # cut off


@dataclass(frozen=True)
class Site:
    """A project with an engine that serves it."""

    project: Path
    told: dict[str, Any]  # what `up --json` printed
    s3: S3Store

    def trapline(self, *words: str, rc: int = 0) -> subprocess.CompletedProcess[str]:
        done = call(self.project, *words)
        assert done.returncode == rc, f"{words}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str, rc: int = 0) -> Any:
        return json.loads(self.trapline(*words, "--json", rc=rc).stdout)

    def card(self, name: str, *images: str) -> Path:
        """A folder with some images of the sample night."""
        folder = self.project.parent / "cards" / name
        for image in images:
            target = folder / image
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.project / NIGHT / image, target)
        return folder

    def wait(self, job: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job's status, once it is as expected."""
        until = time.monotonic() + 30
        while True:
            status: dict[str, Any] = self.json("status", job)
            if what(status):
                return status
            assert time.monotonic() < until, status
            time.sleep(0.3)


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRAPLINE_"))}
    return {**kept, "COLUMNS": "80", "NO_COLOR": "1"}


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    project = tmp_path_factory.mktemp("cli") / "traps"
    copy_project(project)
    spec = (project / "pipeline.yaml").read_text()
    spec = spec.replace("settle: PT30M}", "settle: PT30M, refresh: PT1S}")
    (project / "pipeline.yaml").write_text(spec + "local: {workers: 2}\n")
    with subprocess.Popen(
        [*PROGRAM, "up", "--port", "0", "--json"], cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        try:
            told = json.loads(engine.stdout.readline())
            keys = {"access_key": told["access_key"], "secret_key": told["secret_key"]}
            yield Site(project, told, S3Store(S3Settings(told["bucket"], endpoint=told["endpoint"], **keys)))
        finally:
            engine.send_signal(signal.SIGTERM)
            assert engine.wait(20) == 0


@pytest.fixture(scope="module")
def night(site: Site) -> dict[str, Any]:
    """A job with an image, an empty sheet and a failure; its status."""
    card = site.card("night", "100MEDIA/IMG_0001.JPG", "100MEDIA/IMG_0002.JPG", BAD)
    shutil.copyfile(card / "100MEDIA/IMG_0002.JPG", card / "100MEDIA/Motte + 5%.jpg")
    for name in (".hidden.jpg", "Thumbs.db", "clip.MOV"):
        (card / name).write_bytes(b"x")
    (card / "link.jpg").symlink_to(card / "100MEDIA/IMG_0001.JPG")
    status: dict[str, Any] = site.json("submit", str(card), "--job", "st7/first", rc=3)
    return status


def test_up_says_what_a_client_needs(site: Site) -> None:
    assert set(site.told) == {"endpoint", "access_key", "secret_key", "bucket", "data", "pid"}
    assert (Path(site.told["data"]) / "engine/credentials.json").stat().st_mode & 0o777 == 0o600


def test_a_second_up_names_the_first(site: Site) -> None:
    refused = site.trapline("up", "--port", "0", rc=1)
    assert refused.stderr.count("\n") == 1
    assert f"pid {site.told['pid']}" in refused.stderr


def test_a_folder_is_sent_and_followed_to_its_end(site: Site, night: dict[str, Any]) -> None:
    assert (night["state"], night["closed"]) == ("PARTIAL", True)
    assert (night["images"]["total"], night["images"]["done"]) == (4, 3)
    assert night["failures"] == {"image_truncated": 1}
    done = site.s3.get("incoming/st7/first/_DONE").data.decode()
    sums = {name: sha256 for sha256, name in (line.split("  ", 1) for line in done.splitlines())}
    card = site.project.parent / "cards/night"
    assert set(sums) == {"100MEDIA/IMG_0001.JPG", "100MEDIA/IMG_0002.JPG", "100MEDIA/Motte + 5%.jpg", BAD}
    assert all(hashlib.sha256((card / name).read_bytes()).hexdigest() == sha256 for name, sha256 in sums.items())


def test_what_is_there_is_not_sent_again(site: Site, night: dict[str, Any]) -> None:
    again = site.trapline("submit", str(site.project.parent / "cards/night"), "--job", "st7/first", rc=3)
    assert "0 sent, 4 were there already" in again.stdout
    assert "1 left out: symbolic link" in again.stdout
    assert "1 left out: no stage reads .mov" in again.stdout


def test_an_image_that_came_later_makes_a_new_revision(site: Site) -> None:
    card = site.card("late", "100MEDIA/IMG_0001.JPG")
    assert site.json("submit", str(card), "--job", "st7/late")["revision"].startswith("r1-")
    site.card("late", "100MEDIA/IMG_0003.JPG")
    status = site.json("submit", str(card), "--job", "st7/late")
    assert (status["images"]["done"], status["revision"][:3]) == (2, "r2-")


def test_a_manifest_is_sent_under_its_own_name(site: Site, night: dict[str, Any], tmp_path: Path) -> None:
    images = [
        {"id": "one", "url": "incoming/st7/first/100MEDIA/IMG_0002.JPG"},
        {"id": "two", "url": "incoming/st7/first/nothing.JPG"},
    ]
    manifest = tmp_path / "job.json"
    manifest.write_text(json.dumps({"projectId": "ecos", "jobId": "one", "sourceImages": images}))
    status = site.json("submit", str(manifest), rc=3)
    assert (status["job"], status["state"]) == ("ecos/one", "PARTIAL")
    assert status["failures"] == {"fetch_not_found": 1}
    assert site.json("submit", str(manifest), rc=3)["revision"] == status["revision"]


def test_status_lists_all_jobs_or_tells_one(site: Site, night: dict[str, Any]) -> None:
    assert "st7/first" in [status["job"] for status in site.json("status")]
    assert site.json("status", "incoming/st7/first/")["revision"] == night["revision"]
    told = site.trapline("status", "st7/first").stdout
    assert "image_truncated: The image ends before it should." in told
    assert "Copy the file from the card again" in told
    assert "st7/first" in site.trapline("status").stdout


def test_results_are_copied_and_checked(site: Site, night: dict[str, Any], tmp_path: Path) -> None:
    summary = site.json("results", "st7/first", "--to", str(tmp_path / "out"))
    for file in summary["files"]:
        assert hashlib.sha256((tmp_path / "out" / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["events.csv", "observations.csv", "results.jsonl", "summary.json"]
    assert json.loads((tmp_path / "out/summary.json").read_text())["revision"] == night["revision"]
    shown = site.trapline("results", "st7/first").stdout
    assert "hawkmoth" in shown
    assert f"s3://traps/results/st7/first/{night['revision']}/" in shown


def test_explain_tells_the_story_of_a_good_image(site: Site, night: dict[str, Any]) -> None:
    story = site.json("explain", "incoming/st7/first/100MEDIA/IMG_0002.JPG")
    assert [(s["stage"], s["outcome"], s["current"]) for s in story["stages"]] == [
        ("detect", "done", True),
        ("classify", "done", True),
    ]
    assert story["stages"][0]["model"]["name"] == "moth-detector"
    assert (story["detections"], story["state_in_revision"]) == (3, "done")
    assert story["sha256"] == story["sha256_read"]
    assert story["trigger"] == "folder"


def test_explain_tells_what_to_do_about_a_failure(site: Site, night: dict[str, Any]) -> None:
    told = site.trapline("explain", f"first/{BAD}").stdout
    assert "failed, image_truncated" in told
    assert "Copy the file from the card again" in told
    assert "trapline retry incoming/st7/first/101MEDIA/IMG_0027.JPG" in told
    assert "blocked: detect failed" in told


def test_explain_knows_what_is_ignored(site: Site, night: dict[str, Any]) -> None:
    site.s3.put("incoming/st7/first/notes.txt", b"rain")
    assert "no stage reads .txt" in site.trapline("explain", "notes.txt").stdout


def test_explain_lists_what_an_ambiguous_name_could_mean(site: Site, night: dict[str, Any]) -> None:
    site.s3.put("incoming/st7/first/a/same.txt", b"1")
    site.s3.put("incoming/st7/first/b/same.txt", b"2")
    refused = site.trapline("explain", "same.txt", rc=1).stderr
    assert "incoming/st7/first/a/same.txt" in refused
    assert "incoming/st7/first/b/same.txt" in refused


def test_retry_tries_a_failure_again(site: Site) -> None:
    card = site.card("retry", "100MEDIA/IMG_0001.JPG", BAD)
    first = site.json("submit", str(card), "--job", "st7/retry", rc=3)
    letter = f"failed/detect/st7/retry/{BAD}.json"
    before = site.s3.get(letter).data
    assert site.json("retry", "st7/retry") == {"retried": 1, "deleted": [letter]}
    site.wait("st7/retry", lambda s: s["seq"] != first["seq"] and s["closed"] and s["images"]["failed"] == 1)
    assert site.s3.get(letter).data != before
    assert "has no failures" in site.trapline("retry", "incoming/st7/retry/100MEDIA/IMG_0001.JPG").stdout


def test_a_cancelled_job_goes_on_when_the_marker_is_deleted(site: Site) -> None:
    site.s3.put("incoming/st7/stop/a.jpg", (site.project / NIGHT / "100MEDIA/IMG_0001.JPG").read_bytes())
    site.wait("st7/stop", lambda s: bool(s["state"]))
    assert site.json("cancel", "st7/stop")["key"] == "incoming/st7/stop/_CANCEL"
    site.wait("st7/stop", lambda s: s["state"] == "CANCELLED")
    site.s3.delete("incoming/st7/stop/_CANCEL")
    site.wait("st7/stop", lambda s: s["state"] != "CANCELLED" and s["images"]["done"] == 1)


def test_a_finished_job_cannot_be_cancelled(site: Site) -> None:
    site.trapline("submit", str(site.card("over", "100MEDIA/IMG_0001.JPG")), "--job", "st7/over")
    assert "st7/over is finished (SUCCEEDED)" in site.trapline("cancel", "st7/over", rc=1).stderr


def test_a_sweep_is_asked_for_through_the_bucket(site: Site) -> None:
    assert site.json("sweep") == {"asked": True}
    until = time.monotonic() + 10
    while list(site.s3.list("control/requests/")):
        assert time.monotonic() < until, "the engine did not answer the request"
        time.sleep(0.2)


def test_init_makes_a_project_once(tmp_path: Path) -> None:
    made = call(tmp_path, "init", "mine")
    assert made.stdout.splitlines()[1:] == ["  cd mine", "  trapline up"]
    assert (tmp_path / "mine/pipeline.yaml").is_file()
    assert call(tmp_path, "init", "mine").returncode == 2


@pytest.mark.parametrize(
    ("words", "rc", "said"),
    [
        (("status", "st7/frist"), 1, "Did you mean st7/first"),
        (("results", "no/job"), 1, "There is no job 'no/job'"),
        (("explain", "nowhere.jpg"), 1, "There is no image 'nowhere.jpg'"),
        (("retry", "no/job"), 1, "no/job"),
        (("cancel", "no/job"), 1, "There is no job 'no/job'"),
        (("submit", "nothing-here"), 2, "There is no file or folder 'nothing-here'"),
        (("submit", "samples", "--job", "a/b/c"), 2, "A job is named <folder1>/<folder2>."),
        (("submit", "pipeline.yaml"), 2, "is not a job manifest"),
        (("submit", "functions"), 2, "There are no images in functions."),
        (("status", "--project", "samples"), 2, "pipeline.yaml"),
    ],
)
def test_an_error_is_one_line_with_a_remedy(
    site: Site, night: dict[str, Any], words: tuple[str, ...], rc: int, said: str
) -> None:
    done = site.trapline(*words, rc=rc)
    assert said in done.stderr
    assert done.stderr.startswith("trapline: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_without_an_engine_the_last_status_is_shown_and_nothing_can_be_sent(
    site: Site, night: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(Path(site.told["data"]) / "buckets", tmp_path / "data/buckets")
    told = site.trapline("status", "st7/first", "--data", str(tmp_path / "data")).stdout
    assert "No engine serves" in told
    assert "This is as of" in told
    refused = site.trapline("submit", str(site.project / NIGHT), "--data", str(tmp_path / "data"), rc=1)
    assert "Start one with `trapline up`" in refused.stderr


def test_the_version_and_a_wrong_command_are_said(tmp_path: Path) -> None:
    assert call(tmp_path, "--version").stdout.startswith("trapline ")
    wrong = call(tmp_path, "statsu")
    assert (wrong.returncode, "No such command" in wrong.stderr) == (2, True)
