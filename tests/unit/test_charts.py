"""charts.svg and charts.png: what was counted, drawn; the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.nights import JOB, Job, done
from tests.unit.test_report import found, moths
from trapline.runtime.items import Member

NAMES = ["Xestia", "蛾", "$x^2$ \\frac", "<script>", "\u202e", "l" * 10_000, "\ud800", ""]


def charts(folder: Path, *members: Member) -> tuple[bytes, bytes]:
    job = Job(folder, members, outputs=("charts",))
    job.compiled()
    svg, png = ((folder / "files" / f"charts.{form}").read_bytes() for form in ("svg", "png"))
    return svg, png


def test_both_pictures_are_drawn_and_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    members = moths(30, "Xestia", "Agrotis")
    svg, png = charts(tmp_path / "one", *members)
    assert charts(tmp_path / "two", *members) == (svg, png)
    assert b"<svg" in svg and b"<dc:date>" not in svg
    pixels = np.asarray(Pillow.open(tmp_path / "one" / "files" / "charts.png").convert("L"))
    assert pixels.shape[1] > 1500 and 0.005 < (pixels < 128).mean() < 0.5


def test_days_are_those_of_the_stations_clock_whatever_offset_the_camera_writes(tmp_path: Path) -> None:
    job = Job(tmp_path, [done(f"{JOB}/a.jpg", found(at="2026-11-20T23:30:00Z"))], outputs=("charts", "report"))
    job.station = {"timezone": "Europe/Copenhagen"}
    job.compiled()
    assert "2026-11-21" in (tmp_path / "files" / "charts.svg").read_text()
    assert "21 November 2026" in (tmp_path / "files" / "report.html").read_text()


@pytest.mark.parametrize("known", [[], [found()], [found("Xestia", at=None)], [found(*NAMES)]])
def test_nothing_that_was_found_or_how_it_is_called_breaks_them(tmp_path: Path, known: list[dict[str, object]]) -> None:
    svg, png = charts(tmp_path, *(done(f"{JOB}/{n}.jpg", said) for n, said in enumerate(known)))
    assert b"<script" not in svg and png[:4] == b"\x89PNG"


def test_many_kinds_are_drawn_as_the_most_frequent_and_the_rest(tmp_path: Path) -> None:
    members = [done(f"{JOB}/{n}.jpg", found(f"L{n}")) for n in range(60)]
    svg, _ = charts(tmp_path, *members)
    assert b"45 other kinds" in svg


def test_a_name_of_wide_letters_ends_where_the_page_does(tmp_path: Path) -> None:
    charts(tmp_path, done(f"{JOB}/a.jpg", found("MMMMMWWWWW" * 3)))
    pixels = np.asarray(Pillow.open(tmp_path / "files" / "charts.png").convert("L"))
    assert pixels[pixels.shape[0] // 5 :, :20].min() == 255


def test_what_stands_for_a_name_that_no_font_can_write_is_explained(tmp_path: Path) -> None:
    svg, _ = charts(tmp_path / "a", done(f"{JOB}/a.jpg", found("Xestia", "Xestia", "a\x07b")))
    assert b"<!-- #2: no font here has these" in svg
    svg, _ = charts(tmp_path / "b", done(f"{JOB}/a.jpg", found("Xestia", "#1")))
    assert b"no font here" not in svg


def test_the_clock_is_named_the_axis_ends_at_one_and_what_nobody_can_tell_is_no_kind(tmp_path: Path) -> None:
    members = [done(f"{JOB}/{n}.jpg", found("unknown", "Xestia")) for n in range(3)]
    for station, clock in (({"timezone": "Europe/Copenhagen"}, b"Europe/Copenhagen"), ({}, b"the camera's clock")):
        job = Job(tmp_path / clock.decode()[:3], members, outputs=("charts",), station=station)
        job.compiled()
        with job.open("charts.svg") as stream:
            svg = stream.read()
        assert clock in svg and b"<!-- 1.0 -->" in svg
        assert b"Xestia" in svg and b"unknown" not in svg and b"other kinds" not in svg
