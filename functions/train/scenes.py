"""Scenes at the light: an illuminated sheet at night with moths and beetles on it, and the truth about them.

Made from a seed alone, with numpy and Pillow. Training, the sample night and the tests draw from here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from functions.train.sprites import KINDS, SIZES, Sprite, draw

Box = tuple[float, float, float, float]
LABELS = tuple(KINDS)
SMALLEST = 30.0  # pixels at a width of 1600: what a person can still name


@dataclass(frozen=True)
class Look:
    """What varies from picture to picture. `look_at_random` draws one."""

    width: int = 1600  # pixels
    height: int = 1200  # pixels
    insects: int = 20  # how many to place; fewer are placed where there is no room
    zoom: float = 1.0  # sizes are multiplied by it
    blur: float = 0.0  # sigma of the lens, pixels
    noise: float = 2.0  # sigma of the sensor, of 255
    exposure: float = 1.0  # brightness is multiplied by it
    warmth: float = 0.0  # -1 bluish lamp to 1 yellowish
    overlap: float = 0.08  # largest share of a box that another may cover
    clutter: bool = True  # specks, stains, a label card


@dataclass(frozen=True)
class Insect:
    """One insect as it stands in the picture."""

    label: str  # one of LABELS
    box: Box  # x1, y1, x2, y2 of body and wings, pixels


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about it."""

    picture: Image.Image  # RGB
    insects: tuple[Insect, ...]

    def jpeg(self, quality: int = 80, **options: object) -> bytes:
        """The picture as a JPEG file."""
        out = io.BytesIO()
        self.picture.save(out, "JPEG", quality=quality, **options)
        return out.getvalue()


def look_at_random(rng: np.random.Generator, width: int = 1600, height: int = 1200) -> Look:
    """A look as a season of nights would give: from empty sheets to crowds."""
    crowd = rng.random()
    insects = 0 if crowd < 0.05 else int(rng.integers(3, 45)) if crowd < 0.6 else int(rng.integers(45, 150))
    insects = int(rng.integers(180, 301)) if crowd > 0.88 else insects
    zoom = rng.uniform(0.62, 0.85) if insects > 150 else rng.uniform(0.68, 1.25)
    return Look(
        width, height, insects, zoom,
        blur=float(rng.choice([0.0, 0.0, rng.uniform(0.4, 1.6)])),
        noise=rng.uniform(0.5, 7.0),
        exposure=rng.uniform(0.72, 1.12),
        warmth=rng.uniform(-1, 1),
        overlap=rng.uniform(0.0, 0.12),
        clutter=rng.random() < 0.75,
    )  # fmt: skip


def make(look: Look, rng: np.random.Generator, cloth: np.random.Generator | None = None) -> Scene:
    """Draw a scene. The same look and the same state of `rng` give the same pixels.

    `cloth` draws the empty sheet instead of `rng`: one camera sees the same sheet all night.
    """
    light, sheet = _sheet(look, cloth or rng)
    picture = Image.fromarray(light)
    if look.clutter:
        _clutter(picture, sheet, look, rng)
    insects = _settle(picture, sheet, look, rng)
    return Scene(_expose(picture, look, rng), tuple(insects))


