"""Files that do not keep their card's word are refused in one line; those that do are fed as the card says."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Pillow

from tests.unit.test_models import COLOURS, DOTS, card, detector_card, dots, model
from trapline.errors import ConfigError
from trapline.models import Input, Model, ModelCard, check_model, checked_card, sha256_of
from trapline.models.inputs import crops, frame, sized
from trapline.models.onnx_file import read_onnx

Ports = dict[str, tuple[int, list[Any]]]
FLOAT, HALF, BYTE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8


def onnx_model(
    nodes: list[Any], inputs: Ports, outputs: Ports, *, opset: int = 17, ir: int = 8, weights: Any = ()
) -> bytes:
    described = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in ports.items()]
        for ports in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *described, initializer=list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = ir
    return bytes(made.SerializeToString())


def network(
    shape: list[Any] | None = None, kind: int = FLOAT, outputs: dict[str, list[Any]] | None = None, **options: Any
) -> bytes:
    """A file with this input and these outputs; what it computes does not matter."""
    told = outputs or {"predictions": [1, 7, 84]}
    nodes = [helper.make_node("ConstantOfShape", [f"{name}_shape"], [name]) for name in told]
    weights = [
        helper.make_tensor(
            f"{name}_shape", TensorProto.INT64, [len(sides)], [one if isinstance(one, int) else 1 for one in sides]
        )
        for name, sides in told.items()
    ]
    nodes.append(helper.make_node("Identity", ["x"], ["unused"]))
    ports = {"x": (kind, shape or ["n", 3, 64, 64])}
    return onnx_model(nodes, ports, {name: (FLOAT, sides) for name, sides in told.items()}, weights=weights, **options)


def told(content: bytes, **changes: Any) -> str:
    """What a card for this file is refused with."""
    base: dict[str, Any] = {
        "name": "m", "version": "1.0.0", "kind": "detector", "head": "yolov8", "labels": ["a", "b", "c"],
        "licence": "MIT", "input": {"name": "x", "width": 64, "height": 64}, "sha256": sha256_of(content),
    }  # fmt: skip
    for key, value in changes.items():
        base[key] = base["input"] | value if key == "input" else value
    with pytest.raises(ConfigError) as caught:
        check_model(checked_card(base), content)
    assert caught.value.remedy and "\n" not in str(caught.value) and len(str(caught.value)) < 420
    return str(caught.value)


CLASSIFIER = {"kind": "classifier", "head": "softmax"}
WRONG: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "labels too few": (network(), {"labels": ["a", "b"]}, "labels: the card has 2 labels, the file's output has 3"),
    "labels too many": (network(), {"labels": list("abcd")}, "labels: the card has 4 labels, the file's output has 3"),
    "labels too few for a classifier": (
        network(outputs={"y": ["n", 5]}), CLASSIFIER, "labels: the card has 3 labels, the file's output has 5 channels",
    ),
    "labels without the one for nothing": (
        network(outputs={"logits": [1, 9, 3], "pred_boxes": [1, 9, 4]}), {"head": "detr"},
        "labels: the card has 3 labels, the file's output has 2 channels",
    ),
    "channels last": (
        network(["n", 64, 64, 3]), {},
        "input.layout: model.onnx takes [any, 64, 64, 3], which is nhwc; its card says nchw. Write layout: nhwc.",
    ),
    "channels first": (network(), {"input": {"layout": "nhwc"}}, "is nchw; its card says nhwc. Write layout: nchw."),
    "one colour": (network(["n", 1, 64, 64]), {}, "input.layout: model.onnx takes [any, 1, 64, 64], which is not"),
    "no picture": (network(["n", 64]), {}, "input: model.onnx takes [any, 64]; pictures have four axes"),
    "another size": (network(), {"input": {"height": 32}}, "input.height: model.onnx takes [any, 3, 64, 64], its card"),
    "a fixed size where the card has none": (
        network(), {"input": {"width": None, "height": None}}, "its card says any. Write height: 64",
    ),
    "half numbers": (network(kind=HALF), {}, "input.dtype: model.onnx takes float16, its card says float32. Write"),
    "whole numbers": (network(kind=BYTE), {"input": {"dtype": "float16"}}, "takes uint8, its card says float16"),
    "numbers of no use": (network(kind=TensorProto.INT32), {}, "takes tensor(int32), its card says float32. Export"),
    "another head": (
        network(outputs={"output0": [1, 300, 6]}), {}, "output0 is [1, 300, 6]. It looks like head: end2end",
    ),
    "yolov5 for yolov8": (
        network(outputs={"output0": [1, 25200, 8]}), {}, "is [1, 25200, 8]. It looks like head: yolov5",
    ),
    "yolov8 for yolov5": (
        network(outputs={"output0": [1, 7, 8400]}), {"head": "yolov5"}, "is [1, 7, 8400]. It looks like head: yolov8",
    ),
    "outputs by other names": (
        network(outputs={"a": [1, 9, 4], "b": [1, 9, 4]}), {"head": "detr"},
        "outputs: model.onnx has the outputs a, b; logits, pred_boxes is missing. Say on the card which is which, as "
        "outputs: {logits: NAME, boxes: NAME}",
    ),
    "an output that is not there": (network(), {"outputs": {"predictions": "y"}}, "outputs predictions; y is missing"),
    "dimensions": (
        network(outputs={"y": ["n", 512]}), {"kind": "embedder", "head": "embedding", "labels": [], "dimensions": 256},
        "dimensions: the card says 256, the file's y has 512. Write dimensions: 512.",
    ),
    "format too new": (network(ir=99), {}, "needs ONNX IR version 99, this onnxruntime reads up to"),
    "no ONNX": (b"PK\x03\x04 a PyTorch checkpoint", {}, "file: model.onnx cannot be loaded (it is no ONNX file)"),
    "half a file": (network()[:-40], {}, "file: model.onnx cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_not_what_its_card_says_is_refused_in_one_line(what: str) -> None:
    content, changes, expected = WRONG[what]
    assert told(content, **changes).startswith("Model m 1.0.0: ")
    assert expected in told(content, **changes)


def test_a_file_that_is_too_new_is_told_with_what_is_read_here() -> None:
    message = told(network(opset=99))
    assert re.search(
        r"file: model\.onnx needs opset 99, this onnxruntime reads up to (\d+)\. Export again with opset_version=\1, "
        r"or upgrade onnxruntime",
        message,
    )


# -- weights elsewhere


def elsewhere(place: str) -> onnx.TensorProto:
    weights = TensorProto(name="w", data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", place), ("length", "4")):
        weights.external_data.add(key=key, value=value)
    return weights


def with_weights(place: str, where: str = "initializer") -> bytes:
    made = onnx.load_from_string(network())
    weights = elsewhere(place)
    if where == "initializer":
        made.graph.initializer.append(weights)
    elif where == "constant":
        made.graph.node.append(helper.make_node("Constant", [], ["w"], value=weights))
    elif where == "subgraph":
        inner = helper.make_graph([], "inner", [], [], initializer=[weights])
        made.graph.node.append(helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner))
    elif where == "function":
        node = helper.make_node("Constant", [], ["w"], value=weights)
        made.functions.append(helper.make_function("d", "f", [], ["w"], [node], [helper.make_opsetid("", 17)]))
    elif where == "sparse":
        made.graph.sparse_initializer.append(onnx.SparseTensorProto(values=weights, indices=weights, dims=[1]))
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("where", ["initializer", "constant", "subgraph", "function", "sparse"])
def test_weights_in_another_file_are_refused_with_how_to_make_one_file(where: str) -> None:
    message = told(with_weights("model.onnx.data", where))
    assert "keeps its weights in another file (model.onnx.data); a model is one file" in message
    assert "onnx.save(onnx.load('model.onnx'), 'whole.onnx')" in message and "sha256" in message


@pytest.mark.parametrize(
    "place",
    ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\..\\secret", "C:\\secret", "\\\\server\\share", "a\0b"],
)
def test_weights_outside_the_folder_are_never_read(place: str) -> None:
    for where in ("initializer", "constant", "function"):
        message = told(with_weights(place, where))
        assert f"points outside its folder, to {place!r}; nothing was read there" in message


def test_weights_that_lie_in_the_working_folder_are_not_read_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.bin").write_bytes(struct.pack("<f", 1.0))
    monkeypatch.chdir(tmp_path)
    assert "keeps its weights in another file (w.bin)" in told(with_weights("w.bin"))


def test_what_a_file_says_of_itself_is_read() -> None:
    known = read_onnx(network(opset=13))
    assert (known.ir_version, known.opsets, known.external, known.outside) == (8, {"": 13}, (), None)


@pytest.mark.parametrize("seed", range(200))
def test_a_damaged_file_is_refused_and_never_hangs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(with_weights("w.bin", "subgraph"))
    for _ in range(int(rng.integers(1, 12))):
        content[int(rng.integers(len(content)))] = int(rng.integers(256))
    begun = time.monotonic()
    try:
        read_onnx(bytes(content[: int(rng.integers(1, len(content) + 1))]))
    except ValueError as error:
        assert "\n" not in str(error)
    assert time.monotonic() - begun < 1


# -- what is fed


def mean_colours(layout: str, kind: int, batch: Any) -> bytes:
    """The mean of each colour, as shares, for pictures of 8 by 8."""
    axes = [2, 3] if layout == "nchw" else [1, 2]
    most = helper.make_tensor("v", FLOAT, [1], [255.0 if kind == BYTE else 1.0])
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
        helper.make_node("ReduceMean", ["f"], ["means"], axes=axes, keepdims=0),
        helper.make_node("Constant", [], ["most"], value=most),
        helper.make_node("Div", ["means", "most"], ["scores"]),
    ]
    shape = [batch, 3, 8, 8] if layout == "nchw" else [batch, 8, 8, 3]
    return onnx_model(nodes, {"x": (kind, shape)}, {"scores": (FLOAT, [batch, 3])})


def pictures() -> list[NDArray[np.uint8]]:
    return [np.full((8, 8, 3), colour, np.uint8) for colour in ((200, 50, 0), (0, 50, 100), (10, 20, 30))]


@pytest.mark.parametrize("batch", ["n", 1, 2, 5])
@pytest.mark.parametrize(("dtype", "kind"), [("float32", FLOAT), ("float16", HALF), ("uint8", BYTE)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_layout_type_and_batch_is_fed_as_the_card_says(layout: str, dtype: str, kind: int, batch: Any) -> None:
    content = mean_colours(layout, kind, batch)
    source = {"name": "x", "width": 8, "height": 8, "resize": "crop", "layout": layout, "dtype": dtype}
    rows = model(card(content, input=source), content).classify(pictures())
    assert len(rows) == 3
    for row, picture in zip(rows, pictures(), strict=True):
        found = [dict(row)[label] for label in ("red", "green", "blue")]
        assert found == pytest.approx((picture[0, 0] / 255).tolist(), abs=2e-3)


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c", "d"]])
def test_labels_too_few_or_many_are_told_where_only_a_run_shows_it(labels: list[str]) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["scores"], axes=[2, 3], keepdims=0)]
    content = onnx_model(nodes, {"x": (FLOAT, ["n", 3, 8, 8])}, {"scores": (FLOAT, ["n", "labels"])})
    loaded = model(card(content, labels=labels), content)
    with pytest.raises(ConfigError, match=rf"the card has {len(labels)} labels, the file's output has 3 channels"):
        loaded.classify(pictures())


def test_scores_that_are_no_shares_are_refused_where_the_card_calls_them_so() -> None:
    plain = {"name": "x", "width": 8, "height": 8, "resize": "crop", "scale": 1}
    with pytest.raises(ConfigError, match=r"head: softmax: scores are not between 0 and 1, one is 200.* head: logits"):
        model(card(COLOURS, input=plain), COLOURS).classify(pictures())


def constant(values: Any, name: str = "predictions") -> bytes:
    """A network that says the same of every picture."""
    weights = numpy_helper.from_array(np.asarray(values, np.float32)[None], name)
    nodes = [helper.make_node("Constant", [], [name], value=weights), helper.make_node("Identity", ["x"], ["unused"])]
    return onnx_model(nodes, {"x": (FLOAT, [1, 3, 64, 64])}, {name: (FLOAT, list(weights.dims))})


def rows_of(head: str, row: list[float]) -> bytes:
    """A detector of 40 boxes of which one is `row`: x, y, x or width, y or height, then scores."""
    rows = np.zeros((40, len(row)))
    rows[:, :4], rows[7] = row[:4], row
    return constant(rows.T if head == "yolov8" else rows)


NAN, INF = float("nan"), float("inf")
BEYOND: dict[str, tuple[str, list[float], str]] = {
    "yolov8, a logit": ("yolov8", [8, 8, 16, 16, 7.5, 0], "scores are not between 0 and 1, one is 7.5: the head may"),
    "yolov8, infinity": ("yolov8", [8, 8, 16, 16, INF, 0], "scores are not between 0 and 1, one is inf"),
    "yolov8, a score that is NaN": ("yolov8", [8, 8, 16, 16, NAN, 0], "predictions hold NaN"),
    "yolov8, a box that is NaN": ("yolov8", [NAN, 8, 16, 16, 0.9, 0], "predictions hold NaN"),
    "yolov8, an infinite box": ("yolov8", [8, 8, INF, 16, 0.9, 0], "boxes hold NaN or infinity"),
    "yolov5, a logit": ("yolov5", [8, 8, 16, 16, 3, 4, 0], "one is 12"),
    "yolov5, infinity times nothing": ("yolov5", [8, 8, 16, 16, INF, 0, 0], "scores hold NaN"),
    "end2end, a logit": ("end2end", [8, 8, 16, 16, 3, 0], "one is 3"),
    "end2end, an infinite box": ("end2end", [8, 8, INF, 16, 0.9, 0], "boxes hold NaN or infinity"),
    "rtdetr, a logit": ("rtdetr", [0.5, 0.5, 0.1, 0.1, 3, 0, 0], "one is 3"),
}


@pytest.mark.parametrize(("head", "row", "expected"), BEYOND.values(), ids=BEYOND)
def test_confidences_beyond_0_to_1_and_boxes_that_are_no_numbers_are_refused(
    head: str, row: list[float], expected: str
) -> None:
    labels = {"yolov8": 2, "yolov5": 2, "end2end": 2, "rtdetr": 3}[head]
    content = rows_of(head, row)
    values = detector_card(content, head=head, labels=list("abc")[:labels], stride=1, threshold=0.3,
                           input={"name": "x", "width": 64, "height": 64})  # fmt: skip
    with pytest.raises(ConfigError, match=expected) as raised:
        model(values, content).detect([dots(64, 64)])
    assert f"head: {head}: " in raised.value.message and raised.value.remedy


@pytest.mark.parametrize(
    ("head", "box", "expected"),
    [("rtdetr", [8, 8, 48, 40], "end2end"), ("end2end", [0.5, 0.5, 0.2, 0.2], "rtdetr")],
)
def test_rows_of_six_in_another_unit_than_the_heads_are_refused_with_the_head_that_fits(
    head: str, box: list[float], expected: str
) -> None:
    rows = np.zeros((300, 6))
    rows[3] = [*box, 0.9, 2]
    content = constant(rows)
    source = {"name": "x", "width": 64, "height": 64}
    values = detector_card(content, head=head, labels=list("abc"), stride=1, input=source)
    with pytest.raises(ConfigError, match=rf"head: {head}: the file's boxes are .* Write head: {expected}\."):
        model(values, content).detect([dots(64, 64)])
    (found,) = model(values | {"head": expected}, content).detect([dots(64, 64)])
    assert [one.label for one in found] == ["c"]


def test_infinities_in_what_a_head_turns_into_shares_are_no_mistake() -> None:
    logits, boxes = np.full((5, 2), -INF), np.full((5, 4), 0.25)
    logits[0], logits[1] = (4, -4), (INF, -INF)
    parts = [numpy_helper.from_array(np.asarray(one, np.float32)[None], "p") for one in (logits, boxes)]
    nodes = [
        helper.make_node("Constant", [], [name], value=part)
        for name, part in zip(("logits", "boxes"), parts, strict=True)
    ]
    nodes.append(helper.make_node("Identity", ["x"], ["unused"]))
    content = onnx_model(
        nodes,
        {"x": (FLOAT, [1, 3, 64, 64])},
        {"logits": (FLOAT, [1, 5, 2]), "boxes": (FLOAT, [1, 5, 4])},
    )
    values = detector_card(content, head="rtdetr", labels=["a", "b"], stride=1,
                           input={"name": "x", "width": 64, "height": 64})  # fmt: skip
    (found,) = model(values, content).detect([dots(64, 64)])
    assert [round(one.confidence, 3) for one in found] == [1.0, 0.982]


@pytest.mark.parametrize("head", ["softmax", "logits", "sigmoid"])
def test_a_classifiers_shares_that_are_no_numbers_are_refused(head: str) -> None:
    content = constant([NAN, 0.5, 0.5], "scores")
    values = card(content, head=head, input={"name": "x", "width": 64, "height": 64, "resize": "crop"})
    with pytest.raises(ConfigError, match=rf"head: {head}: scores hold NaN"):
        model(values, content).classify([np.zeros((64, 64, 3), np.uint8)])


@pytest.mark.parametrize("field", ["mean", "std"])
def test_a_mean_for_colours_of_0_to_255_is_refused_where_they_are_fed_as_0_to_1(field: str) -> None:
    source = {"name": "x", "width": 8, "height": 8, "resize": "crop", field: [58.4, 57.1, 57.4]}
    with pytest.raises(ValueError, match=rf"input.{field}.*58.4 is far beyond the colours, which scale makes 0 to 1"):
        ModelCard.model_validate(card(COLOURS, input=source))
    ModelCard.model_validate(card(COLOURS, input={**source, "scale": 1}))


def test_a_sigmoid_classifier_tells_each_label_for_itself() -> None:
    values = card(
        COLOURS, head="sigmoid", input={"name": "x", "width": 8, "height": 8, "resize": "crop", "scale": 1 / 25.5}
    )
    (row,) = model(values, COLOURS).classify([np.full((8, 8, 3), (255, 255, 0), np.uint8)])
    assert [label for label, _ in row] == ["red", "green", "blue"]
    assert [share for _, share in row] == pytest.approx([1 / (1 + np.exp(-10))] * 2 + [0.5])


def test_an_embedder_gives_vectors_of_length_1_and_bears_nothing() -> None:
    values = card(COLOURS, kind="embedder", head="embedding", labels=[], dimensions=3)
    loaded = model(values, COLOURS)
    vectors = loaded.embed([np.full((8, 8, 3), (30, 40, 0), np.uint8), np.zeros((8, 8, 3), np.uint8)])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == pytest.approx(np.array([[0.6, 0.8, 0], [0, 0, 0]]))
    assert loaded.embed([]).shape == (0, 3)


def test_a_network_that_tells_of_a_label_that_the_card_has_not_is_told() -> None:
    rows = np.array([[[10, 10, 20, 20, 0.9, 5]]], np.float32)
    nodes = [
        helper.make_node("Constant", [], ["y"], value=helper.make_tensor("v", FLOAT, rows.shape, rows.ravel())),
        helper.make_node("Identity", ["x"], ["unused"]),
    ]
    content = onnx_model(nodes, {"x": (FLOAT, ["n", 3, 64, 64])}, {"y": (FLOAT, [1, 1, 6])})
    values = card(
        content, kind="detector", head="end2end", labels=["a", "b"], input={"name": "x", "width": 64, "height": 64}
    )
    with pytest.raises(ConfigError, match="told of channel 5, counted from 0; the card has 2 labels"):
        model(values, content).detect([dots(64, 64)])


# -- where a picture lies in the input, and back


FITTING = [
    {"width": 64, "height": 48, "resize": "stretch"},
    {"width": 64, "height": 64, "resize": "letterbox"},
    {"width": 65, "height": 63, "resize": "letterbox", "pad": {"colour": 114, "at": "centre"}},
    {"max_side": 96},
    {"max_side": 96, "pad": {"at": "centre"}},
]


@pytest.mark.parametrize("size", [(160, 96), (96, 160), (33, 47)])
@pytest.mark.parametrize("fitting", FITTING)
def test_a_box_goes_to_the_input_and_back_to_the_same_full_pixels(
    fitting: dict[str, Any], size: tuple[int, int]
) -> None:
    spec = Input.model_validate(fitting)
    fed, placed = sized(dots(*size), spec, 8), frame(*size, spec, 8)
    assert fed.array.shape == (placed.height, placed.width, 3)
    corners = np.array([[placed.left, placed.top, placed.left + placed.inner_width, placed.top + placed.inner_height]])
    assert fed.to_picture(corners)[0].tolist() == pytest.approx([0, 0, *size])


def test_padding_has_the_colour_and_the_place_that_the_card_says() -> None:
    image = dots(64, 32, (0, 0))
    centre = sized(image, Input.model_validate({"width": 64, "height": 64, "pad": {"colour": 114, "at": "centre"}}), 1)
    assert (centre.array[:16] == 114).all() and (centre.array[48:] == 114).all() and (centre.array[16, 0] == 255).all()
    corner = sized(image, Input.model_validate({"width": 64, "height": 64, "mean": [0.2, 0.4, 0.6]}), 1)
    assert corner.array[63, 0].tolist() == [51, 102, 153] and (corner.array[0, 0] == 255).all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_pictures_and_crops_are_scaled_as_the_card_says(interpolation: str) -> None:
    image = dots(64, 64, (8, 8), (40, 30))
    spec = Input.model_validate({"width": 24, "height": 24, "resize": "stretch", "interpolation": interpolation})
    by_pillow = Pillow.fromarray(image.full()).resize((24, 24), Pillow.Resampling[interpolation.upper()])
    assert (sized(image, spec, 1).array == np.asarray(by_pillow)).all()
    (cut,) = crops(image, [(0, 0, 64, 64)], spec)
    assert (cut == np.asarray(by_pillow)).all()
    square = spec.model_copy(update={"resize": "crop"})
    (cut,) = crops(image, [(0, 0, 64, 64)], square)
    assert np.abs(cut.astype(int) - np.asarray(by_pillow)).max() <= 1


def test_crops_are_squares_with_margin_or_the_box_stretched_or_padded() -> None:
    image = dots(160, 96, (40, 40), (48, 40))  # a white bar, 16 by 8
    content = COLOURS
    boxes = [(40.0, 40.0, 56.0, 48.0)]

    def cut(**source: Any) -> NDArray[np.uint8]:
        values = card(content, input={"name": "x", "width": 8, "height": 8, **source})
        (crop,) = model(values, content).crops(image, boxes)
        assert crop.shape == (8, 8, 3)
        return crop

    assert (cut(resize="stretch") == 255).all()
    boxed = cut(resize="letterbox", pad={"colour": 114, "at": "centre"})
    assert (boxed[2:6] == 255).all() and (boxed[:2] == 114).all() and (boxed[6:] == 114).all()
    square = cut(resize="crop")
    assert (square[3:5, 1:7] == 255).all() and (square[[0, 7]] == 0).all()
    assert (cut(resize="crop", margin=0.5)[:, [0, 7]] == 0).all()
    assert model(card(content), content).crops(image, []) == []


def test_present_cards_stay_as_they_were(tmp_path: Path) -> None:
    for function in ("detect", "classify"):
        folder = Path(__file__).resolve().parents[2] / "functions" / function / "model"
        loaded = Model.load(folder)
        assert loaded.session() is loaded.session()
        assert loaded.card.tiles is None and loaded.card.outputs == {}
        assert ModelCard.model_validate(loaded.card.model_dump(by_alias=True)) == loaded.card


def test_a_detector_of_ours_takes_labels_by_taxon(tmp_path: Path) -> None:
    label = {"name": "dot", "rank": "species", "gbif": 1, "synonyms": ["spot"]}
    values = detector_card(DOTS, labels=[label])
    loaded = checked_card(values)
    assert loaded.labels == ("dot",) and loaded.taxa["dot"].gbif == 1 and loaded.taxa["dot"].synonyms == ("spot",)
    assert loaded.model_dump(by_alias=True)["labels"] == [label]
