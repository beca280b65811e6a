"""`trapline new function`: what it makes works at once, in a project as `trapline init` makes it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from trapline.cli.app import run
from trapline.cli.new_function import class_name, new_function
from trapline.errors import Permanent
from trapline.pipeline.load import load_pipeline
from trapline.template import copy_project, function_kinds, project_files, template_files, template_root
from trapline.testing import run_function

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("detections", "gather", "image", "records")
SIX = "samples/night/st7/2026-11-20/DCIM/100MEDIA/IMG_0003.JPG"


@dataclass(frozen=True)
class Made:
    """A new project with a function of each kind, and what was said when each was made."""

    folder: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("new") / "traps"
    copy_project(folder)
    said = {}
    for kind in KINDS:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            new_function(folder, f"my_{kind}", kind, as_json=False)
        said[kind] = out.getvalue()
    return Made(folder, said)


@pytest.fixture
def project(made: Made) -> Path:
    return made.folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=told, capture_output=True, text=True, check=False)


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Type `trapline new function …` in a project that is as good as empty; tells (exit code, stdout, stderr)."""
    (tmp_path / "functions").mkdir()
    for name in ("detect", "compile"):
        (tmp_path / "functions" / name).mkdir()
        text = (ROOT / "functions" / name / "function.yaml").read_text()
        (tmp_path / "functions" / name / "function.yaml").write_text(text)
    stages = {
        "find": {"function": "detect", "from": "incoming/", "to": "detections/"},
        "compile": {"function": "compile", "from": "detections/", "to": "results/", "gather": "job"},
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({"name": "p", "stages": stages}))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["trapline", "new", "function", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_there_are_these_kinds() -> None:
    assert tuple(function_kinds()) == KINDS


def test_each_kind_has_the_files_that_a_function_has(project: Path) -> None:
    for kind in KINDS:
        assert {path.name for path in (project / "functions" / f"my_{kind}").iterdir()} == {
            *("__init__.py", "function.yaml", "handler.py", "requirements.txt", "Containerfile", "README.md"),
            f"test_my_{kind}.py",
        }
        for path in (project / "functions" / f"my_{kind}").iterdir():
            assert not re.search("new_function|NewFunction", path.read_text()), path


def test_each_kind_passes_its_own_test_at_once(project: Path) -> None:
    done = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"functions/my_{kind}" for kind in KINDS))
    assert done.returncode == 0, done.stdout
    assert "13 passed" in done.stdout


