"""A model's card: what the file is, what it is fed, what comes out, how good it was measured to be.

Reading a card needs no model runtime; whether the file keeps the card's word is checked in `checking`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trapline.errors import ConfigError
from trapline.models.forms import HEADS, HeadName, Kind
from trapline.pipeline.reading import did_you_mean, parsed, shown

Three = tuple[float, float, float]
Rank = Literal[
    "domain", "kingdom", "subkingdom", "phylum", "subphylum", "superclass", "class", "subclass", "infraclass",
    "superorder", "order", "suborder", "infraorder", "superfamily", "family", "subfamily", "tribe", "subtribe",
    "genus", "subgenus", "section", "species", "subspecies", "variety", "form",
]  # fmt: skip


class Pad(BaseModel):
    """What fills an input around a letterboxed picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colour: StrictInt | None = Field(
        None, ge=0, le=255, description="Grey value, 0 to 255 (YOLO: 114); none: the colour that `mean` stands for."
    )
    at: Literal["corner", "centre"] = Field(
        "corner",
        description="Where the picture lies: `corner` = at the top left, padded at the right and bottom; "
        "`centre` = in the middle (YOLO).",
    )


class Input(BaseModel):
    """What the network is fed. Value fed = pixel x `scale`, minus `mean`, over `std`, per channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("pixels", min_length=1, description="The input's name in the ONNX file.")
    width: int | None = Field(None, ge=1, description="Pixels; none = any multiple of the card's `stride`.")
    height: int | None = Field(None, ge=1, description="Pixels; none = any multiple of the card's `stride`.")
    max_side: int = Field(
        1024, ge=16, le=8192, description="Pixels of the longer side after scaling, where width and height are none."
    )
    layout: Literal["nchw", "nhwc"] = Field(
        "nchw", description="Order of the axes: `nchw` = batch, channels, height, width; `nhwc` = channels last."
    )
    channels: Literal["rgb", "bgr"] = Field("rgb", description="Order of the colours.")
    scale: float = Field(1 / 255, gt=0, description="Multiplies the pixel values 0 to 255 first.")
    mean: Three = Field((0.0, 0.0, 0.0), description="Subtracted after `scale`, in the order of `channels`.")
    std: Three = Field((1.0, 1.0, 1.0), description="Divided by at last, in the order of `channels`; none may be 0.")
    dtype: Literal["float32", "float16", "uint8"] = Field(
        "float32", description="Type of the numbers; with `uint8` the pixels go in as they are, 0 to 255."
    )
    resize: Literal["letterbox", "stretch", "crop"] = Field(
        "letterbox",
        description="How a picture comes to the size: `letterbox` = scaled whole and padded; `stretch` = scaled to it "
        "whatever its shape; `crop` = a square cut out around a detection (classifiers and embedders).",
    )
    pad: Pad = Field(default_factory=Pad, description="For `letterbox`: what fills the rest, and where.")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "bilinear", description="How pixels are scaled, by Pillow's names."
    )
    margin: float = Field(0.0, ge=0, le=2, description="For crops: share of the box's longer side added on every side.")

    @model_validator(mode="after")
    def _is_sound(self) -> Input:
        if 0 in self.std:
            _refuse("input.std", "holds a 0", "Give three numbers that are not 0.")
        if (self.width is None) != (self.height is None):
            _refuse(
                "input.width", "width and height: one of them is missing", "Do give both width and height, or neither."
            )
        if self.resize == "crop" and self.width is None:
            _refuse("input.resize", "crop needs width and height", "Give the size that the network takes.")
        if self.resize == "crop" and self.width != self.height:
            problem = f"crop cuts squares; the input is {self.width} x {self.height}"
            _refuse("input.resize", problem, "Write stretch or letterbox, or an input with equal sides.")
        untouched = self.mean == (0, 0, 0) and self.std == (1, 1, 1) and self.scale in (1, 1 / 255)
        if self.dtype == "uint8" and not untouched:
            problem = "uint8 takes the pixels as they are, so scale, mean and std cannot be applied"
            _refuse("input.dtype", problem, "Leave out scale, mean and std, or write float32.")
        brightest = 255 * self.scale
        for name, said in (("mean", self.mean), ("std", self.std)):
            if max(map(abs, said)) > 10 * abs(brightest):
                problem = f"{max(said, key=abs):g} is far beyond the colours, which scale makes 0 to {brightest:.3g}"
                _refuse(
                    f"input.{name}", problem, "Divide mean and std by 255, or write scale: 1 for colours of 0 to 255."
                )
        return self


class Nms(BaseModel):
    """How boxes that tell the same thing twice are suppressed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iou: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Of two boxes with a greater intersection over union the better alone is kept; 1 = both are. None: "
        "heatmap 0.55, yolov5 0.45, yolov8 0.7, the other heads 1.",
    )
    per_label: bool = Field(True, description="Whether boxes of different labels are left alone; false: by box alone.")
    most: int = Field(1000, ge=1, le=100_000, description="Detections kept of one picture, or of one tile.")


