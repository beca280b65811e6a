"""Scenes: what the generator draws, and that its truth is true."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from functions.train.scenes import LABELS, Look, look_at_random, make
from functions.train.sprites import SIZES, draw

BARE = Look(insects=0, noise=0, clutter=False)


def pixels(look: Look, seed: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.asarray(make(look, np.random.default_rng(seed)).picture, np.int16)


def test_a_seed_gives_the_same_picture_and_truth_again() -> None:
    first, again = (make(Look(insects=12), np.random.default_rng(5)) for _ in range(2))
    assert first.insects == again.insects
    assert first.jpeg() == again.jpeg()


def test_another_seed_gives_another_picture() -> None:
    assert make(Look(), np.random.default_rng(1)).jpeg() != make(Look(), np.random.default_rng(2)).jpeg()


def test_one_camera_sees_the_same_sheet_all_night() -> None:
    cloth = [make(BARE, np.random.default_rng(night), np.random.default_rng(9)).jpeg() for night in (1, 2)]
    assert cloth[0] == cloth[1]


def test_the_sheet_is_pale_and_what_is_beyond_it_is_dark() -> None:
    whole = pixels(BARE, seed=3)
    assert np.median(whole) > 130
    edges = [pixels(BARE, seed)[rows].mean() for seed in range(12) for rows in (np.s_[:8], np.s_[-8:])]
    assert min(edges) < 40 < 120 < max(edges)


def test_every_kind_has_a_size_and_a_drawing() -> None:
    assert len(LABELS) >= 5
    assert set(SIZES) == set(LABELS)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("size", [30.0, 90.0])
def test_an_insect_fills_its_box_and_about_the_size_asked_for(label: str, size: float) -> None:
    for seed in range(6):
        sprite = draw(label, size, np.random.default_rng(seed))
        x1, y1, x2, y2 = sprite.box
        assert 0 <= x1 < x2 <= sprite.pixels.width
        assert 0 <= y1 < y2 <= sprite.pixels.height
        assert 0.55 * size < max(x2 - x1, y2 - y1) < 1.5 * size
        alpha = np.asarray(sprite.pixels)[y1:y2, x1:x2, 3]
        assert all((side > 0).any() for side in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))


def test_a_box_holds_the_insect_and_little_else() -> None:
    scene = make(Look(insects=10, noise=0, clutter=False), np.random.default_rng(4))
    empty = make(BARE, np.random.default_rng(4)).picture
    changed = np.abs(np.asarray(scene.picture, np.int16) - np.asarray(empty, np.int16)).max(axis=2) > 60
    inside = np.zeros_like(changed)
    for insect in scene.insects:
        x1, y1, x2, y2 = (int(side) for side in insect.box)
        inside[y1:y2, x1:x2] = True
        assert changed[y1:y2, x1:x2].mean() > 0.15
    assert (changed & inside).sum() > 0.9 * changed.sum()


def test_boxes_lie_in_the_picture_and_overlap_no_more_than_asked() -> None:
    scene = make(Look(insects=120, zoom=0.7, overlap=0.05), np.random.default_rng(6))
    boxes = np.array([insect.box for insect in scene.insects])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 1600).all()
    assert (boxes[:, 3] <= 1200).all()
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    np.fill_diagonal(common, 0)
    assert (common / np.minimum(area[:, None], area[None, :])).max() <= 0.05 + 1e-9


def test_a_crowd_has_hundreds_of_every_kind_together() -> None:
    scene = make(Look(insects=300, zoom=0.62), np.random.default_rng(7))
    assert len(scene.insects) > 250
    assert set(Counter(insect.label for insect in scene.insects)) == set(LABELS)


def test_a_season_has_empty_sheets_and_crowds() -> None:
    counts = [look_at_random(np.random.default_rng(seed)).insects for seed in range(200)]
    assert min(counts) == 0
    assert max(counts) > 200
    assert 10 < np.median(counts) < 80
