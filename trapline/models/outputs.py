"""Which head reads a network's outputs, by their shapes, names and values. The heads themselves are in `heads`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from trapline.models.forms import HEADS

Outputs = Mapping[str, NDArray[np.float64]]  # name → what came out, batch first

KINDS: dict[str, str] = {name: head.kind for name, head in HEADS.items()}
SHAPES = {
    "heatmap": "heatmap, size and offset",
    "yolov5": "one output [n, boxes, 5 + labels]",
    "yolov8": "one output [n, 4 + labels, boxes]",
    "end2end": "one output [n, boxes, 6]",
    "rtdetr": "[n, boxes, labels] and [n, boxes, 4], or both in one",
    "detr": "[n, boxes, labels + 1] and [n, boxes, 4]",
    "softmax": "one output [n, labels]",
    "logits": "one output [n, labels]",
    "sigmoid": "one output [n, labels]",
    "embedding": "one output [n, dimensions]",
}
_QUERIES = 1000  # boxes that a network without a grid gives at most
_LOGITS, _BOXES = ("logits", "pred_logits"), ("pred_boxes", "boxes")  # the names that the heads look for
_LIKELY = ("embedding", "softmax", "logits")  # of several rows, the last of these
_EMBEDDING = ("embed", "feature", "pool", "vector")


@dataclass(frozen=True)
class Reading:
    """A head that could read the outputs."""

    head: str
    width: int | None  # labels, or an embedding's dimensions; None: the outputs do not say
    why: str
    sure: bool = True
    outputs: Mapping[str, str] = field(default_factory=dict)  # role → name, where a head would look for others

    @property
    def kind(self) -> str:
        return KINDS[self.head]


def read_outputs(outputs: Outputs, side: tuple[int, int], labels: int | None) -> Reading | None:
    """The likeliest reading; None where no head fits. `side`: height and width fed; `labels`: how many are known."""
    if {"heatmap", "size", "offset"} <= outputs.keys():
        return Reading("heatmap", _width_heatmap(outputs), "it has the outputs heatmap, size and offset")
    boxes = {name: out for name, out in outputs.items() if out.ndim == 3}
    flat = {name: out for name, out in outputs.items() if _is_flat(out)}
    if len(boxes) == 2 and len(outputs) == 2:
        return _pair(boxes, labels)
    if len(boxes) == 1 and all(out.ndim == 5 for name, out in outputs.items() if name not in boxes):
        ((name, out),) = boxes.items()
        found = _single(name, out, side)
        first = name == next(iter(outputs))
        return found if found is None or first else replace(found, outputs={"predictions": name})
    if flat and all(_belongs(out, flat) for out in outputs.values()):
        rows = [(name, _row(name, out, labels)) for name, out in flat.items()]
        name, best = max(rows, key=lambda row: _LIKELY.index(row[1].head))
        return replace(best, outputs=_named(best.head, name, outputs), sure=best.sure and len(outputs) == 1)
    return None


def fits(head: str, outputs: Outputs) -> Reading | None:
    """The reading by a head that somebody named; None where the outputs do not have its shapes."""
    if KINDS[head] != "detector":
        return _rows_for(head, outputs)
    width = _WIDTHS[head](outputs)
    return Reading(head, width if width > 0 else None, "as you said") if width else None


def usual_pair(outputs: Outputs) -> Outputs:
    """Scores and boxes by their usual names, however many outputs lie beside them; empty where they are not there."""
    boxes = {name: out for name, out in outputs.items() if out.ndim == 3}
    pair = [name for names in (_LOGITS, _BOXES) for name in names if name in boxes]
    return {name: boxes[name] for name in pair} if len(pair) == 2 and pair[1] in _BOXES and pair[0] in _LOGITS else {}


def spelt(outputs: Outputs) -> str:
    """Names and shapes for people: `output0 [1, 84, 8400]`."""
    return ", ".join(f"{name} [{', '.join(map(str, out.shape))}]" for name, out in outputs.items())


def _pair(boxes: Outputs, labels: int | None) -> Reading | None:
    width = _width_pair(boxes)
    if width == 0:
        return None
    (scores,) = [name for name, out in boxes.items() if name != _boxes_of(boxes)]
    asked = boxes[scores].shape[1]
    names = {"logits": scores, "boxes": _boxes_of(boxes)}
    named = {} if names["logits"] in _LOGITS and names["boxes"] in _BOXES else names
    shape = f"{scores} and {_boxes_of(boxes)} are scores and boxes of {asked} places"
    if labels in (width, width - 1):
        which = "rtdetr" if labels == width else "detr"
        more = "" if which == "rtdetr" else ", and one more for nothing"
        return Reading(which, labels, f"{shape}; {labels} labels{more}", outputs=named)
    if asked == 100:
        return Reading("detr", width - 1, f"{shape}, 100 as in DETR: the last score is for nothing", False, named)
    return Reading("rtdetr", width, f"{shape}, as in RT-DETR", False, named)


def _single(name: str, out: NDArray[np.float64], side: tuple[int, int]) -> Reading | None:
    _, rows, columns = out.shape
    cells = {_cells(side, 3), _cells(side, 4)}
    if columns in cells and rows > 4:
        return Reading("yolov8", rows - 4, f"{name} has 4 + {rows - 4} numbers for each of the {columns} cells")
    if rows in {3 * count for count in cells} and columns > 5:
        why = f"{name} has 5 + {columns - 5} numbers for each of 3 boxes in {rows // 3} cells"
        return Reading("yolov5", columns - 5, why)
    if columns == 6 and rows <= _QUERIES:
        shares = 0 < np.abs(out[..., :4]).max() <= 2  # of the picture's sides; else pixels, or nothing was found
        which, unit = ("rtdetr", "shares of its sides") if shares else ("end2end", "pixels")
        return Reading(which, None, f"{name} has {rows} finished boxes of 6 numbers, in {unit}")
    if rows <= _QUERIES and columns > 4 and rows > columns / 2:
        return Reading("rtdetr", columns - 4, f"{name} has {rows} places of 4 + {columns - 4} numbers", sure=False)
    if 4 < rows < columns:
        return Reading("yolov8", rows - 4, f"{name} has 4 + {rows - 4} numbers for {columns} places", sure=False)
    if 5 < columns < rows:
        return Reading("yolov5", columns - 5, f"{name} has 5 + {columns - 5} numbers for {rows} places", sure=False)
    return None


def _row(name: str, out: NDArray[np.float64], labels: int | None) -> Reading:
    rows = out.reshape(len(out), -1)
    width = rows.shape[1]
    if labels != width and any(word in name.lower() for word in _EMBEDDING):
        return Reading("embedding", width, f"{name} is one row of {width} numbers, by its name no scores")
    if ((rows >= 0) & (rows <= 1)).all() and "logit" not in name.lower():
        if np.allclose(rows.sum(axis=1), 1, atol=1e-2):
            return Reading("softmax", width, f"{name} is one row of {width} shares that sum to 1")
        why = f"{name} is one row of {width} numbers from 0 to 1, which are taken as they are"
        return Reading("softmax", width, why, sure=labels == width)  # the sigmoid is in the file: not a second time
    return Reading("logits", width, f"{name} is one row of {width} numbers of any size", sure=labels == width)


def _rows_for(head: str, outputs: Outputs) -> Reading | None:
    """The output with one row for a picture that suits a head best."""
    flat = {name: out for name, out in outputs.items() if _is_flat(out)}
    if not flat:
        return None
    rows = {name: _row(name, out, None) for name, out in flat.items()}
    name = next((name for name, row in rows.items() if row.head == head), next(iter(flat)))
    return Reading(head, rows[name].width, "as you said", outputs=_named(head, name, outputs))


def _named(head: str, name: str, outputs: Outputs) -> dict[str, str]:
    """The card's `outputs`, where a head would take another one: it takes the first."""
    role = "vectors" if head == "embedding" else "scores"
    return {} if name == next(iter(outputs)) else {role: name}