def _sheet(look: Look, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Box]:
    """The empty sheet in its dark surroundings, and the part of the picture that it fills."""
    sheet = _extent(look, rng)
    small = (max(8, look.width // 4), max(8, look.height // 4))
    x, y = np.meshgrid(np.linspace(0, 1, small[0]), np.linspace(0, 1, small[1]))
    cloth = _glow(x, y, rng) + _folds(x, y, rng)
    mask = np.asarray(_outline(small, sheet, look, rng), np.float64) / 255
    night = 0.05 + 0.05 * _patches(small, rng)
    tint = np.array([1.0 + 0.06 * look.warmth, 1.0, 0.97 - 0.1 * look.warmth])
    light = (cloth * mask + night * (1 - mask))[..., None] * tint * 236 * look.exposure
    coarse = Image.fromarray(np.clip(light, 2, 252).astype(np.uint8))
    return np.asarray(coarse.resize((look.width, look.height), Image.Resampling.BICUBIC)), sheet


def _extent(look: Look, rng: np.random.Generator) -> Box:
    margin = rng.uniform(-0.03, 0.09, 4) * (rng.random(4) < 0.75)
    return (
        max(0.0, margin[0]) * look.width, max(0.0, margin[1]) * look.height,
        (1 - max(0.0, margin[2])) * look.width, (1 - max(0.0, margin[3])) * look.height,
    )  # fmt: skip


def _outline(small: tuple[int, int], sheet: Box, look: Look, rng: np.random.Generator) -> Image.Image:
    scale = small[0] / look.width
    left, top, right, bottom = (side * scale for side in sheet)
    left, right, top, bottom = (
        _beyond(left, small[0]), _beyond(right, small[0]), _beyond(top, small[1]), _beyond(bottom, small[1])
    )  # fmt: skip
    slack = rng.uniform(-2.0, 2.0, 8) * small[0] / 400
    mask = Image.new("L", small)
    corners = [(left + slack[0], top + slack[1]), (right + slack[2], top + slack[3]),
               (right + slack[4], bottom + slack[5]), (left + slack[6], bottom + slack[7])]  # fmt: skip
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(0.7))


def _beyond(side: float, end: int) -> float:
    """A side that lies on the picture's edge, moved out of it, so that slack never shows the night there."""
    return side if 0 < side < end else side + (-9 if side <= 0 else 9)


def _glow(x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The lamp's light falls off from where it hangs."""
    lamp_x, lamp_y, reach = rng.uniform(0.2, 0.8), rng.uniform(-0.15, 0.7), rng.uniform(0.55, 1.3)
    distance = ((x - lamp_x) ** 2 + (y - lamp_y) ** 2 * 0.7) / reach**2
    floor = rng.uniform(0.45, 0.75)
    fall: NDArray[np.float64] = floor + (1.02 - floor) * np.exp(-distance * 1.5)
    return fall


def _folds(x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Creases where the sheet was folded, and wrinkles where it hangs."""
    relief = np.zeros_like(x)
    for _ in range(int(rng.integers(2, 8))):
        angle = rng.normal(np.pi / 2 * rng.integers(0, 2), 0.25)
        along = (x - rng.random()) * np.cos(angle) + (y - rng.random()) * np.sin(angle)
        along = along + 0.015 * np.sin(rng.uniform(3, 9) * (x + y) + rng.uniform(0, 6))
        width, depth = rng.uniform(0.003, 0.035), rng.uniform(0.015, 0.09)
        relief += depth * (along / width) * np.exp(-0.5 * (along / width) ** 2)
    waves = np.sin(x * rng.uniform(6, 22) + 3 * np.sin(y * rng.uniform(1, 4))) * rng.uniform(0, 0.03)
    return relief + waves


def _patches(small: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    blobs = Image.fromarray(rng.integers(0, 256, (9, 12), dtype=np.uint8)).resize(small, Image.Resampling.BICUBIC)
    return np.asarray(blobs, np.float64) / 255


def _clutter(picture: Image.Image, sheet: Box, look: Look, rng: np.random.Generator) -> None:
    """Midges too small to name, stains, a seam, now and then a label card: things that are no insects to count."""
    pen = ImageDraw.Draw(picture, "RGBA")
    unit = look.width / 1600
    for x, y in _anywhere(sheet, int(rng.integers(5, 60)), rng):
        radius, dark = rng.uniform(0.8, 3.2) * unit, int(rng.integers(90, 220))
        pen.ellipse((x - radius, y - radius * 0.7, x + radius, y + radius * 0.7), fill=(40, 34, 30, dark))
    for x, y in _anywhere(sheet, int(rng.integers(0, 5)), rng):
        radius, faint = rng.uniform(10, 60) * unit, int(rng.integers(8, 26))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius * 0.8), fill=(120, 104, 70, faint))
    if rng.random() < 0.3:
        y, slant = rng.uniform(sheet[1], sheet[3]), rng.uniform(-20, 20) * unit
        pen.line((sheet[0], y, sheet[2], y + slant), fill=(90, 86, 80, 90), width=max(1, round(3 * unit)))
    if rng.random() < 0.3:
        _card(pen, sheet, unit, rng)


def _card(pen: ImageDraw.ImageDraw, sheet: Box, unit: float, rng: np.random.Generator) -> None:
    x, y = sheet[0] + rng.uniform(10, 60) * unit, sheet[3] - rng.uniform(120, 170) * unit
    pen.rectangle((x, y, x + 210 * unit, y + 96 * unit), fill=(250, 250, 246, 255))
    for step in range(10):
        left = x + (5 + step * 20) * unit
        pen.rectangle((left, y + 74 * unit, left + 10 * unit, y + 86 * unit), fill=(20, 20, 20, 255))
    for row in (22, 46):
        line = (x + 10 * unit, y + row * unit, x + rng.uniform(90, 190) * unit, y + row * unit)
        pen.line(line, fill=(60, 60, 70, 255), width=max(1, round(6 * unit)))


def _anywhere(sheet: Box, count: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    return [(rng.uniform(sheet[0], sheet[2]), rng.uniform(sheet[1], sheet[3])) for _ in range(count)]


def _settle(picture: Image.Image, sheet: Box, look: Look, rng: np.random.Generator) -> list[Insect]:
    """Let the insects settle where there is room."""
    taken = np.zeros((0, 4))
    insects: list[Insect] = []
    weights = rng.dirichlet(np.full(len(LABELS), 3.0))
    for _ in range(look.insects):
        label = LABELS[rng.choice(len(LABELS), p=weights)]
        unit = look.width / 1600
        size = max(SMALLEST, rng.uniform(*SIZES[label]) * look.zoom) * unit
        sprite = draw(label, size, rng)
        place = _room(sprite, sheet, taken, look.overlap, rng)
        if place is None:
            continue
        box = _absolute(sprite, place)
        taken = np.vstack([taken, box])
        _land(picture, sprite, place, unit, rng)
        insects.append(Insect(label, box))
    return insects


def _absolute(sprite: Sprite, place: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = sprite.box
    return (float(x1 + place[0]), float(y1 + place[1]), float(x2 + place[0]), float(y2 + place[1]))


def _room(
    sprite: Sprite, sheet: Box, taken: NDArray[np.float64], overlap: float, rng: np.random.Generator
) -> tuple[int, int] | None:
    width, height = sprite.pixels.size
    low, high = (sheet[0] + 2, sheet[1] + 2), (sheet[2] - width - 2, sheet[3] - height - 2)
    if high[0] <= low[0] or high[1] <= low[1]:
        return None
    for x, y in rng.uniform(low, high, (30, 2)):
        box = _absolute(sprite, (int(x), int(y)))
        if not len(taken) or _covered(box, taken) <= overlap:
            return int(x), int(y)
    return None


def _covered(box: Box, taken: NDArray[np.float64]) -> float:
    """The largest share of the smaller box that any pair with `box` has in common."""
    wide = np.minimum(taken[:, 2], box[2]) - np.maximum(taken[:, 0], box[0])
    high = np.minimum(taken[:, 3], box[3]) - np.maximum(taken[:, 1], box[1])
    area = (taken[:, 2] - taken[:, 0]) * (taken[:, 3] - taken[:, 1])
    smaller = np.minimum(area, (box[2] - box[0]) * (box[3] - box[1]))
    return float(np.max(np.maximum(wide, 0) * np.maximum(high, 0) / smaller))


def _land(picture: Image.Image, sprite: Sprite, place: tuple[int, int], unit: float, rng: np.random.Generator) -> None:
    """Paste the insect with its shadow, lit as the sheet around it is."""
    alpha = sprite.pixels.getchannel("A")
    x, y = place
    centre = picture.getpixel((x + alpha.width // 2, y + alpha.height // 2))
    assert isinstance(centre, tuple)
    lit = 0.35 + 0.65 * max(centre) / 236 * rng.uniform(0.85, 1.12)
    shadow = alpha.filter(ImageFilter.GaussianBlur(2.5 * unit)).point(lambda value: int(value * 0.42))
    drop = (x + round(rng.uniform(1, 4) * unit), y + round(rng.uniform(1, 5) * unit))
    picture.paste((38, 34, 36), drop, shadow)
    picture.paste(sprite.pixels.convert("RGB").point(lambda value: min(255, int(value * lit))), place, alpha)


def _expose(picture: Image.Image, look: Look, rng: np.random.Generator) -> Image.Image:
    """The camera: lens blur and sensor noise."""
    if look.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(look.blur * look.width / 1600))
    if not look.noise:
        return picture
    grain = rng.standard_normal((look.height, look.width), dtype=np.float32) * np.float32(look.noise)
    noisy = np.asarray(picture, np.int16) + grain.astype(np.int16)[..., None]
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
