"""Seeded scenes as training arrays: decoded as the stages decode them, with boxes, crops and targets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from functions.train.scenes import LABELS, Box, Look, look_at_random, make
from trapline.images import Image
from trapline.models.inputs import fitted

MAX_SIDE = 800  # the detector's input: a 1600-pixel JPEG decodes to it directly
CELL = 4  # input pixels per cell of the detector's maps
REFERENCE = 20.0  # input pixels; sizes are learnt as logarithms relative to it
CROP, MARGIN = 48, 0.1  # the classifier's input: pixels, and what is added around a box
SIZES = ((1600, 1200), (1600, 1200), (1600, 1200), (2000, 1500), (1280, 960), (1920, 1080), (1200, 1600))


@dataclass(frozen=True)
class Picture:
    """One training picture at the detector's scale, and its insects' crops at the classifier's."""

    pixels: NDArray[np.uint8]  # height x width x 3
    boxes: NDArray[np.float32]  # n x 4, in `pixels`
    crops: NDArray[np.uint8]  # n x CROP x CROP x 3
    kinds: NDArray[np.int64]  # n indices into LABELS


def pictures(seed: int, count: int, workers: int) -> list[Picture]:
    """`count` training pictures; the same seed gives the same ones, whatever `workers` is."""
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(partial(_picture, seed), range(count), chunksize=4))


def _picture(seed: int, number: int) -> Picture:
    rng = np.random.default_rng([seed, 0, number])
    size = SIZES[rng.integers(len(SIZES))]
    scene = make(_without_empty(look_at_random(rng, *size), rng), rng)
    image = Image(scene.jpeg(int(rng.integers(55, 96))))
    source = fitted(image, MAX_SIDE)
    boxes = np.array([insect.box for insect in scene.insects], np.float32).reshape(-1, 4)
    crops = [image.crop(_jittered(insect.box, rng), CROP, margin=MARGIN) for insect in scene.insects]
    kinds = np.array([LABELS.index(insect.label) for insect in scene.insects], np.int64)
    scale = np.array([source.scale_x, source.scale_y] * 2, np.float32)
    return Picture(source.array, boxes / scale, np.array(crops, np.uint8).reshape(-1, CROP, CROP, 3), kinds)


def _without_empty(look: Look, rng: np.random.Generator) -> Look:
    return look if look.insects or rng.random() < 0.5 else look_at_random(rng, look.width, look.height)


def _jittered(box: Box, rng: np.random.Generator) -> Box:
    """A box as a detector might have found it."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    shift = rng.normal(0, 0.06, 4) * np.array([width, height, width, height])
    return (x1 + shift[0], y1 + shift[1], x2 + shift[2], y2 + shift[3])


def windows(
    season: list[Picture], side: int, batch: int, steps: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Batches of random windows: pixels 0..1 as batch x 3 x side x side, and their targets (see `targets`)."""
    for _ in range(steps):
        chosen = [_window(season[rng.integers(len(season))], side, rng) for _ in range(batch)]
        yield np.stack([pixels for pixels, _ in chosen]), np.stack([targets(boxes, side) for _, boxes in chosen])


def _window(picture: Picture, side: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width = picture.pixels.shape[:2]
    x, y = int(rng.integers(0, max(1, width - side + 1))), int(rng.integers(0, max(1, height - side + 1)))
    cut = picture.pixels[y : y + side, x : x + side]
    boxes = picture.boxes - np.array([x, y, x, y], np.float32)
    pixels = np.zeros((side, side, 3), np.float32)
    pixels[: cut.shape[0], : cut.shape[1]] = cut
    pixels, boxes = _turned(pixels, boxes, int(rng.integers(8)))
    return np.ascontiguousarray(relit(pixels / np.float32(255), rng).transpose(2, 0, 1)), boxes


def _turned(
    pixels: NDArray[np.float32], boxes: NDArray[np.float32], way: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One of the eight ways to lay a square."""
    side = pixels.shape[0]
    if way & 1:
        pixels, boxes = pixels[:, ::-1], np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
    if way & 2:
        pixels, boxes = pixels[::-1], np.stack([boxes[:, 0], side - boxes[:, 3], boxes[:, 2], side - boxes[:, 1]], 1)
    if way & 4:
        pixels, boxes = pixels.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    return pixels, boxes


def relit(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another exposure and white balance, for one picture 0..1 or for each of a batch."""
    each = (*pixels.shape[:-3], 1, 1)
    gain = rng.uniform(0.8, 1.15, (*each, 1)) * rng.uniform(0.93, 1.07, (*each, 3))
    lift = rng.uniform(-0.04, 0.04, (*each, 1))
    lit: NDArray[np.float32] = np.clip(pixels * gain.astype(np.float32) + lift.astype(np.float32), 0, 1)
    return lit


def targets(boxes: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """6 x cells x cells: heat, log width, log height, offset x, offset y, and the weight of the last four."""
    cells = side // CELL
    maps = np.zeros((6, cells, cells), np.float32)
    for box in boxes:
        centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2 / CELL
        if not ((centre >= 0) & (centre < cells)).all():
            continue
        _splat(maps, centre, np.maximum([box[2] - box[0], box[3] - box[1]], 2.0))
    return maps


def _splat(maps: NDArray[np.float32], centre: NDArray[np.float64], size: NDArray[np.float64]) -> None:
    cells = maps.shape[1]
    column, row = int(centre[0]), int(centre[1])
    sigma = np.maximum(size / CELL * 0.12, 0.55)
    reach = np.ceil(sigma * 3).astype(int)
    xs = np.arange(max(0, column - reach[0]), min(cells, column + reach[0] + 1))
    ys = np.arange(max(0, row - reach[1]), min(cells, row + reach[1] + 1))
    heat = np.exp(-((xs[None] - column) ** 2) / (2 * sigma[0] ** 2) - ((ys[:, None] - row) ** 2) / (2 * sigma[1] ** 2))
    here = np.ix_(ys, xs)
    better = (heat > 0.25) & (heat > maps[5][here])
    learnt = (*np.log(size / REFERENCE), centre[0] - xs[None] + 0 * ys[:, None], centre[1] - ys[:, None] + 0 * xs[None])
    for plane, value in enumerate((*learnt, heat), start=1):
        maps[plane][here] = np.where(better, value, maps[plane][here])
    maps[0][here] = np.maximum(maps[0][here], heat)
