"""A classifier and its features, by timm."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
import timm.data
import torch
from PIL import Image

from local_dev.exports.case import LABELS, Case, without_notes

_SIDE = 64
_BOX = (8, 6, 48, 44)  # of every picture, pixels
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's

_ROLES = {
    "softmax": ("scores", "shares"), "logits": ("scores", "logits"), "sigmoid": ("scores", "logits"),
    "embedding": ("vectors", "features"),
}  # fmt: skip


def cases(pictures: Mapping[str, Image.Image]) -> dict[str, Callable[[], Case]]:
    """How each of them is made, by name."""
    return {f"timm-{head}": partial(_case, head, pictures) for head in ("softmax", "logits", "sigmoid", "embedding")}


class _Outputs(torch.nn.Module):
    """All that the heads read, from one network."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.network.forward_features(pixels)
        logits = self.network.forward_head(features)
        return logits, logits.softmax(dim=1), self.network.forward_head(features, pre_logits=True)


def _case(head: str, pictures: Mapping[str, Image.Image]) -> Case:
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=len(LABELS), channels=(8, 16, 16, 16))
    with torch.no_grad():
        network.get_classifier().weight.normal_(0, 1)
    network.eval()
    transform = timm.data.create_transform(
        (3, _SIDE, _SIDE), is_training=False, interpolation="bicubic", mean=_MEAN, std=_STD, crop_pct=1.0,
        crop_mode="squash",
    )  # fmt: skip
    fed = torch.stack([transform(picture.crop(_BOX)) for picture in pictures.values()])
    with torch.no_grad():
        logits, shares, features = _Outputs(network)(fed)
    answers = {
        "softmax": shares, "logits": shares, "sigmoid": logits.sigmoid(),
        "embedding": torch.nn.functional.normalize(features),
    }[head]  # fmt: skip
    return Case(
        f"timm-{head}", _card(head, features.shape[1]), _exported(network), ("timm", "torch"),
        fed.numpy(), list(answers.numpy()),
        roles=dict([_ROLES[head]]), box=_BOX,
    )  # fmt: skip


def _exported(network: torch.nn.Module) -> bytes:
    out = io.BytesIO()
    names = ["logits", "shares", "features"]
    torch.onnx.export(
        _Outputs(network), (torch.zeros(1, 3, _SIDE, _SIDE),), out, opset_version=17, input_names=["pixels"],
        output_names=names, dynamic_axes={name: {0: "batch"} for name in ["pixels", *names]}, dynamo=False,
    )  # fmt: skip
    return without_notes(out.getvalue())


def _card(head: str, dimensions: int) -> dict[str, Any]:
    source: dict[str, Any] = {
        "name": "pixels", "width": _SIDE, "height": _SIDE, "resize": "stretch", "interpolation": "bicubic",
        "mean": _MEAN, "std": _STD,
    }  # fmt: skip
    if head == "embedding":
        own: dict[str, Any] = {"kind": "embedder", "dimensions": dimensions}
    else:
        own = {"kind": "classifier", "labels": list(LABELS)}
    return {**own, "input": source, "head": head, "outputs": dict([_ROLES[head]])}
