"""Boxes and captions on pictures: seen at every size, on every ground, up to the edges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from trapline.images import RGB
from trapline.images.drawing import PALETTE, Colours, Mark, drawn


def plain(width: int, height: int, grey: int = 128) -> RGB:
    return np.full((height, width, 3), grey, np.uint8)


def changed(before: RGB, after: RGB) -> NDArray[np.bool_]:
    return np.asarray((before != after).any(axis=2))


def test_the_picture_itself_stays_as_it_was() -> None:
    sheet = plain(200, 100)
    drawn(sheet, [Mark((10, 30, 90, 90), "moth", "moth 0.9")])
    assert (sheet == 128).all()


def test_a_box_is_drawn_around_what_it_holds() -> None:
    sheet = plain(640, 480)
    marked = changed(sheet, drawn(sheet, [Mark((100, 100, 200, 180), "moth")]))
    assert marked[96:100, 100:200].all() and marked[181:185, 100:200].all()
    assert not marked[100:180, 100:200].any()


@pytest.mark.parametrize(("width", "height"), [(640, 480), (4000, 3000)])
def test_lines_and_letters_grow_with_the_picture(width: int, height: int) -> None:
    sheet = plain(width, height)
    box = (width * 0.4, height * 0.4, width * 0.6, height * 0.6)
    bare = changed(sheet, drawn(sheet, [Mark(box, "moth")]))
    named = changed(sheet, drawn(sheet, [Mark(box, "moth", "moth 0.9")]))
    line = bare[: height // 2, width // 2].sum()
    caption = (named & ~bare).any(axis=1).sum()
    assert width / 500 < line < width / 150
    assert max(12, width / 80) < caption < max(24, width / 35)


@pytest.mark.parametrize("grey", [0, 60, 128, 200, 255])
@pytest.mark.parametrize("label", [f"kind {n}" for n in range(len(PALETTE))])
def test_every_colour_is_seen_on_every_ground(grey: int, label: str) -> None:
    sheet = plain(120, 120, grey)
    picture = drawn(sheet, [Mark((30, 30, 90, 90), label)])
    contrast = np.abs(picture[20:32, 60].astype(int) - grey).max(axis=1)
    assert contrast.max() > 90


@pytest.mark.parametrize("box", [(-40, -30, 30, 20), (600, 440, 700, 500), (0, 0, 640, 480), (300, -20, 320, 5)])
def test_a_caption_is_whole_wherever_its_box_is(box: tuple[float, float, float, float]) -> None:
    sheet = plain(640, 480)
    inside = drawn(sheet, [Mark((300, 200, 320, 220), "moth", "ground-beetle 0.97")])
    area = changed(drawn(sheet, [Mark((300, 200, 320, 220), "moth")]), inside).sum()
    at_edge = drawn(sheet, [Mark(box, "moth", "ground-beetle 0.97")])
    assert changed(drawn(sheet, [Mark(box, "moth")]), at_edge).sum() > 0.8 * area


def test_captions_of_neighbours_do_not_cover_each_other() -> None:
    sheet = plain(640, 480)
    boxes = [(300, 200, 320, 220), (304, 204, 324, 224), (296, 208, 316, 228)]
    bare = drawn(sheet, [Mark(box, "moth") for box in boxes])
    one = changed(bare, drawn(sheet, [*(Mark(box, "moth") for box in boxes[1:]), Mark(boxes[0], "moth", "moth 0.90")]))
    all_ = changed(bare, drawn(sheet, [Mark(box, "moth", "moth 0.90") for box in boxes]))
    assert all_.sum() > 2.6 * one.sum()


def test_many_captions_are_smaller_so_that_the_picture_is_still_seen() -> None:
    random = np.random.default_rng(1)
    corners = random.uniform(0, (1500, 1100), (300, 2))
    marks = [Mark((x, y, x + 30, y + 25), "moth", "ground-beetle 0.97") for x, y in corners]
    sheet = plain(1600, 1200)
    assert changed(sheet, drawn(sheet, marks)).mean() < 0.6


def test_labels_have_colours_of_their_own_that_stay() -> None:
    colours = Colours()
    first = [colours.of(f"kind {n}") for n in range(len(PALETTE))]
    assert len(set(first)) == len(PALETTE)
    assert [colours.of(f"kind {n}") for n in range(len(PALETTE))] == first
    assert colours.of("one more") in PALETTE


def test_odd_boxes_and_captions_are_no_reason_to_fail() -> None:
    sheet = plain(80, 60)
    odd = [(50, 50, 10, 10), (900, 900, 950, 950), (10, 10, 10, 10)]
    captions = ["", "x" * 500, "moth\n\x00 夜蛾"]
    picture = drawn(sheet, [Mark(box, "m", text) for box, text in zip(odd, captions, strict=True)], ["a\tnote" * 50])
    assert picture.shape == sheet.shape
    assert drawn(plain(1, 1), [Mark((0, 0, 1, 1), "m", "moth")]).shape == (1, 1, 3)
