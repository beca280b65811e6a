"""A card for a file that has none: what the file says, what is usual, and what only a person can know. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trapline.errors import ConfigError
from trapline.models.beside import WRITTEN, Found
from trapline.models.forms import HEADS
from trapline.models.inspecting import Inspected
from trapline.models.outputs import KINDS, SHAPES, Outputs, Reading, fits, read_outputs, spelt, usual_pair
from trapline.pipeline.reading import did_you_mean

_ZERO, _ONE = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
_GREY = {"colour": 114, "at": "centre"}
PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {
        "input.scale": 1 / 255,
        "input.mean": [0.485, 0.456, 0.406],
        "input.std": [0.229, 0.224, 0.225],
    },
    "inception": {"input.scale": 1 / 255, "input.mean": [0.5, 0.5, 0.5], "input.std": [0.5, 0.5, 0.5]},
    "clip": {
        "input.scale": 1 / 255,
        "input.mean": [0.48145466, 0.4578275, 0.40821073],
        "input.std": [0.26862954, 0.26130258, 0.27577711],
    },
    "plain": {"input.scale": 1 / 255, "input.mean": _ZERO, "input.std": _ONE},
    "yolo": {"input.scale": 1 / 255, "input.mean": _ZERO, "input.std": _ONE},
    "megadetector": {
        "input.scale": 1 / 255,
        "input.mean": _ZERO,
        "input.std": _ONE,
        "labels": ["animal", "person", "vehicle"],
        "threshold": 0.2,
    },
}
PRESET_WORDS = (
    "imagenet (most torchvision and timm models), inception (-1 to 1, many vision transformers), clip, "
    "plain (0 to 1; yolo is the same), megadetector"
)
_USUAL: dict[str, dict[str, Any]] = {  # what is usual for a head
    "heatmap": {"input.resize": "letterbox", "stride": 32, "threshold": 0.3},
    "yolov5": {"input.resize": "letterbox", "input.pad": _GREY, "stride": 32, "threshold": 0.25},
    "yolov8": {"input.resize": "letterbox", "input.pad": _GREY, "stride": 32, "threshold": 0.25},
    "end2end": {"input.resize": "letterbox", "input.pad": _GREY, "stride": 32, "threshold": 0.25},
    "rtdetr": {"input.resize": "stretch", "stride": 32, "threshold": 0.3},
    "detr": {**PRESETS["imagenet"], "input.resize": "letterbox", "stride": 32, "threshold": 0.5},
    "softmax": {"input.resize": "crop"},
    "logits": {"input.resize": "crop"},
    "sigmoid": {"input.resize": "crop"},
    "embedding": {"input.resize": "crop"},
}
_SAID = "as you said"
_COLOURS = ("input.scale", "input.mean", "input.std")
_NOT_BOXES = {"segment": "masks", "pose": "poses", "obb": "turned boxes"}  # Ultralytics' other tasks


@dataclass(frozen=True)
class Question:
    """Something that only a person knows."""

    field: str  # of the card, or `preset`
    flag: str  # as typed: `--labels a,b,c`
    words: str  # what to ask


@dataclass
class Proposal:
    """A card in the making. What was said first stays."""

    card: dict[str, Any] = field(default_factory=dict)  # dotted field → value
    why: dict[str, str] = field(default_factory=dict)  # dotted field → where its value is from
    questions: list[Question] = field(default_factory=list)
    labels: int | None = None  # how many the outputs have room for; None: they do not say

    def put(self, name: str, value: Any, why: str) -> None:
        """Fill a field, unless something better known has."""
        if name not in self.card:
            self.card[name], self.why[name] = value, why

    def drop(self, name: str) -> None:
        """Leave a field out after all."""
        self.card.pop(name, None)
        self.why.pop(name, None)

    def ordered(self) -> list[str]:
        """The fields in the order of the reference."""
        return sorted(self.card, key=lambda name: (_order(name), name))

    def nested(self) -> dict[str, Any]:
        """The card as it is written, fields in the order of the reference."""
        made: dict[str, Any] = {"schema": 1}
        for name in self.ordered():
            top, _, inner = name.partition(".")
            if inner:
                made.setdefault(top, {})[inner] = self.card[name]
            else:
                made[top] = self.card[name]
        return made


def propose(seen: Inspected, file: str, given: Mapping[str, Any], beside: Found, preset: str | None) -> Proposal:
    """A card for an inspected file. `given`: dotted fields that a person has said; `beside`: what exporters wrote.

    Raises `ConfigError` where no head reads the file's outputs, or what is given does not fit them.
    """
    made = Proposal()
    for name, value in given.items():
        made.put(name, value, _SAID)
    if preset is not None:
        _put_all(made, PRESETS[preset], f"preset {preset}")
    task = seen.metadata.get("task", "")
    if task in _NOT_BOXES and "head" not in given:
        raise ConfigError(
            f"{file} gives {_NOT_BOXES[task]} (task {task}, by what is written in it); there is no head for them.",
            remedy="Train or export the model for boxes (task detect), or write a function of your own for it.",
        )
    for name, (value, where) in beside.items():
        made.put(name, value, where)
    _put_head(made, seen, file)
    _check_own_labels(made, beside)
    _put_input(made, seen)
    _put_usual(made, seen)
    _ask(made, seen, preset)
    return made


def _put_head(made: Proposal, seen: Inspected, file: str) -> None:
    known = made.card.get("labels")
    outputs = _looked_at(_said_outputs(made, seen, file), seen.tried)
    reading = read_outputs(outputs, seen.side, len(known) if known else None)
    head = made.card.get("head")
    if head is None and made.card.get("kind") == "embedder":
        head = "embedding"
        made.put("head", head, "an embedder has no other")
    if head is None and made.card.get("kind") == "classifier" and reading and reading.head == "embedding":
        head = "logits"
        made.put("head", head, f"guessed: {reading.why}")
    if head is not None:
        if head not in list(KINDS):
            raise ConfigError(
                f"head: there is no head {head!r}.",
                remedy=f"There are {', '.join(KINDS)}.{did_you_mean(str(head), KINDS)}",
            )
        fit = fits(head, outputs)
        if fit is None or _another_grid(head, reading):
            better = f" {reading.head} fits." if reading else ""
            raise ConfigError(
                f"{file} does not fit the head {head}, which reads {SHAPES[head]}; it gives {spelt(outputs)}.",
                remedy=f"Name another with --head{_or_outputs(head, outputs)}.{better}",
            )
        made.put("kind", KINDS[head], f"the head {head}")
        _put_width(made, head, fit.width)
        _put_outputs(made, reading.outputs if reading and reading.head == head else fit.outputs)
        return
    if reading is None:
        raise ConfigError(
            f"{file} gives {spelt(outputs) or 'nothing'}; no head reads that.",
            remedy="Heads read " + "; ".join(f"{name}: {shape}" for name, shape in SHAPES.items()) + ". Name one with "
            f"--head{_or_outputs('rtdetr', outputs)}, or export the model so that one fits (see "
            "docs/how-to/bring-your-own-model.md).",
        )
    _put_reading(made, seen, reading)


def _said_outputs(made: Proposal, seen: Inspected, file: str) -> dict[str, str]:
    """The outputs that somebody named for a head's roles, brought into one field of the card."""
    whole, before = made.card.get("outputs"), "outputs."
    said = dict(whole) if isinstance(whole, Mapping) else {}
    for name in [name for name in made.card if name.startswith(before)]:
        said[name.removeprefix(before)] = made.card[name]
        made.drop(name)
    for role, name in said.items():
        if name not in list(seen.tried):
            raise ConfigError(
                f"outputs.{role}: {file} has no output {name!r} of numbers.", remedy=f"It gives {spelt(seen.tried)}."
            )
    if said:
        made.card["outputs"], made.why["outputs"] = said, _SAID
    return said


