"""The folder trigger over real files."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.engine import engine, night, project
from trapline.errors import ConfigError
from trapline.events import TriggerContext
from trapline.store.folder import FolderStore
from triggers.folder import FolderTrigger, open_trigger


class Watched:
    """A bucket folder, its trigger, and what the trigger told."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = FolderStore(folder / "bucket", folder / "scratch")
        self.root = self.store.root
        self.told: list[tuple[str, str]] = []
        self.context = TriggerContext("traps", self.root, ("incoming/", "jobs/"), lambda event: None, self.store.closed)
        self.trigger = FolderTrigger(
            self.root, self.context.prefixes, lambda key, kind: self.told.append((key, str(kind))), **options
        )

    def waits_for(self, *hints: tuple[str, str], seconds: float = 5) -> None:
        until(
            lambda: set(hints) <= set(self.told),
            lambda: f"told {self.told}, not {set(hints) - set(self.told)}",
            seconds,
        )


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    watched.trigger.start()
    yield watched
    watched.trigger.stop()


def test_a_file_is_told_of_when_it_is_closed_and_not_before(watched: Watched) -> None:
    with open(watched.root / "incoming" / "a.jpg", "wb") as file:
        file.write(b"half")
        file.flush()
        time.sleep(0.3)
        assert watched.told == []
    watched.waits_for(("incoming/a.jpg", "created"))


def test_a_file_moved_in_from_outside_is_told_of_once(watched: Watched) -> None:
    watched.store.put("incoming/st7/night/a.jpg", b"x")
    watched.waits_for(("incoming/st7/night/a.jpg", "created"))
    watched.told.clear()
    watched.store.put("incoming/st7/night/b.jpg", b"x")
    watched.waits_for(("incoming/st7/night/b.jpg", "created"))
    time.sleep(0.2)
    assert watched.told == [("incoming/st7/night/b.jpg", "created")]


def test_a_rename_tells_of_the_old_name_and_the_new(watched: Watched) -> None:
    watched.store.put("incoming/a.jpg", b"x")
    watched.store.put("jobs/st7/other.json", b"x")
    os.rename(watched.root / "incoming/a.jpg", watched.root / "incoming/b.jpg")
    watched.waits_for(("incoming/a.jpg", "removed"), ("incoming/b.jpg", "created"))


def test_a_folder_moved_in_tells_of_every_file_in_it(watched: Watched, tmp_path: Path) -> None:
    card = tmp_path / "card" / "DCIM" / "100"
    card.mkdir(parents=True)
    for number in range(20):
        (card / f"{number}.jpg").write_bytes(b"x")
    os.rename(tmp_path / "card", watched.root / "incoming" / "card")
    watched.waits_for(*((f"incoming/card/DCIM/100/{number}.jpg", "created") for number in range(20)))
    (watched.root / "incoming/card/DCIM/100/late.jpg").write_bytes(b"x")
    watched.waits_for(("incoming/card/DCIM/100/late.jpg", "created"))


@pytest.mark.parametrize("way", ["moved one by one", "moved whole", "linked"])
def test_ten_thousand_files_at_once_are_all_told_of(watched: Watched, tmp_path: Path, way: str) -> None:
    card, target = tmp_path / "card", watched.root / "incoming/card"
    card.mkdir()
    names = [f"{number}.jpg" for number in range(10_000)]
    for name in names:
        (card / name).touch()
    if way == "moved whole":
        os.rename(card, target)
    else:
        target.mkdir()
        for name in names:
            (os.rename if way == "moved one by one" else os.link)(card / name, target / name)
    until(lambda: len({key for key, _ in watched.told}) == len(names), lambda: f"told {len(watched.told)}", 30)


def test_files_that_come_with_their_new_folders_are_not_missed(watched: Watched) -> None:
    wanted = []
    for number in range(100):
        folder = watched.root / f"incoming/st{number}/night/DCIM"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"x")
        wanted.append((f"incoming/st{number}/night/DCIM/a.jpg", "created"))
    watched.waits_for(*wanted)


