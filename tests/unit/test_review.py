"""A person's table about a job: what it may look like, what it changes, and what is counted from it."""

from __future__ import annotations

import tracemalloc
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.compile import review as reviews
from functions.compile.review import read_review
from tests.compiled import Item, compiled, done, failed, moth, with_detections

JOB = "st7/2026-11-20"


def named(rel: str, *labels: str) -> Any:
    """An image with a moth a label, side by side."""
    kinds = [
        moth(id=f"d{n}", box=[100 * n, 0, 100 * n + 50, 50], classifications=[{"label": label, "score": 0.9}])
        for n, label in enumerate(labels, 1)
    ]
    return with_detections(*kinds, rel=rel, width=2000, height=1500)


def reviewed(table: str | bytes, *members: Any) -> tuple[Item, dict[str, Any]]:
    data = table.encode() if isinstance(table, str) else table
    item, body = compiled(*members, review=data)
    return item, body["review"]


def labels(item: Item) -> list[tuple[str, str, str]]:
    return [(row["file"], row["label"], row["classifier"]) for row in item.rows]


def test_an_edited_label_is_a_persons_classification_and_the_models_stays_in_the_lossless_file() -> None:
    item, told = reviewed("file,detection_id,label\na.jpg,d1,Xestia\n", named("a.jpg", "Noctua", "Noctua"))
    assert labels(item) == [("a.jpg", "Xestia", "human"), ("a.jpg", "Noctua", "classify")]
    assert item.rows[0]["score"] == "" and item.rows[0]["detector"] == "detect"
    (line,) = item.lines
    assert line["review"] == {"detections": {"d1": {"label": "Xestia"}}, "added": []}
    assert line["detections"][0]["classifications"][0]["label"] == "Noctua"
    assert (told["reviewed"], told["right"], told["wrong"]) == (1, 0, 1)


def test_accuracy_is_counted_per_label_and_per_model() -> None:
    table = "file,detection_id,label\na.jpg,d1,Noctua\na.jpg,d2,Xestia\na.jpg,d3,blank\na.jpg,d4,unknown\n"
    item, told = reviewed(table, named("a.jpg", "Noctua", "Noctua", "Noctua", "Noctua"))
    assert told["labels"] == {"Noctua": {"said": 3, "right": 1, "is": 1}, "Xestia": {"said": 0, "right": 0, "is": 1}}
    assert told["models"] == {"namer 7": {"said": 3, "right": 1}}
    assert {name: told[name] for name in ("images", "reviewed", "right", "wrong", "blank", "unknown", "missed")} == {
        "images": 1,
        "reviewed": 4,
        "right": 1,
        "wrong": 1,
        "blank": 1,
        "unknown": 1,
        "missed": 0,
    }
    assert [row["label"] for row in item.rows] == ["Noctua", "Xestia", "blank", "unknown"]


@pytest.mark.parametrize("word", ["unknown", "Unknown", "UNKNOWN "])
def test_a_spreadsheet_that_begins_unknown_with_a_capital_makes_no_kind_of_it(word: str) -> None:
    item, told = reviewed(f"file,label\na.jpg,{word}\n", named("a.jpg", "Noctua"))
    assert (told["unknown"], told["wrong"], told["labels"]) == (1, 0, {})
    assert item.rows[0]["label"] == "unknown"


def test_what_people_say_of_an_image_that_failed_is_in_no_count_and_the_row_is_named() -> None:
    half, letter = named("b.jpg", "Noctua"), failed("b.jpg", "timeout")
    table = "file,detection_id,label\na.jpg,,Xestia\nb.jpg,d1,Xestia\n"
    item, told = reviewed(table, failed("a.jpg"), replace(half, entry=letter.entry, dead_letter=letter.dead_letter))
    assert [problem["line"] for problem in told["problems"]] == [2, 3]
    assert ["image_truncated" in told["problems"][0]["why"], "timeout" in told["problems"][1]["why"]] == [True, True]
    assert (told["images"], told["reviewed"], told["missed"], told["labels"]) == (0, 0, 0, {})
    assert "Xestia" not in [row["label"] for row in item.rows]