def _looked_at(said: Mapping[str, str], tried: Outputs) -> Outputs:
    """The outputs that were named, where they are all that a head reads; else two that are named as usual; else all."""
    if any(set(said) == set(form.shapes) for head in HEADS.values() for form in head.forms):
        return {name: tried[name] for name in said.values()}
    return tried if said else usual_pair(tried) or tried


def _or_outputs(head: str, outputs: Outputs) -> str:
    """How to say which of many outputs a head reads."""
    roles = max((form.shapes for form in HEADS[head].forms), key=len)  # type: ignore[index]
    if len(outputs) <= len(roles):
        return ""
    return " and the outputs it reads with " + " ".join(f"--set outputs.{role}=NAME" for role in roles)


def _put_outputs(made: Proposal, outputs: Mapping[str, str]) -> None:
    """Name the outputs on the card; what somebody said of them stays."""
    if outputs:
        said = made.card.get("outputs", {})
        made.card["outputs"] = {**outputs, **said}
        made.why.setdefault("outputs", "the file")


def _another_grid(head: str, reading: Reading | None) -> bool:
    """Whether the outputs have as many places as another YOLO's grids have cells, so that `head` reads them askew."""
    grids = ("yolov5", "yolov8")
    return reading is not None and reading.sure and reading.head in grids and reading.head != head


