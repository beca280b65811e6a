"""The folder trigger over real files."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trapline.store.folder import FolderStore
from triggers.folder import FolderTrigger


class Watched:
    """A bucket folder, its trigger, and what the trigger told."""

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder / "bucket", folder / "scratch")
        self.root = self.store.root
        self.told: list[tuple[str, str]] = []
        self.trigger = FolderTrigger(
            self.root, ["incoming/", "jobs/"], lambda key, kind: self.told.append((key, str(kind)))
        )

    def waits_for(self, *hints: tuple[str, str]) -> None:
        until(lambda: set(hints) <= set(self.told), lambda: f"told {self.told}, not {set(hints) - set(self.told)}")


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


def test_the_kernels_limit_of_watches_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit = tmp_path / "limit"
    limit.write_text("3\n")
    monkeypatch.setattr("triggers.folder._LIMIT", limit)
    watched = Watched(tmp_path)
    (watched.root / "incoming/a/b").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        watched.trigger.start()
        (watched.root / "incoming/c").mkdir()
        watched.store.put("incoming/c/a.jpg", b"x")
        watched.waits_for(("incoming/c/a.jpg", "created"))
        watched.trigger.stop()
    warnings = [record.getMessage() for record in caplog.records if "cannot be watched" in record.getMessage()]
    assert len(warnings) == 1
    assert "fs.inotify.max_user_watches" in warnings[0]


def until(holds: Callable[[], bool], what: Callable[[], str], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
