"""`trapline evaluate` with the sample models on generated scenes, and with what can go wrong."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from functions.train.evaluate import CLASSIFIER, DETECTOR, FUNCTIONS
from functions.train.scenes import LABELS, Look, Scene, make
from trapline.cli.app import run as command_line
from trapline.cli.evaluate import Wishes, evaluate
from trapline.cli.place import Place, embedded_place
from trapline.cli.seeding import seed_models
from trapline.errors import ConfigError, TraplineError
from trapline.images import Image
from trapline.models import Model, read_card

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from trapline.cli import main; main()"]


@cache
def scenes() -> list[tuple[Scene, bytes]]:
    made = [make(Look(800, 600, 14, zoom=1.1), np.random.default_rng(seed)) for seed in (1, 2, 3)]
    return [(scene, scene.jpeg(85)) for scene in made]


def dataset(folder: Path, count: int = 3) -> Path:
    """Scenes as COCO writes them."""
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        scene, jpeg = scenes()[number % len(scenes())]
        (folder / "images" / f"{number}.jpg").write_bytes(jpeg)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 800, "height": 600})
        for insect in scene.insects:
            x1, y1, x2, y2 = insect.box
            kind = LABELS.index(insect.label) + 1
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": kind, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(LABELS, 1)]
    file = folder / "truth.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def changed(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return file


def no_project() -> Place:
    raise ConfigError("There is no pipeline.yaml.")


def run(
    model: Path | str, data: Path, out: Path, *mapping: str, place: Callable[[], Place] = no_project, **wishes: Any
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "images": None, "card": None, "workers": 1, "limit": None, "write_card": False, "picture": False,
        "command": "trapline evaluate …", "threshold": None, "most": 1000, "seed": 0,
    }  # fmt: skip
    evaluate(Wishes(str(model), data, mapping=mapping, out=out, **given | wishes), place, as_json=True)
    document: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return document


def test_the_sample_detector_is_measured_on_scenes(tmp_path: Path) -> None:
    told = run(FUNCTIONS / DETECTOR, dataset(tmp_path), tmp_path / "out", "insect=*")
    insects = sum(len(scene.insects) for scene, _ in scenes())
    assert (told["data"]["images"], told["data"]["objects"]) == (3, insects)
    assert told["figures"]["map50"] > 0.9
    assert told["figures"]["at_threshold"]["threshold"] == read_card(FUNCTIONS / DETECTOR / "model.yaml").threshold
    assert told["figures"]["at_threshold"]["total"] == insects
    assert told["figures"]["intervals"]["map50"][0] <= told["figures"]["map50"] + 0.02
    assert told["problems"] == {"counts": {}, "items": []}
    assert told["model"]["sha256"] == read_card(FUNCTIONS / DETECTOR / "model.yaml").sha256
    assert told["timing"]["cpu_ms_per_image"] > 1


def test_a_data_set_gives_the_figures_of_cocos_own_tools(tmp_path: Path) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    file = dataset(tmp_path)
    content = json.loads(file.read_text())
    for row in content["annotations"]:
        row |= {
            "category_id": 1,
            "iscrowd": int(row["id"] % 9 == 0),
            "area": row["bbox"][2] * row["bbox"][3],
            "id": row["id"] + 1,
        }
    file.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "insect"}]}))
    told = run(FUNCTIONS / DETECTOR, file, tmp_path / "out", most=100)
    detections = [
        {"image_id": image["id"], "category_id": 1, "score": one.confidence,
         "bbox": [one.box[0], one.box[1], one.box[2] - one.box[0], one.box[3] - one.box[1]]}
        for image in content["images"]
        for one in Model.load(FUNCTIONS / DETECTOR).detect(
            [Image((tmp_path / "images" / image["file_name"]).read_bytes())], threshold=told["settings"]["floor"]
        )[0]
    ]  # fmt: skip
    coco = COCO(str(file))
    scored = COCOeval(coco, coco.loadRes(detections), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    figures = told["figures"]
    ours = [figures["map"], figures["map50"], figures["map75"], figures["areas"]["small"]["map"]]
    assert ours == pytest.approx(scored.stats[:4].tolist(), abs=1e-6)
    assert figures["average_recall"] == pytest.approx(scored.stats[8], abs=1e-6)


def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    one, two = (run(FUNCTIONS / DETECTOR, data, tmp_path / f"{n}", "insect=*", workers=n) for n in (1, 2))
    assert one["figures"] == two["figures"]
    assert one["data"] == two["data"]


def test_the_sample_classifier_is_measured_on_boxes(tmp_path: Path) -> None:
    told = run(FUNCTIONS / CLASSIFIER, dataset(tmp_path), tmp_path / "out")
    assert told["figures"]["top1"] > 0.95
    assert told["figures"]["top5"] >= told["figures"]["top1"]
    assert sum(cell["count"] for cell in told["figures"]["confusion"]) == told["data"]["objects"]
    assert told["settings"]["threshold"] is None


def test_the_sample_classifier_is_measured_on_folders_of_crops(tmp_path: Path) -> None:
    for number, (scene, jpeg) in enumerate(scenes()):
        crops = Image(jpeg).crops([insect.box for insect in scene.insects], 96, margin=0.1)
        for place, (insect, crop) in enumerate(zip(scene.insects, crops, strict=True)):
            (tmp_path / "data" / insect.label).mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(crop).save(tmp_path / "data" / insect.label / f"{number}-{place}.png")
    (tmp_path / "data" / "wasp").mkdir()
    shutil.copy(next((tmp_path / "data" / "noctuid").iterdir()), tmp_path / "data" / "wasp")
    (tmp_path / "data" / "noctuid" / "broken.png").write_bytes(b"no picture")
    told = run(FUNCTIONS / CLASSIFIER, tmp_path / "data", tmp_path / "out")
    assert told["figures"]["top1"] > 0.95
    assert told["data"]["unknown_categories"] == {"wasp": 1}
    assert [row["item"] for row in told["problems"]["items"]] == ["noctuid/broken.png"]
    assert told["problems"]["counts"] == {"image_unreadable": 1}


def test_a_yolo_folder_gives_the_figures_of_the_same_coco_file(tmp_path: Path) -> None:
    by_coco = run(FUNCTIONS / DETECTOR, dataset(tmp_path / "coco"), tmp_path / "out", "insect=*")
    for number, (scene, jpeg) in enumerate(scenes()):
        for name in ("images", "labels"):
            (tmp_path / "yolo" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "yolo" / "images" / f"{number}.jpg").write_bytes(jpeg)
        rows = [(insect.label, np.array(insect.box) / [800, 600, 800, 600]) for insect in scene.insects]
        lines = [
            f"{LABELS.index(label)} {(b[0] + b[2]) / 2} {(b[1] + b[3]) / 2} {b[2] - b[0]} {b[3] - b[1]}\n"
            for label, b in rows
        ]
        (tmp_path / "yolo" / "labels" / f"{number}.txt").write_text("".join(lines))
    (tmp_path / "yolo" / "classes.txt").write_text("\n".join(LABELS))
    by_yolo = run(FUNCTIONS / DETECTOR, tmp_path / "yolo", tmp_path / "out2", "insect=*")
    assert by_yolo["figures"]["map"] == pytest.approx(by_coco["figures"]["map"], abs=1e-4)
    assert by_yolo["data"]["objects"] == by_coco["data"]["objects"]


def spoil(folder: Path) -> Path:
    file = dataset(folder, count=7)
    images = folder / "images"
    (images / "1.jpg").write_bytes(b"no picture")
    (images / "2.jpg").unlink()
    (images / "3.jpg").write_bytes(scenes()[0][1][:5000])
    (images / "4.jpg").write_bytes(b"")

    def change(content: dict[str, Any]) -> None:
        content["images"][5]["width"] = 600
        content["images"][5]["height"] = 800
        content["annotations"][0]["bbox"] = [900, 10, 20, 20]
        content["annotations"][1]["bbox"] = [1, 2, -3, 4]

    return changed(file, change)


def test_odd_names_of_files_and_categories_do_no_harm(tmp_path: Path) -> None:
    data = dataset(tmp_path, 5)
    names = ["\ud800.jpg", "x" * 300 + ".jpg", "pipe.jpg", "images", "夜 \x1b[31m.jpg"]
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    (tmp_path / "images" / "images").mkdir()
    shutil.copy(tmp_path / "images" / "0.jpg", tmp_path / "images" / names[4])

    def change(content: dict[str, Any]) -> None:
        for row, name in zip(content["images"], names, strict=True):
            row["file_name"] = name
        content["categories"][0]["name"] = "\udcff蛾"

    told = run(FUNCTIONS / DETECTOR, changed(data, change), tmp_path / "out", "insect=*", images=tmp_path / "images")
    assert [row["code"] for row in told["problems"]["items"]] == [
        "file_missing", "file_unreadable", "file_unreadable", "file_unreadable",
    ]  # fmt: skip
    assert told["data"]["images"] == 1
    assert told["data"]["categories"]["\udcff蛾"] == "insect"


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_item_costs_one_item(tmp_path: Path, workers: int) -> None:
    told = run(FUNCTIONS / DETECTOR, spoil(tmp_path), tmp_path / "out", "insect=*", workers=workers)
    assert told["problems"]["counts"] == {
        "box_outside": 1, "box_wrong": 1, "empty_file": 1, "file_missing": 1, "image_truncated": 1,
        "image_unreadable": 1, "size_differs": 1,
    }  # fmt: skip
    said = {row["item"]: row["message"] for row in told["problems"]["items"]}
    assert "800 x 600 as displayed, the data set says 600 x 800" in said["5.jpg"]
    assert "lies outside of the picture, 800 x 600" in said["0.jpg, annotation 0"]
    assert (told["data"]["images"], told["data"]["images_failed"]) == (2, 5)
    assert told["data"]["objects"] == 2 * len(scenes()[0][0].insects) - 2
    assert told["figures"]["map50"] > 0.9


def test_the_hash_of_a_data_set_changes_with_a_picture(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    first = run(FUNCTIONS / DETECTOR, data, tmp_path / "1", "insect=*")
    again = run(FUNCTIONS / DETECTOR, data, tmp_path / "2", "insect=*")
    (tmp_path / "images" / "0.jpg").write_bytes(scenes()[0][0].jpeg(84))
    other = run(FUNCTIONS / DETECTOR, data, tmp_path / "3", "insect=*")
    assert first["data"]["sha256"] == again["data"]["sha256"] != other["data"]["sha256"]


def test_the_figures_come_onto_the_card(tmp_path: Path) -> None:
    shutil.copytree(FUNCTIONS / CLASSIFIER, tmp_path / "model")
    told = run(tmp_path / "model", dataset(tmp_path / "data"), tmp_path / "out", write_card=True)
    before, after = (read_card(folder / "model.yaml") for folder in (FUNCTIONS / CLASSIFIER, tmp_path / "model"))
    assert after.quality["command"] == "trapline evaluate …"
    assert after.quality["top1"] == round(told["figures"]["top1"], 4)
    assert after.quality["objects"] == told["data"]["objects"]
    assert after.model_copy(update={"quality": before.quality}) == before


def test_a_model_is_a_folder_a_file_with_its_card_or_one_in_the_bucket(tmp_path: Path) -> None:
    data, folder = dataset(tmp_path / "data", 1), FUNCTIONS / DETECTOR
    place = embedded_place(ROOT, tmp_path / "bucket")
    place.folder.mkdir(parents=True)
    seed_models(place.pipeline, place.store())
    shutil.copy(folder / "model.onnx", tmp_path / "export.onnx")
    shutil.copy(folder / "model.yaml", tmp_path / "export.yaml")
    ways: list[tuple[Path | str, dict[str, Any]]] = [
        (folder, {}),
        (folder / "model.onnx", {}),
        (tmp_path / "export.onnx", {"card": tmp_path / "export.yaml"}),
        ("moth-detector", {"place": lambda: place}),
        ("moth-detector@1.0.0", {"place": lambda: place}),
    ]
    figures = [run(model, data, tmp_path / "out", "insect=*", **how)["figures"]["map"] for model, how in ways]
    assert figures == [figures[0]] * len(ways)


def test_a_picture_and_a_sheet_of_mistakes_are_drawn(tmp_path: Path) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("matplotlib")
    data = changed(dataset(tmp_path), lambda content: content["annotations"].pop())
    told = run(FUNCTIONS / DETECTOR, data, tmp_path / "out", "insect=*", picture=True)
    assert told["files"] == ["evaluation.png", "evaluation.svg", "mistakes.jpg", "evaluation.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(told["files"])
    with Pillow.open(tmp_path / "out" / "evaluation.png") as page:
        assert page.width > 2000
    assert b"<svg" in (tmp_path / "out" / "evaluation.svg").read_bytes()
    run(FUNCTIONS / DETECTOR, data, tmp_path / "out", "insect=*")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["evaluation.json"], "an older page is not left"


def card_with(folder: Path, **fields: Any) -> Path:
    shutil.copytree(FUNCTIONS / DETECTOR, folder)
    content = yaml.safe_load((folder / "model.yaml").read_text())
    (folder / "model.yaml").write_text(yaml.safe_dump(content | fields))
    return folder


Bad = tuple[Callable[[Path], tuple[Path | str, Path]], dict[str, Any], str]
BAD: dict[str, Bad] = {
    "no such model": (lambda at: ("./none.onnx", dataset(at)), {}, "There is no model './none.onnx'"),
    "no project": (lambda at: ("none", dataset(at)), {}, "There is no folder 'none' here, and no bucket"),
    "a model that is no ONNX file": (lambda at: (dataset(at), dataset(at / "b")), {}, "is no ONNX file"),
    "a folder without a card": (lambda at: (at, dataset(at)), {}, "model.yaml: cannot be read"),
    "another model's hash": (lambda at: (card_with(at / "m", sha256="0" * 64), dataset(at)), {}, "has sha256"),
    "no data set": (lambda at: (FUNCTIONS / DETECTOR, at / "none"), {}, "There is no data set"),
    "categories of other names": (
        lambda at: (FUNCTIONS / DETECTOR, dataset(at)), {}, r"Say which is which with --map, as in --map 'insect=",
    ),
    "a detector on folders": (
        lambda at: (FUNCTIONS / DETECTOR, folder_per_class(at)), {}, "has a folder per class and no boxes",
    ),
    "all pictures elsewhere": (
        lambda at: (FUNCTIONS / CLASSIFIER, moved(dataset(at))), {}, r"Nothing could be .*There is no such file",
    ),
    "a file in the way": (
        lambda at: (FUNCTIONS / CLASSIFIER, dataset(at)), {"out": FUNCTIONS / DETECTOR / "model.yaml"}, "is a file",
    ),
    "a threshold for a classifier": (
        lambda at: (FUNCTIONS / CLASSIFIER, dataset(at)), {"threshold": 0.5}, "--threshold: moth-classifier",
    ),
    "a card for a folder": (
        lambda at: (FUNCTIONS / DETECTOR, dataset(at)), {"card": FUNCTIONS / DETECTOR / "model.yaml"}, "--card goes",
    ),
}  # fmt: skip


def folder_per_class(at: Path) -> Path:
    (at / "data" / "insect").mkdir(parents=True)
    (at / "data" / "insect" / "a.jpg").write_bytes(scenes()[0][1])
    return at / "data"


def moved(file: Path) -> Path:
    (file.parent / "images").rename(file.parent / "elsewhere")
    return file


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured_is_refused_in_one_line_and_writes_nothing(tmp_path: Path, case: str) -> None:
    given, options, said = BAD[case]
    model, data = given(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TraplineError, match=said) as caught:
        run(model, data, options.pop("out", tmp_path / "out"), **options)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_card_in_the_bucket_is_not_written_to(tmp_path: Path) -> None:
    place = embedded_place(ROOT, tmp_path / "bucket")
    place.folder.mkdir(parents=True)
    seed_models(place.pipeline, place.store())
    data = dataset(tmp_path / "data", 1)
    with pytest.raises(ConfigError, match="a version in the bucket never changes"):
        run("moth-classifier", data, tmp_path / "out", write_card=True, place=lambda: place)
    with pytest.raises(ConfigError, match=r"There is no version '2\.0\.0' of moth-classifier"):
        run("moth-classifier@2.0.0", data, tmp_path / "out", place=lambda: place)


def test_the_command_prints_a_table_and_what_it_left_out(tmp_path: Path) -> None:
    data = changed(dataset(tmp_path, 1), lambda content: content["categories"][0].update(name="wasp"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "80"}
    command = [*PROGRAM, "evaluate", str(FUNCTIONS / CLASSIFIER), str(data), "--out", "out", "--no-picture"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "moth-classifier 1.0.0, a classifier, on" in done.stdout
    assert "top 1" in done.stdout
    assert "the model has no such label: wasp" in done.stdout
    assert "Written: out/evaluation.json" in done.stdout
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert told["command"].startswith("trapline evaluate ")


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_half_written_and_nothing_running(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", 300)
    site, room = tmp_path / "site", tmp_path / "room"
    for folder in (site, room):
        folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(room)}
    command = [*PROGRAM, "evaluate", str(FUNCTIONS / DETECTOR), str(data), "--map", "insect=*", "--workers", "2"]
    process = subprocess.Popen([*command, "--out", "out"], cwd=site, env=environment, stderr=subprocess.PIPE)
    time.sleep(4)
    children = workers_of(process.pid)
    assert len(children) >= 2
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert process.stderr is not None
    assert b"Stopped; nothing was written." in process.stderr.read()
    until = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert list(site.iterdir()) == list(room.glob("trapline-*")) == []


def test_a_picture_with_too_many_boxes_is_a_problem_and_costs_itself_alone(tmp_path: Path) -> None:
    def crowded(content: dict[str, Any]) -> None:
        content["annotations"] += [
            {"image_id": 1, "category_id": 1, "bbox": [number % 700, number % 500, 9, 9]} for number in range(20_000)
        ]

    told = run(FUNCTIONS / DETECTOR, changed(dataset(tmp_path, 2), crowded), tmp_path / "out", "insect=*")
    (problem,) = told["problems"]["items"]
    assert (problem["item"], problem["code"]) == ("1.jpg", "too_many_boxes") and "at most 10,000" in problem["message"]
    assert told["data"]["images"] == 1 and told["figures"]["map50"] > 0.5


def test_a_categorys_control_characters_do_not_reach_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hostile(content: dict[str, Any]) -> None:
        for category in content["categories"]:
            category["name"] = f"\x1b[2J{category['name']}"

    data = changed(dataset(tmp_path, 1), hostile)
    monkeypatch.setattr(sys, "argv", ["trapline", "evaluate", str(FUNCTIONS / DETECTOR), str(data)])
    with pytest.raises(SystemExit):
        command_line()
    told = capfd.readouterr()
    assert "None of the data set's categories" in told.err and "\x1b" not in told.err + told.out


def workers_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def test_every_key_of_the_document_is_in_the_reference(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "evaluation.md").read_text()
    free = {"labels", "categories", "unknown_categories", "counts"}  # hold names of the data's own

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value[:3])) if value else set()
        if not isinstance(value, dict):
            return set()
        inner = [keys(one) for key, one in value.items() if key not in free or isinstance(one, list)]
        return set(value).union(*inner)

    data = changed(spoil(tmp_path / "1"), lambda content: None)
    for number, (model, mapping) in enumerate(((DETECTOR, ["insect=*"]), (CLASSIFIER, []))):
        told = run(FUNCTIONS / model, data, tmp_path / f"out{number}", *mapping)
        assert {key for key in keys(told) if f"`{key}`" not in page and f".{key}`" not in page} == set()


def test_an_image_file_of_odd_kind_is_measured_too(tmp_path: Path) -> None:
    data = dataset(tmp_path, 1)
    with Pillow.open(io.BytesIO(scenes()[0][1])) as picture:
        picture.convert("CMYK").save(tmp_path / "images" / "0.jpg", "JPEG", quality=90)
    assert run(FUNCTIONS / DETECTOR, data, tmp_path / "out", "insect=*")["figures"]["map50"] > 0.9
