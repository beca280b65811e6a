"""`trapline try` as it is typed: on the sample images with the real functions, and on functions that misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from tests.venvs import bare_venv, library, site_packages
from trapline.cli.app import run
from trapline.cli.seeding import seed_models
from trapline.models import read_card
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

ROOT = Path(__file__).resolve().parents[2]
NIGHT = ROOT / "local_dev/samples/night/st7/2026-11-20/DCIM"
SIX = NIGHT / "100MEDIA/IMG_0003.JPG"  # six insects
TWO = NIGHT / "101MEDIA/IMG_0025.JPG"
CUT = NIGHT / "101MEDIA/IMG_0027.JPG"
NO_IMAGE = NIGHT / "101MEDIA/IMG_0028.JPG"
CASE = ROOT / "tests/functions/tried"


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Type `trapline try …` in an empty folder."""

    def typed(*words: object, project: Path = ROOT) -> Said:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["trapline", "try", *map(str, words), "--project", str(project)])
        with pytest.raises(SystemExit) as ended:
            run()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err or "--traceback" in words
        return Said(int(ended.value.code or 0), shown.out, shown.err)

    return typed


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., list[Path]]:
    """Files of words, as images of the misbehaving functions."""

    def made(**texts: str) -> list[Path]:
        folder = tmp_path / "texts"
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / f"{name}.jpg").write_text(text)
        return [folder / f"{name}.jpg" for name in texts]

    return made


# -- what is found


def test_an_image_is_shown_with_what_is_on_it(call: Call) -> None:
    said = call("detect", SIX)
    assert said.code == 0
    assert "IMG_0003.JPG  1600 × 1200 px  6 detections" in said.out
    assert said.out.count("  insect  ") == 6
    assert "moth-detector 1.0.0 (functions/detect/model)" in said.out


def test_a_function_that_builds_on_detections_is_handed_those_of_the_stages_before_it(call: Call) -> None:
    said = call("classify", SIX)
    assert "It is handed what detect finds; that runs first." in said.out
    assert "tiger-moth 0.9" in said.out
    assert "6 detections" in said.out


def test_the_record_is_the_one_that_the_engine_commits(call: Call) -> None:
    tried = call("classify", SIX, "--job", "st7/n1", "--json").lines[0]

    async def scenario(world: Simulated) -> None:
        world.put("incoming/st7/n1/IMG_0003.JPG", SIX.read_bytes())
        await asyncio.sleep(60)

    world = Simulated(ROOT, MemoryStore())
    seed_models(world.pipeline, world.store)
    world.play(scenario)
    committed = json.loads(world.store.get("classifications/st7/n1/IMG_0003.JPG.json").data)
    for key in ("known", "recipe", "job", "stage", "outcome", "produced_by"):
        assert tried[key] == committed[key]
    assert tried["source"]["key"] == committed["source"]["key"]
    assert tried["stages"]["detect"]["recipe"] == committed["stages"]["detect"]["recipe"]


def test_json_is_one_record_a_line_and_nothing_else(call: Call) -> None:
    said = call("detect", TWO, SIX, "--json")
    assert [len(record["known"]["detections"]) for record in said.lines] == [2, 6]
    assert said.lines[0]["source"]["sha256"] == hashlib.sha256(TWO.read_bytes()).hexdigest()


def test_an_image_with_nothing_to_look_at_is_passed_by_as_in_the_pipeline(call: Call) -> None:
    said = call("classify", NIGHT / "100MEDIA/IMG_0001.JPG")
    assert "passed by" in said.out
    assert said.code == 0


def test_a_parameter_that_is_set_counts(call: Call) -> None:
    few, all_ = call("detect", SIX, "--set", "threshold=0.85", "--json"), call("detect", SIX, "--json")
    found = [len(said.lines[0]["known"]["detections"]) for said in (few, all_)]
    assert found[0] < found[1] == 6
    assert few.lines[0]["recipe"] != all_.lines[0]["recipe"]