class Tiles(BaseModel):
    """How a large picture is cut into overlapping tiles, each run through the network, and joined again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=32, le=8192, description="Side of a tile in pixels of the scaled picture.")
    overlap: float = Field(
        0.2, ge=0, le=0.9, description="Share of a tile's side that it has in common with the next; as much as the "
        "largest thing to be found.",
    )  # fmt: skip
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field(
        (1.0,),
        min_length=1,
        max_length=8,
        description="Scales of the picture at which tiles are cut; 0.5 = half its size.",
    )

    @model_validator(mode="after")
    def _is_sound(self) -> Tiles:
        if len(set(self.scales)) != len(self.scales):
            _refuse("tiles.scales", "a scale is given twice", "Name each scale once.")
        return self


class Taxon(BaseModel):
    """A label, and what it stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="Name of the output's channel; quote words such as 'no' and '1'.")
    rank: Rank | None = Field(None, description="Taxonomic rank, in lower case, as Darwin Core's taxonRank.")
    gbif: StrictInt | None = Field(
        None, ge=1, description="Key in the GBIF backbone taxonomy, a positive whole number."
    )
    synonyms: tuple[str, ...] = Field((), description="Other names for the same.")


def _taxon(label: object) -> object:
    return {"name": label} if not isinstance(label, dict | Taxon) else label


