"""A model's card: what the file is, what it is fed, what comes out, how good it was measured to be.

Reading a card needs no model runtime; whether the file keeps the card's word is checked in `session`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trapline.errors import ConfigError
from trapline.pipeline.reading import parsed

Three = tuple[float, float, float]


class Input(BaseModel):
    """What the network is fed. Value fed = pixel x `scale`, minus `mean`, over `std`, per channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("pixels", description="The input's name in the ONNX file.")
    width: int | None = Field(None, ge=1, description="Pixels; none = any multiple of the card's `stride`.")
    height: int | None = Field(None, ge=1, description="Pixels; none = any multiple of the card's `stride`.")
    channels: Literal["rgb", "bgr"] = Field("rgb", description="Order of the colours.")
    layout: Literal["nchw"] = Field("nchw", description="Order of the axes: batch, channels, height, width.")
    scale: float = Field(1 / 255, gt=0, description="Multiplies the pixel values 0 to 255 first.")
    mean: Three = Field((0.0, 0.0, 0.0), description="Subtracted after `scale`, in the order of `channels`.")
    std: Three = Field((1.0, 1.0, 1.0), description="Divided by at last, in the order of `channels`; none may be 0.")
    resize: Literal["stretch", "letterbox", "crop"] = Field(
        "letterbox",
        description="How a picture comes to the size: stretched; scaled and padded at the right and bottom; "
        "or a square cut out around a detection.",
    )
    max_side: int = Field(
        1024, ge=16, le=8192, description="Pixels of the longer side after scaling, where width and height are none."
    )
    margin: float = Field(
        0.0, ge=0, le=2, description="For `crop`: share of the box's longer side added on every side."
    )

    @model_validator(mode="after")
    def _is_sound(self) -> Input:
        if 0 in self.std:
            raise ValueError("std holds a 0; give three numbers that are not 0")
        if (self.width is None) != (self.height is None):
            raise ValueError("give both width and height, or neither")
        if self.resize == "crop" and self.width is None:
            raise ValueError("resize: crop needs width and height")
        return self


class ModelCard(BaseModel):
    """`model.yaml`: a model and the file beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_: Literal[1] = Field(1, alias="schema", description="Version of this card's format.")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Lower-case letters, digits and hyphens.")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$", description="Three numbers: 1.0.0. Its file never changes.")
    kind: Literal["detector", "classifier"] = Field(description="What it does.")
    file: str = Field("model.onnx", pattern=r"^[A-Za-z0-9][\w.-]*\.onnx$", description="The ONNX file beside the card.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the file's bytes, 64 hexadecimal digits.")
    input: Input = Field(description="What it is fed.")
    head: Literal["heatmap", "softmax", "logits"] = Field(
        description="How its outputs read: `heatmap` = outputs heatmap (one channel per label, 0 to 1), size (width, "
        "height in input pixels) and offset (x, y in cells); `softmax` = one share per label; `logits` = before it."
    )
    stride: int = Field(1, ge=1, le=256, description="Input sides must be multiples of it, in pixels.")
    threshold: float = Field(0.3, ge=0, le=1, description="Confidence below which a detection is dropped.")
    labels: tuple[str, ...] = Field(min_length=1, description="Names of the output's channels, in order.")
    licence: str = Field(min_length=1, description="SPDX expression of the weights' licence.")
    training: dict[str, Any] = Field(default_factory=dict, description="Free: data, seed, command of its making.")
    quality: dict[str, Any] = Field(default_factory=dict, description="Free: measured figures and their command.")

    @model_validator(mode="after")
    def _fits_together(self) -> ModelCard:
        if (self.kind == "detector") != (self.head == "heatmap"):
            raise ValueError(f"a {self.kind} cannot have the head {self.head}; heatmap is for detectors alone")
        if self.kind == "classifier" and self.input.width is None:
            raise ValueError("a classifier's input needs width and height")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels holds a name twice; give each channel its own")
        return self


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
    return _checked(content, name)


def sha256_of(data: bytes) -> str:
    """The hash as cards carry it."""
    return hashlib.sha256(data).hexdigest()


def _checked(content: object, name: str) -> ModelCard:
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: holds no fields.", remedy="Write a model card: name, version, kind, sha256, …")
    try:
        return ModelCard.model_validate(content)
    except ValidationError as error:
        message, remedy = _worded(error, name)
        raise ConfigError(message, remedy=remedy) from None


def _worded(error: ValidationError, name: str) -> tuple[str, str]:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "card"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] == "extra_forbidden":
        return f"{name}: {field}: is not a field of a model card.", f"Remove or correct it; known are {_fields()}."
    if first["type"] == "missing":
        return f"{name}: {field}: is missing.", f"Add it: {_about(field)}"
    got = repr(first["input"])[:60] if not isinstance(first["input"], dict) else "the fields together"
    return f"{name}: {field}: {message}; got {got}.", _about(field) or "Correct the field."


def _fields() -> str:
    return ", ".join(field.alias or key for key, field in ModelCard.model_fields.items())


def _about(field: str) -> str:
    """What the named field should hold."""
    head, _, rest = field.partition(".")
    fields = Input.model_fields if head == "input" and rest else ModelCard.model_fields
    key = rest.split(".")[0] if head == "input" and rest else head
    found = fields.get({"schema": "schema_"}.get(key, key))
    return f"{found.description}" if found and found.description else ""