def test_a_value_is_json_where_it_reads_as_json_and_else_text(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("words", *words(a="moth"), "--set", "prefix=no-", "--set", "least=2", "--json", project=CASE)
    assert said.lines[0]["known"]["words"] == ["no-moth"]


def test_parameters_of_the_stage_stay_unless_they_are_set(call: Call, words: Callable[..., list[Path]]) -> None:
    files = words(a="a moth")
    assert call("words", *files, "--json", project=CASE).lines[0]["known"]["words"] == ["a", "moth"]
    assert call("words", *files, "--set", "least=2", "--json", project=CASE).lines[0]["known"]["words"] == ["moth"]


def test_a_job_that_is_named_has_its_stations_settings(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("words", *words(a="moth"), "--job", "st7/night", "--json", project=CASE)
    assert said.lines[0]["known"]["zone"] == "Europe/Copenhagen"
    assert said.lines[0]["job"] == "st7/night"


def test_a_function_that_compiles_a_job_is_handed_the_whole_of_it(
    call: Call, words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    said = call("compile", *words(a="moth bee", b="fly"), "--out", tmp_path / "o", "--json", project=CASE)
    assert said.lines == [
        {
            "job": "local/try",
            "results": {"words": 3, "states": ["done", "done"]},
            "files": said.lines[0]["files"],
        }
    ]
    assert json.loads((tmp_path / "o/words.json").read_text()) == ["moth", "bee", "fly"]


def test_an_image_that_fails_is_told_to_the_function_that_compiles(call: Call) -> None:
    said = call("compile", TWO, CUT)
    assert said.code == 1
    assert "IMG_0027.JPG  failed in detect: image_truncated" in said.out
    assert "total 2" in said.out and "failed 1" in said.out


def test_alone_nothing_is_run_before_it_and_pipeline_yaml_is_not_read(
    call: Call, words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    project = tmp_path / "bare"
    shutil.copytree(CASE, project, ignore=shutil.ignore_patterns("pipeline.yaml", "__pycache__"))
    said = call("lengths", *words(a="moth"), "--alone", "--json", project=project)
    assert said.lines[0]["known"] == {"detections": []}
    without = call("lengths", *words(a="moth"), project=project)
    assert without.code == 2 and "There is no pipeline.yaml" in without.err


def test_alone_the_bucket_is_still_the_one_of_pipeline_yaml_and_its_card_counts(call: Call, tmp_path: Path) -> None:
    project, kept = tmp_path / "project", tmp_path / "data" / "buckets" / "elsewhere" / "m" / "other" / "1.0.0"
    shutil.copytree(ROOT / "functions" / "detect", project / "functions" / "detect")
    (project / "pipeline.yaml").write_text("bucket: elsewhere\nprefixes: {models: m/}\nstages: {}\n")
    shutil.copytree(ROOT / "functions" / "detect" / "model", kept)
    card = yaml.safe_load((kept / "model.yaml").read_text())
    (kept / "model.yaml").write_text(yaml.safe_dump(card | {"name": "other", "labels": ["thing"]}))
    typed = ["detect", SIX, "--data", tmp_path / "data", "--model", "other@1.0.0", "--alone", "--json"]
    (line,) = call(*typed, project=project).lines
    assert {found["label"] for found in line["known"]["detections"]} == {"thing"}
    (project / "pipeline.yaml").write_text("bucket: [\n")
    assert "there is no model 'other' 1.0.0" in call(*typed, project=project).err


def test_a_join_goes_on_without_a_stage_that_fails(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("joined", *words(a="moth", b="a bug"), "--json", project=CASE)
    assert [line["known"]["joined"] for line in said.lines] == [
        {"words": True, "raises": True, "missing": []},
        {"words": True, "raises": False, "missing": ["raises"]},
    ]
    assert said.lines[1]["missing"] == ["raises"]
    assert "It is handed what words and raises find; that runs first." in said.err


def test_what_a_function_writes_beside_its_record_is_kept_with_the_pictures(
    call: Call, words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    shutil.copyfile(TWO, tmp_path / "two.jpg")
    without = call("writes", "two.jpg", project=CASE)
    assert "file shown.txt, 5 B (--out DIR keeps it)" in without.out
    assert "  shown: shown.txt\n" in without.out
    said = call("writes", "two.jpg", "--out", "o", project=CASE)
    assert (tmp_path / "o/two.files/shown.txt").read_text() == "shown"
    assert (tmp_path / "o/two.jpg").is_file()
    assert "1 picture and 1 file in o/" in said.out


# -- records that are handed over


def test_records_are_used_in_place_of_the_stages_before(call: Call, tmp_path: Path) -> None:
    (tmp_path / "found.jsonl").write_text(call("detect", SIX, "--json").out)
    said = call("classify", SIX, "--records", tmp_path / "found.jsonl", "--json")
    assert len(said.lines[0]["known"]["detections"]) == 6
    assert "It is handed the records in" in said.err
    assert "runs first" not in said.err


def test_records_in_a_folder_as_in_the_bucket_belong_to_the_images_of_their_names(
    call: Call, words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    for name, text in (("a", "one"), ("b", "three")):
        place = tmp_path / "words/st7/night" / f"{name}.jpg.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"words": [text], "detections": [{"id": "d0", "box": [0, 0, 1, 1]}]}))
    said = call("lengths", *words(a="?", b="?", c="?"), "--records", tmp_path / "words", "--json", project=CASE)
    lengths = [line["known"]["detections"][0]["length"] for line in said.lines[:2]]
    assert lengths == [3, 5]
    assert said.lines[2]["code"] == "source_missing" and said.code == 1


def test_a_function_by_itself_and_one_that_compiles_are_handed_records_too(
    call: Call, words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    files = words(a="?", b="?")
    known = {"words": ["bee"], "detections": [{"id": "d0", "box": [0, 0, 1, 1]}]}
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg.json").write_text(json.dumps(known))
    alone = call("lengths", files[0], "--alone", "--records", tmp_path / "a.jpg.json", "--json", project=CASE)
    assert alone.lines[0]["known"]["detections"][0]["length"] == 3
    compiled = call("compile", *files, "--records", tmp_path, "--json", project=CASE)
    assert compiled.lines[0]["results"] == {"words": 2, "states": ["done", "done"]}
    assert "is handed images alone" in call("words", *files, "--records", tmp_path, project=CASE).err
    assert "alone there is nothing" in call("compile", *files, "--alone", project=CASE).err


def test_what_is_no_record_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    assert "a.json holds no record. Expected a record" in call("classify", SIX, "--records", tmp_path / "a.json").err
    assert "there is no" in call("classify", SIX, "--records", tmp_path / "nosuch").err


# -- what goes wrong with an image


def test_a_bad_image_is_told_and_the_others_go_on(call: Call) -> None:
    said = call("detect", CUT, TWO, NO_IMAGE)
    assert said.code == 1
    assert "failed in detect: image_truncated" in said.out
    assert "Copy the file from the card again" in said.out
    assert "failed in detect: image_unreadable" in said.out
    assert "IMG_0025.JPG  1600 × 1200 px  2 detections" in said.out
    assert "1 image done, 2 failed" in said.out


def test_json_of_a_bad_image_is_its_dead_letter(call: Call) -> None:
    said = call("detect", CUT, TWO, "--json")
    assert [line["type"] for line in said.lines] == ["trapline.failure", "trapline.image"]
    assert said.lines[0]["code"] == "image_truncated" and said.lines[0]["remedy"]


def test_an_empty_file_is_told_as_such(call: Call, words: Callable[..., list[Path]]) -> None:
    assert call("detect", *words(a=""), "--json").lines[0]["code"] == "empty_file"


# -- what goes wrong with a function


def test_where_a_function_raised_is_told_by_file_and_line(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("raises", *words(a="fine", b="a bug", c="fine too", d="another bug"), project=CASE)
    line = 1 + (CASE / "case_tried.py").read_text().splitlines().index(
        '            raise ZeroDivisionError(f"there is a bug in {text}")'
    )
    assert said.code == 1
    assert said.out.count(f"case_tried.py, line {line}, in _length") == 2
    assert "ZeroDivisionError: there is a bug in a bug" in said.out
    assert "2 images done, 2 failed" in said.out


def test_the_traceback_is_shown_when_asked_for(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("raises", *words(b="a bug"), "--traceback", project=CASE)
    assert "Traceback (most recent call last)" in said.out
    assert "in _length" in said.out


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "`handle` must return a list: one dict or one Failure per item, in order."),
        ("one_too_few", "function_output\n  The function returned 0 results for 1 items."),
        ("wrong_type", "function_output\n  The function returned list for an item; expected a dict or a Failure."),
        ("odd_detections", "function_output\n  `detections` has to be a list of objects"),
    ],
)
def test_what_is_wrong_with_an_answer_is_told(
    call: Call, words: Callable[..., list[Path]], function: str, message: str
) -> None:
    said = call(function, *words(a="moth"), project=CASE)
    assert said.code == 1
    assert message in said.out
    assert "retry" not in said.out


def test_a_failure_that_asks_for_another_try_says_when(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("later", *words(a="moth"), project=CASE)
    assert "The index is being built." in said.out
    assert "The engine would try again 30 s later." in said.out


def test_what_a_function_prints_and_logs_stays_off_stdout(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("noisy", *words(a="moth"), "--json", project=CASE)
    assert said.lines[0]["known"] == {"noise": 1}
    assert "printed by a function" in said.err
    assert "info: logged by a function" in said.err


def test_a_function_that_cannot_be_set_up_ends_it_at_once(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("no_setup", *words(a="moth", b="moth"), project=CASE)
    assert said.code == 1
    assert "could not be set up: FileNotFoundError: no such index (case_tried.py, line" in said.err


def test_a_requirement_that_is_missing_is_named_with_what_to_run(call: Call, words: Callable[..., list[Path]]) -> None:
    said = call("missing", *words(a="moth"), project=CASE)
    assert said.code == 2
    assert "missing needs the module 'insects_that_nobody_installed', which is not installed here" in said.err
    assert "python -m pip install -r functions/missing/requirements.txt" in said.err


def test_a_mistake_in_the_code_is_told_by_file_and_line(
    call: Call, words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    project = tmp_path / "broken"
    shutil.copytree(CASE, project, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "functions/words/function.yaml").write_text("name: words\nhandler: broken_words:Words\n")
    (project / "broken_words.py").write_text("class Words:\n    def handle(self, items)\n        return items\n")
    assert "broken_words.py, line 2: " in call("words", *words(a="moth"), "--alone", project=project).err
    (project / "broken_words.py").write_text("class Words: ...\n\nlist(undefined)\n")
    said = call("words", *words(a="moth"), "--alone", project=project)
    assert "NameError: name 'undefined' is not defined (broken_words.py, line 3)" in said.err


# -- what goes wrong with the command


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["clasify", SIX], "There is no function or stage 'clasify'"),
        (["clasify", SIX], "Did you mean 'classify'?"),
        (["notify", SIX], "notify is handed a job's summary, not images"),
        (["detect", NIGHT / "100MEDIA/IMG_0003.JPEG"], "Did you mean 'IMG_0003.JPG'?"),
        (["detect", "*.nosuch"], "No file is called *.nosuch."),
        (["detect", ROOT / "manifests"], "There is no image in"),
        (["detect", SIX, "--set", "treshold=1"], "Did you mean 'threshold'?"),
        (["detect", SIX, "--set", "threshold=high"], "--set.threshold: 'high' is not"),
        (["detect", SIX, "--set", "threshold"], "--set 'threshold' is not key=value."),
        (["detect", SIX, "--set", "threshold=NaN"], "--set.threshold: 'NaN' is not"),
        (["detect", SIX, "--model", "moth-detektor"], "Did you mean 'moth-detector'?"),
        (["detect", SIX, "--model", ROOT / "functions/classify/model"], "moth-classifier is a classifier"),
        (["compile", SIX, "--model", ROOT / "functions/classify/model"], "compile uses no model"),
        (["detect", SIX, "--job", "a/b/c"], "is not the name of a job"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_line(call: Call, typed: list[Any], message: str) -> None:
    said = call(*typed)
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1 and said.out == ""


def test_a_function_with_libraries_of_its_own_is_tried_in_its_own_environment(
    words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    project = tmp_path / "own"
    shutil.copytree(CASE, project, ignore=shutil.ignore_patterns("__pycache__"))
    folder = project / "functions/words"
    (folder / "function.yaml").write_text("name: words\nhandler: own_words:Words\nenvironment: own\n")
    (folder / "requirements.txt").write_text("speciesnames>=2\n")
    answers = "[{'names': speciesnames.VERSION} for _ in items]"
    code = f"import speciesnames\n\n\nclass Words:\n    def handle(self, items):\n        return {answers}\n"
    (project / "own_words.py").write_text(code)

    def tried() -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "trapline.cli", "try", "words", *map(str, words(a="moth")), "--alone"]
        told = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(program, cwd=project, env=told, capture_output=True, text=True, check=False)

    assert "trapline functions install words" in tried().stderr
    library(site_packages(bare_venv(project, "words")), "speciesnames", "2.1")
    done = tried()
    assert done.returncode == 0, done.stderr
    assert "names: 2.1" in done.stdout


# -- models


@pytest.fixture
def stricter(tmp_path: Path) -> Path:
    """The detector with another version and a higher threshold, in a folder of its own."""
    folder = tmp_path / "stricter"
    shutil.copytree(ROOT / "functions/detect/model", folder)
    card = (folder / "model.yaml").read_text()
    changed = card.replace("version: 1.0.0", "version: 2.0.0", 1).replace("threshold: ", "threshold: 0.85  # was ", 1)
    (folder / "model.yaml").write_text(changed)
    assert read_card(folder / "model.yaml").threshold == 0.85
    return folder


def test_another_model_is_tried_from_its_folder_or_its_file(call: Call, stricter: Path) -> None:
    for named in (stricter, stricter / "model.onnx"):
        record = call("detect", SIX, "--model", named, "--json").lines[0]
        assert record["produced_by"]["model"]["version"] == "2.0.0"
        assert 0 < len(record["known"]["detections"]) < 6


def test_a_model_of_the_data_folder_is_tried_by_name_and_version(call: Call, stricter: Path, tmp_path: Path) -> None:
    models = tmp_path / "data/buckets/traps/models/moth-detector"
    shutil.copytree(stricter, models / "2.0.0")
    (models / "current").write_text("2.0.0\n1.0.0\n")
    typed = ("detect", SIX, "--data", tmp_path / "data", "--json")
    assert call(*typed).lines[0]["produced_by"]["model"]["version"] == "1.0.0"
    assert call(*typed, "--model", "moth-detector@2.0.0").lines[0]["produced_by"]["model"]["version"] == "2.0.0"
    assert "'moth-detector' 3.0.0" in call(*typed, "--model", "moth-detector@3.0.0").err


def test_a_file_without_a_card_is_tried_by_what_can_be_guessed(call: Call, stricter: Path, tmp_path: Path) -> None:
    shutil.copyfile(stricter / "model.onnx", tmp_path / "My model.onnx")
    said = call("detect", SIX, "--model", tmp_path / "My model.onnx", "--json")
    assert "My model.onnx has no card; one was guessed: detector, head heatmap, 1 label without names." in said.err
    (record,) = said.lines
    assert record["produced_by"]["model"]["name"] == "my-model"
    assert {found["label"] for found in record["known"]["detections"]} == {"class 0"}


def test_a_file_without_a_card_that_says_too_little_is_refused_with_what_to_do(call: Call, tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "functions/classify/model/model.onnx", tmp_path / "bare.onnx")
    said = call("classify", SIX, "--model", tmp_path / "bare.onnx")
    assert said.code == 2
    assert "bare.onnx has no card, and does not say all" in said.err
    assert "trapline models add" in said.err and "--preset" in said.err


# -- files and pictures


def test_folders_and_patterns_are_searched_for_images(
    call: Call, words: Callable[..., list[Path]], tmp_path: Path
) -> None:
    words(a="moth", b="moth")
    (tmp_path / "texts/sub").mkdir()
    (tmp_path / "texts/sub/a.png").write_text("moth")
    (tmp_path / "texts/notes.txt").write_text("no image")
    folder = call("words", "texts", "--json", project=CASE)
    names = [line["source"]["key"].removeprefix("incoming/local/try/") for line in folder.lines]
    assert names == ["a.jpg", "b.jpg", "sub/a.png"]
    assert "1 left out: no stage reads .txt." in folder.err
    assert len(call("words", "texts/**/a.*", "--json", project=CASE).lines) == 2


def test_files_of_the_same_name_are_kept_apart(call: Call, words: Callable[..., list[Path]], tmp_path: Path) -> None:
    (one,) = words(a="moth")
    (tmp_path / "other").mkdir()
    shutil.copyfile(one, tmp_path / "other/a.jpg")
    said = call("words", one, "other/a.jpg", "texts", "--json", project=CASE)
    keys = [line["source"]["key"] for line in said.lines]
    assert keys == ["incoming/local/try/a.jpg", "incoming/local/try/a-2.jpg"]


def test_pictures_show_the_boxes_where_the_insects_are(call: Call, tmp_path: Path) -> None:
    said = call("classify", TWO, "--show", "--json")
    drawn = np.asarray(Pillow.open(tmp_path / "trapline-try/IMG_0025.jpg").convert("RGB")).astype(int)
    plain = np.asarray(Pillow.open(TWO).convert("RGB")).astype(int)
    assert drawn.shape == plain.shape
    changed = np.abs(drawn - plain).max(axis=2) > 30
    for found in said.lines[0]["known"]["detections"]:
        x1, y1, x2, y2 = (round(side) for side in found["box"])
        assert changed[y1 - 4 : y1, x1:x2].mean() > 0.5  # the upper line
        assert changed[y1:y2, x2 + 1 : x2 + 5].mean() > 0.5  # the right line
        assert changed[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].mean() < 0.05  # what is in it stays as it was


def test_pictures_are_drawn_anew_but_never_over_somebodys_own(call: Call, tmp_path: Path) -> None:
    assert call("detect", TWO, "--out", tmp_path / "o").code == 0
    assert call("detect", TWO, "--out", tmp_path / "o").code == 0
    shutil.copyfile(TWO, tmp_path / "o/IMG_0025.jpg")
    said = call("detect", TWO, "--out", tmp_path / "o")
    assert said.code == 2 and "is there already, and was not drawn by" in said.err
    assert (tmp_path / "o/IMG_0025.jpg").read_bytes() == TWO.read_bytes()


def test_a_picture_never_takes_the_place_of_its_image(call: Call, tmp_path: Path) -> None:
    shutil.copyfile(TWO, tmp_path / "a.jpg")
    assert call("detect", "a.jpg", "--out", ".").code == 2
    assert (tmp_path / "a.jpg").read_bytes() == TWO.read_bytes()


def test_what_an_earlier_trial_left_is_not_tried(call: Call, tmp_path: Path) -> None:
    shutil.copyfile(TWO, tmp_path / "two.jpg")
    for _ in range(2):
        said = call("writes", ".", "--show", "--json", project=CASE)
        assert [line["source"]["key"] for line in said.lines] == ["incoming/local/try/two.jpg"]
    assert "1 left out: made by an earlier trial." in said.err


def test_odd_files_are_no_reason_to_fail(call: Call, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copyfile(TWO, os.fsencode(tmp_path / "in") + b"/bad\xffname.jpg")
    (tmp_path / "in/dangling.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in/pipe.jpg")
    said = call("detect", "in", "--show")
    assert said.code == 0
    assert "2 left out: not a plain file." in said.out
    assert "2 detections" in said.out and "1 picture in" in said.out
    assert "is neither a file nor a folder" in call("detect", "in/pipe.jpg").err


def test_an_image_that_fails_leaves_no_picture(call: Call, tmp_path: Path) -> None:
    call("detect", CUT, TWO, "--show")
    assert [path.name for path in (tmp_path / "trapline-try").iterdir()] == ["IMG_0025.jpg"]


def test_a_file_that_is_no_image_has_no_picture_though_a_function_took_it(
    call: Call, words: Callable[..., list[Path]]
) -> None:
    said = call("words", *words(a="moth"), "--show", project=CASE)
    assert said.code == 0 and "picture" not in said.out


# -- the program


def test_ctrl_c_ends_it_with_what_is_done(tmp_path: Path) -> None:
    project = tmp_path / "slow"
    shutil.copytree(CASE, project, ignore=shutil.ignore_patterns("__pycache__"))
    body = "        time.sleep(0.3)\n        return [{} for _ in items]\n"
    (project / "slow_words.py").write_text(f"import time\nclass Words:\n    def handle(self, items):\n{body}")
    (project / "functions/words/function.yaml").write_text(
        "name: words\nhandler: slow_words:Words\nparameters: {least: {}}\n"
    )
    for n in range(200):
        (project / f"{n}.jpg").write_text("moth")
    program = [sys.executable, "-c", "from trapline.cli import main; main()", "try", "words", "*.jpg"]
    running = subprocess.Popen(program, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    while "0.jpg" not in running.stdout.readline():
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "of 200: " in out and "Stopped after" in out
    assert "Traceback" not in err
