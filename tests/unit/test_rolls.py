"""Two rolls beside each other: what changed, and which lines of an earlier revision still hold."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.records import RollEntry
from trapline.runtime.jobs import roll_lines
from trapline.runtime.rolls import NAMED, Earlier, compared

SHA, OTHER = "ab" * 32, "cd" * 32


def entry(rel: str, **said: Any) -> RollEntry:
    return RollEntry(**{"rel": rel, "state": "done", "stage": "classify", "recipe": "r", "sha256": SHA, **said})


def failed(rel: str, code: str = "image_truncated", **said: Any) -> RollEntry:
    return RollEntry(rel, "failed", "detect", code=code, **said)


def lines_of(members: list[RollEntry]) -> list[bytes]:
    return roll_lines(members).splitlines(keepends=True)


def changes(before: list[RollEntry], now: list[RollEntry]) -> dict[str, Any]:
    return compared("r1-0a1b2c3d", lines_of(before), lines_of(now)).model_dump(exclude={"against"})


def test_what_came_went_and_is_another_is_counted_and_named() -> None:
    before = [entry("a"), entry("b"), entry("c"), failed("e")]
    now = [entry("a"), entry("b", sha256=OTHER), entry("d"), entry("e")]
    names = {"added": ("d",), "changed": ("b", "e"), "removed": ("c",)}
    assert changes(before, now) == {"added": 1, "changed": 2, "removed": 1, "names": names}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (entry("a"), entry("a", etag="another store's", kept=True, id="NScx", event_id="9", size=7)),
        (failed("a"), failed("a", sha256=SHA, etag="e")),
        (entry("a", sha256=""), entry("a")),
    ],
    ids=["the store's and the manifest's own", "bytes that are read now", "bytes that had no hash"],
)
def test_what_is_no_other_answer_is_no_change(old: RollEntry, new: RollEntry) -> None:
    assert changes([old], [new]) == {"added": 0, "changed": 0, "removed": 0, "names": {}}


@pytest.mark.parametrize(
    "new",
    [
        entry("a", sha256=OTHER),
        entry("a", recipe="s"),
        entry("a", state="skipped"),
        entry("a", missing="second"),
        failed("a"),
    ],
    ids=lambda new: f"{new.state} {new.recipe} {new.missing}",
)
def test_other_bytes_another_recipe_and_another_state_are_changes(new: RollEntry) -> None:
    assert changes([entry("a")], [new])["changed"] == 1


def test_only_the_first_hundred_of_each_kind_are_named_and_memory_stays_small() -> None:
    def many(first: int) -> Iterator[bytes]:
        for n in range(first, first + 30_000):
            yield entry(f"{n:06}").line().encode()

    tracemalloc.start()
    found = compared("r1", many(0), many(15_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.added, found.changed, found.removed) == (15_000, 0, 15_000)
    assert found.names["added"] == tuple(f"{n:06}" for n in range(30_000, 30_000 + NAMED))
    assert len(found.names["removed"]) == NAMED
    assert peak < 1_000_000


def test_a_roll_that_is_not_sorted_is_not_compared() -> None:
    with pytest.raises(ValueError, match="'a' comes after 'b'"):
        changes([entry("b"), entry("a")], [entry("c"), entry("d")])


names = st.text(min_size=1, max_size=3)
members = st.dictionaries(names, st.builds(entry, st.just(""), recipe=st.sampled_from("rs")), max_size=8)


def _roll(said: dict[str, RollEntry]) -> list[RollEntry]:
    return [one._replace(rel=rel) for rel, one in sorted(said.items())]


@given(members, members)
def test_changes_are_those_of_plain_sets(before: dict[str, RollEntry], now: dict[str, RollEntry]) -> None:
    found = changes(_roll(before), _roll(now))
    both = before.keys() & now.keys()
    said = {
        "added": sorted(now.keys() - before.keys()),
        "changed": sorted(rel for rel in both if before[rel] != now[rel]),
        "removed": sorted(before.keys() - now.keys()),
    }
    assert {kind: list(rels) for kind, rels in found["names"].items()} == {k: v for k, v in said.items() if v}
    assert [found[kind] for kind in said] == [len(rels) for rels in said.values()]


def earlier(before: list[RollEntry], lines: list[dict[str, Any]] | bytes) -> Earlier:
    data = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return Earlier(io.BytesIO(roll_lines(before)), io.BytesIO(data))


@given(members, members)
def test_a_line_is_handed_out_where_the_member_is_as_it_was_and_nowhere_else(
    before: dict[str, RollEntry], now: dict[str, RollEntry]
) -> None:
    said = earlier(_roll(before), [{"rel": rel, "n": n} for n, rel in enumerate(sorted(before))])
    for rel, one in sorted(now.items()):
        holds = before.get(rel) == one
        assert said(one._replace(rel=rel)) == ({"rel": rel, "n": sorted(before).index(rel)} if holds else None)


@pytest.mark.parametrize(
    "new",
    [
        entry("a", sha256=OTHER),
        entry("a", sha256=""),
        entry("a", recipe="s"),
        entry("a", stage="join"),
        entry("a", missing="second"),
        entry("a", skipped="classify"),
        entry("a", size=9),
        entry("a", state="skipped"),
        entry("a", state="pending"),
        failed("a"),
    ],
    ids=str,
)
def test_a_member_of_which_anything_is_another_is_read(new: RollEntry) -> None:
    assert earlier([entry("a")], [{"rel": "a"}])(entry("a")) == {"rel": "a"}
    assert earlier([entry("a")], [{"rel": "a"}])(new) is None


@pytest.mark.parametrize("same", [failed("a"), entry("a", state="pending", sha256=""), entry("a", sha256="")], ids=str)
def test_what_failed_or_has_no_hash_is_always_read(same: RollEntry) -> None:
    assert earlier([same], [{"rel": "a"}])(same) is None


@pytest.mark.parametrize(
    "lines",
    [b"", b"file,label\na,moth\n", b'{"rel":"b"}\n{"rel":"a"}\n', b'["a"]\n["b"]\n', b'{"file":"a"}\n{"file":"b"}\n'],
)
def test_a_file_of_another_shape_than_a_line_a_member_counts_for_nothing(lines: bytes) -> None:
    said = earlier([entry("a"), entry("b")], lines)
    assert [said(entry("a")), said(entry("b"))] == [None, None]


def test_lines_end_where_the_file_has_fewer_than_the_roll_has_members() -> None:
    said = earlier([entry("a"), entry("b"), entry("c")], [{"rel": "a"}])
    assert [said(entry(rel)) for rel in "abc"] == [{"rel": "a"}, None, None]


def test_a_roll_that_a_power_loss_tore_ends_there() -> None:
    torn = roll_lines([entry("a"), entry("b")])[:-20]
    said = Earlier(io.BytesIO(torn), io.BytesIO(b'{"rel":"a"}\n{"rel":"b"}\n'))
    assert [said(entry("a")), said(entry("b"))] == [{"rel": "a"}, None]
