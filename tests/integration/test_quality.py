"""The models that the functions carry: how good they are, and that what a file is made of changes nothing.

Measured on held-out scenes drawn here; the bounds lie a little under the figures on the models' cards.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from functions.classify.handler import Classify
from functions.detect.handler import Detect
from functions.train.evaluate import (
    CLASSIFIER,
    DETECTOR,
    FUNCTIONS,
    Exam,
    classifier_quality,
    detector_quality,
    exams,
    found_insects,
)
from functions.train.scenes import LABELS, Look, Scene, make
from trapline.errors import Permanent
from trapline.images import Image
from trapline.models import Detection, Model
from trapline.models.heads import overlaps

SAMPLES = Path(__file__).resolve().parents[2] / "local_dev" / "samples"
TURNED_BACK = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_90,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_270,
}


@dataclass
class Item:
    """What the runtime hands to a function for one image."""

    image: Image
    parameters: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] | None = None
    detections: list[dict[str, Any]] = field(default_factory=list)


@cache
def detector() -> Model:
    return Model.load(FUNCTIONS / DETECTOR)


@cache
def classifier() -> Model:
    return Model.load(FUNCTIONS / CLASSIFIER)


@cache
def papers() -> list[Exam]:
    return exams(seed=99, count=14)


@cache
def scene() -> Scene:
    return make(Look(insects=30, noise=1.5), np.random.default_rng(31))


def function(kind: type[Detect] | type[Classify], model: Model) -> Any:
    made = kind()
    made.setup(SimpleNamespace(model=model, parameters={}))
    return made


def saved(image: Pillow.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def found(data: bytes) -> list[Detection]:
    return detector().detect([Image(data)])[0]


def agreement(some: list[Detection], others: list[Detection]) -> float:
    """The share of detections that the other list has too, at an overlap of 0.8."""
    boxes = [np.array([one.box for one in found], np.float32).reshape(-1, 4) for found in (some, others)]
    if not len(boxes[0]) or not len(boxes[1]):
        return float(len(boxes[0]) == len(boxes[1]))
    return float((overlaps(*boxes).max(axis=1) > 0.8).mean()) * min(1.0, len(others) / len(some))


def test_the_detector_finds_what_its_card_promises() -> None:
    quality = detector_quality(detector(), papers())
    assert quality["map50"] >= 0.90
    assert quality["map50"] >= detector().card.quality["map50"] - 0.03
    assert quality["precision"] >= 0.90
    assert quality["recall"] >= 0.88


def test_the_classifier_names_what_its_card_promises() -> None:
    quality = classifier_quality(classifier(), detector(), papers())
    assert quality["top1"] >= max(0.95, classifier().card.quality["top1"] - 0.02)
    assert quality["top1_on_detections"] >= 0.95


def test_the_cards_carry_the_targets_and_the_command_behind_them() -> None:
    assert detector().card.quality["map50"] >= 0.90
    assert classifier().card.quality["top1"] >= 0.95
    assert classifier().card.labels == LABELS
    for model in (detector(), classifier()):
        assert model.card.quality["command"].startswith("python -m functions.train.evaluate --seed")
        assert model.card.training["command"].startswith("python -m functions.train --seed")


def test_both_files_together_stay_small() -> None:
    files = [FUNCTIONS / folder / "model.onnx" for folder in (DETECTOR, CLASSIFIER)]
    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_an_empty_sheet_is_empty() -> None:
    for seed in range(3):
        sheet = make(Look(insects=0), np.random.default_rng([40, seed]))
        assert len(found(sheet.jpeg())) <= 1


def test_an_image_reads_the_same_alone_and_in_any_batch() -> None:
    tall = make(Look(1200, 1600, 15, noise=1.0), np.random.default_rng(32))
    files = [paper.jpeg for paper in papers()[:3]] + [tall.jpeg()]
    together = detector().detect([Image(data) for data in files])
    for data, batched in zip(files, together, strict=True):
        alone = found(data)
        assert [one.label for one in alone] == [one.label for one in batched]
        for one, other in zip(alone, batched, strict=True):
            assert one.box == pytest.approx(other.box, abs=1e-4)
            assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_a_crop_is_named_the_same_alone_and_in_any_batch() -> None:
    image = Image(scene().jpeg())
    crops = [image.crop(insect.box, 48, margin=0.1) for insect in scene().insects]
    together = classifier().classify(crops * 4)
    for crop, batched in zip(crops, together, strict=False):
        (alone,) = classifier().classify([crop])
        assert dict(alone) == pytest.approx(dict(batched), abs=1e-4)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_camera_gives_equal_boxes(orientation: int) -> None:
    upright = scene().picture
    tag = Pillow.Exif()
    tag[0x0112] = orientation
    turned = saved(upright.transpose(TURNED_BACK[orientation]), "PNG", exif=tag.tobytes())
    assert found(turned) == found(saved(upright, "PNG"))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_cameras_jpeg_gives_the_same_boxes_within_its_compression(orientation: int) -> None:
    tag = Pillow.Exif()
    tag[0x0112] = orientation
    turned = found(saved(scene().picture.transpose(TURNED_BACK[orientation]), "JPEG", quality=95, exif=tag.tobytes()))
    assert agreement(found(saved(scene().picture, "JPEG", quality=95)), turned) >= 0.96


def variants() -> dict[str, bytes]:
    plain = scene().picture
    grey = np.asarray(plain.convert("L")).astype(np.uint16)
    black = Pillow.new("RGB", plain.size)
    return {
        "CMYK JPEG": saved(plain.convert("CMYK"), "JPEG", quality=92),
        "progressive JPEG": saved(plain, "JPEG", quality=90, progressive=True),
        "MPO": saved(plain, "MPO", save_all=True, append_images=[black], quality=90),
        "RGBA PNG": saved(plain.convert("RGBA"), "PNG", compress_level=1),
        "palette GIF": saved(plain, "GIF"),
        "animated WebP": saved(plain, "WEBP", save_all=True, append_images=[black], quality=85, method=0),
        "TIFF": saved(plain, "TIFF"),
        "BMP": saved(plain, "BMP"),
        "16-bit grey PNG": saved(Pillow.fromarray(grey * 257), "PNG", compress_level=1),
    }


@pytest.mark.parametrize("kind", variants())
def test_every_kind_of_file_gives_boxes_close_to_the_plain_ones(kind: str) -> None:
    data = variants()[kind]
    plain = scene().picture.convert("L") if "grey" in kind else scene().picture
    assert agreement(found(saved(plain, "PNG", compress_level=1)), found(data)) >= 0.9


def test_a_one_bit_tiff_still_shows_where_insects_are() -> None:
    bits = scene().picture.convert("L").point(lambda value: 255 if value > 90 else 0).convert("1")
    detections = found(saved(bits, "TIFF", compression="group4"))
    hits, _ = found_insects(detections, scene().insects)
    assert len(hits) >= len(scene().insects) * 0.4


def test_a_larger_picture_of_the_same_sheet_gives_the_same_boxes_in_its_own_pixels() -> None:
    large = found(saved(scene().picture.resize((4000, 3000), Pillow.Resampling.BICUBIC), "JPEG", quality=85))
    small = [replace(one, box=tuple(np.array(one.box) / 2.5)) for one in large]
    assert agreement(found(scene().jpeg(90)), small) >= 0.9


def test_detect_tells_the_image_and_its_detections_best_first() -> None:
    (record,) = function(Detect, detector()).handle([Item(Image(scene().jpeg()))])
    assert record["image"] == {"width": 1600, "height": 1200, "captured_at": None, "format": "JPEG"}
    confidences = [row["confidence"] for row in record["detections"]]
    assert confidences == sorted(confidences, reverse=True)
    assert [row["id"] for row in record["detections"]][:2] == ["d0001", "d0002"]
    for row in record["detections"]:
        x1, y1, x2, y2 = row["box"]
        assert 0 <= x1 < x2 <= 1600
        assert 0 <= y1 < y2 <= 1200
    json.dumps(record)


def test_detect_honours_the_threshold_it_is_given() -> None:
    strict, lax = function(Detect, detector()).handle(
        [Item(Image(scene().jpeg()), {"threshold": value}) for value in (0.95, 0.05)]
    )
    assert len(strict["detections"]) < len(lax["detections"])
    assert all(row["confidence"] >= 0.95 for row in strict["detections"])


def test_one_bad_image_costs_its_batch_nothing() -> None:
    good = scene().jpeg()
    answers = function(Detect, detector()).handle(
        [Item(Image(data)) for data in (good, good[: len(good) // 2], b"no image", b"", good)]
    )
    assert [getattr(answer, "code", "done") for answer in answers] == [
        "done", "image_truncated", "image_unreadable", "empty_file", "done",
    ]  # fmt: skip
    assert answers[0] == answers[4]


def test_classify_names_the_detections_it_is_given_and_no_others() -> None:
    (known,) = function(Detect, detector()).handle([Item(Image(scene().jpeg()))])
    some = known["detections"][3:6]
    item = Item(Image(scene().jpeg()), {"top_k": 3}, known, some)
    broken = Item(Image(b"no image"), {"top_k": 3}, known, some)
    record, failure = function(Classify, classifier()).handle([item, broken])
    assert [row["id"] for row in record["detections"]] == ["d0004", "d0005", "d0006"]
    for row in record["detections"]:
        scores = [one["score"] for one in row["classifications"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
    assert isinstance(failure, Permanent)
    json.dumps(record)


def test_classify_does_not_touch_an_image_without_detections() -> None:
    assert function(Classify, classifier()).handle([Item(Image(b"no image"))]) == [{"detections": []}]


def expected() -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = json.loads((SAMPLES / "expected.json").read_text())["files"]
    return files


def test_the_sample_night_is_complete_and_small() -> None:
    on_disk = {file.relative_to(SAMPLES / "night").as_posix() for file in SAMPLES.glob("night/**/*") if file.is_file()}
    assert on_disk == set(expected())
    assert len(on_disk) >= 26
    assert sum((SAMPLES / "night" / name).stat().st_size for name in on_disk) <= 3_000_000


def test_every_file_of_the_sample_night_ends_as_expected() -> None:
    finder, namer = function(Detect, detector()), function(Classify, classifier())
    insects = right = 0
    for name, wanted in expected().items():
        image = Image((SAMPLES / "night" / name).read_bytes(), timezone="Europe/Copenhagen")
        (answer,) = finder.handle([Item(image)])
        if wanted["state"] == "failed":
            assert answer.code == wanted["code"]
            continue
        assert len(answer["detections"]) == pytest.approx(wanted["insects"], rel=0.08, abs=1)
        assert answer["image"]["captured_at"].startswith("2026-11-2")
        assert answer["image"]["captured_at"].endswith("+01:00")
        (named,) = namer.handle([Item(image, {"top_k": 1}, answer, answer["detections"])])
        told = [row["classifications"][0]["label"] for row in named["detections"]]
        right += sum(min(told.count(kind), count) for kind, count in wanted["kinds"].items())
        insects += wanted["insects"]
    assert right / insects > 0.93
