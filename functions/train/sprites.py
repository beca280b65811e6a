"""One insect, drawn: its outline and colours by kind, its pose, its pixels. Sheets and crowds are in `scenes`.

An insect is a list of parts in a unit frame: head up, centred, its longest extent about 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = NDArray[np.float64]
Colour = tuple[int, int, int, int]

SUPERSAMPLING = 3
EDGE = 7  # empty pixels around a sprite, so that its shadow has room to fade


@dataclass(frozen=True)
class Part:
    """One filled outline, or one line where `width` is set."""

    points: Points  # n x 2, unit frame
    colour: Colour  # RGBA
    core: bool = True  # body and wings; legs and antennae are left out of the truth box
    width: float = 0.0  # of a line, in unit lengths; 0 = a filled outline


@dataclass(frozen=True)
class Sprite:
    """An insect's pixels and where its body and wings are in them."""

    pixels: Image.Image  # RGBA
    box: tuple[int, int, int, int]  # of body and wings, in the sprite's own pixels


def draw(kind: str, size: float, rng: np.random.Generator) -> Sprite:
    """Draw one insect of `kind` about `size` pixels long, in a random pose and colour."""
    parts = KINDS[kind](rng)
    turn = _rotation(rng.uniform(0, 2 * np.pi)) * np.array([[rng.uniform(0.92, 1.08), 1.0]])
    side = int(np.ceil(size * 1.9)) * SUPERSAMPLING
    canvas = Image.new("RGBA", (side, side))
    core = Image.new("L", (side, side))
    for part in parts:
        points = part.points @ turn.T * size * SUPERSAMPLING + side / 2
        _paint(canvas, part, points, part.colour, size)
        if part.core:
            _paint(core, part, points, 255, size)
    return _cut(canvas.reduce(SUPERSAMPLING), core.reduce(SUPERSAMPLING), rng)


def _paint(canvas: Image.Image, part: Part, points: Points, fill: Colour | int, size: float) -> None:
    pen = ImageDraw.Draw(canvas)
    flat = [tuple(point) for point in points.tolist()]
    if part.width:
        pen.line(flat, fill=fill, width=max(2, round(part.width * size * SUPERSAMPLING)))
    else:
        pen.polygon(flat, fill=fill)


def _cut(canvas: Image.Image, core: Image.Image, rng: np.random.Generator) -> Sprite:
    drawn = canvas.getbbox() or (0, 0, 1, 1)
    body = core.point(lambda value: 255 if value > 100 else 0).getbbox() or drawn
    left, top = drawn[0] - EDGE, drawn[1] - EDGE
    box = (body[0] - left, body[1] - top, body[2] - left, body[3] - top)
    return Sprite(_mottle(canvas.crop((left, top, drawn[2] + EDGE, drawn[3] + EDGE)), rng), box)