def _belongs(out: NDArray[np.float64], flat: Outputs) -> bool:
    """Whether an output is a row, or maps or tokens from which rows were pooled."""
    return (
        _is_flat(out) or out.ndim == 4 or (out.ndim == 3 and any(out.shape[2] == row.shape[1] for row in flat.values()))
    )


def _cells(side: tuple[int, int], levels: int) -> int:
    """Cells of a YOLO's grids: strides 8, 16, 32 and, with four levels, 64."""
    strides = [8 * 2**level for level in range(levels)]
    return sum(-(-side[0] // stride) * -(-side[1] // stride) for stride in strides)


def _is_flat(out: NDArray[np.float64]) -> bool:
    return out.ndim >= 2 and out.size == out.shape[0] * max(out.shape[1:])


def _boxes_of(boxes: Outputs) -> str:
    """Which of two outputs is the boxes."""
    four = [name for name, out in boxes.items() if out.shape[2] == 4]
    shares = [name for name in four if ((boxes[name] >= 0) & (boxes[name] <= 1)).all()]  # of the sides; scores are not
    likely = [name for name in four if "box" in name.lower()] or (shares if len(shares) == 1 else four[-1:])
    return likely[0] if likely else ""


# Labels by a head's shapes; 0: they do not fit; -1: they fit and do not say.


def _width_heatmap(outputs: Outputs) -> int:
    maps = [outputs.get(name) for name in ("heatmap", "size", "offset")]
    if any(part is None or part.ndim != 4 for part in maps):
        return 0
    return int(outputs["heatmap"].shape[1])


def _width_pair(outputs: Outputs) -> int:
    boxes = {name: out for name, out in outputs.items() if out.ndim == 3}
    if len(boxes) != 2 or not _boxes_of(boxes) or len({out.shape[1] for out in boxes.values()}) != 1:
        return 0
    return int(next(out.shape[2] for name, out in boxes.items() if name != _boxes_of(boxes)))


def _alone(axis: int, more: int) -> Callable[[Outputs], int]:
    def width(outputs: Outputs) -> int:
        found = [out for out in outputs.values() if out.ndim == 3]
        return max(0, found[0].shape[axis] - more) if len(found) == 1 else 0

    return width


_WIDTHS: dict[str, Callable[[Outputs], int]] = {
    "heatmap": _width_heatmap,
    "yolov5": _alone(2, 5),
    "yolov8": _alone(1, 4),
    "end2end": lambda outputs: -1 if _alone(2, 0)(outputs) == 6 else 0,
    "rtdetr": lambda outputs: _width_pair(outputs) or (-1 if _alone(2, 0)(outputs) == 6 else _alone(2, 4)(outputs)),
    "detr": lambda outputs: max(0, _width_pair(outputs) - 1),
}
