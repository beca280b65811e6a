"""A trained network to a model folder: ONNX file and card."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from functions.train.data import CROP, MARGIN, MAX_SIDE
from functions.train.networks import MULTIPLE
from functions.train.scenes import LABELS
from trapline.models import Model, ModelCard, sha256_of

VERSION, LICENCE = "1.0.0", "Apache-2.0"
SCALE = round(1 / 255, 10)  # networks are trained on pixels 0..1

Card = dict[str, Any]
Exported = tuple[Card, bytes]  # a card, without its figures, and its file


def export_detector(network: nn.Module) -> Exported:
    """The detector's card and file."""
    free = {0: "batch", 2: "height", 3: "width"}
    cells = {0: "batch", 2: "rows", 3: "columns"}
    axes = {"pixels": free, "heatmap": cells, "size": cells, "offset": cells}
    content = _onnx(network, torch.zeros(1, 3, 64, 96), ["heatmap", "size", "offset"], axes)
    source = {"name": "pixels", "scale": SCALE, "resize": "letterbox", "max_side": MAX_SIDE}
    card = _card("moth-detector", "detector", content, source, "heatmap", ["insect"])
    return {**card, "stride": MULTIPLE}, content


def export_classifier(network: nn.Module) -> Exported:
    """The classifier's card and file."""
    axes = {"pixels": {0: "batch"}, "logits": {0: "batch"}}
    content = _onnx(network, torch.zeros(2, 3, CROP, CROP), ["logits"], axes)
    source = {"name": "pixels", "width": CROP, "height": CROP, "scale": SCALE, "resize": "crop", "margin": MARGIN}
    return _card("moth-classifier", "classifier", content, source, "logits", list(LABELS)), content


def as_model(card: Card, content: bytes) -> Model:
    """The model as a stage would load it."""
    return Model(ModelCard.model_validate(card), content)


def write(folder: Path, card: Card, content: bytes) -> None:
    """Write card and file into `folder`, the card last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(card["file"])).write_bytes(content)
    (folder / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100), "utf-8")


def _onnx(network: nn.Module, example: torch.Tensor, outputs: list[str], axes: dict[str, dict[int, str]]) -> bytes:
    out = io.BytesIO()
    # The older exporter needs no package beyond torch and onnx.
    torch.onnx.export(
        network.cpu().eval().to(memory_format=torch.contiguous_format), (example,), out,
        input_names=["pixels"], output_names=outputs, dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    return out.getvalue()


def _cited(name: str, version: str) -> str:
    """How a sample model is cited."""
    return f"Trapline contributors. Trapline: {name}, version {version}, a sample model trained on drawn scenes."


def _card(name: str, kind: str, content: bytes, source: Card, head: str, labels: list[str]) -> Card:
    return {
        "schema": 1, "name": name, "version": VERSION, "kind": kind, "file": "model.onnx", "sha256": sha256_of(content),
        "input": source, "head": head, "labels": labels, "licence": LICENCE,
        "citation": _cited(name, VERSION),
    }  # fmt: skip
