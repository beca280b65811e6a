"""The formats of the field, read by the field's own tools: every hostile job, every format."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest
from megadetector.postprocessing.validate_batch_results import validate_batch_results
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from functions.compile.outputs.antenna import _address
from functions.compile.table import KINDS
from tests.compiled import JOBS, Member, compiled, done, hostile, moth, note
from trapline.errors import CODES

every_job = pytest.mark.parametrize("job", JOBS)


def document(job: str, output: str) -> Any:
    item, body = hostile(job, output)
    assert "left_out" not in body
    return json.loads(item.files[f"{output}.json"])


# -- MegaDetector


@every_job
def test_megadetectors_own_validator_finds_no_error(job: str, tmp_path: Path) -> None:
    told = document(job, "megadetector")
    (tmp_path / "md.json").write_text(json.dumps(told))
    found = validate_batch_results(str(tmp_path / "md.json"))["validation_results"]
    assert (found["errors"], found["warnings"]) == ([], [])
    assert len(told["images"]) == len(JOBS[job]["members"])


@every_job
def test_megadetectors_boxes_are_shares_of_the_image_and_scores_descend(job: str) -> None:
    for image in document(job, "megadetector")["images"]:
        for detection in image["detections"] or ():
            x, y, width, height = detection["bbox"]
            assert min(x, y, width, height) >= 0 and x + width <= 1.000001 and y + height <= 1.000001
            scores = [score for _, score in detection.get("classifications", ())]
            assert scores == sorted(scores, reverse=True)


def test_megadetector_tells_a_failure_from_an_empty_image_and_says_who_found_what() -> None:
    failures, empty = document("failures", "megadetector"), document("empty", "megadetector")
    assert failures["images"][0] == {"file": "a.jpg", "detections": None, "failure": "image_truncated: cut"}
    assert empty["images"][0] == {"file": "0.jpg", "detections": []}
    info = document("rotated", "megadetector")["info"]
    assert (info["format_version"], info["detector"], info["classifier"]) == ("1.6", "finder 7", "namer 7")
    assert empty["info"]["detector"] == "finder 7"


def test_megadetector_has_no_kind_among_its_categories_when_a_person_added_a_box() -> None:
    told = document("reviewed", "megadetector")
    assert "person" in told["detection_categories"].values()
    assert not {"Human", "Xestia"} & set(told["detection_categories"].values())


def test_megadetectors_box_on_a_rotated_image_is_in_the_frame_as_displayed() -> None:
    (whole, corner), _ = (image["detections"] for image in document("rotated", "megadetector")["images"])
    assert whole["bbox"] == [0.0, 0.0, 1.0, 1.0]
    assert corner["bbox"] == [0.983333, 0.975, 0.016667, 0.025]


# -- COCO


@every_job
def test_pycocotools_loads_the_file_and_finds_the_detections_in_themselves(job: str, tmp_path: Path) -> None:
    item, _ = hostile(job, "coco")
    (tmp_path / "coco.json").write_bytes(item.files["coco.json"])
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "coco.json"))
        assert [image["id"] for image in truth.dataset["images"]] == list(range(1, len(truth.imgs) + 1))
        assert {note["image_id"] for note in truth.dataset["annotations"]} <= set(truth.imgs)
        assert {note["category_id"] for note in truth.dataset["annotations"]} <= set(truth.cats)
        if not truth.anns:
            return
        notes = truth.loadAnns(truth.getAnnIds())
        found = truth.loadRes(
            [{key: note[key] for key in ("image_id", "category_id", "bbox", "score")} for note in notes]
        )
        judged = COCOeval(truth, found, "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    assert judged.stats[0] > 0.5 if job != "crowd" else judged.stats[0] > 0  # at most 100 boxes of an image are judged


@every_job
def test_coco_boxes_lie_in_the_image_and_every_image_is_there_or_among_the_failures(job: str) -> None:
    told = document(job, "coco")
    sizes = {image["id"]: (image.get("width", 1e9), image.get("height", 1e9)) for image in told["images"]}
    for box in told["annotations"]:
        x, y, width, height = box["bbox"]
        assert x >= 0 and y >= 0 and x + width <= sizes[box["image_id"]][0] and y + height <= sizes[box["image_id"]][1]
        assert box["area"] == width * height and 0 <= box["score"] <= 1
    assert len(told["images"]) + len(told["failures"]) == len(JOBS[job]["members"])


# -- Parquet


@every_job
def test_parquet_has_the_rows_of_the_table_with_types(job: str) -> None:
    item, _ = hostile(job, "csv", "parquet")
    table = pq.read_table(io.BytesIO(item.files["observations.parquet"]))
    rows = list(csv.DictReader(io.StringIO(item.files["observations.csv"].decode(), newline="")))
    assert table.column_names == list(KINDS) == list(rows[0] if rows else KINDS)
    assert table.num_rows == len(rows)
    for told, row in zip(table.to_pylist(), rows, strict=True):
        for name in told.keys() - {"captured_at"}:
            assert told[name] == _typed(name, row[name]), name


def test_parquet_times_are_instants_and_numbers_numbers() -> None:
    item, _ = hostile("two deployments", "parquet")
    table = pq.read_table(io.BytesIO(item.files["observations.parquet"]))
    assert str(table.schema.field("captured_at").type) == "timestamp[us, tz=UTC]"
    assert table["captured_at"][0].as_py().isoformat() == "2026-10-25T01:30:00+00:00"
    assert (table["latitude"][0].as_py(), table["width"][0].as_py()) == (-33.9, 40)


def _typed(name: str, cell: str) -> Any:
    """A cell of the table as its column's kind."""
    if KINDS[name] in ("whole", "real"):
        return float(cell) if cell else None
    return cell.removeprefix("'") or None