def test_a_model_that_nobody_named_is_told_without_a_name() -> None:
    member = named("a.jpg", "Noctua")
    nameless = replace(member, record=member.record.model_copy(update={"stages": {}}))
    _, told = reviewed("file,label\na.jpg,Noctua\n", nameless)
    assert told["models"] == {"": {"said": 1, "right": 1}}


def test_what_a_person_says_is_what_the_next_revision_counts() -> None:
    table = "file,detection_id,label\na.jpg,d1,Xestia\na.jpg,d2,blank\nb.jpg,d1,BLANK\n"
    _, body = compiled(named("a.jpg", "Noctua", "Noctua"), named("b.jpg", "Noctua"), review=table.encode())
    assert (body["labels"], body["detections"]) == ({"Xestia": 1}, 1)
    assert body["images"]["empty"] == 1


def test_an_animal_that_the_detector_missed_is_added_by_its_box() -> None:
    table = "file,x1,y1,x2,y2,label,reviewer\na.jpg,500,10,560,70,Xestia,Ada\n"
    item, told = reviewed(table, named("a.jpg", "Noctua"))
    assert labels(item) == [("a.jpg", "Noctua", "classify"), ("a.jpg", "Xestia", "human")]
    assert [item.rows[1][name] for name in ("x1", "y1", "x2", "y2", "detector")] == [
        "500.0",
        "10.0",
        "560.0",
        "70.0",
        "human",
    ]
    assert (told["missed"], told["labels"]["Xestia"]) == (1, {"said": 0, "right": 0, "is": 1})
    assert item.lines[0]["review"]["added"][0]["reviewer"] == "Ada"


@pytest.mark.parametrize(
    "row",
    ["d9,100,0,150,50", ",102,1,149,50", '"",100.4,0.2,150,50'],
    ids=["another id, the same box", "a box drawn by hand", "no id"],
)
def test_a_row_finds_its_detection_by_the_box(row: str) -> None:
    item, _ = reviewed(f"file,detection_id,x1,y1,x2,y2,label\na.jpg,{row},Xestia\n", named("a.jpg", "Noctua", "Noctua"))
    assert [row["label"] for row in item.rows] == ["Xestia", "Noctua"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("d1,300,0,350,50,Xestia", ["Noctua", "Noctua", "Xestia"]),
        ("d1,700,0,750,50,Xestia", ["Noctua", "Noctua", "Noctua", "Xestia"]),
        ("d1,700,0,750,50,blank", ["Noctua", "Noctua", "Noctua"]),
    ],
    ids=["it is another detection now", "the model misses it now", "the model does not find it any more"],
)
def test_a_row_of_an_earlier_model_stays_with_its_box_though_its_id_is_another_animals_now(
    row: str, expected: list[str]
) -> None:
    table = f"file,detection_id,x1,y1,x2,y2,label\na.jpg,{row}\n"
    item, told = reviewed(table, named("a.jpg", "Noctua", "Noctua", "Noctua"))
    assert [row["label"] for row in item.rows] == expected and told["problem_count"] == 0


def test_of_two_animals_in_one_place_a_row_takes_the_one_that_it_names() -> None:
    two = with_detections(moth(box=[0, 0, 20, 20]), moth(id="d2", box=[0, 0, 20, 21]), rel="a.jpg")
    item, _ = reviewed("file,detection_id,x1,y1,x2,y2,label\na.jpg,d2,0,0,20,20,Xestia\n", two)
    assert [row["label"] for row in item.rows] == ["Noctua pronuba", "Xestia"]


def test_a_detection_without_a_box_is_found_by_its_id() -> None:
    whole = with_detections(moth(box=None), moth(id="d2", box=[0, 0, 9, 9]), rel="a.jpg")
    item, _ = reviewed("file,detection_id,x1,y1,x2,y2,label\na.jpg,d1,0,0,9,9,Xestia\n", whole)
    assert [row["label"] for row in item.rows] == ["Xestia", "Noctua pronuba"]


