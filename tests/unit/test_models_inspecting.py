"""What an ONNX file says about its model, and the card that is proposed for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.graphs import Ports, network, ultralytics, with_external
from trapline.errors import ConfigError
from trapline.models import Model, checked_card, sha256_of
from trapline.models.beside import Found, from_folder, from_metadata, read_labels
from trapline.models.inspecting import inspect
from trapline.models.outputs import KINDS, fits, read_outputs
from trapline.models.proposing import PRESETS, Proposal, propose

CELLS = 8 * 8 + 4 * 4 + 2 * 2  # of a picture of 64 x 64 at the strides 8, 16, 32
THREE = ["moth", "beetle", "fly"]


def proposed(
    data: bytes, given: dict[str, Any] | None = None, beside: Found | None = None, preset: str | None = None
) -> Proposal:
    seen = inspect(data, "m.onnx")
    return propose(seen, "m.onnx", given or {}, {**(beside or {}), **from_metadata(seen.metadata)}, preset)


def card_of(made: Proposal, data: bytes) -> Any:
    """The proposal as a card, checked together with the file."""
    own = {"name": "m", "version": "1.0.0", "file": "model.onnx", "sha256": sha256_of(data), "licence": "CC0-1.0"}
    card = checked_card(Proposal({**own, **made.card}).nested())
    Model(card, data).session()
    return card


def asked(made: Proposal) -> list[str]:
    return [question.field for question in made.questions]


SHAPES: dict[str, tuple[dict[str, Any], str, int | None]] = {
    "yolov8": ({"outputs": {"output0": [1, 7, CELLS]}, "source": [1, 3, 64, 64]}, "yolov8", 3),
    "yolov8 of one label": ({"outputs": {"output0": ["n", 5, CELLS]}}, "yolov8", 1),
    "yolov8 with dynamic axes": (
        {"outputs": {"output0": ["n", 7, CELLS]}, "source": ["n", 3, "h", "w"], "metadata": {"imgsz": "[64, 64]"}},
        "yolov8",
        3,
    ),
    "yolov8 with more labels than cells": ({"outputs": {"output0": ["n", 204, CELLS]}}, "yolov8", 200),
    "yolov5": ({"outputs": {"output": [1, 3 * CELLS, 8]}, "source": [1, 3, 64, 64]}, "yolov5", 3),
    "yolov5 with its raw maps beside": (
        {"outputs": {"output": [1, 3 * CELLS, 8], "raw": [1, 3, 8, 8, 8]}, "source": [1, 3, 64, 64]},
        "yolov5",
        3,
    ),
    "yolov5 with a fourth level": ({"outputs": {"output": ["n", 3 * (CELLS + 1), 8]}}, "yolov5", 3),
    "end to end": ({"outputs": {"output0": [1, 300, 6]}, "source": [1, 3, 64, 64], "shift": 40.0}, "end2end", None),
    "rtdetr in one": ({"outputs": {"output0": ["n", 300, 7]}}, "rtdetr", 3),
    "rtdetr, boxes in shares": (
        {"outputs": {"output0": ["n", 300, 6]}, "after": {"output0": "Sigmoid"}},
        "rtdetr",
        None,
    ),
    "rtdetr in two": ({"outputs": {"logits": ["n", 300, 3], "pred_boxes": ["n", 300, 4]}}, "rtdetr", 3),
    "detr": ({"outputs": {"logits": ["n", 100, 4], "pred_boxes": ["n", 100, 4]}}, "detr", 3),
    "heatmap": (
        {"outputs": {"heatmap": ["n", 3, 16, 16], "size": ["n", 2, 16, 16], "offset": ["n", 2, 16, 16]}},
        "heatmap",
        3,
    ),
    "softmax": ({"outputs": {"probs": ["n", 3]}, "after": {"probs": "Softmax"}}, "softmax", 3),
    "sigmoid in the file": ({"outputs": {"probs": ["n", 3]}, "after": {"probs": "Sigmoid"}}, "softmax", 3),
    "logits": ({"outputs": {"output": ["n", 3]}}, "logits", 3),
    "logits that are small": ({"outputs": {"logits": ["n", 3]}, "after": {"logits": "Sigmoid"}}, "logits", 3),
    "logits of a fixed batch": ({"outputs": {"output": [1, 3]}, "source": [1, 3, 64, 64]}, "logits", 3),
    "logits with axes of one": ({"outputs": {"output": ["n", 3, 1, 1]}}, "logits", 3),
    "logits beside what they were made from": (
        {"outputs": {"features": ["n", 16], "logits": ["n", 3]}, "source": ["n", 3, 64, 64]},
        "logits",
        3,
    ),
    "a pooled row beside its tokens": (
        {"outputs": {"last_hidden_state": ["n", 17, 24], "pooler_output": ["n", 24]}},
        "embedding",
        24,
    ),
    "embedding": ({"outputs": {"features": ["n", 128]}}, "embedding", 128),
}


@pytest.mark.parametrize(("graph", "head", "width"), SHAPES.values(), ids=SHAPES.keys())
def test_the_head_and_the_labels_are_read_from_the_outputs(graph: dict[str, Any], head: str, width: int | None) -> None:
    seen = inspect(network(**graph), "m.onnx")
    reading = read_outputs(seen.tried, seen.side, None)
    assert reading is not None
    assert (reading.head, reading.width, reading.kind) == (head, width, KINDS[head])
    named = fits(head, seen.tried)
    assert named is not None
    assert (named.head, named.width) == (head, width)


@pytest.mark.parametrize(("graph", "head", "width"), SHAPES.values(), ids=SHAPES.keys())
def test_the_card_that_is_proposed_fits_its_file(graph: dict[str, Any], head: str, width: int | None) -> None:
    data = network(**graph)
    labels = {} if head == "embedding" else {"labels": [f"l{n}" for n in range(width or 3)]}
    card = card_of(proposed(data, labels, preset=None if KINDS[head] == "detector" else "imagenet"), data)
    assert card.head == head


def test_a_yolo_of_ultralytics_needs_nothing_more_than_a_name() -> None:
    data = network({"output0": [1, 7, CELLS]}, [1, 3, 64, 64], metadata=ultralytics("detect", THREE, 64))
    made = proposed(data)
    assert asked(made) == []
    card = card_of(made, data)
    assert card.labels == ("moth", "beetle", "fly")
    assert card.licence == "AGPL-3.0-only"
    assert (card.input.width, card.input.resize, card.input.pad.colour, card.input.pad.at) == (
        64,
        "letterbox",
        114,
        "centre",
    )
    assert made.why["labels"] == "written in the file"
    assert made.why["threshold"].startswith("guessed")


def test_a_classifier_of_ultralytics_needs_nothing_more_either() -> None:
    data = network({"output0": [1, 3]}, [1, 3, 64, 64], after={"output0": "Softmax"},
                   metadata=ultralytics("classify", THREE, 64))  # fmt: skip
    made = proposed(data)
    assert asked(made) == []
    card = card_of(made, data)
    assert (card.head, card.input.mean, card.input.resize) == ("softmax", (0, 0, 0), "crop")


def test_a_bare_classifier_is_asked_for_labels_licence_and_colours() -> None:
    made = proposed(network({"output": ["n", 3]}))
    assert asked(made) == ["labels", "licence", "preset"]
    assert "3 of them" in made.questions[0].flag
    assert "--kind embedder" in made.questions[0].flag


def test_what_takes_any_size_is_asked_for_one_unless_it_detects() -> None:
    free = ("n", 3, "h", "w")
    assert "size" in asked(proposed(network({"output": ["n", 3]}, free)))
    made = proposed(network({"output0": ["n", 7, CELLS]}, free, metadata=ultralytics("detect", THREE, 64)))
    assert "size" not in asked(made)
    assert made.card["input.max_side"] == 64
    assert made.card["stride"] == 32


def test_numbers_that_are_no_scores_are_an_embedding_when_somebody_says_so() -> None:
    data = network({"output": ["n", 16]})
    made = proposed(data, {"kind": "embedder"}, preset="clip")
    card = card_of(made, data)
    assert (card.head, card.dimensions, card.labels) == ("embedding", 16, ())


def test_what_is_said_goes_before_what_is_written_and_that_before_what_is_usual() -> None:
    data = network({"output0": [1, 7, CELLS]}, [1, 3, 64, 64], metadata=ultralytics("detect", THREE, 64))
    made = proposed(data, {"labels": ["a", "b", "c"], "threshold": 0.7, "input.pad": {"colour": 0}})
    assert made.card["labels"] == ["a", "b", "c"]
    assert (made.card["threshold"], made.why["threshold"]) == (0.7, "as you said")
    assert made.card["input.pad"] == {"colour": 0}


def test_the_megadetector_preset_knows_its_labels() -> None:
    data = network({"output": [1, 3 * CELLS, 8]}, [1, 3, 64, 64])
    made = proposed(data, {"licence": "MIT"}, preset="megadetector")
    assert asked(made) == []
    assert card_of(made, data).labels == ("animal", "person", "vehicle")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_card(preset: str) -> None:
    data = network({"output": ["n", 3]})
    assert card_of(proposed(data, {"labels": THREE}, preset=preset), data).input.scale == pytest.approx(1 / 255)


def test_a_picture_in_bytes_and_one_with_colours_last_are_fed_so() -> None:
    data = network({"output0": ["n", 7, CELLS]}, ["n", 64, 64, 3], dtype="uint8")
    made = proposed(data, {"labels": THREE})
    card = card_of(made, data)
    assert (card.input.layout, card.input.dtype) == ("nhwc", "uint8")
    half = network({"output": ["n", 3]}, dtype="float16")
    assert card_of(proposed(half, {"labels": THREE}, preset="imagenet"), half).input.dtype == "float16"


def test_outputs_of_other_names_are_named_on_the_card() -> None:
    data = network({"dets": ["n", 50, 4], "classes": ["n", 50, 3]})
    made = proposed(data, {"labels": THREE})
    assert made.card["outputs"] == {"logits": "classes", "boxes": "dets"}
    assert card_of(made, data).head == "rtdetr"


MANY: Ports = {"x0": ["n", 50, 16], "x1": ["n", 50, 3], "x2": ["n", 50, 4], "x3": ["n", 50, 4], "x4": ["n", 3]}


@pytest.mark.parametrize("head", ["rtdetr", "detr", None])
def test_of_many_outputs_those_are_looked_at_that_somebody_names(head: str | None) -> None:
    data = network(MANY)
    said = {"outputs.logits": "x1", "outputs.boxes": "x3", "labels": THREE[: 2 if head == "detr" else 3]}
    made = proposed(data, said | ({"head": head} if head else {}))
    assert (made.card["outputs"], made.why["outputs"]) == ({"logits": "x1", "boxes": "x3"}, "as you said")
    assert card_of(made, data).head == (head or "rtdetr")
    one = {"outputs": {"scores": "x4"}, "kind": "classifier", "labels": THREE}
    assert card_of(proposed(data, one, preset="plain"), data).outputs == {"scores": "x4"}


def test_of_many_outputs_scores_and_boxes_of_the_usual_names_are_found() -> None:
    data = network({"hidden": ["n", 50, 16], "pred_boxes": ["n", 50, 4], "logits": ["n", 50, 3], "more": ["n", 3]})
    assert card_of(proposed(data, {"labels": THREE}), data).head == "rtdetr"


def test_how_to_name_outputs_is_told_and_those_that_there_are_not() -> None:
    with pytest.raises(
        ConfigError, match=r"the outputs it reads with --set outputs\.logits=NAME --set outputs\.boxes=NAME"
    ):
        proposed(network(MANY), {"head": "rtdetr"})
    with pytest.raises(ConfigError, match=r"outputs\.logits: m\.onnx has no output 'y' of numbers\. It gives x0 \["):
        proposed(network(MANY), {"head": "rtdetr", "outputs.logits": "y"})


def test_of_several_rows_the_one_that_suits_the_kind_is_taken() -> None:
    data = network({"shares": ["n", 3], "features": ["n", 16], "logits": ["n", 3]}, after={"shares": "Softmax"})
    scores = proposed(data, {"labels": THREE}, preset="plain")
    assert (scores.card["head"], scores.card["outputs"]) == ("logits", {"scores": "logits"})
    vectors = proposed(data, {"kind": "embedder"}, preset="plain")
    assert (card_of(vectors, data).dimensions, vectors.card["outputs"]) == (16, {"vectors": "features"})
    assert "outputs" not in proposed(data, {"head": "softmax", "labels": THREE}, preset="plain").card


def test_a_head_that_somebody_names_is_taken_where_it_fits() -> None:
    data = network({"logits": ["n", 300, 4], "pred_boxes": ["n", 300, 4]})
    assert proposed(data).card["head"] == "rtdetr"
    made = proposed(data, {"head": "detr", "labels": THREE})
    assert (made.card["head"], made.labels) == ("detr", 3)
    with pytest.raises(ConfigError, match=r"does not fit the head yolov8, which reads one output \[n, 4 \+ labels"):
        proposed(data, {"head": "yolov8"})


# -- what other libraries export

EXPORTS = {
    path.parent.name: json.loads(path.read_text())
    for path in (Path(__file__).parents[1] / "models").glob("*/case.json")
}


@pytest.mark.parametrize("name", sorted(name for name, case in EXPORTS.items() if case["card"]["kind"] == "detector"))
def test_a_detector_of_another_library_is_known_by_its_outputs(name: str) -> None:
    card = EXPORTS[name]["card"]
    with np.load(Path(__file__).parents[1] / "models" / name / "case.npz") as kept:
        outputs = {key: kept[key].astype(float) for key in kept.files if key.startswith("output_")}
    reading = read_outputs(outputs, (card["input"]["height"], card["input"]["width"]), len(card["labels"]))
    assert reading is not None
    assert (reading.head, reading.width or 3) == (card["head"], 3)


@pytest.mark.parametrize("name", sorted(name for name, case in EXPORTS.items() if case["network"]))
def test_the_card_for_a_network_of_another_library_is_as_a_person_wrote_it(name: str) -> None:
    written = EXPORTS[name]["card"]
    data = (Path(__file__).parents[1] / "models" / "networks" / EXPORTS[name]["network"]).read_bytes()
    detector = written["kind"] == "detector"
    said = {} if written["kind"] == "embedder" else {"labels": written["labels"]}
    said |= (
        {}
        if detector
        else {"head": written["head"]} | {f"input.{key}": written["input"][key] for key in ("mean", "std")}
    )
    card = card_of(proposed(data, said), data)
    expected = checked_card({"name": "m", "version": "1.0.0", "licence": "x", "sha256": "0" * 64, **written})
    assert (card.kind, card.head, card.labels) == (expected.kind, expected.head, expected.labels)
    for field in ("name", "width", "height", "layout", "channels", "scale", "mean", "std", "dtype"):
        assert getattr(card.input, field) == getattr(expected.input, field), field
    if detector:
        assert (card.input.resize, card.input.pad) == (expected.input.resize, expected.input.pad)


# -- what lies beside


def test_the_files_of_transformers_beside_a_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"1": "beetle", "0": "moth", "2": "fly"}}))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_rescale": True,
             "rescale_factor": 1 / 255, "resample": 3, "size": {"height": 64, "width": 64}}
        )
    )  # fmt: skip
    data = network({"logits": ["n", 3]}, ["n", 3, "h", "w"])
    made = proposed(data, beside=from_folder(tmp_path, "model.onnx"))
    assert asked(made) == ["licence"]
    card = card_of(made, data)
    assert card.labels == ("moth", "beetle", "fly")
    assert (card.input.width, card.input.mean, card.input.interpolation) == (64, (0.5, 0.5, 0.5), "bicubic")
    assert made.why["labels"] == "config.json beside it"


SIDES: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, {"max_side": 1067}),
    ({"size": {"shortest_edge": 1200, "longest_edge": 1333}}, {"max_side": 1333}),
    ({"size": 800, "max_size": 1333}, {"max_side": 1067}),
    ({"size": 224}, {"height": 224, "width": 224}),
    ({"size": {"shortest_edge": 224}}, {"height": 224, "width": 224}),
    ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, {"height": 224, "width": 224}),
    ({"do_center_crop": True, "crop_size": {"height": 96, "width": 64}}, {"height": 96, "width": 64}),
    ({"size": {}}, {}),
]


@pytest.mark.parametrize(("said", "expected"), SIDES)
def test_the_sizes_that_processors_of_pictures_tell_are_read(
    tmp_path: Path, said: dict[str, Any], expected: dict[str, int]
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = from_folder(tmp_path, "m.onnx")
    assert {
        name[6:]: value for name, (value, _) in found.items() if name[6:] in ("height", "width", "max_side")
    } == expected


def test_the_edges_beside_a_detector_are_its_longer_side_unless_the_file_says_it(tmp_path: Path) -> None:
    edges = {"size": {"shortest_edge": 96, "longest_edge": 640}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(edges))
    outputs: Ports = {"logits": ["n", 100, 4], "pred_boxes": ["n", 100, 4]}
    free, beside = network(outputs, ["n", 3, "h", "w"]), from_folder(tmp_path, "m.onnx")
    made = proposed(free, {"labels": THREE}, beside=beside)
    assert card_of(made, free).input.max_side == 128
    assert made.why["input.max_side"] == "preprocessor_config.json beside it, for pictures of 4:3"
    assert "input.max_side" not in proposed(network(outputs), {"labels": THREE}, beside=beside).card


@pytest.mark.parametrize("kind", ["classifier", "embedder"])
def test_how_crops_are_scaled_is_shown_as_a_guess(kind: str) -> None:
    made = proposed(network({"output": ["n", 3]}), {"kind": kind}, preset="plain")
    assert made.card["input.interpolation"] == "bilinear"
    assert made.why["input.interpolation"].startswith("guessed")


def test_timms_own_config_is_read(tmp_path: Path) -> None:
    pretrained = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64], "interpolation": "bicubic"}
    (tmp_path / "config.json").write_text(json.dumps({"label_names": THREE, "pretrained_cfg": pretrained}))
    data = network({"output": ["n", 3]})
    assert asked(proposed(data, beside=from_folder(tmp_path, "model.onnx"))) == ["licence"]


@pytest.mark.parametrize(
    "text", ["", "[", "[]", '{"id2label": {"x": "y"}}', '{"pretrained_cfg": {}}', '{"id2label": 3}']
)
def test_a_config_that_makes_no_sense_is_left_alone(tmp_path: Path, text: str) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(text)
    found = from_folder(tmp_path, "model.onnx")
    assert "labels" not in found


def test_labels_of_another_model_beside_it_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"label_names": ["a", "b"]}))
    assert "labels" in asked(proposed(network({"output": ["n", 3]}), beside=from_folder(tmp_path, "m.onnx")))


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("l.txt", "moth\r\n\r\nbeetle \n", ["moth", "beetle"]),
        ("l.txt", "\ufeffmoth\nbeetle", ["moth", "beetle"]),
        ("l.json", '["moth", "beetle"]', ["moth", "beetle"]),
        ("l.json", '{"1": "beetle", "0": "moth"}', ["moth", "beetle"]),
        ("data.yaml", "train: x\nnames:\n  0: moth\n  1: beetle\n", ["moth", "beetle"]),
        ("data.yml", "names: [moth, beetle]", ["moth", "beetle"]),
        (
            "l.csv",
            "name,rank,gbif,synonyms\nNoctua pronuba,species,1777627,Agrotis pronuba; Triphaena pronuba\nmoth,,,\n",
            [
                {
                    "name": "Noctua pronuba",
                    "rank": "species",
                    "gbif": 1777627,
                    "synonyms": ["Agrotis pronuba", "Triphaena pronuba"],
                },
                "moth",
            ],
        ),
    ],
)
def test_labels_are_read_from_the_files_that_people_have(
    tmp_path: Path, name: str, text: str, labels: list[Any]
) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert read_labels(tmp_path / name) == labels


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("no.txt", None, "No such file"),
        ("l.txt", b"\n\n", "holds no labels"),
        ("l.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("l.json", b"{", "cannot be read"),
        ("l.json", b'{"0": "a", "7": "b"}', "expected a list of names"),
        ("l.csv", b"species\nx\n", "no column `name`"),
        ("l.csv", b"name,gbif\nx,many\n", "invalid literal"),
    ],
)
def test_a_file_of_labels_that_cannot_be_read_is_told(tmp_path: Path, name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=said) as caught:
        read_labels(tmp_path / name)
    assert "\n" not in str(caught.value)


# -- what cannot be used

GOOD = network({"scores": ["n", 3]})
WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", r"m\.onnx is empty \(0 bytes\)"),
    "text": (b"hello, this is a text", "no ONNX file"),
    "zeros": (bytes(500), "no ONNX file"),
    "half of it": (GOOD[: len(GOOD) // 2], "is cut off"),
    "all but a byte": (GOOD[:-1], "is cut off"),
    "a torch checkpoint": (b"PK\x03\x04" + bytes(60), "PyTorch checkpoint.*models export"),
    "an old torch checkpoint": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9" + bytes(60), "PyTorch checkpoint"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5.*tf2onnx"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(60), "TensorFlow Lite"),
    "safetensors": ((8).to_bytes(8, "little") + b'{"a":{}}', "safetensors"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer.*git lfs pull"),
    "a web page": (b"<!DOCTYPE html><html>", "web page"),
    "opset too new": (network({"scores": ["n", 3]}, opset=99), "opset 99.*reads up to"),
    "weights elsewhere": (with_external("weights.bin"), r"weights in another file \(weights\.bin\)"),
    "weights outside": (with_external("../../etc/passwd"), "points outside its folder"),
    "two inputs": (network({"scores": ["n", 3]}, inputs={"sizes": ["n", 2]}), "takes 2 inputs.*orig_target_sizes"),
    "one colour": (network({"scores": ["n", 3]}, ["n", 1, 64, 64]), "three colours"),
    "no pictures": (network({"scores": ["n", 3]}, ["n", 3]), "three colours"),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_file_that_cannot_be_used_is_refused_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        inspect(data, "m.onnx")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert "m.onnx" in str(caught.value)


NMS: Ports = {"num": ["n", 1], "boxes": ["n", 100, 4], "scores": ["n", 100], "classes": ["n", 100]}
UNFIT: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "maps": (network({"out": ["n", 3, 16, 16]}), {}, r"gives out \[2, 3, 16, 16\]; no head reads that"),
    "boxes of another form": (network(NMS), {}, "no head reads that"),
    "masks": (
        network({"output0": [1, 39, CELLS], "output1": [1, 32, 16, 16]}, [1, 3, 64, 64],
                metadata=ultralytics("segment", THREE, 64)),
        {},
        "gives masks.*task detect",
    ),
    "poses": (
        network({"output0": [1, 56, CELLS]}, [1, 3, 64, 64], metadata=ultralytics("pose", ["p"], 64)),
        {},
        "gives poses",
    ),
    "too few labels": (network({"out": ["n", 3]}), {"labels": ["a", "b"]}, "2 labels are given.*room for 3"),
    "too many labels": (network({"out": ["n", 7, CELLS]}), {"labels": list("abcd")}, "4 labels are given.*room for 3"),
    "another kind": (network({"out": ["n", 3]}), {"kind": "detector"}, "--kind detector: the file gives out"),
    "another size": (network({"out": ["n", 3]}), {"input.width": 32, "input.height": 32}, "takes 64 x 64 alone"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "given", "said"), UNFIT.values(), ids=UNFIT.keys())
def test_a_file_that_no_card_fits_is_refused_in_one_line(data: bytes, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        proposed(data, given)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_file_that_gives_no_numbers_is_refused() -> None:
    data = network({"scores": ["n", 3]}, after={"scores": "Log"}, shift=-50.0)
    with pytest.raises(ConfigError, match="NaN or infinite"):
        inspect(data, "m.onnx")


def test_a_card_that_says_how_colours_are_scaled_needs_no_preset() -> None:
    data = network({"output": ["n", 3]})
    made = proposed(data, {"labels": ["a", "b", "c"], "licence": "MIT", "input.scale": 1 / 255})
    assert asked(made) == []


def test_boxes_are_told_from_as_many_scores_by_their_values() -> None:
    data = network({"a": ["n", 30, 4], "b": ["n", 30, 4]}, after={"b": "Sigmoid"})
    assert proposed(data, {"labels": THREE}).card["outputs"] == {"logits": "a", "boxes": "b"}
    data = network({"a": ["n", 30, 4], "b": ["n", 30, 4]}, after={"a": "Sigmoid"})
    assert proposed(data, {"labels": THREE}).card["outputs"] == {"logits": "b", "boxes": "a"}


def test_a_head_on_a_card_that_there_is_not_is_told() -> None:
    data = network({"output0": ["n", 7, CELLS]})
    with pytest.raises(ConfigError, match=r"there is no head 'yolo8'.* Did you mean 'yolov8'"):
        proposed(data, {"head": "yolo8"})


def test_a_yolo_head_that_reads_another_ones_grid_is_told_with_the_head_that_fits() -> None:
    data = network({"output0": [1, 7, CELLS]}, [1, 3, 64, 64])
    with pytest.raises(ConfigError, match=r"does not fit the head yolov5.* yolov8 fits"):
        proposed(data, {"head": "yolov5", "labels": THREE})


def test_the_size_that_is_fed_is_shown_where_a_detector_takes_any() -> None:
    made = proposed(network({"logits": ["n", 30, 4], "pred_boxes": ["n", 30, 4]}, ["n", 3, "h", "w"]))
    assert made.card["input.max_side"] == 1024
    assert made.why["input.max_side"].startswith("guessed")
    assert "input.max_side" not in proposed(network({"output0": ["n", 7, CELLS]})).card


def test_labels_are_counted_by_the_names_in_the_file_where_its_boxes_say_channels_alone() -> None:
    named = {"shift": 40.0, "metadata": ultralytics("detect", ["moth", "fly"], 64)}
    data = network({"output0": [1, 300, 6]}, [1, 3, 64, 64], **named)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"3 given \(moth, beetle, fly\); the names .* in the file are 2 \(moth, fly\)"
    ):
        proposed(data, {"labels": THREE})
    assert card_of(proposed(data, {"labels": ["a", "b"]}), data).labels == ("a", "b")


def test_a_layout_that_is_not_the_files_is_told_as_such() -> None:
    data = network({"output0": ["n", 7, CELLS]}, ["n", 3, "h", "w"])
    made = proposed(data, {"labels": THREE, "input.layout": "nhwc"})
    with pytest.raises(ConfigError, match=r"input\.layout: .* which is nchw; its card says nhwc\. Write layout: nchw"):
        card_of(made, data)
    free = network({"output": ["n", 3]}, ["n", "h", "w", "c"])
    assert inspect(free, "m.onnx", (16, 8)).layout == "nchw"
    with pytest.raises(ConfigError, match=r"run on 2 pictures, \[2, 16, 8, 3\]"):  # it is fed so; its axes are others
        inspect(free, "m.onnx", (16, 8), "nhwc")


@pytest.mark.parametrize("source", [[2**31, 3, 64, 64], [1, 3, 2**20, 2**20], ["n", 3, 2**20, 64]])
def test_a_file_for_more_pixels_than_memory_holds_is_refused_before_any_is_made(source: list[Any]) -> None:
    with pytest.raises(ConfigError, match="more than memory has room for"):
        inspect(network(outputs={"output": ["n", 3]}, source=source), "m.onnx")