def test_each_kind_can_be_tried_at_once(project: Path) -> None:
    found = {
        "image": "variance ",
        "detections": "length_px  colour",
        "gather": "file my_gather.csv",
        "records": "agreed",
    }
    for kind in KINDS:
        done = python(project, "-m", "trapline.cli", "try", f"my_{kind}", SIX)
        assert done.returncode == 0, done.stdout + done.stderr
        assert found[kind] in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_that_are_printed_fit_into_pipeline_yaml(made: Made, tmp_path: Path, kind: str) -> None:
    entry = yaml.safe_load(made.said[kind].partition("pipeline.yaml")[2].partition("\n")[2])
    spec = yaml.safe_load((made.folder / "pipeline.yaml").read_text())
    spec["stages"] |= entry
    for setting in re.findall(r"take out `(\w+)`", made.said[kind]):
        del spec[setting]
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    (tmp_path / "functions").symlink_to(made.folder / "functions")
    pipeline = load_pipeline(tmp_path)
    assert f"my_{kind}" in {stage.spec.function for stage in pipeline.stages.values()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("detect", "there is functions/detect already"),
        ("find", "pipeline.yaml has a stage find already"),
        ("class", "it is a word of Python's own"),
        ("match", "it is a word of Python's own"),
        ("json", "there is a module json already"),
        ("Body-Length", "such as body_length."),
        ("../up", "such as up."),
        ("9lives", "such as lives."),
        ("", "such as body_length."),
        ("x" * 41, "at most 40"),
        ("detections", "every record has a part detections already"),
        ("results", "results/ in the bucket is used already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_the_reason(typed: Any, name: str, message: str) -> None:
    code, out, err = typed(name)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_a_kind_that_is_not_known_is_refused(typed: Any) -> None:
    assert "Did you mean 'detections'?" in typed("length", "--kind", "detection")[2]


def test_outside_a_project_it_says_so(typed: Any, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").unlink()
    code, _, err = typed("length")
    assert code == 2 and "There is no pipeline.yaml" in err


def test_json_says_what_was_made_and_what_to_put_into_pipeline_yaml(typed: Any) -> None:
    made = json.loads(typed("length", "--kind", "detections", "--json")[1])
    assert made["stage"] == {"length": {"function": "length", "from": "detections/", "to": "length/"}}
    assert made["folder"] == "functions/length" and "handler.py" in made["files"]


def test_a_second_one_of_the_same_name_changes_nothing(typed: Any, tmp_path: Path) -> None:
    typed("length")
    (tmp_path / "functions/length/handler.py").write_text("mine")
    assert typed("length")[0] == 2
    assert (tmp_path / "functions/length/handler.py").read_text() == "mine"


@pytest.mark.parametrize(("name", "cls"), [("body_length", "BodyLength"), ("item", "ItemFunction"), ("a1", "A1")])
def test_its_class_is_named_for_it(name: str, cls: str) -> None:
    assert class_name(name) == cls


def test_what_is_made_of_is_in_the_wheel() -> None:
    carried = {path.relative_to(template_root()).as_posix() for path in template_files(ROOT)}
    for kind in KINDS:
        assert f"local_dev/new_function/{kind}/handler.py" in carried
    assert {path.relative_to(ROOT).as_posix() for path, _ in project_files(ROOT)} < carried


@pytest.mark.parametrize("name", ["ab", "x" * 40])
def test_what_is_made_is_written_as_this_house_writes(typed: Any, tmp_path: Path, name: str) -> None:
    for number, kind in enumerate(KINDS):
        typed(f"{name[:-1]}{number}", "--kind", kind)
    ruff = [sys.executable, "-m", "ruff"]
    own = ["--config", str(ROOT / "pyproject.toml"), "--config", 'lint.isort.known-first-party=["trapline"]']
    made = [str(path) for path in (tmp_path / "functions").iterdir() if path.name.startswith(name[:-1])]
    assert len(made) == len(KINDS)
    for words in (["check", *own, "--no-cache"], ["format", "--check", *own[:2], "--no-cache"]):
        done = subprocess.run([*ruff, *words, *made], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_made_has_the_types_it_says(project: Path) -> None:
    done = python(
        project,
        *("-m", "mypy", "--strict", "--explicit-package-bases", "--cache-dir", str(project / ".mypy")),
        *("--config-file", str(ROOT / "pyproject.toml"), *(f"functions/my_{kind}" for kind in KINDS)),
    )
    assert done.returncode == 0, done.stdout


# -- run_function, by which a function's own test calls it


def test_a_function_that_builds_on_detections_is_handed_them(project: Path) -> None:
    found = {"detections": [{"id": "d0001", "box": [400, 300, 500, 400]}]}
    data = (project / SIX).read_bytes()
    (answer,) = run_function(ROOT, "classify", {"a.jpg": data}, {"top_k": 2}, records={"a.jpg": found})
    ((named,)) = answer["detections"]
    assert named["id"] == "d0001" and len(named["classifications"]) == 2


def test_what_a_function_writes_beside_its_record_is_in_the_answer(tmp_path: Path) -> None:
    function = tmp_path / "functions/writes"
    function.mkdir(parents=True)
    (function / "function.yaml").write_text("name: writes\nhandler: function_that_writes:Writes\n")
    code = (
        "class Writes:\n    def handle(self, items):\n        return [{'f': i.write('a.bin', b'123')} for i in items]\n"
    )
    (tmp_path / "function_that_writes.py").write_text(code)
    answers = run_function(tmp_path, "writes", {"one.jpg": b"1", "two.jpg": b"2"})
    assert answers.files == {"one.jpg/a.bin": b"123", "two.jpg/a.bin": b"123"}
    assert {name: answers[0]["f"][name] for name in ("size", "content_type")} == {
        "size": 3,
        "content_type": "application/octet-stream",
    }


def test_a_compiling_function_is_handed_the_members_given(project: Path) -> None:
    records: dict[str, Any] = {
        "st7/n/a.jpg": {"detections": [{"id": "d0001", "label": "insect", "confidence": 0.9}]},
        "st7/n/b.jpg": Permanent("It ends early.", code="image_truncated"),
    }
    answers = run_function(ROOT, "compile", {}, records=records)
    assert answers[0]["images"]["total"] == 2 and answers[0]["images"]["failed"] == 1
    assert len(answers.files["results.jsonl"].splitlines()) == 2