def _mottle(sprite: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Scales and hairs: uneven brightness, in patches and finer."""
    coarse = Image.fromarray(rng.integers(205, 256, (5, 5), dtype=np.uint8))
    coarse = coarse.resize(sprite.size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(222, 256, (sprite.height // 2 + 1, sprite.width // 2 + 1), dtype=np.uint8))
    light = np.asarray(coarse, np.uint16) * np.asarray(fine.resize(sprite.size, Image.Resampling.BILINEAR), np.uint16)
    pixels = np.asarray(sprite).copy()
    pixels[..., :3] = (pixels[..., :3].astype(np.uint32) * light[..., None] // 65025).astype(np.uint8)
    soft = Image.fromarray(pixels)
    return soft.filter(ImageFilter.GaussianBlur(0.6)) if rng.random() < 0.3 else soft


def _rotation(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _oval(x: float, y: float, rx: float, ry: float) -> Points:
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def _smooth(*corners: tuple[float, float]) -> Points:
    """A closed Catmull-Rom curve through the corners."""
    p1 = np.array(corners)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, 6, endpoint=False)[:, None, None]
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return np.swapaxes(curve / 2, 0, 1).reshape(-1, 2)


def _swing(points: Points, angle: float, hinge: tuple[float, float]) -> Points:
    return (points - hinge) @ _rotation(angle).T + hinge


def _mirrored(parts: list[Part]) -> list[Part]:
    """The parts and their mirror images on the left side."""
    flip = np.array([-1.0, 1.0])
    return [replace(part, points=points) for part in parts for points in (part.points, part.points * flip)]


def _pick(rng: np.random.Generator, *colours: tuple[int, int, int], spread: int = 14, alpha: int = 255) -> Colour:
    """One of the colours, a little off."""
    base = np.array(colours[rng.integers(len(colours))]) + rng.integers(-spread, spread + 1) + rng.integers(-6, 7, 3)
    red, green, blue = np.clip(base, 0, 255).tolist()
    return (red, green, blue, alpha)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(value * factor)) for value in colour[:3])
    return (red, green, blue, colour[3])


def _line(*points: tuple[float, float]) -> Points:
    return np.array(points)


def _wavy(x: float, top: float, bottom: float, rng: np.random.Generator) -> Points:
    y = np.linspace(top, bottom, 12)
    return np.stack([x + 0.015 * np.sin(y * 40 + rng.uniform(0, 6)), y], axis=1)


def _antennae(colour: Colour, root: float, reach: float, out: float) -> list[Part]:
    feeler = _line((0.02, root), (out * 0.6, root - reach * 0.6), (out, root - reach))
    return _mirrored([Part(feeler, colour, False, 0.012)])


def _legs(colour: Colour, rows: tuple[float, ...], reach: float, rng: np.random.Generator) -> list[Part]:
    parts = []
    for row in rows:
        knee = (reach * 0.6, row + rng.uniform(-0.08, 0.04))
        parts.append(Part(_line((0.05, row), knee, (reach, row + rng.uniform(-0.05, 0.16))), colour, False, 0.022))
    return _mirrored(parts)


def _hawkmoth(rng: np.random.Generator) -> list[Part]:
    wing = _pick(rng, (96, 88, 66), (112, 96, 82), (84, 78, 72), (92, 100, 64))
    pink = _pick(rng, (190, 98, 104), (168, 92, 84), (150, 84, 92))
    sweep, hinge = rng.uniform(-0.22, 0.35), (0.05, -0.18)
    fore = _smooth((0.04, -0.26), (0.3, -0.24), (0.6, 0.04), (0.52, 0.1), (0.25, 0.02), (0.05, -0.02))
    streak = _smooth((0.1, -0.16), (0.3, -0.12), (0.5, 0.05), (0.28, -0.05))
    hind = _smooth((0.05, -0.04), (0.33, 0.04), (0.3, 0.18), (0.07, 0.16))
    wings = [Part(_swing(hind, sweep * 0.6, hinge), pink)]
    wings += [Part(_swing(fore, sweep, hinge), wing), Part(_swing(streak, sweep, hinge), _shade(wing, 0.68))]
    trunk = _smooth((0, -0.4), (0.085, -0.28), (0.09, 0.0), (0.05, 0.3), (0, 0.42),
                    (-0.05, 0.3), (-0.09, 0.0), (-0.085, -0.28))  # fmt: skip
    body = [Part(trunk, _shade(wing, 0.8))]
    body += [Part(_oval(side * 0.055, y, 0.025, 0.025), pink) for y in (0.06, 0.14, 0.22) for side in (-1, 1)]
    return _antennae(_shade(wing, 0.8), -0.36, 0.14, 0.18) + _mirrored(wings) + body


def _geometer(rng: np.random.Generator) -> list[Part]:
    wing = _pick(rng, (178, 160, 128), (160, 170, 132), (168, 158, 150), (188, 170, 120), (150, 136, 112))
    dark, swing = _shade(wing, 0.6), rng.uniform(-0.2, 0.25)
    fore = _smooth((0.02, -0.14), (0.26, -0.34), (0.55, -0.36), (0.5, -0.08), (0.2, 0.02), (0.03, 0.02))
    hind = _smooth((0.03, -0.02), (0.3, -0.02), (0.46, 0.12), (0.36, 0.34), (0.16, 0.34), (0.03, 0.14))
    hinge = (0.03, -0.05)
    wings = [Part(_swing(hind, swing * 0.5, hinge), _shade(wing, 0.94)), Part(_swing(fore, swing, hinge), wing)]
    for x in (0.2, 0.3, 0.4):
        wings.append(Part(_swing(_wavy(x, -0.24, -0.04, rng), swing, hinge), dark, True, 0.016))
        wings.append(Part(_swing(_wavy(x * 0.85, 0.04, 0.27, rng), swing * 0.5, hinge), dark, True, 0.016))
    body = [Part(_oval(0, 0.04, 0.032, 0.24), _shade(wing, 0.78)), Part(_oval(0, -0.2, 0.035, 0.045), dark)]
    return _antennae(dark, -0.22, 0.14, 0.14) + _mirrored(wings) + body


def _noctuid(rng: np.random.Generator) -> list[Part]:
    wing = _pick(rng, (98, 78, 58), (110, 96, 80), (78, 66, 56), (120, 92, 60), (92, 92, 90))
    dark, pale, swing = _shade(wing, 0.55), _shade(wing, 1.55), rng.uniform(-0.3, 0.06)
    hinge = (0.06, -0.26)
    fore = _smooth((0.0, -0.3), (0.13, -0.3), (0.25, 0.12), (0.31, 0.38), (0.2, 0.44), (0.02, 0.34))
    marks = [Part(_oval(0.12, -0.04, 0.035, 0.035), pale), Part(_oval(0.16, 0.12, 0.035, 0.055), pale)]
    for y in (-0.14, 0.04, 0.24):
        marks.append(Part(_line((0.03, y), (0.14, y + 0.03), (0.16 + y * 0.3, y - 0.01)), dark, True, 0.018))
    wings = [replace(part, points=_swing(part.points, swing, hinge)) for part in (Part(fore, wing), *marks)]
    body = [Part(_oval(0, -0.29, 0.12, 0.12), _shade(wing, 0.78)), Part(_oval(0, -0.4, 0.07, 0.05), dark)]
    abdomen = [Part(_oval(0, 0.1, 0.07, 0.28), _shade(wing, 1.15))]
    return _antennae(dark, -0.42, 0.16, 0.2) + abdomen + _mirrored(wings) + body


def _tiger_moth(rng: np.random.Generator) -> list[Part]:
    cream, brown = _pick(rng, (226, 212, 178), (214, 200, 160)), _pick(rng, (72, 46, 34), (50, 38, 34))
    orange = _pick(rng, (206, 98, 40), (196, 70, 44), (214, 132, 48))
    swing, hinge = rng.uniform(-0.2, 0.3), (0.06, -0.18)
    hind = _smooth((0.04, -0.02), (0.38, 0.1), (0.36, 0.33), (0.14, 0.32), (0.04, 0.2))
    fore = _smooth((0.03, -0.24), (0.28, -0.26), (0.54, 0.02), (0.44, 0.2), (0.18, 0.1), (0.03, 0.0))
    wings = [Part(_swing(hind, swing * 0.5, hinge), orange)]
    for x, y in ((0.24, 0.24), (0.31, 0.17)):
        wings.append(Part(_swing(_oval(x, y, 0.04, 0.035), swing * 0.5, hinge), brown))
    wings.append(Part(_swing(fore, swing, hinge), cream))
    for x, y, rx, ry in ((0.1, -0.16, 0.045, 0.06), (0.22, -0.14, 0.05, 0.075), (0.36, -0.06, 0.055, 0.07),
                         (0.2, 0.0, 0.055, 0.04), (0.44, 0.07, 0.05, 0.06), (0.33, 0.09, 0.04, 0.04)):  # fmt: skip
        spot = _oval(x + rng.uniform(-0.015, 0.015), y, rx * rng.uniform(0.8, 1.15), ry)
        wings.append(Part(_swing(spot, swing, hinge), brown))
    body = [Part(_oval(0, 0.12, 0.075, 0.24), orange), Part(_oval(0, -0.2, 0.1, 0.12), brown)]
    body += [Part(_oval(0, y, 0.05, 0.018), brown) for y in (0.08, 0.16, 0.24)]
    return _antennae(brown, -0.3, 0.13, 0.16) + _mirrored(wings) + body


def _ground_beetle(rng: np.random.Generator) -> list[Part]:
    shell = _pick(rng, (34, 32, 34), (28, 36, 48), (34, 46, 38), (54, 42, 34), spread=8)
    dark, gleam = _shade(shell, 0.6), _shade(shell, 2.3)
    elytra = _smooth((0.12, -0.13), (0.21, 0.05), (0.19, 0.28), (0.06, 0.46),
                     (-0.06, 0.46), (-0.19, 0.28), (-0.21, 0.05), (-0.12, -0.13))  # fmt: skip
    thorax = _smooth((0.1, -0.34), (0.16, -0.25), (0.12, -0.14), (-0.12, -0.14), (-0.16, -0.25), (-0.1, -0.34))
    shine = rng.uniform(-0.1, 0.1)
    body = [Part(_oval(0, -0.4, 0.085, 0.085), dark), Part(thorax, _shade(shell, 0.9)), Part(elytra, shell)]
    for x in (-0.12, -0.06, 0.06, 0.12):
        body.append(Part(_line((x, -0.08), (x * 1.2, 0.3)), _shade(shell, 1.35), True, 0.01))
    body += [Part(_line((0, -0.13), (0, 0.44)), dark, True, 0.014)]
    body += [Part(_oval(shine, 0.06, 0.025, 0.13), gleam), Part(_oval(shine * 0.7, -0.26, 0.03, 0.03), gleam)]
    return _antennae(dark, -0.44, 0.16, 0.2) + _legs(dark, (-0.24, -0.02, 0.14), 0.36, rng) + body


def _click_beetle(rng: np.random.Generator) -> list[Part]:
    shell = _pick(rng, (122, 78, 44), (98, 68, 46), (134, 70, 42), (110, 88, 58))
    dark = _shade(shell, 0.55)
    elytra = _smooth((0.11, -0.14), (0.125, 0.1), (0.09, 0.32), (0.0, 0.48),
                     (-0.09, 0.32), (-0.125, 0.1), (-0.11, -0.14))  # fmt: skip
    thorax = _line((0.06, -0.42), (0.1, -0.34), (0.105, -0.2), (0.135, -0.12), (0.06, -0.15), (-0.06, -0.15),
                   (-0.135, -0.12), (-0.105, -0.2), (-0.1, -0.34), (-0.06, -0.42))  # fmt: skip
    body = [Part(_oval(0, -0.43, 0.065, 0.05), dark), Part(elytra, shell), Part(thorax, _shade(shell, 0.72))]
    body += [Part(_line((x, -0.1), (x * 0.7, 0.34)), dark, True, 0.01) for x in (-0.075, -0.035, 0.035, 0.075)]
    body.append(Part(_line((0, -0.13), (0, 0.45)), dark, True, 0.012))
    body.append(Part(_oval(0.04, 0.02, 0.014, 0.1), _shade(shell, 1.4)))
    return _antennae(dark, -0.45, 0.12, 0.12) + _legs(dark, (-0.26, -0.04, 0.1), 0.2, rng) + body


def _lacewing(rng: np.random.Generator) -> list[Part]:
    green = _pick(rng, (96, 148, 62), (120, 160, 72), (84, 132, 70))
    film = (*_shade(green, 1.3)[:3], int(rng.integers(95, 135)))
    swing, hinge = rng.uniform(-0.75, -0.05), (0.03, -0.16)
    vein = (*_shade(green, 0.75)[:3], 210)
    hind = _smooth((0.02, -0.08), (0.12, 0.0), (0.17, 0.26), (0.12, 0.36), (0.06, 0.24))
    fore = _smooth((0.02, -0.18), (0.12, -0.14), (0.22, 0.2), (0.2, 0.42), (0.13, 0.44), (0.06, 0.2))
    wings = [Part(_swing(hind, swing * 1.5, hinge), film), Part(_swing(fore, swing, hinge), film)]
    for x0, x1, y1 in ((0.05, 0.2, 0.3), (0.04, 0.16, 0.4), (0.03, 0.11, 0.3)):
        wings.append(Part(_swing(_line((x0, -0.12), (x1 * 0.8, y1 * 0.4), (x1, y1)), swing, hinge), vein, True, 0.012))
    wings.append(Part(_swing(np.vstack([fore, fore[:1]]), swing, hinge), vein, True, 0.012))
    body = [Part(_oval(0, 0.06, 0.035, 0.26), green), Part(_oval(0, -0.2, 0.045, 0.06), _shade(green, 0.85))]
    eyes = _mirrored([Part(_oval(0.03, -0.27, 0.022, 0.022), (150, 120, 40, 255))])
    return _antennae(vein, -0.26, 0.3, 0.22) + _mirrored(wings) + body + eyes


KINDS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "hawkmoth": _hawkmoth,
    "geometer": _geometer,
    "noctuid": _noctuid,
    "tiger-moth": _tiger_moth,
    "ground-beetle": _ground_beetle,
    "click-beetle": _click_beetle,
    "lacewing": _lacewing,
}

# Longest extent in a picture 1600 pixels wide whose sheet fills it: smallest and largest.
SIZES: dict[str, tuple[float, float]] = {
    "hawkmoth": (84, 150),
    "geometer": (56, 110),
    "noctuid": (46, 84),
    "tiger-moth": (62, 110),
    "ground-beetle": (44, 84),
    "click-beetle": (44, 74),
    "lacewing": (52, 88),
}
