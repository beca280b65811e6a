"""Every head against the answers of the library whose networks it reads, box by box. See tests/models/README.md."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trapline.images import Image
from trapline.models import Model, ModelCard, checked_card, sha256_of
from trapline.models.forms import HEADS
from trapline.models.heads import DETECTORS, Ask
from trapline.models.inputs import sized

FOLDER = Path(__file__).resolve().parents[1] / "models"
CASES = sorted(path.parent.name for path in FOLDER.glob("*/case.json"))
Array = NDArray[Any]


@cache
def told(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / name / "case.json").read_text())
    return content


@cache
def arrays(name: str) -> dict[str, Array]:
    with np.load(FOLDER / name / "case.npz") as kept:
        return dict(kept)


def answers(name: str, kind: str) -> list[Array]:
    return [arrays(name)[f"{kind}_{at}"] for at in range(len(told(name)["pictures"]))]


def network(name: str) -> bytes:
    file = told(name)["network"]
    return (FOLDER / "networks" / file).read_bytes() if file else b""


@cache
def card(name: str) -> ModelCard:
    base = {"name": "export", "version": "1.0.0", "licence": "Apache-2.0", "sha256": sha256_of(network(name))}
    return checked_card(base | told(name)["card"])


@cache
def model(name: str) -> Model:
    return Model(card(name), network(name))


def pictures(name: str) -> list[Image]:
    return [Image((FOLDER / f"{picture}.png").read_bytes()) for picture in told(name)["pictures"]]


def outputs(name: str) -> dict[str, Array]:
    """What the network said of the pictures when the library ran it, by role."""
    return {key.removeprefix("output_"): one for key, one in arrays(name).items() if key.startswith("output_")}


def ask(name: str) -> Ask:
    own = card(name)
    side = (own.input.width or 0, own.input.height or 0)
    return Ask(own.threshold, *side, len(own.labels), own.iou, own.nms.per_label, own.nms.most)


def assert_same(found: list[tuple[Array, float, int]], expected: Array, pixels: float, score: float = 1e-5) -> None:
    """Box by box: as many, and for each that is expected its own one of the same label, score and place."""
    assert len(found) == len(expected)
    left = list(found)
    for row in expected:
        fitting = [at for at, one in enumerate(left) if one[2] == int(row[5]) and abs(one[1] - row[4]) <= score]
        assert fitting, f"nothing with label {row[5]} and score {row[4]}"
        best = min(fitting, key=lambda at: float(np.abs(left[at][0] - row[:4]).max()))
        assert np.abs(left.pop(best)[0] - row[:4]).max() <= pixels


DETECTING = [name for name in CASES if told(name)["card"]["kind"] == "detector"]
NAMING = [name for name in CASES if name not in DETECTING]
WHOLE = [name for name in DETECTING if told(name)["network"]]


def test_every_head_that_is_not_our_own_is_compared_with_its_exporter() -> None:
    assert {told(name)["card"]["head"] for name in CASES} == set(HEADS) - {"heatmap"}
    assert {"yolov5n", "yolov8n", "yolov9t", "yolo11n", "yolov10n", "yolo26n", "detr"} <= set(CASES)
    assert {"rtdetr-rows", "rtdetr-ranked", "rtdetr-logits"} <= set(CASES)


def test_what_is_kept_of_the_exports_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 1_000_000


@pytest.mark.parametrize("name", DETECTING)
def test_a_head_reads_the_boxes_that_the_library_reads(name: str) -> None:
    read = DETECTORS[card(name).head](outputs(name), ask(name))
    assert sum(map(len, answers(name, "answer"))) >= 24
    for one, expected in zip(read, answers(name, "answer"), strict=True):
        assert_same(list(zip(one.boxes, one.scores.tolist(), one.labels.tolist(), strict=True)), expected, pixels=0.01)


@pytest.mark.parametrize("name", DETECTING)
def test_boxes_come_to_where_the_library_puts_them_in_the_picture(name: str) -> None:
    read = DETECTORS[card(name).head](outputs(name), ask(name))
    for picture, one, expected in zip(pictures(name), read, answers(name, "pictured"), strict=True):
        fed = sized(picture, card(name).input, 1)
        boxes = fed.to_picture(one.boxes)
        inside = np.clip(boxes, 0, [picture.width, picture.height] * 2)
        limits = np.clip(expected[:, :4], 0, [picture.width, picture.height] * 2)
        expected = np.concatenate([limits, expected[:, 4:]], axis=1)
        found = list(zip(inside, one.scores.tolist(), one.labels.tolist(), strict=True))
        assert_same(found, expected, pixels=0.3)


@pytest.mark.parametrize("name", DETECTING)
def test_a_batch_is_read_as_each_picture_alone(name: str) -> None:
    said = outputs(name)
    together = DETECTORS[card(name).head](said, ask(name))
    for at, one in enumerate(together):
        (alone,) = DETECTORS[card(name).head]({role: rows[at : at + 1] for role, rows in said.items()}, ask(name))
        assert (alone.boxes == one.boxes).all() and (alone.scores == one.scores).all()
        assert (alone.labels == one.labels).all()


@pytest.mark.parametrize("name", WHOLE)
def test_from_picture_to_box_a_model_finds_what_the_library_finds(name: str) -> None:
    # The one picture that needs no scaling: OpenCV and Pillow scale a little differently, and networks made by chance
    # are touchy. How near the scaled ones come is tested below.
    (picture, *_), labels = pictures(name), card(name).labels
    expected = answers(name, "pictured")[0]
    expected[:, :4] = np.clip(expected[:, :4], 0, [picture.width, picture.height] * 2)
    expected = expected[(expected[:, 2] > expected[:, 0]) & (expected[:, 3] > expected[:, 1])]
    (found,) = model(name).detect([picture])
    rows = [(np.array(each.box), each.confidence, labels.index(each.label)) for each in found]
    assert len(rows) >= 15
    assert_same(rows, expected, pixels=0.01, score=1e-4)


def test_a_letterboxed_input_is_the_one_that_the_library_feeds() -> None:
    spec = card("yolov8n").input
    ours = [sized(picture, spec, 1).array.transpose(2, 0, 1) for picture in pictures("yolov8n")]
    apart = [np.abs(one.astype(int) - fed) for one, fed in zip(ours, arrays("yolov8n")["fed"], strict=True)]
    assert [int(one.max()) for one in apart[:2]] == [0, 1]  # as it is; scaled up
    assert np.median(apart[2]) <= 1 and apart[2].mean() < 3  # scaled down, where Pillow smooths and OpenCV does not


@pytest.mark.parametrize("name", NAMING)
def test_from_picture_to_name_or_vector_a_model_says_what_the_library_says(name: str) -> None:
    loaded, box = model(name), tuple(told(name)["box"])
    crops = [crop for picture in pictures(name) for crop in loaded.crops(picture, [box])]
    if card(name).kind == "embedder":
        vectors = loaded.embed(crops)
        assert vectors.shape == (len(crops), card(name).dimensions) and vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
        assert np.abs(vectors - np.stack(answers(name, "answer"))).max() < 1e-5
        return
    for row, expected in zip(loaded.classify(crops), answers(name, "answer"), strict=True):
        assert [dict(row)[label] for label in card(name).labels] == pytest.approx(expected.tolist(), abs=1e-5)
        assert [score for _, score in row] == sorted(expected.tolist(), reverse=True) or row[0][1] == max(
            dict(row).values()
        )
