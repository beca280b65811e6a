"""Each example of local_dev/examples through a real engine: what its stages leave in the bucket and in the results."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from local_dev.examples.making import EXAMPLES, make, names
from tests.integration.engine import QUICK, Engine, engine, environment, night
from trapline.errors import ConfigError
from trapline.pipeline.load import load_pipeline

JOB = "st7/2026-11-20"
FEW, EMPTY, SOME, NO_IMAGE = "few.jpg", "empty.jpg", "some.jpg", "note.jpg"
IMAGES = {FEW: night(25), EMPTY: night(1), SOME: night(4), NO_IMAGE: night(28)}  # 2, 0, 12 insects
SURE = 0.6  # where the examples part the detections


def project(name: str, folder: Path) -> Path:
    """An example's project whose jobs close at once."""
    make(name, folder)
    path = folder / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(spec | {"jobs": QUICK}, sort_keys=False))
    return folder


@contextmanager
def run(folder: Path) -> Iterator[tuple[Engine, dict[str, dict[str, Any]], list[dict[str, str]]]]:
    """The job done: its engine, the lines of results.jsonl by name, the rows of observations.csv."""
    with engine(folder, folder / "trapline-data") as served:
        served.upload(JOB, IMAGES)
        summary = served.closed(JOB)
        assert summary["state"] == "PARTIAL"
        assert summary["failures_by_code"] == {"image_unreadable": 1}
        table = served.get(next(f["key"] for f in summary["files"] if f["name"] == "observations.csv")) or b""
        lines = served.lines(JOB)
        rows = list(csv.DictReader(io.StringIO(table.decode())))
        _agree(lines, rows)
        yield served, lines, rows


def _agree(lines: dict[str, dict[str, Any]], rows: list[dict[str, str]]) -> None:
    """Both files tell the same detections with the same names, and who gave them."""
    told = {(name, one["id"]): one for name, line in lines.items() for one in line["detections"] or ()}
    shown = {(row["file"].removeprefix(f"{JOB}/"), row["detection_id"]): row for row in rows if row["detection_id"]}
    assert shown.keys() == told.keys()
    assert len(rows) == len(told) + 2  # the empty image and the failed one have a row each
    for key, row in shown.items():
        best = next(iter(told[key].get("classifications", ())), {"label": "", "score": ""})
        assert (row["label"], row["score"]) == (best["label"], str(best["score"]))
        assert (row["detector"], row["detector_model"]) == ("detect", "moth-detector")


def stored(served: Engine, ref: dict[str, Any]) -> bytes:
    """A file that a record names: there, and the one that was meant."""
    data = served.get(ref["key"])
    assert data is not None
    assert (len(data), hashlib.sha256(data).hexdigest()) == (ref["size"], ref["sha256"])
    return data


@pytest.mark.parametrize("name", names())
def test_an_example_is_a_project_that_loads_and_says_what_it_is_about(name: str, tmp_path: Path) -> None:
    make(name, tmp_path / "made")
    load_pipeline(tmp_path / "made")
    assert (EXAMPLES / name / "README.md").read_text().startswith(f"# {name}\n\n")
    assert f"`{name}`" in (EXAMPLES / "README.md").read_text()


def test_an_example_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There are: .*crop, embed, ensemble"):
        make("ensembel", tmp_path / "made")


def test_crops_and_thumbnails_are_in_the_bucket_and_named_by_the_results(tmp_path: Path) -> None:
    with run(project("crop", tmp_path / "traps")) as (served, lines, rows):
        for name in (FEW, EMPTY, SOME):
            line = lines[name]
            assert line["known"]["crops"] == {"made": len(line["detections"]), "left_out": 0}
            assert max(Pillow.open(io.BytesIO(stored(served, line["known"]["thumbnail"]))).size) == 400
            for detection in line["detections"]:
                crop = Pillow.open(io.BytesIO(stored(served, detection["crop"])))
                assert crop.size == (detection["crop"]["width"], detection["crop"]["height"])
                assert crop.size[0] == crop.size[1] <= 192
                assert detection["classifications"]
        named = sum(len(line["detections"] or ()) + 1 for line in lines.values() if line["state"] == "done")
        assert len(served.keys("files/crop/")) == named
        assert {row["classifier"] for row in rows if row["label"]} == {"classify"}


@pytest.mark.slow
def test_vectors_are_in_the_bucket_and_the_readme_shows_how_to_read_them(tmp_path: Path) -> None:
    folder = project("embed", tmp_path / "traps")
    with run(folder) as (served, lines, _):
        for name in (FEW, EMPTY, SOME):
            said, ids = lines[name]["known"]["embeddings"], [one["id"] for one in lines[name]["detections"]]
            assert (said["detections"], said["rows"], said["whole_image"]) == (ids, len(ids) + 1, len(ids))
            vectors = np.load(io.BytesIO(stored(served, said["file"])))
            assert (vectors.shape, vectors.dtype) == ((len(ids) + 1, said["dimensions"]), np.float16)
            assert np.linalg.norm(vectors.astype(float), axis=1) == pytest.approx(1, abs=1e-2)
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert first.startswith(("1.00", "0.99"))
    assert len(others) == 4


