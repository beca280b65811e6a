"""Model cards, sessions and heads, with models made here."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper
from PIL import Image as Pillow

from trapline.errors import ConfigError
from trapline.images import Image
from trapline.models import Model, ModelCard, check_model, read_card
from trapline.models.card import Input
from trapline.models.heads import overlaps, peaks, softmax
from trapline.models.inputs import fitted, sized, tensor


def onnx_bytes(nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> bytes:
    described = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()]
        for ports in (inputs, outputs)
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", *described), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def colour_classifier(outputs: int = 3) -> bytes:
    """The mean of each colour, as scores."""
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["m"]), helper.make_node("Flatten", ["m"], ["scores"])]
    return onnx_bytes(nodes, {"x": ["n", outputs, 8, 8]}, {"scores": ["n", outputs]})


def dot_detector() -> bytes:
    """Heat is the input's first channel, the box twice the cell, the centre in the cell's middle."""
    pool: dict[str, Any] = {"kernel_shape": [4, 4], "strides": [4, 4]}
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], **pool),
        helper.make_node("Constant", [], ["first"], value=helper.make_tensor("a", TensorProto.INT64, [1], [0])),
        helper.make_node("Constant", [], ["both"], value=helper.make_tensor("b", TensorProto.INT64, [2], [0, 1])),
        helper.make_node("Gather", ["cells", "first"], ["heatmap"], axis=1),
        helper.make_node("Gather", ["cells", "both"], ["two"], axis=1),
        helper.make_node("Constant", [], ["eight"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [8.0])),
        helper.make_node("Constant", [], ["half"], value=helper.make_tensor("d", TensorProto.FLOAT, [1], [0.5])),
        helper.make_node("Sub", ["two", "two"], ["zero"]),
        helper.make_node("Add", ["zero", "eight"], ["size"]),
        helper.make_node("Add", ["zero", "half"], ["offset"]),
    ]
    maps = {"heatmap": ["n", 1, "r", "c"], "size": ["n", 2, "r", "c"], "offset": ["n", 2, "r", "c"]}
    return onnx_bytes(nodes, {"x": ["n", 3, "h", "w"]}, maps)


def card(content: bytes, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "schema": 1,
        "name": "colours",
        "version": "1.0.0",
        "kind": "classifier",
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {"name": "x", "width": 8, "height": 8, "resize": "crop"},
        "head": "softmax",
        "labels": ["red", "green", "blue"],
        "licence": "Apache-2.0",
    }
    return base | changes


def detector_card(content: bytes, **changes: Any) -> dict[str, Any]:
    return card(content, kind="detector", head="heatmap", labels=["dot"], stride=16, threshold=0.5,
                input={"name": "x", "max_side": 160}) | changes  # fmt: skip


def model(values: dict[str, Any], content: bytes) -> Model:
    return Model(ModelCard.model_validate(values), content)


def dots(width: int, height: int, *places: tuple[int, int], value: int = 255) -> Image:
    """A black PNG with white (or grey) squares of 8 pixels at these corners."""
    array = np.zeros((height, width, 3), np.uint8)
    for x, y in places:
        array[y : y + 8, x : x + 8] = value
    out = io.BytesIO()
    Pillow.fromarray(array).save(out, "PNG")
    return Image(out.getvalue())


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        read_card(yaml.safe_dump(values).encode(), "models/m/model.yaml")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


COLOURS = colour_classifier()
DOTS = dot_detector()


def test_a_card_reads_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(card(COLOURS, quality={"top1": 0.5})))
    read = read_card(tmp_path / "model.yaml")
    assert (read.name, read.version, read.labels) == ("colours", "1.0.0", ("red", "green", "blue"))
    assert read.quality == {"top1": 0.5}


def test_every_field_of_a_card_says_what_it_is() -> None:
    assert all(field.description for kind in (ModelCard, Input) for field in kind.model_fields.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, "models/m/model.yaml: labels:"),
        (
            {"labels": ["a", "a", "b"]},
            "labels: the list holds a name twice: a. Give each channel its own, such as a-2.",
        ),
        ({"sha256": "abc"}, "models/m/model.yaml: sha256:"),
        ({"kind": "segmenter"}, "models/m/model.yaml: kind:"),
        ({"thresold": 0.4}, "thresold: is not a field of a model card. Remove or correct it; known are schema, name"),
        ({"threshold": 4}, "models/m/model.yaml: threshold:"),
        ({"version": "latest"}, "Three numbers: 1.0.0"),
        ({"schema": 2}, "models/m/model.yaml: schema:"),
        ({"file": "../../other.onnx"}, "models/m/model.yaml: file:"),
        ({"kind": "detector"}, "a detector cannot have the head softmax"),
        ({"input": {"name": "x"}}, "a classifier's input needs width and height"),
        ({"input": {"width": 8}}, "give both width and height, or neither"),
        (
            {"input": {"width": 8, "height": 8, "std": [1, 0, 1]}},
            "input.std: holds a 0. Give three numbers that are not 0.",
        ),
        ({"input": {"width": 8, "height": 8, "channels": "rgba"}}, "input.channels:"),
    ],
)
def test_a_wrong_card_is_refused_in_one_line_with_file_field_and_remedy(change: dict[str, Any], message: str) -> None:
    assert message in refused(card(COLOURS, **change))


def test_a_missing_field_is_told_with_what_belongs_there() -> None:
    values = card(COLOURS)
    del values["licence"]
    assert "models/m/model.yaml: licence: is missing. Add it: SPDX expression" in refused(values)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"- 1\n- 2\n", b"", b"a: " + b"[" * 5000])
def test_what_is_no_card_at_all_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"here\.yaml"):
        read_card(content, "here.yaml")


def test_a_missing_card_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.yaml: cannot be read"):
        Model.load(tmp_path)
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(card(COLOURS)))
    with pytest.raises(ConfigError, match=r"file: model\.onnx cannot be read"):
        Model.load(tmp_path)


def test_a_file_with_another_hash_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has sha256 .* its card says"):
        check_model(ModelCard.model_validate(card(COLOURS)), COLOURS + b"\0")
    with pytest.raises(ConfigError, match="new version"):
        model(card(COLOURS), COLOURS + b"\0")


def test_labels_that_do_not_fit_the_output_are_told_with_both_numbers() -> None:
    few = ModelCard.model_validate(card(COLOURS, labels=["red", "green"]))
    with pytest.raises(ConfigError, match="2 labels, the file's output has 3 channels"):
        check_model(few, COLOURS)
    many = ModelCard.model_validate(detector_card(DOTS, labels=["dot", "dash"]))
    with pytest.raises(ConfigError, match="2 labels, the file's output has 1 channels"):
        check_model(many, DOTS)


def test_a_wrong_input_name_missing_outputs_and_no_onnx_at_all_are_refused() -> None:
    other = card(COLOURS, input={"name": "pixels", "width": 8, "height": 8})
    with pytest.raises(ConfigError, match="the file's input is x, its card says pixels"):
        check_model(ModelCard.model_validate(other), COLOURS)
    with pytest.raises(ConfigError, match="heatmap, size, offset is missing"):
        fixed = {"name": "x", "width": 8, "height": 8}
        check_model(ModelCard.model_validate(detector_card(COLOURS, input=fixed, stride=8)), COLOURS)
    with pytest.raises(ConfigError, match=r"model\.onnx cannot be loaded"):
        check_model(ModelCard.model_validate(card(b"no model")), b"no model")


def test_a_session_is_made_once_with_one_thread_that_does_not_spin() -> None:
    loaded = model(card(COLOURS), COLOURS)
    session = loaded.session()
    assert loaded.session() is session
    options = session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_threads_come_from_the_argument_or_else_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAPLINE_MODEL_THREADS", "2")
    assert model(card(COLOURS), COLOURS).session().get_session_options().intra_op_num_threads == 2
    three = Model(ModelCard.model_validate(card(COLOURS)), COLOURS, threads=3)
    assert three.session().get_session_options().intra_op_num_threads == 3
    monkeypatch.setenv("TRAPLINE_MODEL_THREADS", "all")
    with pytest.raises(ConfigError, match="TRAPLINE_MODEL_THREADS is 'all'"):
        model(card(COLOURS), COLOURS).session()


def test_a_classifier_ranks_its_labels_and_keeps_the_best() -> None:
    crops = [np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 51, 0), (0, 51, 255))]
    rows = model(card(COLOURS), COLOURS).classify(crops, top_k=2)
    assert [[label for label, _ in row] for row in rows] == [["red", "green"], ["blue", "green"]]
    assert rows[0][0][1] == pytest.approx(1)
    assert rows[0][1][1] == pytest.approx(0.2)


def test_logits_become_shares_and_softmax_stays_as_it_is() -> None:
    crop = [np.full((8, 8, 3), (255, 0, 0), np.uint8)]
    (row,) = model(card(COLOURS, head="logits"), COLOURS).classify(crop)
    assert sum(share for _, share in row) == pytest.approx(1)
    assert row[0][0] == "red"
    assert row[0][1] == pytest.approx(float(np.e / (np.e + 2)))


def test_more_crops_than_fit_one_run_are_all_classified_in_order() -> None:
    crops = [np.full((8, 8, 3), (value, 0, 0), np.uint8) for value in range(150)]
    rows = model(card(COLOURS), COLOURS).classify(crops, top_k=1)
    assert [score for ((_, score),) in rows] == pytest.approx([value / 255 for value in range(150)], abs=1e-6)


def test_nothing_in_gives_nothing_out() -> None:
    assert model(card(COLOURS), COLOURS).classify([]) == []
    assert model(detector_card(DOTS), DOTS).detect([]) == []


def test_bgr_mean_and_std_are_applied_as_the_card_says() -> None:
    spec = Input(channels="bgr", mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    (fed,) = tensor([np.full((2, 2, 3), (255, 0, 51), np.uint8)], spec)
    assert fed[:, 0, 0] == pytest.approx([(0.2 - 0.1) / 0.5, -0.2, (1 - 0.3) / 2])


def test_a_picture_is_scaled_to_the_longer_side_and_padded_to_the_stride() -> None:
    image = dots(320, 200)
    assert fitted(image, 160).array.shape == (100, 160, 3)
    source = sized(image, Input(max_side=160, mean=(0.5, 0.5, 0.5)), 16)
    assert source.array.shape == (112, 160, 3)
    assert (source.array[101:] == 127).all()
    assert (source.scale_x, source.scale_y) == (2, 2)


def test_a_fixed_input_is_letterboxed_or_stretched_to_it() -> None:
    image = dots(320, 200)
    boxed = sized(image, Input(width=64, height=64), 1)
    assert boxed.array.shape == (64, 64, 3)
    assert (boxed.scale_x, boxed.scale_y) == (5, 5)
    stretched = sized(image, Input(width=64, height=64, resize="stretch"), 1)
    assert (stretched.scale_x, stretched.scale_y) == (5, 200 / 64)


def test_boxes_come_in_full_pixels_of_the_picture() -> None:
    (found,) = model(detector_card(DOTS), DOTS).detect([dots(320, 192, (80, 40))])
    assert [(one.box, one.label) for one in found] == [((76, 36, 92, 52), "dot")]
    assert found[0].confidence > 0.8


def test_boxes_are_clipped_to_the_picture() -> None:
    (found,) = model(detector_card(DOTS), DOTS).detect([dots(160, 96, (0, 0))])
    assert all(one.box[0] >= 0 and one.box[1] >= 0 for one in found)


def test_the_threshold_is_the_cards_unless_one_is_given() -> None:
    loaded, grey = model(detector_card(DOTS), DOTS), dots(160, 96, (66, 42), value=100)
    assert loaded.detect([grey]) == [[]]
    assert len(loaded.detect([grey], threshold=0.3)[0]) == 1


def test_pictures_of_different_sizes_in_one_batch_are_each_as_alone() -> None:
    loaded = model(detector_card(DOTS), DOTS)
    images = [dots(160, 96, (16, 16)), dots(320, 320, (80, 160), (8, 8)), dots(160, 96), dots(96, 160, (40, 80))]
    assert loaded.detect(images) == [loaded.detect([image])[0] for image in images]


def test_where_onnxruntime_offers_an_accelerator_pictures_run_together_and_are_each_as_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = [dots(160, 96, (16 * n, 42)) for n in range(1, 10)]
    alone = [model(detector_card(DOTS), DOTS).detect([image])[0] for image in images]
    # onnxruntime's own provider that runs anywhere stands for the GPU's: it is asked first, and leaves all to the CPU.
    monkeypatch.setattr("trapline.models.session._CUDA", "AzureExecutionProvider")
    loaded = model(detector_card(DOTS), DOTS)
    assert loaded.session().get_providers() == ["AzureExecutionProvider", "CPUExecutionProvider"]
    together = list[int]()
    run = loaded.session().run

    def counted(names: Any, inputs: dict[str, Any]) -> Any:
        together.append(len(inputs["x"]))
        return run(names, inputs)

    monkeypatch.setattr(loaded.session(), "run", counted)
    assert loaded.detect(images) == alone
    assert together == [8, 1]


def test_a_peak_is_told_once_and_neighbours_below_it_are_not() -> None:
    heat = np.zeros((1, 6, 6), np.float32)
    heat[0, 2, 2], heat[0, 2, 3], heat[0, 5, 5] = 0.9, 0.8, 0.6
    size, offset = np.full((2, 6, 6), 8, np.float32), np.full((2, 6, 6), 0.5, np.float32)
    found = peaks(heat, size, offset, 0.3, (4, 4))
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.boxes[0].tolist() == [6, 6, 14, 14]


def test_two_equal_peaks_on_one_insect_are_one_detection() -> None:
    heat = np.zeros((2, 6, 6), np.float32)
    heat[:, 2, 2], heat[0, 2, 4] = 0.9, 0.9
    size, offset = np.full((2, 6, 6), 40, np.float32), np.full((2, 6, 6), 0.5, np.float32)
    found = peaks(heat, size, offset, 0.3, (4, 4))
    assert sorted(found.labels.tolist()) == [0, 1]  # of another label it is another thing


def test_overlap_is_intersection_over_union() -> None:
    first = np.array([[0, 0, 2, 2]], np.float32)
    second = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)
    assert overlaps(first, second)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])


def test_softmax_bears_large_scores() -> None:
    assert softmax(np.array([[1000.0, 0.0]], np.float32)).tolist() == [[1, 0]]
