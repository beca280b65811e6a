"""One body of tests over the stores that need no service. S3 and the embedded endpoint: tests/integration."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trapline.errors import Conflict, KeyUnusable, NotFound, StoreDenied, SurroundingsError
from trapline.store.base import KeyLimits, Store
from trapline.store.folder import FolderStore
from trapline.store.memory import MemoryStore

ODD_KEYS = [
    "a/with space.jpg",
    "a/plus+percent%20.jpg",
    "a/hash#tilde~.jpg",
    "a/quotes'\".jpg",
    "a/[brackets]{braces}.jpg",
    "a/what?star*.jpg",
    "a/back\\slash.jpg",
    "a/smörgåsbord-日本-𝄞.jpg",
    "a/..two-dots.jpg",
    "a/UPPER.JPG",
    "a/amp&semi;eq=,.jpg",
]


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return FolderStore(tmp_path / "bucket", tmp_path / "scratch")


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "bucket", tmp_path / "scratch")


def keys(store: Store, prefix: str = "") -> list[str]:
    return sorted(entry.key for entry in store.list(prefix))


def test_what_is_put_is_what_is_got(store: Store) -> None:
    entry = store.put("a/b/c.jpg", b"bytes")
    got = store.get("a/b/c.jpg")
    assert got.data == b"bytes"
    assert got.entry == entry == store.head("a/b/c.jpg")
    assert entry.size == 5
    assert entry.settled and entry.usable


def test_an_overwrite_changes_the_etag_even_with_the_same_bytes(store: Store) -> None:
    first = store.put("a/b.json", b"{}")
    second = store.put("a/b.json", b"{}")
    assert first.etag != second.etag
    assert store.head("a/b.json").etag == second.etag


def test_a_missing_object_is_not_found(store: Store) -> None:
    for call in (store.get, store.head, store.open):
        with pytest.raises(NotFound):
            call("no/such.jpg")


def test_deleting_a_missing_object_is_no_error(store: Store) -> None:
    store.delete("no/such.jpg")
    store.put("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    assert keys(store) == []


def test_create_only_refuses_a_second_writer(store: Store) -> None:
    assert store.conditional
    store.put("lease/1", b"first", create_only=True)
    with pytest.raises(Conflict):
        store.put("lease/1", b"second", create_only=True)
    assert store.get("lease/1").data == b"first"


def test_of_many_racing_creators_one_wins(store: Store) -> None:
    outcomes: list[bool] = []

    def create(number: int) -> None:
        try:
            store.put("lease/race", str(number).encode(), create_only=True)
            outcomes.append(True)
        except Conflict:
            outcomes.append(False)

    together([lambda number=number: create(number) for number in range(8)])  # type: ignore[misc]
    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_listing_has_every_object_under_a_prefix_and_no_other(store: Store) -> None:
    for key in ("in/a/1", "in/a/2", "in/b/c/3", "in/4", "inn/5", "out/6"):
        store.put(key, b"x")
    assert keys(store, "in/") == ["in/4", "in/a/1", "in/a/2", "in/b/c/3"]
    assert keys(store, "in/a/") == ["in/a/1", "in/a/2"]
    assert keys(store, "in") == ["in/4", "in/a/1", "in/a/2", "in/b/c/3", "inn/5"]
    assert keys(store, "none/") == []
    assert len(keys(store)) == 6


def test_a_level_has_the_folders_and_the_objects_directly_under_a_prefix(store: Store) -> None:
    for key in ("in/a/1", "in/b/c/3", "in/4", "other"):
        store.put(key, b"x")
    level = store.level("in/")
    assert sorted(level.folders) == ["in/a/", "in/b/"]
    assert [entry.key for entry in level.entries] == ["in/4"]
    assert sorted(store.level("").folders) == ["in/"]
    assert store.level("none/").folders == []


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_keeps_every_character(store: Store, key: str) -> None:
    store.put(key, key.encode())
    assert store.get(key).data == key.encode()
    assert keys(store, "a/") == [key]


@pytest.mark.parametrize(
    "key", ["", "a//b", "/a", "a/", "a/./b", "../a", "a/..", "nul\0", "new\nline", "x" * 1025, "\udcff"]
)
def test_a_key_that_cannot_be_addressed_is_refused_with_the_remedy(store: Store, key: str) -> None:
    for call in (store.get, store.head, store.delete, store.open):
        with pytest.raises(KeyUnusable, match="Rename the file"):
            call(key)
    with pytest.raises(KeyUnusable):
        store.put(key, b"x")


def test_a_local_file_is_streamed_in_and_out(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(3_000_000))
    entry = store.put_file("models/m/1/model.onnx", path)
    assert entry.size == 3_000_000
    with store.open("models/m/1/model.onnx") as stream:
        assert stream.read(10) + stream.read() == path.read_bytes()


def test_readers_of_an_overwritten_object_never_see_a_part_of_it(store: Store) -> None:
    store.put("status/job.json", b"a" * 10)
    stop = time.monotonic() + 0.5
    torn: list[bytes] = []

    def write() -> None:
        for size in range(1, 100_000):
            store.put("status/job.json", bytes([97 + size % 26]) * (size * 37 % 9000 + 1))
            if time.monotonic() > stop:
                return

    def read() -> None:
        while time.monotonic() < stop:
            got = store.get("status/job.json")
            if len(set(got.data)) != 1 or len(got.data) != got.entry.size:
                torn.append(got.data)

    together([write, read, read])
    assert torn == []


def test_writers_and_deleters_of_one_folder_do_not_disturb_each_other(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(150):
            store.put(f"failed/detect/st/{number}.json", str(turn).encode())
            assert store.get(f"failed/detect/st/{number}.json").data == str(turn).encode()
            store.delete(f"failed/detect/st/{number}.json")

    together([lambda number=number: work(number) for number in range(4)])  # type: ignore[misc]
    assert keys(store) == []


def test_a_folder_holds_segments_of_240_bytes_and_no_more(folder: FolderStore) -> None:
    folder.put("a/" + "é" * 120, b"x")
    with pytest.raises(KeyUnusable, match="240"):
        folder.put("a/" + "é" * 121, b"x")


def test_symlinks_are_neither_listed_nor_read_nor_written_through(folder: FolderStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    folder.put("in/a", b"x")
    (folder.root / "in" / "link").symlink_to(outside / "secret")
    (folder.root / "in" / "dir").symlink_to(outside)
    assert keys(folder) == ["in/a"]
    assert folder.level("in/").folders == []
    for key in ("in/link", "in/dir/secret"):
        with pytest.raises(NotFound):
            folder.get(key)
        with pytest.raises(NotFound):
            folder.head(key)
    with pytest.raises(KeyUnusable, match="symlink"):
        folder.put("in/dir/new", b"x")
    folder.delete("in/dir/secret")
    assert sorted(os.listdir(outside)) == ["secret"]


def test_special_files_are_no_objects(folder: FolderStore) -> None:
    folder.put("in/a", b"x")
    os.mkfifo(folder.root / "in" / "pipe")
    assert keys(folder) == ["in/a"]
    with pytest.raises(NotFound):
        folder.get("in/pipe")
    with pytest.raises(NotFound):
        folder.get("in")


def test_an_object_and_a_folder_of_one_name_cannot_both_be(folder: FolderStore) -> None:
    folder.put("in/a", b"x")
    with pytest.raises(KeyUnusable, match="Rename one of the two"):
        folder.put("in/a/b", b"x")
    with pytest.raises(KeyUnusable, match="Rename one of the two"):
        folder.put("in", b"x")


def test_a_young_file_is_unsettled_until_its_writer_is_known_to_be_done(folder: FolderStore) -> None:
    folder.put("in/own.jpg", b"x")
    path = folder.root / "in" / "a.jpg"
    path.write_bytes(b"half")
    assert {entry.key: entry.settled for entry in folder.list("in/")} == {"in/own.jpg": True, "in/a.jpg": False}
    folder.closed("in/a.jpg")
    assert folder.head("in/a.jpg").settled
    path.write_bytes(b"more")
    assert not folder.head("in/a.jpg").settled
    folder.closed("in/gone.jpg")


def test_an_old_file_is_settled_whatever_its_mtime_says(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("in/own.jpg", b"x")
    path = folder.root / "in" / "a.jpg"
    path.write_bytes(b"x")
    os.utime(path, (1, 1))
    assert not folder.head("in/a.jpg").settled
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6)
    assert folder.head("in/a.jpg").settled


def test_a_rewrite_that_keeps_size_and_mtime_changes_the_etag(folder: FolderStore) -> None:
    folder.put("in/a", b"one")
    path = folder.root / "in" / "a"
    before = folder.head("in/a")
    status = path.stat()
    time.sleep(0.01)
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert folder.head("in/a").modified == before.modified
    assert folder.head("in/a").etag != before.etag


def test_a_name_that_is_not_utf8_is_listed_as_unusable(folder: FolderStore) -> None:
    folder.put("in/a", b"x")
    with open(os.fsencode(folder.root) + b"/in/\xff.jpg", "wb") as file:
        file.write(b"x")
    os.mkdir(os.fsencode(folder.root) + b"/in/\xfe")
    found = {entry.key: entry.usable for entry in folder.list("in/")}
    assert found == {"in/a": True, "in/\\xff.jpg": False}
    level = folder.level("in/")
    assert level.folders == []
    assert {entry.key: entry.usable for entry in level.entries} == found | {"in/\\xfe": False}


def test_a_path_longer_than_a_key_is_listed_as_unusable(folder: FolderStore) -> None:
    deep = folder.root / Path(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    (deep / ("f" * 100)).write_bytes(b"x")
    assert [entry.usable for entry in folder.list("")] == [False]


def test_unfinished_uploads_are_not_listed(folder: FolderStore) -> None:
    folder.put("in/a", b"x")
    (folder.root / "in" / ".rclone_temp_put_123").write_bytes(b"x")
    assert keys(folder) == ["in/a"]


def test_a_deletion_removes_the_folders_it_empties_but_not_those_others_write_to(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "bucket", tmp_path / "scratch", shared=("in/",))
    for key in ("in/a/b/1", "failed/detect/a/2", "failed/detect/3"):
        store.put(key, b"x")
        store.delete(key)
    assert (store.root / "in/a/b").is_dir()
    assert os.listdir(store.root / "failed") == []


def test_a_failed_write_leaves_nothing_behind(folder: FolderStore) -> None:
    folder.put("in/a", b"x")
    with pytest.raises(KeyUnusable):
        folder.put("in/a/b", b"y")
    with pytest.raises(Conflict):
        folder.put("in/a", b"y", create_only=True)
    assert os.listdir(folder.scratch) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_as_such(folder: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = open
    scratch = str(folder.scratch)
    monkeypatch.setattr(
        builtins, "open", lambda path, *rest: real("/dev/full" if str(path).startswith(scratch) else path, "wb")
    )
    with pytest.raises(SurroundingsError, match=r"disk .* is full.*Free some space"):
        folder.put("in/a", b"x" * 100_000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_denied_in_one_line(folder: FolderStore) -> None:
    folder.root.chmod(0o500)
    with pytest.raises(StoreDenied, match="may not write in the folder"):
        folder.put("in/a", b"x")
    folder.root.chmod(0o700)


def test_what_killed_writers_left_is_cleared(folder: FolderStore) -> None:
    (folder.scratch / "1-2-3").write_bytes(b"half")
    folder.clear_scratch()
    assert os.listdir(folder.scratch) == []


def test_a_store_with_narrow_limits_says_which_limit() -> None:
    narrow = MemoryStore(limits=KeyLimits(key=20, segment=8))
    narrow.put("12345678/1234", b"x")
    with pytest.raises(KeyUnusable, match="9 bytes where at most 8 fit"):
        narrow.put("123456789", b"x")
    with pytest.raises(KeyUnusable, match="21 bytes long where at most 20 fit"):
        narrow.put("1234567/1234567/12345", b"x")


def together(calls: list[Callable[[], None]]) -> None:
    """Run the calls in threads; raise what one of them raised."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()
