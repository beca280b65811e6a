"""A sheet of the worst mistakes, cut out of their pictures: what was told of nothing, taken for another, or missed.

The surest of the false ones, the largest of the missed ones. Needs matplotlib (the extra `plots`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trapline.errors import Failure
from trapline.evaluation.dataset import Box, Dataset
from trapline.evaluation.detecting import pairs
from trapline.evaluation.fonts import families, shower, spelt
from trapline.evaluation.measuring import Answer
from trapline.images import Image

EACH = 16  # mistakes of each kind
_ACROSS = 8
_ROW = 2.1  # inches
_PIXELS = 160  # a side of what is cut out
_MARGIN = 0.5  # share of the longer side around the box


@dataclass(frozen=True)
class Mistake:
    """One thing that a model got wrong."""

    picture: int  # its place in the data set
    box: Box
    worth: float  # the greater, the worse
    told: int | None  # place in the labels; None: missed
    truth: int | None  # place in the labels; None: there is nothing
    score: float = 0.0


def draw_mistakes(document: Mapping[str, Any], data: Dataset, answers: Sequence[Answer], file: Path) -> bool:
    """Write the sheet; False, and no file, where nothing was wrong."""
    kinds = {title: some for title, some in mistakes(document, answers).items() if some}
    if not kinds:
        return False
    rows = {title: -(-len(some) // _ACROSS) for title, some in kinds.items()}
    height = 0.5 + sum(0.45 + _ROW * count for count in rows.values())
    with mpl.rc_context({"font.family": families(), "font.size": 7.5}):
        figure = Figure(figsize=(1.85 * _ACROSS, height))
        FigureCanvasAgg(figure)
        top = height - 0.15
        for title, some in kinds.items():
            figure.text(0.01, (top - 0.25) / height, f"{title} ({len(some)} shown)", size=11, weight="bold")
            top -= 0.45
            _draw_rows(figure, document["model"]["labels"], data, some, top, height)
            top -= _ROW * rows[title]
        figure.savefig(file, dpi=100, facecolor="white")
    return True


def mistakes(document: Mapping[str, Any], answers: Sequence[Answer]) -> dict[str, list[Mistake]]:
    """The worst of each kind, the worst first, by what stands above them."""
    threshold, most = document["settings"]["threshold"], document["settings"]["most"]
    found: dict[str, list[Mistake]] = {"Told of nothing": [], "Taken for another": [], "Missed": []}
    for answer in answers:
        every = _of_a_detector(answer, threshold, most) if threshold is not None else _of_a_classifier(answer)
        for one in every:
            kind = "Missed" if one.told is None else "Told of nothing" if one.truth is None else "Taken for another"
            found[kind].append(one)
    for kind, some in found.items():
        found[kind] = sorted(some, key=lambda one: (-one.worth, one.picture, one.box))[:EACH]
    return found


def _of_a_detector(answer: Answer, threshold: float, most: int) -> list[Mistake]:
    truth, found = answer.truth, answer.found.best(most)
    wrong = []
    for there, told in pairs(truth, found, threshold):
        if told is None and there is not None:
            area = float(truth.areas[there])
            wrong.append(Mistake(answer.number, _box(truth.boxes[there]), area, None, int(truth.labels[there])))
        elif told is not None:
            kind = int(truth.labels[there]) if there is not None else None
            if kind != int(found.labels[told]):
                score = float(found.scores[told])
                box = _box(found.boxes[told])
                wrong.append(Mistake(answer.number, box, score, int(found.labels[told]), kind, score))
    return wrong


def _of_a_classifier(answer: Answer) -> list[Mistake]:
    rows = zip(answer.truth.boxes, answer.truth.labels, answer.truth.crowd, answer.ranks, strict=True)
    return [
        Mistake(answer.number, _box(box), ranks[0][1], ranks[0][0], int(label), ranks[0][1])
        for box, label, crowd, ranks in rows
        if not crowd and ranks[0][0] != label
    ]


def _box(row: Any) -> Box:
    x1, y1, x2, y2 = (float(side) for side in row)
    return x1, y1, x2, y2


def _draw_rows(
    figure: Figure, labels: Sequence[str], data: Dataset, some: Sequence[Mistake], top: float, height: float
) -> None:
    show = shower(22)
    for number, one in enumerate(some):
        row, column = divmod(number, _ACROSS)
        left, bottom = 0.01 + column * 0.124, (top - _ROW * row - 1.5) / height
        axes = figure.add_axes((left, bottom, 0.112, 1.5 / height))
        axes.set_axis_off()
        pixels = _cut(data.entries[one.picture].file, one.box)
        if pixels is not None:
            axes.imshow(pixels, aspect="equal")
            _frame(axes, one.box)
        lines = _worded(one, labels, show)
        for line, text in enumerate(lines, 1):
            figure.text(left, bottom - 0.15 * line / height, text)
        name = data.entries[one.picture].name
        below = bottom - 0.15 * (len(lines) + 1) / height
        figure.text(left, below, spelt(name.rpartition("/")[2], 22), color="#8a979e", size=6.5)


def _worded(one: Mistake, labels: Sequence[str], show: Any) -> list[str]:
    truth = "" if one.truth is None else str(show(labels[one.truth], one.truth))
    if one.told is None:
        return [truth]
    told = f"{show(labels[one.told], one.told)} {one.score:.2f}"
    return [told, f"is {truth}"] if truth else [told]


def _cut(file: Path, box: Box) -> Any:
    try:
        return Image(file.read_bytes()).crop(box, _PIXELS, margin=_MARGIN)
    except (Failure, OSError):
        return None


def _frame(axes: Any, box: Box) -> None:
    """The box within what is cut out."""
    side = max(box[2] - box[0], box[3] - box[1], 1.0) * (1 + 2 * _MARGIN)
    width, height = ((box[2] - box[0]) / side * _PIXELS, (box[3] - box[1]) / side * _PIXELS)
    corner = ((_PIXELS - width) / 2, (_PIXELS - height) / 2)
    axes.add_patch(mpl.patches.Rectangle(corner, width, height, fill=False, ec="#ffd24a", lw=1))