def test_the_only_detection_needs_no_id_and_an_image_without_any_can_be_named_whole() -> None:
    item, told = reviewed("file,label\na.jpg,Xestia\nb.jpg,Noctua\n", named("a.jpg", "Noctua"), done("b.jpg"))
    assert labels(item) == [("a.jpg", "Xestia", "human"), ("b.jpg", "Noctua", "human")]
    assert (told["wrong"], told["missed"]) == (1, 1)


@pytest.mark.parametrize(
    "table",
    [
        "file;detection_id;x1;y1;x2;y2;label\r\na.jpg;d9;100,5;0;150;50;Ässa\r\n".encode("utf-8-sig"),
        "file\tdetection_id\tlabel\na.jpg\td1\tÄssa\n".encode("utf-16"),
        "file;detection_id;label\r\na.jpg;d1;Ässa\r\n".encode("cp1252"),
        "Image,Detection_ID,Label\n\n'a.jpg,'d1,'Ässa\n,,\n".encode(),
    ],
    ids=["semicolons, decimal commas", "UTF-16, tabs", "a Windows code page", "other names, marks, empty lines"],
)
def test_a_table_is_read_as_spreadsheets_save_it(table: bytes) -> None:
    item, told = reviewed(table, named("a.jpg", "Noctua"))
    assert (labels(item), told["problem_count"]) == ([("a.jpg", "Ässa", "human")], 0)


def test_the_table_that_compile_wrote_is_a_review_as_it_is() -> None:
    members = [named("a.jpg", "=Noctua", "Xestia"), done("b.jpg"), failed("c.jpg")]
    written = compiled(*members)[0].files["observations.csv"]
    _, told = reviewed(written, *members)
    assert (told["problem_count"], told["reviewed"], told["right"]) == (0, 2, 2)


@pytest.mark.parametrize("label", [" Noctua ", "Noctua\t", "Ænigma é", "Ænigma e\u0301", "Blank", "'Noctua'", "a\nb"])
def test_a_label_that_was_left_as_it_was_is_right_whatever_a_spreadsheet_makes_of_its_letters(label: str) -> None:
    table, _ = compiled(named("a.jpg", label))
    given_back = unicodedata.normalize("NFC", table.files["observations.csv"].decode())
    item, told = reviewed(given_back, named("a.jpg", label))
    assert (told["right"], told["wrong"], told["blank"], list(told["labels"])) == (1, 0, 0, [label])
    assert item.lines[0]["review"]["detections"]["d1"]["label"] == label


def test_names_may_be_relative_to_the_jobs_folder() -> None:
    item, told = reviewed("file,label\nDCIM/a.jpg,Xestia\n", named(f"{JOB}/DCIM/a.jpg", "Noctua"))
    assert (item.rows[0]["label"], told["problem_count"]) == ("Xestia", 0)


