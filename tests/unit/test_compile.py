"""The compiled files: exact, safe to open, and the same whenever they are made of the same things."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from functions.compile.table import COLUMNS
from tests.compiled import FORMULAS, SHA, Member, compiled, done, failed, moth, note, with_detections
from trapline.errors import CODES
from trapline.records import RollEntry

TABLES = ("observations.csv", "events.csv")


def test_a_detection_has_a_row_with_its_box_its_best_name_and_what_made_them() -> None:
    item, _ = compiled(with_detections(moth(), captured_at="2026-11-20T22:00:00+01:00"), station={"latitude": -55.6})
    (row,) = item.rows
    assert (row["x1"], row["y1"], row["x2"], row["y2"]) == ("1.5", "2", "30", "20.25")
    assert (row["label"], row["score"], row["detection_label"]) == ("Noctua pronuba", "0.9", "insect")
    assert (row["detector"], row["detector_version"], row["detector_model"]) == ("detect", "1.2.0", "finder")
    assert (row["classifier"], row["classifier_model_version"], row["classifier_model_sha256"]) == (
        "classify",
        "7",
        SHA,
    )
    assert (row["job"], row["revision"], row["latitude"]) == ("st7/2026-11-20", "r1-0a1b2c3d", "-55.6")


def test_an_empty_image_and_a_failed_one_have_one_row_each() -> None:
    item, body = compiled(done("a.jpg"), failed("b.jpg"), with_detections(moth(), moth(id="d2"), rel="c.jpg"))
    assert [(row["file"], row["state"], row["failure_code"]) for row in item.rows] == [
        ("a.jpg", "done", ""),
        ("b.jpg", "failed", "image_truncated"),
        ("c.jpg", "done", ""),
        ("c.jpg", "done", ""),
    ]
    assert body["images"] == {"total": 3, "with_detections": 1, "empty": 1, "failed": 1, "pending": 0}
    assert body["detections"] == 2


def test_a_line_tells_an_image_that_was_not_read_from_one_without_detections() -> None:
    item, _ = compiled(done("a.jpg"), failed("b.jpg"))
    empty, unread = item.lines
    assert (empty["detections"], unread["detections"]) == ([], None)
    words = {"meaning": CODES["image_truncated"].meaning, "message": "cut", "remedy": "again"}
    assert unread["failure"] == {"stage": "detect", "code": "image_truncated", **words}
    assert "failure" not in empty


def test_a_line_keeps_everything_that_the_functions_returned() -> None:
    known = {"image": {"width": 1}, "detections": [moth(extra={"b": [1], "a": None})], "quality": {"blur": 0.5}}
    item, _ = compiled(done("a.jpg", known, id="NScx", event_id="1234"), manifest={"deployment": {"latitude": 1.5}})
    (line,) = item.lines
    assert (line["image"], line["detections"], line["known"]) == (
        {"width": 1},
        known["detections"],
        {"quality": {"blur": 0.5}},
    )
    assert (line["id"], line["eventId"], line["deployment"]) == ("NScx", "1234", {"latitude": 1.5})
    assert line["source"] == {"key": "incoming/a.jpg", "size": 10, "sha256": SHA}
    assert line["stages"]["detect"]["produced_by"]["model"]["sha256"] == SHA
    assert list(line)[:3] == ["rel", "key", "state"]


def test_a_line_names_what_a_join_went_on_without() -> None:
    member = done("a.jpg")
    assert member.record is not None
    member = Member(member.entry, member.record.model_copy(update={"missing": ("second",)}))
    item, _ = compiled(member, done("b.jpg"))
    assert [line.get("missing") for line in item.lines] == [["second"], None]


def test_the_same_roll_makes_the_same_bytes() -> None:
    one, _ = compiled(with_detections(moth()), failed("b.jpg"))
    shuffled = moth()
    shuffled = dict(reversed(shuffled.items()))
    other, _ = compiled(with_detections(shuffled), failed("b.jpg"))
    assert one.files == other.files


def test_a_pending_image_is_a_line_without_a_row() -> None:
    pending = Member(RollEntry(rel="p.jpg", state="pending", size=7))
    item, body = compiled(pending, final=False, revision="live-00000000")
    assert [(line["rel"], line["state"], line["source"]["size"]) for line in item.lines] == [("p.jpg", "pending", 7)]
    assert item.rows == []
    assert body["images"] == {"total": 1, "with_detections": 0, "empty": 0, "failed": 0, "pending": 1}


def test_an_image_that_an_ancestor_blocked_counts_as_failed_and_says_why() -> None:
    blocked = Member(RollEntry(rel="x.jpg", state="blocked", stage="detect", code="timeout"))
    item, body = compiled(blocked)
    assert item.lines[0]["failure"]["message"].startswith("The item took longer")
    assert (item.rows[0]["failure_code"], body["images"]["failed"]) == ("timeout", 1)


def test_an_image_that_failed_late_keeps_the_detections_it_has() -> None:
    early = with_detections(moth(classifications=[]))
    letter = failed("a.jpg", "timeout")
    item, body = compiled(Member(letter.entry, early.record, letter.dead_letter))
    (row,) = item.rows
    assert (row["detection_id"], row["failure_code"], row["classifier"]) == ("d1", "timeout", "")
    assert body["detections"] == 0


def test_the_classifier_is_the_last_stage_that_named_and_not_one_that_came_after_it() -> None:
    member = with_detections(moth())
    stages = {
        "detect": note("detect"),
        "first": note("classify", model="namer").model_copy(update={"named": True}),
        "joint": note("ensemble").model_copy(update={"named": True}),
        "crop": note("crop"),
    }
    assert member.record is not None
    record = member.record.model_copy(update={"stages": stages})
    item, _ = compiled(Member(member.entry, record))
    (row,) = item.rows
    assert (row["classifier"], row["detector"]) == ("ensemble", "detect")
    assert item.lines[0]["stages"]["joint"]["named"] is True
    assert "named" not in item.lines[0]["stages"]["crop"]


def test_what_crop_embed_and_ensemble_say_is_in_the_lines_as_they_said_it() -> None:
    crop = {"key": "files/crop/a.jpg/00000000/d1.jpg", "sha256": SHA, "size": 10, "width": 4, "height": 3}
    opinions = {"first": {"label": "Xestia", "score": 0.6}}
    found = moth(crop=crop, opinions=opinions, agreement=0.5, missing=["second"])
    more = {
        "crops": {"made": 1, "left_out": 0},
        "thumbnail": crop,
        "embeddings": {"rows": 1, "detections": ["d1"], "file": {"key": "files/embed/v.npy"}},
        "ensemble": {"method": "mean", "stages": ["first", "second"], "missing": []},
    }
    item, _ = compiled(done("a.jpg", {"image": {"width": 40, "height": 30}, "detections": [found], **more}))
    (line,), (row,) = item.lines, item.rows
    assert (line["detections"], line["known"]) == ([found], more)
    assert (row["detection_id"], row["label"]) == ("d1", "Noctua pronuba")


def test_a_detection_without_a_classification_names_no_classifier() -> None:
    item, body = compiled(with_detections(moth(classifications=[])))
    (row,) = item.rows
    assert (row["label"], row["classifier"], row["detector"]) == ("", "", "detect")
    assert body["labels"] == {"insect": 1}


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_would_run_is_escaped(text: str) -> None:
    item, _ = compiled(with_detections(moth(label=text, id=text), rel=text))
    (row,) = item.rows
    assert row["file"] == row["detection_label"] == row["detection_id"] == f"'{text}"
    assert item.lines[0]["rel"] == text


def test_negative_numbers_stay_numbers() -> None:
    item, _ = compiled(
        with_detections(moth(box=[-1.5, -2, 3, 4])), manifest={"deployment": {"latitude": -1, "longitude": -70.25}}
    )
    (row,) = item.rows
    assert (row["x1"], row["y1"], row["latitude"], row["longitude"]) == ("-1.5", "-2", "-1", "-70.25")


@pytest.mark.parametrize(
    "rel", ["a\nb.jpg", 'a,"b".jpg', "a\r\nb.jpg", "a\x00\x1b.jpg", "<script>x</script>.jpg", "\u2028蛾.jpg"]
)
def test_a_name_survives_whatever_is_in_it(rel: str) -> None:
    item, _ = compiled(done(rel), done("z.jpg"))
    assert [line["rel"] for line in item.lines] == [rel, "z.jpg"]
    assert [row["file"] for row in item.rows] == [rel, "z.jpg"]
    assert len(item.files["results.jsonl"].decode().splitlines()) == 2


def test_half_a_surrogate_pair_costs_nobody_the_results() -> None:
    item, _ = compiled(with_detections(moth(label="\ud800")))
    assert item.lines[0]["detections"][0]["label"] == "\ud800"
    assert item.rows[0]["detection_label"] == "\\ud800"


def test_every_record_of_the_table_has_every_column_and_ends_in_crlf() -> None:
    item, _ = compiled(done("a.jpg"), with_detections(moth(), rel="b.jpg"))
    text = item.files["observations.csv"].decode()
    assert text.endswith("\r\n") and text.count("\r\n") == 3
    assert {len(row) for row in csv.reader(io.StringIO(text, newline=""))} == {len(COLUMNS)}


@pytest.mark.parametrize(
    "known", [{}, {"image": 3, "detections": "x"}, {"detections": [None, {"classifications": [1], "box": [1]}]}]
)
def test_what_a_careless_function_returned_is_kept_and_breaks_nothing(known: dict[str, Any]) -> None:
    item, body = compiled(done("a.jpg", known))
    assert item.lines[0]["detections"] == known.get("detections")
    assert (len(item.rows), body["images"]["total"]) == (1, 1)


def test_labels_are_counted_by_each_detections_best_name_most_frequent_first() -> None:
    rare = moth(classifications=[{"label": "Xestia", "score": 0.2}, {"label": "Agrotis", "score": 0.6}])
    _, body = compiled(with_detections(rare, moth(), moth()))
    assert list(body["labels"].items()) == [("Noctua pronuba", 2), ("Agrotis", 1)]


def test_the_span_of_capture_times_is_by_the_moment_not_the_text() -> None:
    late, early = "2026-10-25T02:10:00+01:00", "2026-10-25T02:50:00+02:00"
    _, body = compiled(
        with_detections(captured_at=late), with_detections(captured_at=early), with_detections(captured_at="?")
    )
    assert body["captured"] == {"first": early, "last": late}


def test_a_time_without_an_offset_is_the_stations_in_the_span_as_everywhere() -> None:
    own, utc = "2026-11-20T22:30:00", "2026-11-20T22:00:00Z"  # half past nine and ten o'clock, UTC
    place = {"timezone": "Europe/Copenhagen"}
    _, body = compiled(with_detections(captured_at=own), with_detections(captured_at=utc), station=place)
    assert (body["captured"], body["timezone"]) == ({"first": own, "last": utc}, "Europe/Copenhagen")


def test_what_was_found_is_counted_by_the_hour_of_the_stations_clock_beside_the_images_that_were_read() -> None:
    utc, own = "2026-11-20T21:30:00+00:00", "2026-11-20T22:10:00"
    _, body = compiled(
        with_detections(moth(), moth(), captured_at=utc),
        with_detections(captured_at=own),
        with_detections(moth()),
        station={"timezone": "Europe/Copenhagen"},
    )
    assert {hour: count for hour, count in enumerate(body["activity"]) if count} == {22: 2}
    assert {hour: count for hour, count in enumerate(body["effort"]) if count} == {22: 2}


def test_confidences_are_those_of_the_names_or_else_of_the_detector_in_twenty_bins() -> None:
    sure = moth(classifications=[{"label": "Xestia", "score": 1.0}])
    found = moth(classifications=[], confidence=0.07)
    wrong = moth(classifications=[{"label": "Xestia", "score": 7}])
    _, body = compiled(with_detections(sure, found, wrong))
    assert {place: count for place, count in enumerate(body["confidence"]) if count} == {1: 1, 19: 1}


def test_the_mean_score_of_a_label_is_of_the_things_that_are_counted_under_it() -> None:
    near, far = (moth(classifications=[{"label": "Xestia", "score": score}]) for score in (1.0, 0.5))
    corrected = moth(id="d3", classifications=[{"label": "Agrotis", "score": 0.9}])
    odd = moth(id="d4", classifications=[{"label": "Xestia"}, {"label": "Agrotis", "score": "high"}])
    _, body = compiled(
        with_detections({**near, "id": "d1"}, {**far, "id": "d2"}, corrected, odd),
        review=b"file,detection_id,label\na.jpg,d3,Xestia\n",
    )
    assert (body["labels"], body["scores"]) == ({"Xestia": 4}, {"Xestia": 0.75})


def test_a_job_without_images_has_files_too() -> None:
    item, body = compiled(not_received=("a.jpg", "b.jpg"))
    assert (item.lines, item.rows, body["not_received"]) == ([], [], 2)
    assert body["captured"] == {"first": None, "last": None}
    assert item.types == {"results.jsonl": "application/x-ndjson"} | dict.fromkeys(TABLES, "text/csv; charset=utf-8")


def test_what_never_came_is_counted_with_what_has_no_name() -> None:
    _, body = compiled(not_received=("a.jpg",), not_received_count=1500)
    assert body["not_received"] == 1500


def test_a_failure_code_that_somebody_planted_is_no_formula() -> None:
    item, _ = compiled(failed("a.jpg", "=HYPERLINK(1)"))
    assert item.rows[0]["failure_code"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize(("told_as", "there"), [("antenna", True), ("standard", False)])
def test_the_form_in_which_the_client_is_told_is_written_though_no_output_names_it(told_as: str, there: bool) -> None:
    asked: dict[str, Any] = {"manifest": {"callback": {"format": told_as}}, "parameters": {"outputs": []}}
    item, _ = compiled(done(), **asked)
    assert ("antenna.json" in item.files) == there
    provisional, _ = compiled(done(), final=False, **asked)
    assert "antenna.json" not in provisional.files