class ModelCard(BaseModel):
    """`model.yaml`: a model and the file beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_: Literal[1] = Field(1, alias="schema", description="Version of this card's format.")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Lower-case letters, digits and hyphens.")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$", description="Three numbers: 1.0.0. Its file never changes.")
    kind: Kind = Field(
        description="What it does: `detector` = boxes, `classifier` = labels for crops, `embedder` = vectors for crops."
    )
    file: str = Field("model.onnx", pattern=r"^[A-Za-z0-9][\w.-]*\.onnx$", description="The ONNX file beside the card.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the file's bytes, 64 hexadecimal digits.")
    input: Input = Field(description="What it is fed.")
    head: HeadName = Field(description="How its outputs read; see the table of heads.")
    outputs: dict[str, str] = Field(
        default_factory=dict, description="The head's roles to the names of outputs in the file, where those differ."
    )
    stride: int = Field(1, ge=1, le=256, description="Input sides must be multiples of it, in pixels.")
    threshold: float = Field(0.3, ge=0, le=1, description="Confidence below which a detection is dropped.")
    nms: Nms = Field(default_factory=Nms, description="How repeats are suppressed (detectors).")
    tiles: Tiles | None = Field(None, description="How large pictures are cut (detectors); none: each is fed whole.")
    labels_: tuple[Annotated[Taxon, BeforeValidator(_taxon)], ...] = Field(
        (),
        alias="labels",
        description="Names of the output's channels, in order; each a word, or name, rank, gbif and synonyms.",
    )
    dimensions: int | None = Field(None, ge=1, description="Length of an embedder's vector.")
    licence: str = Field(min_length=1, description="SPDX expression of the weights' licence.")
    citation: str = Field("", description="How to cite the model.")
    training: dict[str, Any] = Field(default_factory=dict, description="Free: data, seed, command of its making.")
    quality: dict[str, Any] = Field(default_factory=dict, description="Free: measured figures and their command.")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the output's channels, in order."""
        return tuple(taxon.name for taxon in self.labels_)

    @cached_property
    def taxa(self) -> Mapping[str, Taxon]:
        """What each label stands for, by its name."""
        return {taxon.name: taxon for taxon in self.labels_}

    @property
    def iou(self) -> float:
        """The overlap above which repeats are suppressed: the card's own, or else the head's."""
        return HEADS[self.head].iou if self.nms.iou is None else self.nms.iou

    @model_validator(mode="after")
    def _fits_together(self) -> ModelCard:
        _check_head(self)
        _check_labels(self)
        _check_size(self)
        return self

    @field_serializer("labels_")
    def _plain(self, labels: tuple[Taxon, ...]) -> list[Any]:
        told = [label.model_dump(mode="json", exclude_defaults=True) for label in labels]
        return [label["name"] if len(label) == 1 else label for label in told]


def read_card(source: Path | bytes, where: str | None = None) -> ModelCard:
    """Read and check a card. `where` names it in errors; a `ConfigError` says file, field and remedy in one line."""
    name = where or (str(source) if isinstance(source, Path) else "model.yaml")
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
        content = parsed(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror}).", remedy="Put a model card there.") from error
    except (yaml.YAMLError, ValueError) as error:
        line = " ".join(str(error).split())[:160]
        raise ConfigError(f"{name}: is not YAML ({line}).", remedy="Mend the line it names.") from error
    return checked_card(content, name)


def checked_card(content: object, name: str = "model.yaml") -> ModelCard:
    """A card from the fields of one. `name` names it in errors, as in `read_card`."""
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: holds no fields.", remedy="Write a model card: name, version, kind, sha256, …")
    try:
        return ModelCard.model_validate(content)
    except ValidationError as error:
        message, remedy = _worded(error, name)
        raise ConfigError(message, remedy=remedy) from None


def sha256_of(data: bytes) -> str:
    """The hash as cards carry it."""
    return hashlib.sha256(data).hexdigest()


# -- what must agree


def _check_head(card: ModelCard) -> None:
    head = HEADS[card.head]
    if head.kind != card.kind:
        fitting = ", ".join(name for name, known in HEADS.items() if known.kind == card.kind)
        problem = f"a {card.kind} cannot have the head {card.head}; it is for {head.kind}s alone"
        _refuse("head", problem, f"Heads of a {card.kind}: {fitting}.")
    if unknown := sorted(set(card.outputs) - set(head.roles)):
        problem = f"the head {card.head} has no {unknown[0]}"
        _refuse("outputs", problem, f"Its roles are {', '.join(head.roles)}; give each its output's name in the file.")
    if card.outputs and not any(set(card.outputs) <= set(form.shapes) for form in head.forms):
        _refuse("outputs", f"{', '.join(card.outputs)} do not belong together", "Name those of one form of the head.")
    for field, given in (("nms", card.nms != Nms()), ("tiles", card.tiles is not None)):
        if given and card.kind != "detector":
            _refuse(field, f"for detectors alone, and this is a {card.kind}", f"Remove {field}.")
    if card.dimensions is not None and card.kind != "embedder":
        _refuse("dimensions", f"a {card.kind} has none; its channels are its labels", "Remove dimensions.")