def _put_reading(made: Proposal, seen: Inspected, reading: Reading) -> None:
    why = reading.why if reading.sure else f"guessed: {reading.why}"
    given = made.card.get("kind")
    if given is not None and given != reading.kind:
        raise ConfigError(
            f"--kind {given}: the file gives {spelt(seen.tried)}, which a {reading.kind} gives ({reading.why}).",
            remedy=f"Leave --kind out, or name the head with --head; for a {given} these are "
            f"{', '.join(head for head, kind in KINDS.items() if kind == given)}.",
        )
    made.put("kind", reading.kind, why)
    made.put("head", reading.head, why)
    _put_outputs(made, reading.outputs)
    _put_width(made, reading.head, reading.width)


def _put_width(made: Proposal, head: str, width: int | None) -> None:
    if head == "embedding":
        made.put("dimensions", width, "the file")
        made.drop("labels")
        return
    made.labels = width
    labels = made.card.get("labels")
    if labels and width is not None and len(labels) != width:
        if made.why["labels"] != _SAID:
            made.drop("labels")  # such as a folder's config.json that is about another file
            return
        given = "1 label is" if len(labels) == 1 else f"{len(labels)} labels are"
        raise ConfigError(
            f"{given} given, and the file's output has room for {width}.",
            remedy="Give one label for each, in the order in which the model was trained.",
        )


def _check_own_labels(made: Proposal, beside: Found) -> None:
    """Where the outputs do not say how many labels there are, the names written in the file do."""
    own, where = beside.get("labels", ([], ""))
    labels = made.card.get("labels", [])
    if made.labels is None and own and where == WRITTEN and len(labels) != len(own):
        raise ConfigError(
            f"--labels: {len(labels)} given ({_few(labels)}); the names written in the file are {len(own)} "
            f"({_few(own)}).",
            remedy="Give one label for each of these, in their order.",
        )


def _few(labels: Sequence[Any]) -> str:
    names = [str(label["name"]) if isinstance(label, Mapping) and "name" in label else str(label) for label in labels]
    return ", ".join(names if len(names) <= 4 else [*names[:4], "…"])


def _put_input(made: Proposal, seen: Inspected) -> None:
    made.put("input.name", seen.source.name, "the file")
    made.put("input.layout", seen.layout, "the file")
    made.put("input.dtype", seen.source.dtype, "the file")
    if seen.height is not None and seen.width is not None:
        fixed = {"input.width": seen.width, "input.height": seen.height}
        for name, side in fixed.items():
            if made.card.get(name, side) != side and made.why[name] == _SAID:
                raise ConfigError(
                    f"--size: the file takes {seen.width} x {seen.height} alone.",
                    remedy="Leave it out, or export the model with that size.",
                )
            made.card[name], made.why[name] = side, "the file"
        if made.why.get("input.max_side") != _SAID:
            made.drop("input.max_side")
        return
    if made.card["kind"] == "detector" and seen.metadata.get("imgsz") and "input.width" not in made.card:
        height, width = seen.side
        if height == width:
            made.put("input.max_side", width, "written in the file (imgsz); it takes any size")
    elif made.card["kind"] != "detector" and seen.metadata.get("imgsz"):
        made.put("input.height", seen.side[0], "written in the file (imgsz)")
        made.put("input.width", seen.side[1], "written in the file (imgsz)")