def test_one_table_may_name_an_image_both_ways() -> None:
    table = f"file,detection_id,label\nDCIM/a.jpg,d1,Xestia\n{JOB}/DCIM/a.jpg,d2,Xestia\nDCIM/a.jpg,d2,Agrotis\n"
    item, told = reviewed(table, named(f"{JOB}/DCIM/a.jpg", "Noctua", "Noctua"))
    assert [row["label"] for row in item.rows] == ["Xestia", "Xestia"]
    assert [problem["line"] for problem in told["problems"]] == [4]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("x.jpg,d1,,,,,Xestia", "no image 'x.jpg'"),
        (",d1,,,,,Xestia", "`file` is empty"),
        ("a.jpg,d7,,,,,Xestia", "none of the image's detections"),
        ("a.jpg,d1,9,9,1,1,Xestia", "Its box is none"),
        ("a.jpg,d1,nan,0,1,1,Xestia", "Its box is none"),
        ("a.jpg,d1,1,,,,Xestia", "Its box is none"),
        ("a.jpg,d2,,,,,Noctua\na.jpg,d2,,,,,Xestia", "another label further up"),
        ("a.jpg,,2000,0,2050,9,Xestia", "outside of the image, which has 2000 x 1500 pixels"),
        ("a.jpg,,0,-9,9,0,Xestia", "outside of the image"),
        ("a.jpg,d2,,,,," + "X" * 501, "a label may have 500"),
    ],
)
def test_a_wrong_row_costs_itself_and_is_named_with_its_line(row: str, why: str) -> None:
    table = f"file,detection_id,x1,y1,x2,y2,label\na.jpg,d1,,,,,Xestia\n{row}\n"
    item, told = reviewed(table, named("a.jpg", "Noctua", "Noctua"))
    (problem,) = told["problems"]
    assert why in problem["why"] and problem["line"] == table.count("\n")
    assert item.rows[0]["label"] == "Xestia"


@pytest.mark.parametrize("table", ["", "\x00\x01", "name,species\na,b\n", "file\na.jpg\n", "\ufeff"])
def test_a_table_that_is_none_says_what_is_expected_and_changes_nothing(table: str) -> None:
    item, told = reviewed(table, named("a.jpg", "Noctua"))
    assert "There is no column" in told["problems"][0]["why"]
    assert labels(item) == [("a.jpg", "Noctua", "classify")]


@pytest.mark.parametrize("begins", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_workbook_is_called_one(begins: bytes) -> None:
    _, told = reviewed(begins + b"file,label\na.jpg,x\n" * 3, named("a.jpg", "Noctua"))
    assert [problem["why"].split(",")[0] for problem in told["problems"]] == ["It is a workbook"]


def test_a_row_without_a_label_says_nothing() -> None:
    item, told = reviewed("file,detection_id,label\na.jpg,d1,\n", named("a.jpg", "Noctua"))
    assert (told["rows"], told["reviewed"], labels(item)) == (0, 0, [("a.jpg", "Noctua", "classify")])


def test_many_problems_are_counted_and_the_first_are_told(tmp_path: Path) -> None:
    with read_review(("file,label\n" + ",x\n" * 200).encode(), tmp_path) as review:
        assert (review.problem_count, len(review.problems)) == (200, 50)


def test_a_review_too_large_to_be_read_is_named_in_the_summary() -> None:
    _, body = compiled(named("a.jpg", "Noctua"), review_problem="labels/x.csv has 99 bytes; a review may have 9")
    assert body["review"]["problems"][0]["why"].startswith("labels/x.csv has 99")


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        lines = (f"{n:06}.jpg,d{n},1,2,30,{n + 5},Nöctua {n}\n" for n in range(count))
        table = ("file,detection_id,x1,y1,x2,y2,label\n" + "".join(lines)).encode()
        tracemalloc.start()
        with read_review(table, tmp_path) as review:
            review.ended()
            assert (review.count, review.problem_count) == (count, count)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(100)
    assert peak(20_000) < peak(2_000) + 2_500_000  # pieces of the text, of at most a million letters


def test_a_row_without_end_costs_the_rest_of_the_table(tmp_path: Path) -> None:
    table = "file,label\na.jpg,Xestia\n" + '"\n",' * 400_000
    with read_review(table.encode(), tmp_path) as review:
        assert review.count == 1 and "It is not CSV from here on" in review.problems[0]["why"]


def test_an_image_with_endless_rows_keeps_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "MISSED", 3)
    rows = "".join(f"a.jpg,{n},0,{n + 1},9,Xestia\n" for n in range(1, 26, 5))
    item, told = reviewed("file,x1,y1,x2,y2,label\n" + rows, done("a.jpg"))
    assert (len(item.rows), told["missed"]) == (3, 3)
    assert [problem["line"] for problem in told["problems"]] == [5, 6]