def test_two_classifiers_are_joined_and_what_one_passed_over_is_told(tmp_path: Path) -> None:
    with run(project("ensemble", tmp_path / "traps")) as (_, lines, rows):
        for name in (FEW, EMPTY, SOME):
            told = {
                "method": "weights",
                "stages": ["first", "second"],
                "missing": [],
                "weights": {"first": 2, "second": 1},
            }
            assert lines[name]["known"]["ensemble"] == told
        found = [one for name in (FEW, SOME) for one in lines[name]["detections"]]
        for one in found:
            unsure = one["confidence"] < SURE
            assert one.get("missing") == (["second"] if unsure else None)
            assert list(one["opinions"]) == (["first"] if unsure else ["first", "second"])
            best, (first, *second) = one["classifications"][0], one["opinions"].values()
            if second and first["label"] == second[0]["label"] == best["label"]:
                assert one["agreement"] == 1
                assert best["score"] == pytest.approx((2 * first["score"] + second[0]["score"]) / 3, abs=2e-4)
        assert any(one.get("missing") for one in found)
        assert {row["classifier"] for row in rows if row["label"]} == {"ensemble"}
        stages = lines[SOME]["stages"]
        models = [stages[stage]["produced_by"]["model"]["name"] for stage in ("first", "second")]
        assert models == ["moth-classifier", "moth-classifier-small"]


@pytest.mark.slow
def test_what_the_detector_doubts_is_kept_for_a_person_and_the_rest_is_named(tmp_path: Path) -> None:
    with run(project("when", tmp_path / "traps")) as (served, lines, rows):
        kept = 0
        for name in (FEW, SOME):
            for one in lines[name]["detections"]:
                assert ("crop" in one, "classifications" in one) == (
                    one["confidence"] < SURE,
                    one["confidence"] >= SURE,
                )
                if "crop" in one:
                    kept += 1
                    stored(served, one["crop"])
        assert kept == len(served.keys("files/doubtful/")) > 0
        assert lines[EMPTY]["stages"]["doubtful"]["outcome"] == "skipped"
        assert {row["classifier"] for row in rows if row["label"]} == {"classify"}


COVERED = '''"""A classifier that fails on every image until its cap is taken off."""

from pathlib import Path

from trapline.errors import Permanent

CAP = Path(__file__).with_name("cap")


class Covered:
    def handle(self, items):
        if CAP.exists():
            return [Permanent("The lens cap is on.") for _ in items]
        named = [{"label": "noctuid", "score": 1.0}]
        return [{"detections": [{"id": d["id"], "classifications": named} for d in item.detections]} for item in items]
'''


@pytest.mark.slow
def test_an_image_on_which_one_classifier_fails_has_the_others_word_until_it_is_tried_again(tmp_path: Path) -> None:
    folder = project("ensemble", tmp_path / "traps")
    covered = folder / "functions" / "covered"
    covered.mkdir()
    for name, text in (("__init__.py", ""), ("cap", ""), ("handler.py", COVERED)):
        (covered / name).write_text(text)
    settings = {"name": "covered", "handler": "functions.covered.handler:Covered", "accepts": "detections"}
    (covered / "function.yaml").write_text(yaml.safe_dump(settings))
    path = folder / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["stages"]["second"] = {"function": "covered", "from": "detections/", "to": "second/"}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    with engine(folder, folder / "trapline-data") as served:
        served.upload(JOB, {FEW: IMAGES[FEW]})
        served.closed(JOB)
        line = served.lines(JOB)[FEW]
        assert line["known"]["ensemble"]["missing"] == ["second"]
        for one in line["detections"]:
            assert (one["missing"], list(one["opinions"])) == (["second"], ["first"])
        (letter,) = served.keys("failed/second/")
        assert served.json(letter)["message"] == "The lens cap is on."

        (covered / "cap").unlink()
        served.delete(letter)
        served.closed(JOB, 2)
        line = served.lines(JOB)[FEW]
        assert line["known"]["ensemble"]["missing"] == []
        for one in line["detections"]:
            assert "missing" not in one
            assert one["opinions"]["second"] == {"label": "noctuid", "score": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name != "torch"])  # that one wants torch installed first
def test_an_example_runs_the_sample_night_with_one_command(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_dev.examples", name, str(tmp_path / "made")],
        cwd=EXAMPLES.parents[1],
        env=environment(PYTHONPATH=str(EXAMPLES.parents[1])),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every expected result is there." in done.stdout
    assert "What the results say of" in done.stdout
