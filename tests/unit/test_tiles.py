"""Large pictures in tiles: where they are cut, and that everything is told once."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from functions.train.evaluate import DETECTOR, FUNCTIONS
from functions.train.scenes import Look, make
from tests.unit.test_models import DOTS, detector_card, dots, model
from trapline.images import Image
from trapline.models import Model, ModelCard, Tiles
from trapline.models.boxes import overlaps
from trapline.models.tiles import Found, Joined, Tile, cut, join

Boxes = NDArray[np.float64]
WIDTH, HEIGHT = 4000, 3000


def scattered(count: int, smallest: float, largest: float, seed: int) -> Boxes:
    """Boxes that lie apart, in a picture of 12 megapixels."""
    rng = np.random.default_rng(seed)
    kept = np.empty((0, 4))
    while len(kept) < count:
        sides = rng.uniform(smallest, largest, 2)
        corner = rng.uniform(0, (WIDTH - sides[0], HEIGHT - sides[1]))
        box = np.array([[*corner, *(corner + sides)]])
        if not len(kept) or overlaps(box, kept).max() == 0:
            kept = np.concatenate([kept, box])
    return kept


def looked(truth: Boxes, plan: Tiles, rng: np.random.Generator, jitter: float = 0.0) -> list[Found]:
    """What a network would see: in each tile all that is at least a quarter in it, and what is cut best of all."""
    found = []
    for tile in cut(WIDTH, HEIGHT, plan):
        x1, y1, x2, y2 = tile.box
        moved = truth + rng.normal(0, 1, truth.shape) * jitter if jitter else truth
        seen = np.stack(
            [
                np.clip(moved[:, at], low, high)
                for at, low, high in zip(range(4), (x1, y1) * 2, (x2, y2) * 2, strict=True)
            ],
            axis=1,
        )
        sizes = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (seen, moved)]
        share = sizes[0] / sizes[1]
        there = share >= 0.25
        scores = np.where(share < 1, 0.99, rng.uniform(0.5, 0.9, len(truth)))
        found.append(Found(tile, seen[there], np.zeros(there.sum(), np.intp), scores[there].astype(np.float32)))
    return found


def joined(parts: list[Found]) -> Joined:
    return join(parts, iou=None, per_label=True, most=1000)


def assert_each_once(found: Boxes, truth: Boxes, least: float = 0.999) -> None:
    assert len(found) == len(truth)
    shares = overlaps(found, truth)
    assert (shares.max(axis=0) >= least).all() and (shares.max(axis=1) >= least).all()


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5), (0.3, 0.1)])
@pytest.mark.parametrize("size", [(4000, 3000), (641, 97), (30, 5000)])
def test_tiles_cover_the_picture_and_overlap_as_asked(size: tuple[int, int], scales: tuple[float, ...]) -> None:
    plan = Tiles(size=640, overlap=0.2, scales=scales)
    tiles = cut(*size, plan)
    covered = np.zeros((size[1], size[0]), np.uint8)
    for tile in tiles:
        x1, y1, x2, y2 = (int(side) for side in tile.box)
        covered[y1:y2, x1:x2] = 1
        assert tile.inner == (x1 > 0, y1 > 0, x2 < size[0], y2 < size[1])
    assert covered.all()
    lefts = sorted({tile.box[0] for tile in cut(*size, Tiles(size=640, overlap=0.2))})
    assert all(after - before <= 640 * 0.8 + 1 for before, after in zip(lefts, lefts[1:], strict=False))


def test_a_picture_that_fits_into_a_tile_is_one_tile() -> None:
    assert cut(600, 400, Tiles(size=640, scales=(1.0, 0.5))) == [Tile((0, 0, 600, 400), (False,) * 4)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("plan", [Tiles(size=640, overlap=0.25), Tiles(size=640, overlap=0.4, scales=(1.0, 0.5, 0.2))])
def test_300_things_are_each_told_once_and_whole(plan: Tiles, seed: int) -> None:
    truth = scattered(300, 20, 150, seed)
    found = joined(looked(truth, plan, np.random.default_rng(seed)))
    assert_each_once(found.boxes, truth)
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_they_are_told_once_where_no_two_tiles_agree_to_the_pixel(seed: int) -> None:
    truth = scattered(300, 40, 150, seed)
    plan = Tiles(size=640, overlap=0.25, scales=(1.0, 0.5))
    found = joined(looked(truth, plan, np.random.default_rng(seed), jitter=2.0))
    assert_each_once(found.boxes, truth, least=0.6)


def test_a_thing_larger_than_the_overlap_is_joined_from_its_parts() -> None:
    truth = np.array([[500.0, 600, 1100, 900], [2000, 400, 2300, 1200]])
    found = joined(looked(truth, Tiles(size=640, overlap=0.1), np.random.default_rng(1)))
    assert_each_once(found.boxes, truth, least=0.85)  # a sliver in a tile of its own is not seen


def test_two_things_that_one_look_told_apart_stay_two() -> None:
    tile = Tile((0.0, 0.0, 640.0, 640.0), (False, False, True, True))
    boxes = np.array([[100.0, 100, 200, 200], [110, 110, 205, 205]])
    part = Found(tile, boxes, np.zeros(2, np.intp), np.array([0.9, 0.8], np.float32))
    assert len(joined([part]).boxes) == 2


def test_labels_are_left_alone_unless_the_card_says_by_box_alone() -> None:
    tiles = cut(1000, 640, Tiles(size=640, overlap=0.4))
    box = np.array([[400.0, 100, 500, 200]])
    parts = [Found(tile, box, np.array([n], np.intp), np.array([0.9], np.float32)) for n, tile in enumerate(tiles)]
    assert len(join(parts, iou=None, per_label=True, most=10).boxes) == 2
    assert len(join(parts, iou=None, per_label=False, most=10).boxes) == 1


def test_a_small_thing_in_the_box_of_a_large_one_is_told_beside_it() -> None:
    tiles = cut(1000, 640, Tiles(size=640, overlap=0.4))
    large, small = np.array([[380.0, 100, 600, 300]]), np.array([[400.0, 110, 440, 150]])
    parts = [
        Found(tile, box, np.zeros(1, np.intp), np.array([0.9], np.float32))
        for tile, box in zip(tiles, (large, small), strict=True)
    ]
    assert len(joined(parts).boxes) == 2


def test_no_more_are_told_than_the_card_wants() -> None:
    truth = scattered(50, 40, 150, 1)
    parts = looked(truth, Tiles(size=640, overlap=0.25), np.random.default_rng(1))
    assert len(join(parts, iou=None, per_label=True, most=7).boxes) == 7


# -- with networks


def tiled(content: dict[str, object], **plan: object) -> dict[str, object]:
    return content | {"tiles": plan}


def test_a_network_in_tiles_finds_each_of_300_dots_of_12_megapixels_once() -> None:
    places = [(int(x) // 8 * 8, int(y) // 8 * 8) for x, y, *_ in scattered(300, 24, 24, 3)]
    picture = dots(WIDTH, HEIGHT, *places)
    # Tiles are fed at half their size, so that a dot is one cell; their corners lie on multiples of 8.
    loaded = model(tiled(detector_card(DOTS, input={"name": "x", "max_side": 320}), size=640, overlap=0.1), DOTS)
    (found,) = loaded.detect([picture])
    truth = np.array([[x, y, x + 8, y + 8] for x, y in places], float)
    boxes = np.array([one.box for one in found])
    assert len(found) == 300
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = np.abs(middles[:, None] - (truth[None, :, :2] + 4)).max(axis=2)
    assert distance.min(axis=0).max() <= 4 and distance.min(axis=1).max() <= 4


def test_a_picture_of_one_tile_is_read_as_without_tiles() -> None:
    plain = detector_card(DOTS, input={"name": "x", "max_side": 160})
    image = dots(160, 96, (16, 16), (80, 40))
    found, whole = (model(card, DOTS).detect([image])[0] for card in (tiled(plain, size=160), plain))
    assert sorted(one.box for one in found) == sorted(one.box for one in whole)


def twelve_megapixels(seed: int) -> tuple[Image, Boxes]:
    """300 insects: four sheets side by side, each with as many as the sample detector knows at half that size."""
    canvas, truth = Pillow.new("RGB", (WIDTH, HEIGHT)), []
    rng = np.random.default_rng(seed)
    for left, top in ((0, 0), (2000, 0), (0, 1500), (2000, 1500)):
        scene = make(Look(2000, 1500, insects=75, zoom=0.8, overlap=0.03, clutter=False), rng)
        canvas.paste(scene.picture, (left, top))
        truth += [np.array(insect.box) + np.array([left, top] * 2) for insect in scene.insects]
    out = io.BytesIO()
    canvas.save(out, "JPEG", quality=90)
    return Image(out.getvalue()), np.array(truth)


def matched(found: Boxes, truth: Boxes) -> tuple[int, int]:
    """How many are found, and how many boxes are of none or tell one again."""
    shares = overlaps(found, truth)
    right = len({int(row.argmax()) for row in shares if row.max() >= 0.5})
    return right, len(found) - right


@pytest.mark.slow
def test_the_sample_detector_finds_300_insects_of_12_megapixels_in_tiles() -> None:
    sample = Model.load(FUNCTIONS / DETECTOR)
    plan = {"size": 800, "overlap": 0.25, "scales": [0.4]}
    card = ModelCard.model_validate(sample.card.model_dump(by_alias=True) | {"tiles": plan})
    image, truth = twelve_megapixels(5)
    assert len(truth) == 300
    (whole,) = sample.detect([image])
    (found,) = Model(card, (FUNCTIONS / DETECTOR / card.file).read_bytes()).detect([image])
    # What it sees in the seams where the sheets meet is neither an insect nor a fault of the tiles.
    boxes = np.array([one.box for one in found])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    right, wrong = matched(boxes[(np.abs(middles - (2000, 1500)) > 12).all(axis=1)], truth)
    assert matched(np.array([one.box for one in whole]), truth)[0] < 270
    assert right >= 297 and wrong <= 3
