"""The models that a project carries: found, and told where one is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from local_dev.examples.making import make
from trapline.cli.seeding import lacking, seed_models
from trapline.errors import ConfigError
from trapline.pipeline.load import load_pipeline
from trapline.store.memory import MemoryStore

SMALL = Path("models") / "moth-classifier-small"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make("ensemble", tmp_path / "traps")
    return tmp_path / "traps"


def test_a_model_of_functions_and_one_that_a_stage_alone_names_are_put_into_the_bucket_once(project: Path) -> None:
    store, pipeline = MemoryStore(), load_pipeline(project)
    assert sorted(seed_models(pipeline, store)) == ["moth-classifier", "moth-classifier-small", "moth-detector"]
    assert store.get("models/moth-classifier-small/current").data.split()[0] == b"1.0.0"
    stored = store.get("models/moth-classifier-small/1.0.0/model.onnx").data
    assert stored == (project / SMALL / "model.onnx").read_bytes()
    assert seed_models(pipeline, store) == []


def test_a_model_that_lies_in_another_ones_folder_is_named_with_its_place(project: Path) -> None:
    shutil.copyfile(project / "functions" / "classify" / "model" / "model.yaml", project / SMALL / "model.yaml")
    with pytest.raises(ConfigError) as raised:
        seed_models(load_pipeline(project), MemoryStore())
    assert raised.value.message.startswith("models/moth-classifier-small/model.yaml: name: it says 'moth-classifier'")


def test_a_file_that_is_not_the_cards_is_named_with_its_place(project: Path) -> None:
    with (project / SMALL / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ConfigError, match=r"models/moth-classifier-small/model\.yaml: sha256: model\.onnx has"):
        seed_models(load_pipeline(project), MemoryStore())


def test_a_model_that_no_stage_names_stays_where_it_is(project: Path) -> None:
    path = project / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    del spec["stages"]["second"]["model"]
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    assert sorted(seed_models(load_pipeline(project), MemoryStore())) == ["moth-classifier", "moth-detector"]


def test_a_model_that_no_one_brought_is_told_with_what_to_do(project: Path) -> None:
    shutil.rmtree(project / SMALL)
    store, pipeline = MemoryStore(), load_pipeline(project)
    seed_models(pipeline, store)
    (line,) = lacking(pipeline, store)
    assert "moth-classifier-small (current) is not in the bucket" in line
    assert "trapline models add FILE --name moth-classifier-small" in line
    store.put("models/moth-classifier-small/current", b"2.0.0\n")
    assert len(lacking(pipeline, store)) == 1, "a version in force that is not there is lacking, too"
