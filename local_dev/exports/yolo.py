"""YOLO and RT-DETR by ultralytics, from its own yaml files at the smallest width, and YOLOv5 by the package yolov5."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics
import yaml
import yolov5
from PIL import Image, ImageOps

from local_dev.exports.case import LABELS, SIDE, Array, Case, run, without_notes

CONFIDENCE, IOU, MOST = 0.5, 0.5, 100
Final = torch.nn.Conv2d | torch.nn.Linear  # a layer whose outputs are scores or boxes

_WIDTH = 0.02  # of the published widths; channels are rounded up to 8
# Name here, the library's yaml, the card's head, what is changed in the yaml.
_MODELS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("yolov8n", "v8/yolov8.yaml", "yolov8", {"reg_max": 4}),
    ("yolov9t", "v9/yolov9t.yaml", "yolov8", {}),
    ("yolo11n", "11/yolo11.yaml", "yolov8", {}),
    ("yolov10n", "v10/yolov10n.yaml", "end2end", {}),
    ("yolo26n", "26/yolo26.yaml", "end2end", {}),
)


def cases(pictures: Mapping[str, Image.Image]) -> dict[str, Callable[[], Case]]:
    """How each of them is made, by name."""
    making: dict[str, Callable[[], Case]] = {
        name: partial(_yolo, name, config, head, changes, pictures) for name, config, head, changes in _MODELS
    }
    return making | {"rtdetr": partial(_rtdetr, pictures), "yolov5n": partial(_yolov5, pictures)}


def settle(network: torch.nn.Module, finals: Sequence[Final], pictures: Mapping[str, Image.Image]) -> None:
    """Random weights under which scores and boxes differ from place to place, as those of a trained network do."""
    for module in network.modules():
        learns = isinstance(module, torch.nn.Conv2d) and module.weight.requires_grad
        if learns and module not in finals:
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain mean over all batches
            module.train()
    batch = _turned(pictures)
    with torch.no_grad():
        network(batch)  # what batch normalisation then divides by is what the pictures give
    network.eval()
    _even_out(network, finals, batch)


def _turned(pictures: Mapping[str, Image.Image]) -> torch.Tensor:
    """The pictures at the input's size, upright and turned, as a batch."""
    grey = (114, 114, 114)
    boxed = [ImageOps.pad(picture, (SIDE, SIDE), color=grey) for picture in pictures.values()]
    arrays = [np.asarray(picture, np.float32) / 255 for picture in boxed]
    turned = [np.rot90(array, turns) for array in arrays for turns in range(4)]
    return torch.from_numpy(np.stack(turned).transpose(0, 3, 1, 2).copy())


def _even_out(network: torch.nn.Module, finals: Sequence[Final], batch: torch.Tensor) -> None:
    """Give each last layer weights by which what it says differs by about 1.5, and scores of which some are high."""
    with torch.no_grad():
        for final, (given, _) in _seen(network, finals, batch).items():
            centred = given - given.mean(dim=(0, *range(2, given.dim())) if given.dim() == 4 else (0, 1), keepdim=True)
            final.weight.normal_(0, 1.5 / (float(centred.std()) * final.weight.shape[1] ** 0.5))
            final.bias.normal_(1.0, 0.5)
        for final, (_, said) in _seen(network, finals, batch).items():
            calmer = min(1.0, 6 / float((said - said.mean()).abs().max()))  # scores of exactly 1 would tie
            final.weight.mul_(calmer)
        for final, (_, said) in _seen(network, finals, batch).items():
            if final.weight.shape[0] == len(LABELS):
                flat = said.transpose(1, -1).reshape(-1, len(LABELS)) if said.dim() == 4 else said.flatten(0, -2)
                final.bias.sub_(flat.quantile(0.9, dim=0))