def test_a_file_still_being_written_in_a_new_folder_is_not_told_of_early(watched: Watched) -> None:
    folder = watched.root / "incoming" / "new"
    folder.mkdir()
    with open(folder / "a.jpg", "wb") as file:
        file.write(b"half")
        file.flush()
        time.sleep(0.3)
        assert watched.told == []
    watched.waits_for(("incoming/new/a.jpg", "created"))


def test_a_deletion_is_told_of(watched: Watched) -> None:
    watched.store.put("incoming/a.jpg", b"x")
    watched.store.delete("incoming/a.jpg")
    watched.waits_for(("incoming/a.jpg", "removed"))


def test_dotfiles_unfinished_uploads_and_symlinks_are_not_told_of(watched: Watched, tmp_path: Path) -> None:
    (watched.root / "incoming/.rclone_temp_put_1").write_bytes(b"x")
    (watched.root / "incoming/.hidden.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    os.rename(tmp_path / "link.jpg", watched.root / "incoming/link.jpg")
    watched.store.put("incoming/last.jpg", b"x")
    watched.waits_for(("incoming/last.jpg", "created"))
    assert watched.told == [("incoming/last.jpg", "created")]


def test_other_prefixes_are_not_told_of(watched: Watched) -> None:
    watched.store.put("detections/a.json", b"x")
    watched.store.put("jobs/st7/night.json", b"x")
    watched.waits_for(("jobs/st7/night.json", "created"))
    assert {key for key, _ in watched.told} == {"jobs/st7/night.json"}


def test_a_watched_folder_that_is_removed_is_watched_again(watched: Watched) -> None:
    shutil.rmtree(watched.root / "incoming")
    until(lambda: (watched.root / "incoming").is_dir(), lambda: "incoming was not made again")
    watched.store.put("incoming/st7/a.jpg", b"x")
    watched.waits_for(("incoming/st7/a.jpg", "created"))


def test_a_watched_folder_that_is_moved_away_and_made_again_is_watched_again(watched: Watched) -> None:
    os.rename(watched.root / "incoming", watched.root / "old")
    (watched.root / "incoming").mkdir()
    (watched.root / "incoming/a.jpg").write_bytes(b"x")
    watched.waits_for(("incoming/a.jpg", "created"))
    (watched.root / "incoming/b.jpg").write_bytes(b"x")
    watched.waits_for(("incoming/b.jpg", "created"))


def test_a_watched_folder_that_could_not_be_made_again_is_watched_when_it_can(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers.folder._PATIENT", 1)
    os.rename(watched.root, watched.root.with_name("away"))
    watched.root.write_bytes(b"in the way")
    time.sleep(1.5)
    watched.root.unlink()
    until(lambda: (watched.root / "incoming").is_dir(), lambda: "incoming was not made again")
    (watched.root / "incoming/a.jpg").write_bytes(b"x")
    watched.waits_for(("incoming/a.jpg", "created"))


def test_a_file_that_was_being_written_before_the_start_is_told_of_when_it_is_closed(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    (watched.root / "incoming/st7").mkdir(parents=True)
    with open(watched.root / "incoming/st7/a.jpg", "wb") as file:
        file.write(b"half")
        file.flush()
        watched.trigger.start()
        file.write(b"whole")
        time.sleep(0.3)
        assert watched.told == []
    watched.waits_for(("incoming/st7/a.jpg", "created"))
    watched.trigger.stop()


def test_a_hard_link_is_told_of(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "card.jpg").write_bytes(b"x")
    os.link(tmp_path / "card.jpg", watched.root / "incoming/card.jpg")
    watched.waits_for(("incoming/card.jpg", "created"))


def test_a_folder_that_is_a_link_is_not_followed(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.jpg").write_bytes(b"x")
    (watched.root / "incoming/made").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "moved").symlink_to(tmp_path / "elsewhere")
    os.rename(tmp_path / "moved", watched.root / "incoming/moved")
    (tmp_path / "elsewhere/b.jpg").write_bytes(b"x")
    watched.store.put("incoming/last.jpg", b"x")
    watched.waits_for(("incoming/last.jpg", "created"))
    assert watched.told == [("incoming/last.jpg", "created")]


def test_a_polled_folder_tells_of_what_comes_changes_and_goes_once_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trapline.store.settling.SETTLE", 1.5)
    watched = Watched(tmp_path, poll=1)
    watched.trigger.start()
    with open(watched.root / "incoming/slow.jpg", "wb") as file:
        for _ in range(9):
            file.write(b"x")
            file.flush()
            assert watched.told == []
            time.sleep(0.3)
    (watched.root / "incoming/a/b").mkdir(parents=True)
    (watched.root / "incoming/a/b/c.jpg").write_bytes(b"x")
    watched.waits_for(("incoming/slow.jpg", "created"), ("incoming/a/b/c.jpg", "created"), seconds=15)
    os.unlink(watched.root / "incoming/slow.jpg")
    watched.waits_for(("incoming/slow.jpg", "removed"))
    watched.trigger.stop()


@pytest.mark.parametrize("limit", ["max_user_watches", "max_user_instances"])
def test_the_kernels_limits_are_told_of_once_and_nothing_stops(tmp_path: Path, limit: str) -> None:
    said = limited(tmp_path, {"max_user_watches": "user/max_inotify_watches"}.get(limit, "user/max_inotify_instances"))
    assert said.count("folder.unwatched") == 1
    assert f"fs.inotify.{limit}" in said and "poll: 10" in said


LIMITED = """
import logging, sys, time
from pathlib import Path
from triggers.folder import FolderTrigger
logging.basicConfig(level=logging.WARNING)
root = Path(sys.argv[1])
Path("/proc/sys", sys.argv[2]).write_text("0" if "instances" in sys.argv[2] else "3")
told = []
trigger = FolderTrigger(root, ["incoming/", "jobs/"], lambda key, kind: told.append(key))
trigger.start()
for name in "abcd":
    (root / "incoming" / name).mkdir()
    time.sleep(0.1)
trigger.stop()
print("ended")
"""


def limited(folder: Path, knob: str) -> str:
    """What the trigger says under limits of its own, in a user namespace."""
    command = ["unshare", "-r", sys.executable, "-c", LIMITED, str(folder), knob]
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-r", "true"], check=False).returncode:
        pytest.skip("needs `unshare` and user namespaces")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "ended\n", done.stderr
    return done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="inotify alone drops events")
def test_events_that_the_kernel_drops_ask_for_a_sweep_and_later_files_are_told_of(tmp_path: Path) -> None:
    lost: list[float] = []
    watched = Watched(tmp_path, on_loss=lambda: lost.append(time.monotonic()))
    watched.trigger.start()
    files = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 2 + 2000
    if files > 50_000:
        pytest.skip("the kernel keeps very many events here")
    with watched.trigger._observer._inotify._lock:  # type: ignore[union-attr] # who reads the events is held up
        for number in range(files):
            (watched.root / "incoming" / f"{number}.jpg").touch()
    until(lambda: bool(lost), lambda: "no loss was told of")
    watched.store.put("incoming/st7/a.jpg", b"x")
    watched.waits_for(("incoming/st7/a.jpg", "created"), seconds=20)
    assert len(watched.told) < files
    watched.trigger.stop()


@pytest.mark.slow
def test_an_engine_that_polls_its_folder_uses_what_comes_there(tmp_path: Path) -> None:
    made = project(tmp_path / "traps")
    spec = yaml.safe_load((made / "pipeline.yaml").read_text())
    spec |= {"triggers": [{"folder": {"poll": 1}}], "sweeps": {"open": "PT1H", "names": "PT1H"}}
    (made / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    with engine(made, tmp_path / "data") as served:
        (served.incoming / "st7/night").mkdir(parents=True)
        (served.incoming / "st7/night/a.jpg").write_bytes(night(2))
        assert served.closed("st7/night")["state"] == "SUCCEEDED"


@pytest.mark.parametrize("poll", [0, -1, True, "10", "PT10S", float("nan")])
def test_a_wrong_interval_is_refused_by_name(tmp_path: Path, poll: float) -> None:
    with pytest.raises(ConfigError, match=r"triggers\.folder\.poll: .* is not a number of seconds"):
        open_trigger(Watched(tmp_path).context, poll=poll)


def until(holds: Callable[[], bool], what: Callable[[], str], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