def _put_usual(made: Proposal, seen: Inspected) -> None:
    """What nobody said, and nearly always is so."""
    kind, usual = made.card["kind"], dict(_USUAL[made.card["head"]])
    ultralytics = "ultralytics" in f"{seen.metadata.get('author', '')} {seen.metadata.get('description', '')}".lower()
    why = "guessed: usual for this head" if kind == "detector" else "guessed: cut around each detection"
    if "input.width" in made.card:
        usual.pop("stride", None)
        if made.why.get("stride") != _SAID:
            made.drop("stride")  # a size that is fixed needs none
        if kind != "detector" and made.card["input.width"] != made.card.get("input.height"):
            usual["input.resize"], why = "stretch", "guessed: its input is no square"
    _put_all(made, usual, why)
    if made.card["input.resize"] != "letterbox" and made.why.get("input.pad") != _SAID:
        made.drop("input.pad")
    if kind == "detector" and "input.width" not in made.card:
        made.put("input.max_side", 1024, "guessed: it takes any size; give that of its training")
    if kind != "detector":
        made.put("input.interpolation", "bilinear", "guessed: usual; many are trained with bicubic")
    made.put("input.channels", "rgb", "guessed: usual")
    if made.card["input.dtype"] == "uint8":
        for name in _COLOURS:
            made.drop(name)
    elif kind == "detector":
        _put_all(made, PRESETS["plain"], why)
    elif ultralytics:
        _put_all(made, PRESETS["plain"], "Ultralytics' classifiers take 0 to 1")


def _ask(made: Proposal, seen: Inspected, preset: str | None) -> None:
    """What is left for a person to say."""
    kind, ask = made.card["kind"], made.questions.append
    if kind != "embedder" and "labels" not in made.card:
        count = f"{made.labels} " if made.labels else ""
        flag = f"--labels a,b,c ({count}of them; or --labels-file FILE)"
        if kind == "classifier" and "guessed" in made.why["head"]:
            flag += f" or --kind embedder where these {made.labels} numbers are no scores"
        ask(
            Question("labels", flag, f"The {count}labels with commas between, in the output's order, or a file of them")
        )
    if "licence" not in made.card:
        ask(Question("licence", "--licence SPDX", "The licence of the weights (CC-BY-4.0, AGPL-3.0-only, …)"))
    told = made.why.get("input.scale") == _SAID or all(name in made.card for name in _COLOURS[1:])
    if kind != "detector" and seen.source.dtype != "uint8" and preset is None and not told:
        ask(Question("preset", "--preset imagenet|inception|clip|plain (or --mean and --std)", "How colours are fed"))
    if seen.source.dtype != "uint8":
        made.put("input.scale", 1 / 255, "guessed: usual")
    if kind != "detector" and "input.width" not in made.card:
        ask(Question("size", "--size WIDTHxHEIGHT", "The size of its pictures in pixels"))


def _put_all(made: Proposal, values: Mapping[str, Any], why: str) -> None:
    for name, value in values.items():
        made.put(name, value, why)


_ORDER = (
    "name", "version", "kind", "file", "sha256",
    "input.name", "input.width", "input.height", "input.max_side", "input.layout", "input.channels", "input.scale",
    "input.mean", "input.std", "input.dtype", "input.resize", "input.pad", "input.interpolation", "input.margin",
    "head", "outputs", "stride", "threshold", "nms", "tiles", "labels", "dimensions", "licence", "citation",
    "training", "quality",
)  # fmt: skip


def _order(name: str) -> int:
    for key in (name, name.partition(".")[0]):
        if key in _ORDER:
            return _ORDER.index(key)
    return len(_ORDER)
