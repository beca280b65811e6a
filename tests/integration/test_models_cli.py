"""`trapline models …` as a model's author types it, on a folder store."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as Pillow

from tests.unit.graphs import endless, nested, network, ultralytics
from trapline.cli.app import run
from trapline.cli.place import embedded_place
from trapline.cli.seeding import seed_models
from trapline.models import Model
from trapline.registry import Registry
from trapline.store.folder import FolderStore
from trapline.template import copy_project

CELLS = 8 * 8 + 4 * 4 + 2 * 2
TOLD = ultralytics("detect", ["moth", "fly", "bee"], 64)
YOLO = network({"output0": [1, 7, CELLS]}, [1, 3, 64, 64], after={"output0": "Sigmoid"}, metadata=TOLD)
PLAIN = network({"output": ["n", 3]})
KNOWN = ("--labels", "moth,fly,bee", "--licence", "CC0-1.0", "--preset", "imagenet")


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    rc: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Said]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "traps"
    copy_project(folder)
    for image in (folder / "samples").rglob("*.JPG"):
        if image.name not in ("IMG_0001.JPG", "IMG_0004.JPG"):  # an empty sheet, and eleven insects
            image.unlink()
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "traps")
    (tmp_path / "yolo.onnx").write_bytes(YOLO)
    (tmp_path / "plain.onnx").write_bytes(PLAIN)
    return tmp_path / "traps"


@pytest.fixture
def trapline(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """The command line in the project's folder, in this process."""
    monkeypatch.chdir(project)
    for name in [name for name in os.environ if name.startswith(("AWS_", "TRAPLINE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["trapline", "models", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Said(int(ended.value.code or 0), out, err)

    return call


def bucket(project: Path) -> Path:
    return project / "trapline-data" / "buckets" / "traps" / "models"


def test_a_yolo_needs_a_name_and_is_in_force_at_once(trapline: Call, project: Path) -> None:
    said = trapline("add", "../yolo.onnx", "--name", "yolo")
    assert said.rc == 0
    assert "yolo 1.0.0 is added, and is in force." in said.out
    assert "4 + 3 numbers for each of the 84 cells" in said.out
    assert "guessed" in said.out
    assert "Tried on samples/night/st7/2026-11-20/DCIM/100MEDIA/IMG_000" in said.out
    stage = "detect: {function: detect, from: incoming/, to: detections/, type: OBJECT_DETECTION, model: yolo}"
    assert stage in said.out
    assert "stage classify looks at the label insect alone" in said.out
    model = Model.load(bucket(project) / "yolo" / "1.0.0")
    assert (model.card.head, model.card.labels) == ("yolov8", ("moth", "fly", "bee"))
    assert (bucket(project) / "yolo" / "current").read_bytes() == b"1.0.0\n"
    assert (project / "trapline-data").stat().st_mode & 0o777 == 0o700
    assert (project / "trapline-data" / "engine").stat().st_mode & 0o777 == 0o700


def test_a_second_version_waits_until_it_is_promoted(trapline: Call, project: Path) -> None:
    trapline("add", "../yolo.onnx", "--name", "yolo")
    said = trapline("add", "../yolo.onnx", "--name", "yolo", "--threshold", "0.5")
    assert "yolo 1.1.0 is added; 1.0.0 stays in force." in said.out
    assert "To use it: trapline models promote yolo 1.1.0" in said.out
    promoted = trapline("promote", "yolo", "1.1.0")
    assert "yolo 1.1.0 is in force, in place of 1.0.0." in promoted.out
    assert "threshold: 0.25 → 0.5" in promoted.out
    third = trapline("add", "../yolo.onnx", "--name", "yolo", "--promote", "--threshold", "0.6").out
    assert "yolo 1.2.0 is added, and is in force." in third
    assert (bucket(project) / "yolo" / "current").read_bytes() == b"1.2.0\n1.1.0\n1.0.0\n"
    assert "yolo 1.1.0 is in force, in place of 1.2.0." in trapline("rollback", "yolo").out
    assert trapline("rollback", "yolo", "--json").json() == {
        "name": "yolo", "in_force": "1.0.0", "was": "1.1.0", "before": [], "changed": True, "used_by": [],
    }  # fmt: skip
    assert trapline("rollback", "yolo").rc == 2


def test_without_a_terminal_everything_that_is_missing_is_named_at_once(trapline: Call, project: Path) -> None:
    said = trapline("add", "../plain.onnx")
    assert said.rc == 2
    assert said.err.count("\n") == 1
    for flag in ("--name", "--labels", "--licence", "--preset"):
        assert flag in said.err
    assert not (project / "trapline-data").exists()


def test_a_version_is_never_overwritten_but_the_same_again_does_no_harm(trapline: Call) -> None:
    assert trapline("add", "../plain.onnx", "--name", "p", *KNOWN, "--version", "2.0.0").rc == 0
    again = trapline("add", "../plain.onnx", "--name", "p", *KNOWN, "--version", "2.0.0", "--json").json()
    assert (again["added"], again["in_force"]) == (False, "2.0.0")
    other = trapline("add", "../plain.onnx", "--name", "p", *KNOWN, "--version", "2.0.0", "--set", "citation=me")
    assert other.rc == 2
    assert "Version 2.0.0 of p is in the bucket already" in other.err
    assert "the next one (2.1.0)" in other.err


def test_a_dry_run_adds_nothing_and_makes_nothing(trapline: Call, project: Path) -> None:
    said = trapline("add", "../yolo.onnx", "--name", "yolo", "--dry-run")
    assert said.rc == 0
    assert "Nothing was added" in said.out
    assert not (project / "trapline-data").exists()


def test_a_folder_with_a_card_is_added_as_it_is(trapline: Call, project: Path) -> None:
    said = trapline("add", "functions/detect/model", "--name", "copy", "--json")
    assert said.rc == 0, said.err
    told = said.json()
    assert (told["name"], told["version"], told["added"]) == ("copy", "1.0.0", True)
    assert told["tried"]["detections"] > 5
    assert told["tried"]["best"][0]["label"] == "insect"
    assert told["card"]["quality"]["map50"] > 0.9
    silent = trapline("add", "functions/classify/model", "--name", "named", "--json")
    assert silent.rc == 0, "what a card leaves out has its usual value, and is not asked for"
    assert "mean" not in silent.json()["card"]["input"]
    (project / "functions/detect/model/model.onnx").write_bytes(YOLO)
    refused = trapline("add", "functions/detect/model", "--name", "copy")
    assert refused.rc == 2
    assert "model.yaml: sha256: model.onnx has" in refused.err


@pytest.mark.parametrize(
    ("line", "said"), [("file: ../x/model.onnx", "model.yaml: file: "), ("schema: 2", "model.yaml: schema: 2 is not")]
)
def test_a_folders_card_that_could_not_be_tried_is_not_added(
    trapline: Call, project: Path, line: str, said: str
) -> None:
    card = project / "functions/detect/model/model.yaml"
    kept = [old for old in card.read_text().splitlines() if not old.startswith(("file:", "schema:"))]
    card.write_text("\n".join([line, *kept]))
    (project / "functions/detect/x").mkdir()
    shutil.copy(card.parent / "model.onnx", project / "functions/detect/x/model.onnx")
    ended = trapline("add", "functions/detect/model", "--name", "copy")
    assert ended.rc == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_where_a_model_went_is_said(trapline: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.parent / "elsewhere").mkdir()
    monkeypatch.chdir(project.parent / "elsewhere")
    said = trapline("add", "../yolo.onnx", "--name", "yolo", "--project", "../traps")
    folder = project.parent / "elsewhere/trapline-data/buckets/traps/models/yolo/1.0.0"
    assert f"It is in {folder}." in said.out
    assert folder.is_dir()


def test_the_stage_that_is_told_for_an_embedder_can_be_used(trapline: Call, project: Path) -> None:
    said = trapline("add", "../plain.onnx", "--name", "e", "--kind", "embedder", *KNOWN[2:]).out
    line = "embed: {function: embed, from: detections/, to: embeddings/, model: e}"
    assert f"\n  {line}\n" in said
    written = (project / "pipeline.yaml").read_text().replace("\n  classify:", f"\n  {line}\n  classify:")
    (project / "pipeline.yaml").write_text(written)
    assert {entry["name"]: entry for entry in trapline("list", "--json").json()["models"]}["e"]["used_by"] == ["embed"]


@pytest.mark.parametrize("command", [["promote", "../x", "1.0.0"], ["rollback", "../x"], ["show", "../x"]])
def test_what_cannot_be_a_models_name_is_told_as_such(trapline: Call, command: list[str]) -> None:
    ended = trapline(*command)
    assert ended.rc == 2
    assert "NAME: '../x' is not a model's name. Write lower-case letters" in ended.err


def test_a_card_is_a_template_and_options_go_before_it(trapline: Call, project: Path) -> None:
    (project / "card.yaml").write_text(
        "licence: MIT\nthreshold: 0.4\nquality: {map50: 0.9}\ncitation: Somebody 2026\nsha256: other\n"
    )
    told = trapline("add", "../yolo.onnx", "--name", "y", "--card", "card.yaml", "--threshold", "0.6", "--json").json()
    card = told["card"]
    assert (card["licence"], card["threshold"], card["citation"]) == ("MIT", 0.6, "Somebody 2026")
    assert "quality" not in card  # it was measured of another file


def test_tiles_taxa_and_any_other_field_can_be_said(trapline: Call, project: Path) -> None:
    Pillow.new("RGB", (150, 100)).save(project / "small.png")
    (project / "taxa.csv").write_text("name,rank,gbif\nNoctua pronuba,species,1777627\nmoth,,\nfly,order,\n")
    said = trapline(
        "add", "../yolo.onnx", "--name", "y", "--labels-file", "taxa.csv", "--tiles", "64:0.25:1.0,0.5",
        "--set", "nms.iou=0.6", "--set", "input.interpolation=bicubic", "--sample", "small.png", "--json",
    )  # fmt: skip
    assert said.rc == 0, said.err
    card = yaml.safe_load((bucket(project) / "y/1.0.0/model.yaml").read_text())
    assert card["tiles"] == {"size": 64, "overlap": 0.25, "scales": [1.0, 0.5]}
    assert card["labels"][0] == {"name": "Noctua pronuba", "rank": "species", "gbif": 1777627}
    assert (card["nms"]["iou"], card["input"]["interpolation"]) == (0.6, "bicubic")
    assert "Noctua pronuba  (rank species; gbif 1777627)" in trapline("show", "y").out


def test_the_list_tells_what_is_there_what_is_used_and_what_lacks(trapline: Call, project: Path) -> None:
    before = trapline("list")
    assert before.rc == 0
    assert "moth-detector is not in the bucket: `trapline up` brings it from functions/detect/model/." in before.out
    place = embedded_place(project, project / "trapline-data")
    seed_models(place.pipeline, FolderStore(place.folder, project / "trapline-data/engine/scratch"))
    trapline("add", "../plain.onnx", "--name", "other", *KNOWN)
    shown = trapline("list").out
    assert "moth-detector" in shown
    told = {entry["name"]: entry for entry in trapline("list", "--json").json()["models"]}
    assert told["moth-detector"]["used_by"] == ["detect"]
    assert (told["other"]["used_by"], told["other"]["licence"], told["other"]["in_force"]) == ([], "CC0-1.0", "1.0.0")
    (bucket(project) / "other" / "current").unlink()
    assert "other: no version is in force; `trapline models promote other VERSION`" in trapline("list").out


def test_show_tells_a_card_and_how_it_stands(trapline: Call, project: Path) -> None:
    trapline("add", "../plain.onnx", "--name", "p", *KNOWN)
    trapline("add", "../plain.onnx", "--name", "p", *KNOWN, "--promote")
    told = trapline("show", "p", "--json").json()
    assert (told["version"], told["in_force"], told["before"], told["whole"]) == ("1.1.0", "1.1.0", ["1.0.0"], True)
    old = trapline("show", "p", "1.0.0").out
    assert "p 1.0.0 (1.1.0 is in force)" in old
    assert "labels (3)" in old
    assert trapline("show", "p", "9.0.0").rc == 2
    (project / "p.yaml").write_text(trapline("show", "p", "--yaml").out)
    again = trapline("add", "../plain.onnx", "--name", "p", "--card", "p.yaml", "--json").json()
    assert (again["version"], again["card"]["labels"], again["why"]["labels"]) == (
        "1.2.0",
        ["moth", "fly", "bee"],
        "the card",
    )
    assert "There is no model 'q' in the bucket. It has: p." in trapline("show", "q").err


def test_promote_says_what_changes_and_refuses_what_is_no_model(trapline: Call, project: Path) -> None:
    place = embedded_place(project, project / "trapline-data")
    seed_models(place.pipeline, FolderStore(place.folder, project / "trapline-data/engine/scratch"))
    said = trapline("add", "../yolo.onnx", "--name", "moth-detector", "--promote").out
    assert "Used by 1 stage: detect; new jobs get it." in said
    back = trapline("promote", "moth-detector", "1.0.0").out
    assert "labels: 3 → 1 (new insect; gone moth, fly, bee)" in back
    assert "Jobs that begin from now on use it in detect; those under way keep what they have." in back
    assert "trapline reprocess" in back
    assert "is in force already" in trapline("promote", "moth-detector", "1.0.0").out
    (bucket(project) / "moth-detector/1.1.0/model.yaml").write_text("schema: 7\n")
    refused = trapline("promote", "moth-detector", "1.1.0")
    assert refused.rc == 2
    assert "models/moth-detector/1.1.0/model.yaml: " in refused.err


WRONG: list[tuple[Sequence[str], str]] = [
    (["../no.onnx", "--name", "m"], "no.onnx cannot be read: No such file"),
    (["..", "--name", "m"], "is a folder with 2 ONNX files (plain.onnx, yolo.onnx)"),
    (["samples", "--name", "m"], "is a folder with 0 ONNX files (none)"),
    (["../best.pt", "--name", "m"], "`trapline models export ../best.pt --out best.onnx`"),
    (["pipeline.yaml", "--name", "m"], "pipeline.yaml is no ONNX file"),
    (["../yolo.onnx", "--name", "My Model"], "'My Model' is not a model's name"),
    (["../yolo.onnx", "--name", "m", "--version", "v2"], "'v2' is not a version"),
    (["../yolo.onnx", "--name", "m", "--kind", "segmenter"], "There are detector, classifier and embedder."),
    (["../yolo.onnx", "--name", "m", "--kind", "classifier"], "--kind classifier: the file gives output0"),
    (["../yolo.onnx", "--name", "m", "--head", "yolo8"], "no head 'yolo8'. There are heatmap"),
    (["../yolo.onnx", "--name", "m", "--head", "detr"], "does not fit the head detr"),
    (["../yolo.onnx", "--name", "m", "--labels", "a,b"], "2 labels are given, and the file's output has room for 3"),
    (["../yolo.onnx", "--name", "m", "--labels", "a"], "1 label is given, and the file's output has room for 3"),
    (["../yolo.onnx", "--name", "m", "--labels", "a,,b"], "has an empty name"),
    (["../yolo.onnx", "--name", "m", "--labels", "a,b,b"], "b"),
    (["../yolo.onnx", "--name", "m", "--labels", "a", "--labels-file", "x"], "Give one of them"),
    (["../yolo.onnx", "--name", "m", "--labels-file", "x.txt"], "x.txt: No such file"),
    (["../yolo.onnx", "--name", "m", "--size", "big"], "'big' is not a size"),
    (["../yolo.onnx", "--name", "m", "--size", "32x32"], "the file takes 64 x 64 alone"),
    (["../yolo.onnx", "--name", "m", "--preset", "imagnet"], "no preset 'imagnet'"),
    (["../yolo.onnx", "--name", "m", "--mean", "1,2"], "is not one number or three"),
    (["../yolo.onnx", "--name", "m", "--tiles", "big"], "'big' is not SIZE[:OVERLAP[:SCALES]]"),
    (["../yolo.onnx", "--name", "m", "--tiles", "64:2"], "tiles.overlap"),
    (["../yolo.onnx", "--name", "m", "--set", "thresold=1"], "thresold"),
    (["../yolo.onnx", "--name", "m", "--set", "threshold"], "is not FIELD=VALUE"),
    (["../yolo.onnx", "--name", "m", "--set", "version=2"], "Use --name or --version"),
    (["../yolo.onnx", "--name", "m", "--set", "threshold=[1"], "is not a value in YAML"),
    (["../yolo.onnx", "--name", "m", "--card", "no.yaml"], "no.yaml cannot be read"),
    (["../yolo.onnx", "--name", "m", "--sample", "no.jpg"], "--sample: no.jpg: No such file"),
    (["../yolo.onnx", "--name", "m", "--sample", "pipeline.yaml"], "The sample pipeline.yaml cannot be read"),
    (["../yolo.onnx", "--name", "m", "--project", "/"], "pipeline.yaml"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_added(
    trapline: Call, project: Path, words: Sequence[str], said: str
) -> None:
    (project.parent / "best.pt").write_bytes(b"PK\x03\x04")
    ended = trapline("add", *words)
    assert ended.rc == 2, ended
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert not (project / "trapline-data").exists()


def test_a_file_that_never_ends_is_stopped(trapline: Call, project: Path) -> None:
    (project.parent / "endless.onnx").write_bytes(endless())
    ended = trapline("add", "../endless.onnx", "--name", "m", *KNOWN, "--seconds", "2")
    assert ended.rc == 2
    assert "endless.onnx was not loaded and tried within 2 seconds, and was stopped. Give" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_stops_a_file_that_never_ends(project: Path) -> None:
    (project.parent / "endless.onnx").write_bytes(endless())
    program = [sys.executable, "-c", "from trapline.cli import main; main()", "models", "add", "../endless.onnx"]
    with subprocess.Popen(program, cwd=project) as adding:
        children = Path(f"/proc/{adding.pid}/task/{adding.pid}/children")
        while not (started := children.read_text().split()):
            time.sleep(0.05)
        time.sleep(2)
        adding.send_signal(signal.SIGINT)
        assert adding.wait(10) == 130
    assert not Path(f"/proc/{started[0]}").exists()


def test_a_file_that_crashes_its_process_is_told_in_one_line(trapline: Call, project: Path) -> None:
    (project.parent / "nested.onnx").write_bytes(nested(8_000))
    ended = trapline("add", "../nested.onnx", "--name", "m", *KNOWN)
    assert ended.rc == 2
    assert "nested.onnx makes onnxruntime crash (SIGSEGV). Do not use this file" in ended.err
    assert ended.err.count("\n") == 1


def test_a_project_without_samples_has_a_picture_drawn(trapline: Call, project: Path) -> None:
    shutil.rmtree(project / "samples")
    assert "Tried on a drawn image: " in trapline("add", "../yolo.onnx", "--name", "y").out


def test_a_bucket_that_was_seeded_by_half_is_completed(project: Path) -> None:
    place = embedded_place(project, project / "trapline-data")
    store = FolderStore(place.folder, project / "trapline-data/engine/scratch")
    seed_models(place.pipeline, store)
    for key in ("models/moth-detector/current", "models/moth-detector/1.0.0/model.onnx"):
        store.delete(key)
    assert seed_models(place.pipeline, store) == ["moth-detector"]
    assert Registry(store, place.layout).whole("moth-detector", "1.0.0")
    assert seed_models(place.pipeline, store) == []


# -- on a terminal


def type_into(project: Path, words: Sequence[str], answers: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal; type each answer when its question stands there."""
    parent, child = pty.openpty()
    program = [sys.executable, "-c", "from trapline.cli import main; main()", "models", *words]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRAPLINE_"))}
    with subprocess.Popen(
        program, cwd=project, stdin=child, stdout=child, stderr=child, env={**kept, "NO_COLOR": "1", "COLUMNS": "100"}
    ) as done:
        os.close(child)
        said, left, until = "", list(answers), time.monotonic() + 60
        while time.monotonic() < until:
            ready, _, _ = select.select([parent], [], [], 0.2)
            try:
                said += os.read(parent, 4096).decode(errors="replace") if ready else ""
            except OSError:  # the other end is closed
                break
            if left and left[0][0] in said.rpartition("\n")[2]:
                os.write(parent, left.pop(0)[1].encode() + b"\n")
                said += "\n"
        os.close(parent)
        assert left == [], said
        return done.wait(20), said


def test_on_a_terminal_what_is_missing_is_asked_for(project: Path) -> None:
    rc, said = type_into(
        project,
        ["add", "../plain.onnx"],
        [
            ("name", "My model"),
            ("name", "mine"),
            ("labels", "a,b"),
            ("labels", "a,b,c"),
            ("licence", "CC0-1.0"),
            ("colours", "imagenett"),
            ("colours", "imagenet"),
            ("Add mine 1.0.0?", "y"),
        ],
    )
    assert rc == 0, said
    for words in ("is not a model's name", "These are 2; the output has room for 3", "no preset 'imagenett'"):
        assert words in said
    card = yaml.safe_load((bucket(project) / "mine/1.0.0/model.yaml").read_text())
    assert (card["labels"], card["licence"], card["input"]["mean"]) == (
        ["a", "b", "c"],
        "CC0-1.0",
        [0.485, 0.456, 0.406],
    )


def test_on_a_terminal_no_adds_nothing(project: Path) -> None:
    rc, said = type_into(project, ["add", "../yolo.onnx", "--name", "y"], [("Add y 1.0.0?", "n")])
    assert rc == 1
    assert "Nothing was added" in said
    assert not bucket(project).exists()


# -- beside a running engine


@pytest.fixture
def served(project: Path) -> Iterator[dict[str, Any]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRAPLINE_"))}
    program = [sys.executable, "-c", "from trapline.cli import main; main()", "up", "--port", "0", "--json"]
    with subprocess.Popen(program, cwd=project, env=kept, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        try:
            yield json.loads(engine.stdout.readline())
        finally:
            engine.terminate()
            assert engine.wait(20) == 0


def test_beside_a_running_engine_clients_see_at_once_what_was_added(
    trapline: Call, project: Path, served: dict[str, Any]
) -> None:
    from trapline.store.s3 import S3Settings, S3Store

    keys = {"access_key": served["access_key"], "secret_key": served["secret_key"]}
    s3 = S3Store(S3Settings(served["bucket"], endpoint=served["endpoint"], **keys))
    assert trapline("add", "../yolo.onnx", "--name", "moth-detector", "--promote").rc == 0
    assert s3.get("models/moth-detector/current").data == b"1.1.0\n1.0.0\n"
    assert s3.get("models/moth-detector/1.1.0/model.onnx").data == YOLO
    s3.put("models/moth-detector/current", b"1.0.0\r\n")  # as by hand
    assert trapline("list", "--json").json()["models"][1]["in_force"] == "1.0.0"
    assert trapline("promote", "moth-detector", "1.1.0").rc == 0
    assert s3.get("models/moth-detector/current").data == b"1.1.0\n1.0.0\n"
    assert trapline("rollback", "moth-detector").rc == 0
    assert s3.get("models/moth-detector/current").data == b"1.0.0\n"


def test_a_model_whose_scores_are_no_confidences_is_refused_when_it_is_tried(project: Path, trapline: Call) -> None:
    (project.parent / "raw.onnx").write_bytes(
        network({"output0": [1, 7, CELLS]}, [1, 3, 64, 64], metadata=TOLD, shift=7.5)
    )
    said = trapline("add", "../raw.onnx", "--name", "raw", "--licence", "CC0-1.0")
    assert said.rc == 2 and "scores are not between 0 and 1" in said.err and "head: yolov8" in said.err
    assert trapline("list", "--json").json()["models"] == [] or "raw" not in trapline("list").out