def _check_labels(card: ModelCard) -> None:
    if card.kind == "embedder":
        if card.labels:
            _refuse("labels", "an embedder has none: what comes out is a vector", "Remove labels.")
        return
    if not card.labels:
        _refuse("labels", f"a {card.kind} needs one for each of its channels", "Name them in the channels' order.")
    seen: set[str] = set()
    for label in card.labels:
        if label in seen:
            remedy = f"Give each channel its own, such as {label}-2."
            _refuse("labels", f"the list holds a name twice: {label}", remedy)
        seen.add(label)


def _check_size(card: ModelCard) -> None:
    spec = card.input
    if card.kind != "detector" and spec.width is None:
        article = "an" if card.kind == "embedder" else "a"
        problem = f"{article} {card.kind}'s input needs width and height"
        _refuse("input.width", problem, "Give the size that the network takes.")
    if card.kind == "detector" and spec.resize == "crop":
        _refuse("input.resize", "crop is for classifiers and embedders", "Write letterbox or stretch.")
    for field in ("width", "height"):
        side = getattr(spec, field)
        if side is not None and side % card.stride:
            remedy = "Correct one of them; without a stride the network takes its size as it is."
            _refuse(f"input.{field}", f"{side} is no multiple of the card's stride {card.stride}", remedy)


def _refuse(field: str, problem: str, remedy: str) -> NoReturn:
    told = {"field": field, "problem": problem, "remedy": remedy}
    raise PydanticCustomError("card", "{field}: {problem}. {remedy}", told)


# -- how a problem is told


def _worded(error: ValidationError, name: str) -> tuple[str, str]:
    problems = error.errors(include_url=False)
    # A misspelt key makes another one missing: it is told first.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    if first["type"] == "card":
        told = first["ctx"]
        return f"{name}: {told['field']}: {told['problem']}.", str(told["remedy"])
    place = [str(part) for part in first["loc"]]
    field = ".".join(place) or "card"
    if first["type"] == "extra_forbidden":
        known = _fields(place[:-1])
        what = "a model card" if len(place) == 1 else ".".join(place[:-1])
        remedy = f"Remove or correct it; known are {', '.join(known)}.{did_you_mean(place[-1], known)}"
        return f"{name}: {field}: is not a field of {what}.", remedy
    if first["type"] == "missing":
        return f"{name}: {field}: is missing.", f"Add it: {_about(place)}"
    got = shown(first["input"]) if not isinstance(first["input"], dict) else "fields of its own"
    remedy = _about(place) or "Correct the field."
    if first["type"] == "literal_error":
        expected = first["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return f"{name}: {field}: {got} is not one of {expected}.", remedy + did_you_mean(
            str(first["input"]), expected.split(", ")
        )
    message = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, ").rstrip("."))
    return f"{name}: {field}: {message}; got {got}.", remedy


def _fields(place: list[str]) -> list[str]:
    """The names that fields may have at a place in a card."""
    kind = _model_at(place) or ModelCard
    return [field.alias or key for key, field in kind.model_fields.items()]


def _about(place: list[str]) -> str:
    """What the field at a place should hold; where nothing is known of it, what the field around it should."""
    for length in range(len(place), 0, -1):
        kind = _model_at(place[: length - 1])
        for key, field in kind.model_fields.items() if kind else ():
            if (field.alias or key) == place[length - 1] and field.description:
                return field.description
    return ""


_PLAIN = {  # what pydantic says of types, in YAML's words
    "tuple_type": "should be a list, such as [a, b]",
    "dict_type": "should be `key: value` lines",
    "model_type": "should be `key: value` lines",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
}
_PARTS: dict[str, type[BaseModel]] = {
    "": ModelCard, "input": Input, "input.pad": Pad, "nms": Nms, "tiles": Tiles, "labels": Taxon,
}  # fmt: skip


def _model_at(place: list[str]) -> type[BaseModel] | None:
    return _PARTS.get(".".join(part for part in place if not part.isdecimal()))