# -- the Antenna pipeline-controller


@every_job
def test_antennas_body_has_every_image_with_the_controllers_fields_and_no_other_kind_of_value(job: str) -> None:
    told = document(job, "antenna")
    assert set(told) == {"jobId", "pipelineRequestId", "data"} and len(told["data"]) == len(JOBS[job]["members"])
    jsonschema.Draft202012Validator(CALLBACK).validate(told)


def test_antennas_body_names_a_failed_image_with_a_kind_of_failure() -> None:
    first, second, *_ = document("failures", "antenna")["data"]
    assert (first["sourceImageId"], first["failure"]["kind"], first["detections"]) == ("a.jpg", "image_truncated", [])
    assert second["failure"]["kind"] == "timeout" and second["failure"]["remedy"]
    assert {image["failure"]["kind"] for image in document("failures", "antenna")["data"]} <= {*CODES, "=1+1"}


def test_antennas_body_echoes_the_manifest_and_versions_each_detection_and_classification() -> None:
    told = document("two deployments", "antenna")
    image = told["data"][2]
    (detection,) = image["detections"]
    assert (told["jobId"], told["pipelineRequestId"]) == ("ea12ac70", "st7/2026-11-20")
    assert (image["sourceImageId"], image["sourceImageUrl"]) == ("3", "https://images.example.org/3.jpg")
    assert (image["eventId"], told["data"][0]["eventId"]) == ("=E3", None)
    assert detection["boundingBox"] == {"x1": 2, "y1": 2, "x2": 30, "y2": 20}
    assert detection["version"] == {"algorithm": "finder", "apiVersion": "1.2.0", "modelVersion": "7"}
    (named,) = detection["classifications"]
    assert named == {
        "algorithm": "namer",
        "version": {"algorithm": "namer", "apiVersion": "1.2.0", "modelVersion": "7"},
        "labelIds": ["Noctua pronuba", "Xestia"],
        "labelNames": ["Noctua pronuba", "Xestia"],
        "displayScores": [90, 5],
        "scores": [0.9, 0.05],
    }


def test_antenna_echoes_an_address_without_what_lets_its_reader_in() -> None:
    (image,) = document("odd deployment", "antenna")["data"]
    assert image["sourceImageUrl"] == "https://h.example.org/a%20b.jpg"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://AKIA:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("s3://AKIA:a/secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("//user:secret@host.example/a.jpg", "//host.example/a.jpg"),
        ("user:secret@host.example/a.jpg?sig=secret", "host.example/a.jpg"),
        ("https:/host.example/a.jpg?X-Amz-Signature=secret", "https:/host.example/a.jpg"),
        ("https://host.example:8443/a@2.jpg?n=1", "https://host.example:8443/a@2.jpg?n=1"),
        ("incoming/card 1/a@2.jpg", "incoming/card 1/a@2.jpg"),
    ],
)
def test_antenna_shows_no_password_of_an_address_in_a_wrong_form(url: str, shown: str) -> None:
    assert _address(url) == shown


