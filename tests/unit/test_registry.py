"""Models in a bucket: versions, cards, and which version is in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trapline.errors import ConfigError, StoreUnavailable
from trapline.keys import Layout
from trapline.registry import REMEMBERED, Registry, following, in_force, in_force_and_before, promoted, rolled_back
from trapline.store.base import Entry, Store
from trapline.store.folder import FolderStore
from trapline.store.memory import MemoryStore

LAYOUT = Layout()


def card(version: str, name: str = "moths", file: str = "model.onnx") -> bytes:
    return f"schema: 1\nname: {name}\nversion: {version}\nfile: {file}\n".encode()


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "bucket", tmp_path / "scratch") if request.param == "folder" else MemoryStore()


@pytest.fixture
def registry(store: Store) -> Registry:
    """A bucket with three versions of one model, none of them in force."""
    registry = Registry(store, LAYOUT)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        registry.put("moths", version, {"model.yaml": card(version), "model.onnx": version.encode()})
    return registry


# -- `current`, however it was written


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"1.1.0", ["1.1.0"]),
        (b"1.1.0\n", ["1.1.0"]),
        (b"1.1.0\r\n1.0.0\r\n", ["1.1.0", "1.0.0"]),
        (b"  1.1.0 \n\n1.0.0", ["1.1.0", "1.0.0"]),
        (b"\n1.1.0\n", ["1.1.0"]),
        (b"\xef\xbb\xbf1.1.0\n", ["1.1.0"]),
        ("1.1.0\r\n".encode("utf-16"), ["1.1.0"]),
        (b"", []),
        (b" \n", []),
        (b"\xff\x00", ["\ufffd\x00"]),
    ],
)
def test_current_is_read_however_an_editor_or_a_shell_wrote_it(data: bytes, lines: list[str]) -> None:
    assert in_force_and_before(data) == lines
    assert in_force(data) == (lines[0] if lines else "")


def test_what_was_in_force_comes_below_what_is() -> None:
    assert promoted(b"", "1.0.0") == b"1.0.0\n"
    assert promoted(b"1.0.0", "1.1.0") == b"1.1.0\n1.0.0\n"
    assert promoted(b"1.1.0\r\n1.0.0\r\n", "1.2.0") == b"1.2.0\n1.1.0\n1.0.0\n"
    assert promoted(b"1.1.0\n1.0.0\n", "1.1.0") == b"1.1.0\n1.0.0\n"


def test_twenty_versions_before_the_one_in_force_are_remembered() -> None:
    data = b""
    for minor in range(30):
        data = promoted(data, f"1.{minor}.0")
    lines = in_force_and_before(data)
    assert (lines[0], lines[-1], len(lines)) == ("1.29.0", "1.9.0", REMEMBERED + 1)


def test_a_version_that_was_rolled_back_from_is_not_kept() -> None:
    assert rolled_back(b"1.2.0\n1.1.0\n1.0.0\n") == b"1.1.0\n1.0.0\n"
    assert rolled_back(b"1.1.0\r\n1.0.0") == b"1.0.0\n"
    assert rolled_back(b"1.0.0\n") is None
    assert rolled_back(b"") is None


@pytest.mark.parametrize(
    ("versions", "after"),
    [
        ([], "1.0.0"),
        (["1.0.0"], "1.1.0"),
        (["1.9.0", "1.10.0"], "1.11.0"),
        (["2.3.4", "1.9.9"], "2.4.0"),
        (["draft"], "1.0.0"),
    ],
)
def test_the_next_version_is_the_next_minor(versions: list[str], after: str) -> None:
    assert following(versions) == after


# -- in a bucket


def test_versions_are_listed_by_number_and_only_where_there_is_a_card(store: Store, registry: Registry) -> None:
    registry.put("moths", "1.10.0", {"model.yaml": card("1.10.0"), "model.onnx": b"x"})
    store.put("models/moths/9.0.0/model.onnx", b"no card came with it")
    store.put("models/moths/1.0.0/more/model.yaml", b"deeper")
    assert registry.model("moths").versions == ["1.0.0", "1.1.0", "1.2.0", "1.10.0"]
    assert [kept.name for kept in registry.models()] == ["moths"]


def test_promote_and_rollback_go_forward_and_back(store: Store, registry: Registry) -> None:
    assert registry.promote("moths", "1.0.0") == ["1.0.0"]
    assert registry.promote("moths", "1.2.0") == ["1.2.0", "1.0.0"]
    assert registry.promote("moths", "1.1.0") == ["1.1.0", "1.2.0", "1.0.0"]
    assert store.get("models/moths/current").data == b"1.1.0\n1.2.0\n1.0.0\n"
    assert registry.roll_back("moths") == ["1.2.0", "1.0.0"]
    assert registry.roll_back("moths") == ["1.0.0"]
    with pytest.raises(
        ConfigError, match=r"No version of moths was in force before 1\.0\.0.*1\.0\.0, 1\.1\.0, 1\.2\.0"
    ):
        registry.roll_back("moths")


@pytest.mark.parametrize("written", [b"1.1.0", b"1.1.0\n", b"1.1.0\r\n", b"1.1.0\n\n", "1.1.0".encode("utf-16")])
def test_a_current_written_by_hand_is_gone_on_from(store: Store, registry: Registry, written: bytes) -> None:
    store.put("models/moths/current", written)
    assert registry.model("moths").in_force == "1.1.0"
    assert registry.promote("moths", "1.2.0") == ["1.2.0", "1.1.0"]
    assert registry.roll_back("moths") == ["1.1.0"]
    assert store.get("models/moths/current").data == b"1.1.0\n"


def test_a_version_that_is_not_whole_is_not_promoted(store: Store, registry: Registry) -> None:
    store.delete("models/moths/1.2.0/model.onnx")
    with pytest.raises(ConfigError, match=r"Version 1\.2\.0 of moths is not whole.*models/moths/1\.2\.0/model\.onnx"):
        registry.promote("moths", "1.2.0")
    store.put("models/moths/1.1.0/model.yaml", b"a: [")
    with pytest.raises(ConfigError, match=r"models/moths/1\.1\.0/model\.yaml: is not YAML"):
        registry.promote("moths", "1.1.0")
    assert registry.model("moths").in_force == ""


def test_rolling_back_to_a_version_that_was_removed_is_refused(store: Store, registry: Registry) -> None:
    registry.promote("moths", "1.0.0")
    registry.promote("moths", "1.1.0")
    store.delete("models/moths/1.0.0/model.yaml")
    with pytest.raises(ConfigError, match=r"Version 1\.0\.0 of moths, which was in force before 1\.1\.0, is not in"):
        registry.roll_back("moths")
    assert registry.model("moths").in_force == "1.1.0"


def test_a_version_is_never_overwritten(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"Version 1\.0\.0 of moths is in the bucket already"):
        registry.put("moths", "1.0.0", {"model.yaml": card("1.0.0") + b"threshold: 0.5\n", "model.onnx": b"other"})
    assert registry.file("moths", "1.0.0") == b"1.0.0"


def test_what_is_not_there_is_told_with_what_is(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"no model 'moth'.*It has: moths\. Did you mean 'moths'"):
        registry.known("moth")
    with pytest.raises(ConfigError, match=r"no version '2\.0\.0' of moths\. It has: 1\.0\.0, 1\.1\.0, 1\.2\.0"):
        registry.card("moths", "2.0.0")


class Breaking(MemoryStore):
    """A store that fails at the nth write."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self.left = nth

    def put(self, key: str, data: bytes, *, content_type: str | None = None, create_only: bool = False) -> Entry:
        self.left -= 1
        if self.left == 0:
            raise StoreUnavailable("The store went away.")
        return super().put(key, data, content_type=content_type, create_only=create_only)


