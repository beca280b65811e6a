"""Bars in a terminal: as wide as it is, in letters that it has, and never broken by what a summary says."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from trapline.cli.plot import plot

FOUND: dict[str, Any] = {
    "labels": {"Noctua pronuba": 120, "Xestia c-nigrum": 60, "Agrotis": 1},
    "activity": [5, 3, *[0] * 18, 10, 80, 60, 23],
    "effort": [9, 9, *[0] * 18, 9, 9, 9, 9],
    "confidence": [*[0] * 15, 1, 2, 10, 50, 118],
}


def drawn(found: dict[str, Any], width: int = 80, encoding: str = "utf-8", **options: Any) -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    plot(Console(file=stream, width=width, highlight=False, markup=False, **options), found)
    stream.seek(0)
    return stream.read().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(FOUND, width)
    assert max(map(len, lines)) <= width
    assert sum("█" in line for line in lines) >= 8


def test_a_bar_is_as_long_as_its_count_and_the_least_still_shows() -> None:
    lines = drawn(FOUND)
    lengths = {line.split()[0]: line.count("█") for line in lines if "pronuba" in line or "Xestia" in line}
    assert lengths["Noctua"] == pytest.approx(2 * lengths["Xestia"], abs=1)
    (agrotis,) = [line for line in lines if "Agrotis" in line]
    assert "▎" in agrotis or "▍" in agrotis or "▌" in agrotis
    assert agrotis.endswith("  1")


def test_a_night_goes_from_noon_to_noon_and_says_when_images_were_taken() -> None:
    lines = drawn(FOUND, 100)
    (ticks,) = [line for line in lines if "12" in line and "21" in line and "█" not in line]
    assert ticks.split()[0] == "12"
    assert "  images were taken from 20:00 to 01:59" in lines


def test_a_terminal_without_blocks_gets_plain_ascii() -> None:
    lines = drawn(FOUND, encoding="ascii")
    assert all(line.isascii() for line in lines) and any("####" in line for line in lines)


def test_colours_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[32m" in "".join(drawn(FOUND, force_terminal=True, color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in "".join(drawn(FOUND, force_terminal=True, color_system="standard"))


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"labels": {}, "activity": [0] * 24, "effort": [0] * 24, "confidence": [0] * 20},
        {"labels": [1], "activity": "x", "effort": [1, 2], "confidence": [None]},
        {"labels": {"a": "b"}, "confidence": [-1]},
    ],
)
def test_what_a_summary_does_not_say_is_left_out(found: dict[str, Any]) -> None:
    assert drawn(found) == []


def test_names_are_cut_and_hold_no_control_characters() -> None:
    lines = drawn({"labels": {"l" * 500: 3, "\x1b[31mred": 2, "": 1}})
    assert max(map(len, lines)) <= 80 and "\\x1b[31mred" in "".join(lines) and "(no label)" in "".join(lines)
    assert "and 5 more labels" in "".join(drawn({"labels": {str(n): 1 for n in range(25)}}))