def test_antenna_tells_where_a_crop_and_a_vector_are_and_keeps_classifiers_apart() -> None:
    two = [{"label": "a", "score": 0.2, "stage": "first"}, {"label": "b", "score": 0.9, "stage": "second"}]
    found = moth(
        crop={"key": "files/crop/d1.jpg"}, classifications=[*two, {"label": "c", "score": 0.1, "stage": "first"}]
    )
    vectors = {"detections": ["d0", "d1"], "file": {"key": "files/v.npy"}, "model": {"name": "e", "version": "3"}}
    member = done("a.jpg", {"image": {"width": 40, "height": 30}, "detections": [found], "embeddings": vectors})
    assert member.record is not None
    stages = {"detect": note("detect"), "first": note("classify", model="m1"), "second": note("classify", model="m2")}
    record = member.record.model_copy(update={"stages": stages})
    item, _ = compiled(Member(member.entry, record), parameters={"outputs": ["antenna"]})
    (detection,) = json.loads(item.files["antenna.json"])["data"][0]["detections"]
    assert detection["cropUrl"] == "files/crop/d1.jpg"
    assert detection["cnnFeatures"] == {"algorithm": "e", "version": "3", "url": "files/v.npy", "row": 1}
    assert [(each["algorithm"], each["labelNames"]) for each in detection["classifications"]] == [
        ("m2", ["b"]),
        ("m1", ["a", "c"]),
    ]


_TEXT: Any = {"type": "string"}
_VERSION: Any = {
    "type": ["object", "null"],
    "required": ["algorithm", "apiVersion", "modelVersion"],
    "additionalProperties": _TEXT,
}
_SIDES = {"x1": {"type": "integer"}, "y1": {"type": "integer"}, "x2": {"type": "integer"}, "y2": {"type": "integer"}}
_NAMED = {
    "type": "object",
    "required": ["algorithm", "labelIds", "labelNames", "displayScores", "scores", "version"],
    "properties": {
        "algorithm": _TEXT,
        "version": _VERSION,
        "labelIds": {"type": "array", "items": _TEXT},
        "labelNames": {"type": "array", "items": _TEXT},
        "displayScores": {"type": "array", "items": {"type": "integer"}},
        "scores": {"type": "array", "items": {"type": "number"}},
    },
}
_FOUND = {
    "type": "object",
    "required": ["id", "cropUrl", "version", "boundingBox", "classifications"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "cropUrl": {"type": ["string", "null"]},
        "version": _VERSION,
        "boundingBox": {"type": ["object", "null"], "required": list(_SIDES), "properties": _SIDES},
        "classifications": {"type": "array", "items": _NAMED},
    },
}
_STAGE = {
    "type": "object",
    "required": ["taskId", "version", "timing", "timestamp"],
    "properties": {
        "taskId": _TEXT,
        "version": _VERSION,
        "timing": {"type": "object", "required": ["http", "inference", "total"]},
        "timestamp": {"type": "integer"},
    },
}
CALLBACK = {
    "type": "object",
    "properties": {
        "jobId": _TEXT,
        "pipelineRequestId": _TEXT,
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["sourceImageId", "sourceImageUrl", "eventId", "stages", "detections"],
                "properties": {
                    "sourceImageId": _TEXT,
                    "sourceImageUrl": _TEXT,
                    "eventId": {"type": ["string", "null"]},
                    "stages": {"type": "array", "items": _STAGE},
                    "detections": {"type": "array", "items": _FOUND},
                },
            },
        },
    },
}


# -- what people say


def test_a_persons_word_wins_in_every_format_and_what_a_person_says_is_nothing_is_none() -> None:
    item, _ = hostile("reviewed", "csv", "parquet", "megadetector", "coco", "antenna")
    told = {name: json.loads(item.files[f"{name}.json"]) for name in ("megadetector", "coco", "antenna")}
    first, second = told["megadetector"]["images"]
    names = told["megadetector"]["classification_categories"]
    assert [names[found["classifications"][0][0]] for found in first["detections"]] == ["Xestia", "Human"]
    assert (first["detections"][0]["classifications"][0][1], second["detections"]) == (1.0, [])
    assert [category["name"] for category in told["coco"]["categories"]] == ["Xestia", "Human"]
    (by_person, by_model), _ = (found["classifications"] for found in told["antenna"]["data"][0]["detections"])
    assert (by_person["algorithm"], by_person["labelNames"]) == ("human", ["Xestia"])
    assert (by_model["algorithm"], by_model["labelNames"]) == ("namer", ["Noctua pronuba", "Xestia"])
