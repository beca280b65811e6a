"""The heads there are: what kind of model has one, and the outputs it reads. How they are read is in `heads`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["detector", "classifier", "embedder"]
HeadName = Literal[
    "heatmap", "yolov5", "yolov8", "end2end", "rtdetr", "detr", "softmax", "logits", "sigmoid", "embedding"
]


@dataclass(frozen=True)
class Form:
    """One shape in which a head's outputs come."""

    shapes: Mapping[str, tuple[str, ...]]  # role to its axes, batch first: words, numbers, `labels`, `4 + labels` …
    names: Mapping[str, tuple[str, ...]]  # role to the names it usually has in a file; none: the first output there is


@dataclass(frozen=True)
class Head:
    """What is known of a head without running a network."""

    kind: Kind
    forms: tuple[Form, ...]
    iou: float = 1.0  # for the suppression of repeats where the card gives none; 1 = none are suppressed

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that a card's `outputs` may name."""
        return tuple(dict.fromkeys(role for form in self.forms for role in form.shapes))


def _one(role: str, *shape: str) -> Form:
    return Form({role: ("n", *shape)}, {role: ()})


def _pair(labels: str) -> Form:
    return Form(
        {"logits": ("n", "queries", labels), "boxes": ("n", "queries", "4")},
        {"logits": ("logits", "pred_logits"), "boxes": ("pred_boxes", "boxes")},
    )


_MAPS = Form(
    {
        "heatmap": ("n", "labels", "rows", "columns"),
        "size": ("n", "2", "rows", "columns"),
        "offset": ("n", "2", "rows", "columns"),
    },
    {"heatmap": ("heatmap",), "size": ("size",), "offset": ("offset",)},
)
_SCORES = _one("scores", "labels")

HEADS: dict[HeadName, Head] = {
    "heatmap": Head("detector", (_MAPS,), iou=0.55),
    "yolov5": Head("detector", (_one("predictions", "boxes", "5 + labels"),), iou=0.45),
    "yolov8": Head("detector", (_one("predictions", "4 + labels", "boxes"),), iou=0.7),
    "end2end": Head("detector", (_one("predictions", "boxes", "6"),)),
    "rtdetr": Head(
        "detector",
        (_one("predictions", "queries", "4 + labels"), _one("predictions", "queries", "6"), _pair("labels")),
    ),
    "detr": Head("detector", (_pair("labels + 1"),)),
    "softmax": Head("classifier", (_SCORES,)),
    "logits": Head("classifier", (_SCORES,)),
    "sigmoid": Head("classifier", (_SCORES,)),
    "embedding": Head("embedder", (_one("vectors", "dimensions"),)),
}
assert set(HEADS) == set(get_args(HeadName))
