"""`python -m functions.train.embedder`: the classifier without its last layer, as a model that tells how things look.

Nothing is trained: what the classifier computes before it decides is the vector. `--measure` measures the embedder
that is there, which needs no onnx.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from functions.train.evaluate import CLASSIFIER, EXAMS, FUNCTIONS, SEED, Exam, exams
from trapline.images import Image
from trapline.models import Model, ModelCard, sha256_of

EMBEDDER = Path("embed/model")
OUTPUT = "embedding"
_LAST = "Gemm"  # the layer that decides
_NEAREST = 10

Card = dict[str, Any]
Floats = NDArray[np.float32]


def derive(classifier: Card, content: bytes) -> tuple[Card, bytes]:
    """An embedder's card, without its figures, and its file, from a classifier's."""
    trunk, dimensions = without_last_layer(content)
    card = {
        "schema": 1,
        "name": "moth-embedder",
        "version": classifier["version"],
        "kind": "embedder",
        "file": "model.onnx",
        "sha256": sha256_of(trunk),
        "input": dict(classifier["input"]),
        "head": "embedding",
        "dimensions": dimensions,
        "licence": classifier["licence"],
        "citation": classifier["citation"].replace(classifier["name"], "moth-embedder"),
        "training": {
            "data": classifier["training"]["data"],
            "derived_from": {name: classifier[name] for name in ("name", "version", "sha256")},
            "command": "python -m functions.train.embedder",
        },
    }
    return card, trunk


def without_last_layer(content: bytes) -> tuple[bytes, int]:
    """The file cut where its last layer begins, and how many numbers come out there."""
    import onnx  # noqa: PLC0415 - measuring needs none

    model = onnx.load_from_string(content)
    last = model.graph.node[-1]
    if last.op_type != _LAST:
        raise ValueError(f"the last layer is {last.op_type}, expected {_LAST}")
    features, weights = last.input[0], last.input[1]
    dropped = set(last.input[1:])
    dimensions = next(tensor.dims[1] for tensor in model.graph.initializer if tensor.name == weights)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in dropped]
    nodes = list(model.graph.node[:-1])
    nodes[-1].output[list(nodes[-1].output).index(features)] = OUTPUT
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    out = onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [batch, dimensions])
    graph = onnx.helper.make_graph(nodes, "embedder", list(model.graph.input), [out], kept)
    made = onnx.helper.make_model(graph, opset_imports=list(model.opset_import), producer_name="trapline")
    made.ir_version = model.ir_version
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True)), int(dimensions)


def make(functions: Path, seed: int, papers: Sequence[Exam] | None = None) -> Card:
    """Derive the embedder from the classifier under `functions`, measure it, write it beside. Returns its card."""
    card_file = functions / CLASSIFIER / "model.yaml"
    source = yaml.safe_load(card_file.read_bytes())
    card, content = derive(source, (card_file.parent / source["file"]).read_bytes())
    command = f"python -m functions.train.embedder --measure --seed {seed} --exams {EXAMS}"
    papers = papers if papers is not None else exams(seed, EXAMS, os.cpu_count() or 1)
    card["quality"] = {"command": command, **quality(Model(ModelCard.model_validate(card), content), papers)}
    folder = functions / EMBEDDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card["file"]).write_bytes(content)
    (folder / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100), "utf-8")
    return card


def quality(model: Model, papers: Sequence[Exam]) -> dict[str, float | int]:
    """How often what looks most alike, on another picture, is of the same kind; and milliseconds.

    `pixels_top1` is the same for the crops' plain pixels less their mean, to compare with.
    """
    vectors, pixels, kinds, picture = [], [], list[str](), list[int]()
    spent = 0.0
    for number, paper in enumerate(papers):
        if not paper.insects:
            continue
        image, boxes = Image(paper.jpeg), [insect.box for insect in paper.insects]
        begun = time.process_time()
        crops = model.crops(image, boxes)
        vectors.append(model.embed(crops))
        spent += time.process_time() - begun
        pixels.append(np.stack(crops).astype(np.float32).reshape(len(crops), -1))
        kinds += [insect.label for insect in paper.insects]
        picture += [number] * len(boxes)
    plain_rows = np.concatenate(pixels)
    same = _alike(np.concatenate(vectors), kinds, picture)
    plain = _alike(plain_rows - plain_rows.mean(axis=0), kinds, picture)
    return {
        "nearest_top1": round(float(same[:, 0].mean()), 4),
        f"nearest_share{_NEAREST}": round(float(same.mean()), 4),
        "pixels_top1": round(float(plain[:, 0].mean()), 4),
        "crops": len(kinds),
        "cpu_ms_per_crop": round(1000 * spent / len(kinds), 2),
    }


def _alike(rows: Floats, kinds: Sequence[str], picture: Sequence[int]) -> NDArray[np.bool_]:
    """Per crop, whether its nearest ones on other pictures, by cosine, are of its kind: n x 10, the nearest first."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    near, label = unit @ unit.T, np.array(kinds)
    near[np.array(picture)[:, None] == np.array(picture)[None, :]] = -2
    first = np.argsort(-near, axis=1)[:, :_NEAREST]
    same: NDArray[np.bool_] = label[first] == label[:, None]
    return same


def main() -> None:
    """Read the options; make the embedder, or measure it."""
    parser = argparse.ArgumentParser(prog="python -m functions.train.embedder", description=main.__doc__)
    parser.add_argument("--models", type=Path, default=FUNCTIONS, help="has classify/model, gets embed/model")
    parser.add_argument("--seed", type=int, default=SEED, help="of the held-out scenes (default %(default)s)")
    parser.add_argument("--exams", type=int, default=EXAMS, help="how many of them (default %(default)s)")
    parser.add_argument("--measure", action="store_true", help="measure the embedder that is there")
    options = parser.parse_args()
    papers = exams(options.seed, options.exams, os.cpu_count() or 1)
    if options.measure:
        print("moth-embedder", quality(Model.load(options.models / EMBEDDER), papers))
    else:
        print("moth-embedder", make(options.models, options.seed, papers)["quality"])


if __name__ == "__main__":
    main()
