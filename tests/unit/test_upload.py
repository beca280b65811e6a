"""Files that a card does not give up: each costs itself, and is named."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from trapline.cli.upload import Found, LocalFile, There, Upload, find_files
from trapline.errors import SurroundingsError
from trapline.keys import Layout
from trapline.store.base import KeyLimits
from trapline.store.memory import MemoryStore

JOB = "st7/n1"
UNREADABLE = Path("/proc/self/mem")  # a plain file whose first byte cannot be read


def sent(store: MemoryStore, files: list[LocalFile]) -> Upload:
    upload = Upload(store, There(store, {}, {}, local=False), Layout(), JOB, files)
    upload.start()
    end = time.monotonic() + 10
    while not upload.over:
        assert time.monotonic() < end
        time.sleep(0.01)
    return upload


def on_card(card: Path, name: str, data: bytes = b"moth") -> LocalFile:
    path = card / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return LocalFile(path, name, len(data))


@pytest.mark.skipif(not UNREADABLE.exists(), reason="needs /proc")
def test_a_file_that_cannot_be_read_costs_itself(tmp_path: Path) -> None:
    files = [on_card(tmp_path, f"{n}.jpg") for n in range(20)]
    files.insert(3, LocalFile(UNREADABLE, "broken.jpg", 0))
    store = MemoryStore()
    upload = sent(store, files)
    assert upload.sent.unread == {str(UNREADABLE): os.strerror(errno.EIO)}
    assert sorted(upload.sent.sums) == sorted(f"{n}.jpg" for n in range(20))
    assert sum(1 for _ in store.list(f"incoming/{JOB}/")) == 20


def test_a_card_that_is_pulled_out_ends_the_upload(tmp_path: Path) -> None:
    files = [on_card(tmp_path, f"{n}.jpg") for n in range(5)]
    files[2].path.unlink()
    with pytest.raises(SurroundingsError, match=r"2\.jpg cannot be read: No such file"):
        sent(MemoryStore(), files)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, lost = on_card(tmp_path, "100MEDIA/1.jpg"), on_card(tmp_path, "101MEDIA/2.jpg")
    scandir = os.scandir

    def scan(path: Any) -> Any:
        if Path(path) == lost.path.parent:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    found: Found = find_files(tmp_path, JOB, Layout(), KeyLimits())
    assert [file.name for file in found.files] == [kept.name]
    assert found.unread == {str(lost.path.parent): os.strerror(errno.EIO)}


def test_an_image_whose_name_no_store_takes_is_named_and_other_files_of_such_names_are_not(tmp_path: Path) -> None:
    kept = on_card(tmp_path, "a.jpg")
    lost = [on_card(tmp_path, name) for name in ("new\nline.jpg", "long" * 60 + ".jpg")]
    on_card(tmp_path, "note\n.txt")
    found = find_files(tmp_path, JOB, Layout(), KeyLimits(segment=240))
    assert [file.name for file in found.files] == [kept.name]
    assert found.unfit.keys() == {str(file.path) for file in lost}
    assert found.left_out == {"no stage reads .txt": 1}