@pytest.fixture(params=[1, 2, 3])
def breaking(request: pytest.FixtureRequest) -> Iterator[Breaking]:
    yield Breaking(request.param)


def test_a_version_is_never_half_there_and_adding_it_again_completes_it(breaking: Breaking) -> None:
    files = {"model.yaml": card("1.0.0"), "model.onnx": b"x", "labels.txt": b"y"}
    registry = Registry(breaking, LAYOUT)
    with pytest.raises(StoreUnavailable):
        registry.put("moths", "1.0.0", files)
    assert registry.model("moths").versions == []
    registry.put("moths", "1.0.0", files)
    assert registry.model("moths").versions == ["1.0.0"]
    assert registry.file("moths", "1.0.0") == b"x"


def test_a_card_whose_file_is_lost_is_completed_by_adding_it_again(store: Store, registry: Registry) -> None:
    store.delete("models/moths/1.0.0/model.onnx")
    assert not registry.whole("moths", "1.0.0")
    registry.put("moths", "1.0.0", {"model.yaml": card("1.0.0"), "model.onnx": b"1.0.0"})
    assert registry.whole("moths", "1.0.0")


def test_a_root_prefix_goes_before_everything(store: Store) -> None:
    registry = Registry(store, Layout(root="site/"))
    registry.put("moths", "1.0.0", {"model.yaml": card("1.0.0"), "model.onnx": b"x"})
    registry.promote("moths", "1.0.0")
    assert sorted(entry.key for entry in store.list("")) == [
        "site/models/moths/1.0.0/model.onnx",
        "site/models/moths/1.0.0/model.yaml",
        "site/models/moths/current",
    ]
    assert [kept.name for kept in registry.models()] == ["moths"]
