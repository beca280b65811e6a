"""Data sets to measure models on: what is read, what is wrong with one item, and what ends it with one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trapline.errors import ConfigError
from trapline.evaluation.cards import with_quality
from trapline.evaluation.dataset import Dataset, naming, parse_mapping, within
from trapline.evaluation.reading import read_dataset
from trapline.pipeline.reading import parsed

IMAGE = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 5]}
MOTH = {"id": 1, "name": "moth"}


def coco(folder: Path, **parts: Any) -> Path:
    file = folder / "truth.json"
    file.write_text(json.dumps({"images": [IMAGE], "annotations": [BOX], "categories": [MOTH]} | parts))
    return file


def data(*categories: str) -> Dataset:
    return Dataset("coco", (), categories)


# -- COCO


def test_a_coco_file_is_read_with_its_boxes_as_corners(tmp_path: Path) -> None:
    read = read_dataset(coco(tmp_path, annotations=[BOX | {"iscrowd": 1, "area": 12.5}]), tmp_path)
    (entry,) = read.entries
    (mark,) = entry.marks
    assert (entry.file, entry.size) == (tmp_path / "a.jpg", (100, 50))
    assert (mark.label, mark.box, mark.crowd, mark.area) == ("moth", (10, 20, 40, 25), True, 12.5)
    assert read.problems == ()


@pytest.mark.parametrize("area", [10**400, float("inf"), -1, "large", None, True])
def test_an_area_that_is_none_is_the_boxs_own(tmp_path: Path, area: Any) -> None:
    (entry,) = read_dataset(coco(tmp_path, annotations=[BOX | {"area": area}]), tmp_path).entries
    assert entry.marks[0].area is None


def test_pictures_of_a_coco_file_are_found_beside_it_or_in_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    assert read_dataset(coco(tmp_path)).entries[0].file == tmp_path / "images" / "a.jpg"
    (tmp_path / "a.jpg").touch()
    assert read_dataset(coco(tmp_path)).entries[0].file == tmp_path / "a.jpg"


def test_pictures_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    images = [IMAGE | {"id": number, "file_name": f"{number}.jpg"} for number in (10, 9, 1)]
    assert [entry.name for entry in read_dataset(coco(tmp_path, images=images)).entries] == ["1.jpg", "9.jpg", "10.jpg"]


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"annotations": [BOX | {"bbox": [1, 2, 3]}]}, "box_wrong"),
        ({"annotations": [BOX | {"bbox": [1, 2, "x", 4]}]}, "box_wrong"),
        ({"annotations": [BOX | {"bbox": [1, 2, 0, 4]}]}, "box_wrong"),
        ({"annotations": [BOX | {"bbox": [1, 2, 3, float("nan")]}]}, "box_wrong"),
        ({"annotations": [BOX | {"bbox": [1, 2, 3, 10**400]}]}, "box_wrong"),
        ({"annotations": [{key: BOX[key] for key in ("id", "image_id", "category_id")}]}, "box_wrong"),
        ({"annotations": [BOX | {"image_id": 7}]}, "image_unknown"),
        ({"annotations": [BOX | {"image_id": [7]}]}, "image_unknown"),
        ({"annotations": [BOX | {"category_id": {}}]}, "category_unknown"),
        ({"annotations": [5]}, "annotation_wrong"),
        ({"images": [IMAGE, IMAGE | {"file_name": "b.jpg"}]}, "listed_twice"),
        ({"images": [IMAGE, {"id": 2}]}, "image_wrong"),
        ({"images": [IMAGE, None]}, "image_wrong"),
        ({"images": [IMAGE, IMAGE | {"id": 2, "file_name": "../../b.jpg"}]}, "name_unusable"),
        ({"images": [IMAGE, IMAGE | {"id": 2, "file_name": "/b.jpg"}]}, "name_unusable"),
        ({"images": [IMAGE, IMAGE | {"id": 2, "file_name": ""}]}, "name_unusable"),
        ({"categories": [MOTH, MOTH]}, "category_wrong"),
        ({"categories": [MOTH, {"id": 2}]}, "category_wrong"),
    ],
)
def test_what_is_wrong_with_one_item_of_a_coco_file_costs_that_item(
    tmp_path: Path, part: dict[str, Any], code: str
) -> None:
    read = read_dataset(coco(tmp_path, **part), tmp_path)
    assert [problem.code for problem in read.problems] == [code]
    assert all(problem.item and problem.message.endswith(".") for problem in read.problems)
    assert [entry.name for entry in read.entries] == ["a.jpg"]
    assert len(read.entries[0].marks) == (0 if "annotations" in part else 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "a list, as files of detections are"),
        ("5", "has no list `images`"),
        ('{"images": [], "categories": []}', "has no list `annotations`"),
        ('{"images": [], "annotations": [], "categories": [{}]}', "`images` is empty"),
        ('{"images": [{}], "annotations": [], "categories": []}', "`categories` is empty"),
        ('{"images": [{}], "annotations": [], "categories": [{}]}', "no category has an id and a name"),
    ],
)
def test_a_file_that_is_no_coco_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_dataset(tmp_path / "truth.json")
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


# -- folders and YOLO


def test_a_folder_per_class_is_read_with_its_subfolders(tmp_path: Path) -> None:
    for name in ("moth/a.jpg", "moth/b/c.PNG", "beetle/d.jpeg", "beetle/notes.txt", "beetle/.hidden.jpg", ".git/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    read = read_dataset(tmp_path)
    assert [(entry.name, entry.marks[0].label) for entry in read.entries] == [
        ("beetle/d.jpeg", "beetle"), ("moth/a.jpg", "moth"), ("moth/b/c.PNG", "moth"),
    ]  # fmt: skip
    assert read.categories == ("beetle", "moth")


def yolo(folder: Path, lines: str, names: str = "names: {0: moth, 1: beetle}\nval: images/val\n") -> Path:
    for name in ("images/val/a.jpg", "labels/val/a.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "images/val/a.jpg").touch()
    (folder / "labels/val/a.txt").write_text(lines)
    (folder / "data.yaml").write_text(names)
    return folder


def test_a_yolo_folder_is_read_with_boxes_and_outlines_as_shares(tmp_path: Path) -> None:
    read = read_dataset(yolo(tmp_path, "0 0.5 0.5 0.2 0.4\n\n1 0.1 0.1 0.3 0.1 0.2 0.6\n"))
    (entry,) = read.entries
    assert entry.shares
    assert [mark.label for mark in entry.marks] == ["moth", "beetle"]
    assert entry.marks[0].box == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert entry.marks[1].box == pytest.approx((0.1, 0.1, 0.3, 0.6))
    assert read.categories == ("moth", "beetle")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("0 0.5 0.5 0.2", "box_wrong"),
        ("0 0.5 0.5 x 0.2", "box_wrong"),
        ("moth 0.5 0.5 0.2 0.2", "box_wrong"),
        ("0 0.5 0.5 0 0.2", "box_wrong"),
        ("0 nan 0.5 0.2 0.2", "box_wrong"),
        ("7 0.5 0.5 0.2 0.2", "category_unknown"),
    ],
)
def test_a_wrong_line_of_a_yolo_file_costs_itself(tmp_path: Path, line: str, code: str) -> None:
    read = read_dataset(yolo(tmp_path, f"{line}\n1 0.5 0.5 0.2 0.2\n"))
    assert [(problem.item, problem.code) for problem in read.problems] == [("a.jpg, line 1", code)]
    assert [mark.label for mark in read.entries[0].marks] == ["beetle"]


@pytest.mark.parametrize(
    ("names", "said"),
    [("names: 5", "`names` is no list"), ("val: x", "has no `names`"), ("names: [", "is not YAML")],
)
def test_a_yolo_folder_without_names_is_refused_in_one_line(tmp_path: Path, names: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_dataset(yolo(tmp_path, "", names))


def test_what_is_no_data_set_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    for path, said in (
        (tmp_path / "none", "There is no data set"),
        (tmp_path, "has no subfolders"),
        (tmp_path / "a.jpg", "is no data set"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_dataset(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="1 subfolders without a picture"):
        read_dataset(tmp_path)
    with pytest.raises(ConfigError, match="--images"):
        read_dataset(coco(tmp_path), tmp_path / "none")


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "", ".", "a\0b", "..\\a"])
def test_a_name_that_leads_out_of_the_folder_is_none(name: str) -> None:
    assert within(Path("there"), name) is None


# -- what is what


def test_categories_are_matched_by_name_whatever_their_case_and_hyphens() -> None:
    names = naming(("tiger-moth", "noctuid"), data("Tiger_Moth", "other"), {})
    assert names.places == {"Tiger_Moth": 0}
    assert names.unknown == ("other",)
    assert names.absent == ("noctuid",)


def test_an_exact_name_goes_before_one_that_is_alike() -> None:
    assert naming(("a-b", "a_b"), data("a_b", "A B"), {}).places == {"a_b": 1, "A B": 0}


def test_a_synonym_is_the_label() -> None:
    assert naming(("Noctua pronuba",), data("yellow underwing"), {}, {"Noctua pronuba": ["Yellow Underwing"]}).places


def test_a_mapping_goes_before_names_and_a_star_takes_the_rest() -> None:
    mapping = parse_mapping(["insect=moth, beetle", "card=*"])
    names = naming(("insect", "card"), data("moth", "beetle", "insect", "scale"), mapping)
    assert names.places == {"moth": 0, "beetle": 0, "insect": 0, "scale": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["moth"], "is no mapping"),
        (["=moth"], "is no mapping"),
        (["insect="], "is no mapping"),
        (["insct=moth"], "'insct' is not a label of the model"),
        (["insect=mot"], "'mot' is not a category of the data set"),
        (["insect=moth", "card=moth"], "'moth' is given to two labels"),
        ([], r"None of the data set's categories \(moth\) is a label of the model \(insect, card\)"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_in_one_line(options: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        naming(("insect", "card"), data("moth"), parse_mapping(options))
    assert caught.value.remedy


# -- the card


FIGURES = {"command": "trapline evaluate …", "map50": 0.5}


@pytest.mark.parametrize(
    "text",
    [
        "name: a  # mine\nlabels:\n- b\n",
        "name: a  # mine\nquality:\n  map: 1\n\n  more: {a: 1}\nlabels:\n- b\n",
        "name: a  # mine\nlabels:\n- b\nquality: {map: 1,\n  more: 2}",
        "quality: {}\nname: a  # mine\nlabels: [b]",
    ],
)
def test_figures_come_onto_a_card_and_nothing_else_changes(text: str) -> None:
    made = with_quality(text, FIGURES)
    assert parsed(made) == {"name": "a", "labels": ["b"], "quality": FIGURES}
    assert "# mine" in made


def test_a_card_that_is_written_in_an_odd_way_is_written_anew() -> None:
    made = with_quality("{name: a, labels: [b]}", FIGURES)
    assert parsed(made) == {"name": "a", "labels": ["b"], "quality": FIGURES}
