"""The function embed: with models made here, and with the embedder that it carries."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image as Pillow

from functions.embed.handler import Embed
from functions.train.embedder import without_last_layer
from tests.functions_items import FUNCTIONS, Item, detection, parameters
from trapline.errors import Failure, Permanent
from trapline.images import Image
from trapline.models import Model, ModelCard
from trapline.models.inputs import tensor


def card(content: bytes, **fields: Any) -> ModelCard:
    told = {
        "name": "colours", "version": "1.0.0", "kind": "embedder", "head": "embedding", "dimensions": 3,
        "sha256": hashlib.sha256(content).hexdigest(), "licence": "CC0-1.0",
        "input": {"name": "x", "width": 8, "height": 8, "resize": "crop"},
    }  # fmt: skip
    return ModelCard.model_validate(told | fields)


def mean_colour(times: float = 1.0) -> Model:
    """The mean of each colour, 0 to 1, times a number."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Mul", ["f", "t"], ["vector"]),
    ]
    pixels = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 3])
    scale = helper.make_tensor("t", TensorProto.FLOAT, [1], [times])
    graph = helper.make_graph(nodes, "g", [pixels], [vector], [scale])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    content = bytes(made.SerializeToString())
    return Model(card(content), content)


def picture(width: int = 320, height: int = 240) -> Image:
    """Red on the left half, green on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 1] = 255
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "PNG")
    return Image(out.getvalue())


def function(model: Model | None) -> Embed:
    made = Embed()
    made.setup(SimpleNamespace(model=model, parameters={}))
    return made


def embedded(
    image: Image, *detections: dict[str, Any], model: Model | None = None, **given: Any
) -> tuple[dict[str, Any], Item]:
    item = Item(image, list(detections), parameters("embed", **given))
    (record,) = function(model or mean_colour()).handle([item])
    assert isinstance(record, dict), record
    assert list(record) == ["embeddings"]
    return record["embeddings"], item


def refused(image: Image, *detections: dict[str, Any], model: Model | None = None, **given: Any) -> Failure:
    item = Item(image, list(detections), parameters("embed", **given))
    (failure,) = function(model or mean_colour()).handle([item])
    assert isinstance(failure, Permanent)
    assert item.files == {}
    return failure


def rows(item: Item) -> NDArray[Any]:
    loaded: NDArray[Any] = np.load(io.BytesIO(item.files["vectors.npy"]), allow_pickle=False)
    return loaded


RED, GREEN = detection("d0001", 20, 20, 100, 90), detection("d0002", 200, 100, 300, 200)


def test_a_row_of_the_file_is_the_vector_of_the_detection_that_the_record_names() -> None:
    told, item = embedded(picture(), RED, GREEN)
    assert told["detections"] == ["d0001", "d0002"]
    assert (told["rows"], told["dimensions"], told["dtype"], told["normalised"]) == (2, 3, "float32", True)
    assert told["model"] == {"name": "colours", "version": "1.0.0", "sha256": mean_colour().card.sha256}
    assert told["file"]["sha256"] == hashlib.sha256(item.files["vectors.npy"]).hexdigest()
    assert rows(item).dtype == np.float32
    assert rows(item) == pytest.approx(np.array([[1, 0, 0], [0, 1, 0]]), abs=0.01)


def test_an_image_without_detections_has_no_file_and_is_not_even_opened() -> None:
    told, item = embedded(Image(b"no image"))
    assert item.files == {}
    assert "file" not in told
    assert (told["rows"], told["detections"]) == (0, [])


def test_the_whole_picture_has_a_row_of_its_own_behind_the_detections() -> None:
    told, item = embedded(picture(), RED, whole_image=True)
    assert (told["rows"], told["detections"], told["whole_image"]) == (2, ["d0001"], 1)
    assert rows(item)[1] == pytest.approx([2**-0.5, 2**-0.5, 0], abs=0.03)
    told, item = embedded(picture(), whole_image=True)
    assert (told["rows"], told["whole_image"]) == (1, 0)
    assert rows(item).shape == (1, 3)


def test_vectors_have_the_length_one() -> None:
    _, item = embedded(picture(), RED, model=mean_colour(7))
    assert np.linalg.norm(rows(item)[0]) == pytest.approx(1)


def test_a_vector_of_zeros_stays_one() -> None:
    _, item = embedded(picture(), RED, model=mean_colour(0))
    assert (rows(item) == 0).all()


def test_float16_is_half_as_large() -> None:
    many = [detection(f"d{n:04d}", n, n, n + 30, n + 30) for n in range(1, 100)]
    _, wide = embedded(picture(), *many)
    told, narrow = embedded(picture(), *many, dtype="float16")
    assert told["dtype"] == "float16"
    assert rows(narrow).dtype == np.float16
    assert len(narrow.files["vectors.npy"]) - 128 == (len(wide.files["vectors.npy"]) - 128) / 2
    assert rows(narrow) == pytest.approx(rows(wide), abs=1e-3)


def test_a_thousand_detections_are_a_thousand_rows_each_as_alone() -> None:
    many = [detection(f"d{n:04d}", n % 40 * 7, n // 40 * 8, n % 40 * 7 + 12, n // 40 * 8 + 9) for n in range(1000)]
    told, item = embedded(picture(), *many)
    assert (told["rows"], rows(item).shape) == (1000, (1000, 3))
    for n in (0, 500, 999):
        _, alone = embedded(picture(), many[n])
        assert rows(alone)[0] == pytest.approx(rows(item)[n], abs=1e-5)


def test_a_model_whose_vectors_are_no_numbers_is_unusable() -> None:
    failure = refused(picture(), RED, model=mean_colour(float("nan")))
    assert failure.code == "model_unusable"
    assert "colours gives vectors that are not all finite" in failure.message


def test_a_model_of_another_kind_or_none_is_refused_at_once() -> None:
    for model, words in ((Model.load(FUNCTIONS / "classify" / "model"), "is a classifier"), (None, "there is none")):
        with pytest.raises(Permanent, match=words) as raised:
            function(model)
        assert raised.value.code == "model_unusable"


def test_what_cannot_be_cut_out_is_told_and_costs_its_batch_nothing() -> None:
    assert "no id" in refused(picture(), {"box": [1, 2, 3, 4]}).message
    assert "outside its picture of 320 x 240" in refused(picture(), detection("d0001", 400, 0, 420, 9)).message
    assert "Two detections have the id 'd0001'" in refused(picture(), RED, RED).message
    chosen = parameters("embed")
    items = [Item(picture(), [RED], chosen), Item(Image(b"x"), [RED], chosen), Item(picture(), [GREEN], chosen)]
    answers = function(mean_colour()).handle(items)
    assert [getattr(answer, "code", "done") for answer in answers] == ["done", "image_unreadable", "done"]


# -- the embedder that the function carries


@cache
def carried() -> Model:
    return Model.load(FUNCTIONS / "embed" / "model")


def test_the_carried_embedder_is_the_classifier_without_its_last_layer() -> None:
    content = (FUNCTIONS / "classify" / "model" / "model.onnx").read_bytes()
    classifier = Model.load(FUNCTIONS / "classify" / "model")
    trunk, dimensions = without_last_layer(content)
    graph = onnx.load_from_string(content).graph
    weights, bias = (
        onnx.numpy_helper.to_array(next(t for t in graph.initializer if t.name == name))
        for name in graph.node[-1].input[1:]
    )
    crops = [np.full((48, 48, 3), shade, np.uint8) for shade in range(0, 250, 50)]
    vectors = carried().session().run(None, {"pixels": tensor(crops, carried().card.input)})[0]  # not yet of length 1
    logits = vectors @ weights.T + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, named in zip(shares, classifier.classify(crops), strict=True):
        assert dict(named) == pytest.approx(dict(zip(classifier.card.labels, row, strict=True)), abs=1e-5)
    assert carried().embed(crops) == pytest.approx(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), abs=1e-5)
    assert (dimensions, carried().card.dimensions) == (144, 144)
    assert hashlib.sha256(trunk).hexdigest() == carried().card.sha256


def test_the_card_says_how_well_it_finds_what_looks_alike() -> None:
    written = yaml.safe_load((FUNCTIONS / "embed" / "model" / "model.yaml").read_text())
    assert written["quality"]["command"].startswith("python -m functions.train.embedder --measure")
    assert written["quality"]["nearest_top1"] > written["quality"]["pixels_top1"]
    source = Model.load(FUNCTIONS / "classify" / "model").card
    assert written["training"]["derived_from"]["sha256"] == source.sha256


def test_the_models_in_the_repository_stay_small() -> None:
    files = [*FUNCTIONS.glob("*/model/*.onnx"), *FUNCTIONS.parent.glob("local_dev/**/*.onnx")]
    assert sum(file.stat().st_size for file in files) < 2_000_000
