"""DETR and RT-DETR by transformers, from configurations made small."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from local_dev.exports.case import LABELS, SIDE, Array, Case, run, without_notes

_CONFIDENCE = 0.5
_NAMES = ("logits", "pred_boxes")


def cases(pictures: Mapping[str, Image.Image]) -> dict[str, Callable[[], Case]]:
    """How each of them is made, by name."""
    return {"detr": partial(_detr, pictures), "rtdetr-logits": partial(_rtdetr, pictures)}


def _detr(pictures: Mapping[str, Image.Image]) -> Case:
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone,
        num_queries=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, num_labels=len(LABELS),
    )  # fmt: skip
    torch.manual_seed(3)
    network = transformers.DetrForObjectDetection(config).eval()
    with torch.no_grad():
        for part in network.model.decoder.modules():  # so that every query looks elsewhere
            if isinstance(part, torch.nn.Linear):
                part.weight.normal_(0, 0.6)
        network.model.query_position_embeddings.weight.normal_(0, 1)
        network.class_labels_classifier.weight.normal_(0, 0.9)
        network.bbox_predictor.layers[-1].weight.normal_(0, 0.5)
    processor = transformers.DetrImageProcessor(
        size={"height": SIDE, "width": SIDE}, do_pad=False, image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    source = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return _case("detr", "detr", network, processor, source, pictures)


def _rtdetr(pictures: Mapping[str, Image.Image]) -> Case:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[8, 16, 16], encoder_layers=1,
        encoder_ffn_dim=32, encoder_attention_heads=2, d_model=32, num_queries=40, decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=32, decoder_layers=2, decoder_attention_heads=2, num_labels=len(LABELS), hidden_expansion=0.5,
    )  # fmt: skip
    torch.manual_seed(4)
    network = transformers.RTDetrForObjectDetection(config).eval()
    with torch.no_grad():
        for final in network.model.decoder.class_embed:
            final.weight.normal_(0, 0.3)
            final.bias.fill_(-0.5)
    processor = transformers.RTDetrImageProcessor(size={"height": SIDE, "width": SIDE})
    return _case("rtdetr-logits", "rtdetr", network, processor, {}, pictures)


def _case(
    name: str, head: str, network: Any, processor: Any, source: dict[str, Any], pictures: Mapping[str, Image.Image]
) -> Case:
    content = _exported(network)
    fed = processor(list(pictures.values()), return_tensors="np")["pixel_values"].astype(np.float32)
    logits, boxes = run(content, fed, _NAMES)
    sizes = [picture.size[::-1] for picture in pictures.values()]
    card = {
        "kind": "detector", "head": head, "threshold": _CONFIDENCE, "labels": list(LABELS),
        "input": {"name": "pixel_values", "width": SIDE, "height": SIDE, "resize": "stretch", **source},
    }  # fmt: skip
    return Case(
        name, card, content, ("transformers", "torch"), fed,
        _told(processor, logits, boxes, [(SIDE, SIDE)] * len(sizes)), _told(processor, logits, boxes, sizes),
        roles={"logits": "logits", "boxes": "pred_boxes"},
    )  # fmt: skip


def _told(processor: Any, logits: Array, boxes: Array, sizes: list[tuple[int, int]]) -> list[Array]:
    """The library's boxes in pixels of pictures of these sizes, height before width."""
    outputs = SimpleNamespace(logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes))
    found = processor.post_process_object_detection(outputs, threshold=_CONFIDENCE, target_sizes=sizes)
    return [
        torch.cat([one["boxes"], one["scores"][:, None], one["labels"][:, None]], dim=1).numpy().astype(np.float32)
        for one in found
    ]


class _Outputs(torch.nn.Module):
    """The two outputs alone, by place."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.network(pixel_values)
        return found.logits, found.pred_boxes


def _exported(network: torch.nn.Module) -> bytes:
    out = io.BytesIO()
    torch.onnx.export(
        _Outputs(network), (torch.zeros(1, 3, SIDE, SIDE),), out, opset_version=17, input_names=["pixel_values"],
        output_names=list(_NAMES), dynamo=False,
    )  # fmt: skip
    return without_notes(out.getvalue())