def _seen(
    network: torch.nn.Module, finals: Sequence[Final], batch: torch.Tensor
) -> dict[Final, tuple[torch.Tensor, torch.Tensor]]:
    """What each of some layers is given, and what it makes of it."""
    seen: dict[Final, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(layer: Final, given: tuple[torch.Tensor, ...], said: torch.Tensor) -> None:
        seen[layer] = (given[0], said)

    hooks = [final.register_forward_hook(keep) for final in finals]
    network(batch)
    for hook in hooks:
        hook.remove()
    return seen


def _yolo(name: str, config: str, head: str, changes: dict[str, Any], pictures: Mapping[str, Image.Image]) -> Case:
    torch.manual_seed(5)
    with tempfile.TemporaryDirectory() as work:
        model = ultralytics.YOLO(str(_config(Path(work), name, config, changes)), task="detect")
        network = model.model
        detect = network.model[-1]
        towers = [getattr(detect, key, None) for key in ("cv2", "cv3", "one2one_cv2", "one2one_cv3")]
        finals = [branch[-1] for tower in towers if tower is not None for branch in tower]
        settle(network, finals, pictures)
        with contextlib.chdir(work):
            # Without `nms=False` newer versions leave out the end-to-end branch even where the model has one.
            branch = {"nms": False} if head == "end2end" else {}
            onnx = Path(model.export(format="onnx", imgsz=SIDE, simplify=True, opset=17, **branch)).absolute()
        found, fed = _predicted(ultralytics.YOLO(str(onnx), task="detect"), pictures)
        content = without_notes(onnx.read_bytes())
    nms = {"iou": IOU, "most": MOST} if head == "yolov8" else {"most": MOST}
    answers = [_boxes(one) for one in _suppressed(content, fed)]
    return Case(name, _card(head, nms), content, ("ultralytics", "torch"), fed, answers, found)


def _config(work: Path, name: str, config: str, changes: dict[str, Any]) -> Path:
    given = _given(config) | {"nc": len(LABELS), **changes}
    if "scales" in given:
        given["scales"] = {key: [0.1, _WIDTH, 1024] for key in given["scales"]}
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


def _given(config: str) -> dict[str, Any]:
    text = (Path(ultralytics.__file__).parent / "cfg/models" / config).read_text(encoding="utf-8")
    given: dict[str, Any] = yaml.safe_load(text)
    return given


def _predicted(model: Any, pictures: Mapping[str, Image.Image]) -> tuple[list[Array], Array]:
    """The library's boxes in full pixels from picture to end, and what it fed the network."""
    found, fed = [], []

    def keep(predictor: Any) -> None:
        fed.append(np.array(predictor.preprocess(predictor.batch[1])))

    model.add_callback("on_predict_batch_start", keep)
    for picture in pictures.values():
        bgr = np.ascontiguousarray(np.asarray(picture)[..., ::-1])
        (result,) = model.predict(
            bgr, imgsz=SIDE, conf=CONFIDENCE, iou=IOU, max_det=MOST, rect=False, verbose=False, device="cpu"
        )
        found.append(_boxes(result.boxes.data))
    return found, np.concatenate(fed).astype(np.float32)


def _suppressed(content: bytes, fed: Array) -> list[torch.Tensor]:
    (outputs,) = run(content, fed)
    told: list[torch.Tensor] = ultralytics.utils.nms.non_max_suppression(
        torch.from_numpy(outputs), conf_thres=CONFIDENCE, iou_thres=IOU, max_det=MOST
    )
    return told


def _rtdetr(pictures: Mapping[str, Image.Image]) -> Case:
    given = _given("rt-detr/rtdetr-resnet50.yaml") | {"nc": len(LABELS)}
    # The published layers, narrower: ResNet blocks of 8, a decoder of 32 with 60 queries, 4 heads, 2 layers.
    layers = [[3, 8, 1, True, 1], [8, 8, 1, False, 1], *[[32, 8, 2, False, 1]] * 3]
    for layer, arguments in zip(given["backbone"], layers, strict=True):
        layer[3] = arguments
    for layer in given["head"]:
        layer[3] = {"AIFI": [64, 4], "RTDETRDecoder": ["nc", 32, 60, 4, 4, 2, 64]}.get(
            layer[2], [32 if one == 256 else one for one in layer[3]]
        )
    torch.manual_seed(7)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "rtdetr.yaml"
        path.write_text(yaml.safe_dump(given), encoding="utf-8")
        model = ultralytics.RTDETR(str(path))
        decoder = model.model.model[-1]
        scores, boxes = list(decoder.dec_score_head), [head.layers[-1] for head in decoder.dec_bbox_head]
        settle(model.model, [*scores, *boxes], pictures)
        with torch.no_grad():
            for final in boxes:  # the decoder adds them to places that lie spread over the picture
                final.weight.mul_(0.2)
                final.bias.zero_()
        with contextlib.chdir(work):
            onnx = Path(model.export(format="onnx", imgsz=SIDE, simplify=True, opset=17)).absolute()
        found, fed = _predicted(ultralytics.RTDETR(str(onnx)), pictures)
        content = without_notes(onnx.read_bytes())
    # The library scales shares of the input by the picture's size; the input's own size is another such size.
    sizes = [np.array([*picture.size * 2], np.float32) for picture in pictures.values()]
    answers = [
        np.concatenate([rows[:, :4] * SIDE / size, rows[:, 4:]], axis=1)
        for rows, size in zip(found, sizes, strict=True)
    ]
    card = _card("rtdetr", {"most": MOST})
    card["input"] |= {"resize": "stretch"}
    (outputs, *_) = run(content, fed)
    name = "rtdetr-ranked" if outputs.shape[2] == 6 else "rtdetr-rows"
    return Case(name, card, content, ("ultralytics", "torch"), fed, answers, found, versions=_own_version())


def _own_version() -> dict[str, str]:
    return {"ultralytics": ultralytics.__version__}


def _yolov5(pictures: Mapping[str, Image.Image]) -> Case:
    from yolov5.models.yolo import DetectionModel  # noqa: PLC0415
    from yolov5.utils.augmentations import letterbox  # noqa: PLC0415
    from yolov5.utils.general import non_max_suppression, scale_boxes  # noqa: PLC0415

    given = yaml.safe_load((Path(yolov5.__file__).parent / "models/yolov5n.yaml").read_text(encoding="utf-8"))
    given |= {"nc": len(LABELS), "depth_multiple": 0.1, "width_multiple": _WIDTH}
    torch.manual_seed(9)
    network = DetectionModel(given)
    detect = network.model[-1]
    settle(network, list(detect.m), pictures)
    with torch.no_grad():
        for final in detect.m:
            final.bias.zero_()
            final.bias.view(detect.na, detect.no)[:, 4] = -1.0  # objectness
    network.fuse()
    detect.export, detect.inplace = True, False
    arrays = [np.ascontiguousarray(np.asarray(picture)[..., ::-1]) for picture in pictures.values()]
    boxed = [letterbox(array, SIDE, stride=32, auto=False)[0] for array in arrays]
    fed = np.stack([one[..., ::-1].transpose(2, 0, 1) for one in boxed]).astype(np.float32) / 255
    out = io.BytesIO()
    torch.onnx.export(
        network, (torch.zeros(1, 3, SIDE, SIDE),), out, opset_version=17, input_names=["images"],
        output_names=["output0"], dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}}, dynamo=False,
    )  # fmt: skip
    content = without_notes(out.getvalue())
    (outputs,) = run(content, fed)
    answers = non_max_suppression(torch.from_numpy(outputs), CONFIDENCE, IOU, max_det=MOST)
    found = []
    for rows, array in zip(answers, arrays, strict=True):
        full = rows.clone()
        full[:, :4] = scale_boxes((SIDE, SIDE), full[:, :4], array.shape)
        found.append(_boxes(full))
    card = _card("yolov5", {"iou": IOU, "most": MOST})
    return Case("yolov5n", card, content, ("yolov5", "torch"), fed, [_boxes(one) for one in answers], found)


def _boxes(rows: torch.Tensor) -> Array:
    return rows.detach().cpu().numpy().astype(np.float32)


def _card(head: str, nms: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "detector",
        "input": {
            "name": "images", "width": SIDE, "height": SIDE, "resize": "letterbox",
            "pad": {"colour": 114, "at": "centre"},
        },
        "head": head, "threshold": CONFIDENCE, "nms": nms, "labels": list(LABELS),
    }  # fmt: skip
