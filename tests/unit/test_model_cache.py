"""What a bucket's cards say never leads out of a worker's folder, and a mended model is read anew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from tests.unit.test_models import COLOURS, card
from trapline.errors import ConfigError, Failure
from trapline.keys import Layout
from trapline.models import sha256_of
from trapline.records import ModelRef
from trapline.runtime.cache import ModelCache
from trapline.runtime.images import as_failure
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

PROJECT = Path(__file__).parents[1] / "simulation" / "project"
REF = ModelRef(name="colours", version="1.0.0", sha256=sha256_of(COLOURS))


class Bucket:
    """A bucket with one model, and a machine that reads it."""

    def __init__(self, machine: Path) -> None:
        self.store, self._machine = MemoryStore(), machine / "engine" / "models"

    def put(self, file: str, data: bytes) -> None:
        self.store.put(f"models/colours/1.0.0/{file}", data)

    def card(self, **changes: Any) -> None:
        self.put("model.yaml", yaml.safe_dump(card(COLOURS, **changes)).encode())

    def worker(self) -> ModelCache:
        return ModelCache(self.store, Layout(), self._machine)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    made = Bucket(tmp_path)
    made.put("model.onnx", COLOURS)
    made.card()
    return made


def test_a_card_need_not_name_a_file_of_the_usual_name(bucket: Bucket) -> None:
    assert bucket.worker().load(REF).card.file == "model.onnx"


def test_a_card_that_is_mended_in_place_is_read_anew_by_the_same_worker_and_by_others(bucket: Bucket) -> None:
    worker = bucket.worker()
    bucket.card(licence=None)
    with pytest.raises(ConfigError, match="licence"):
        worker.load(REF)
    bucket.card(labels=["red", "green"])
    with pytest.raises(ConfigError, match="2 labels"):
        worker.load(REF).session()
    bucket.card()
    for one in (worker, bucket.worker()):
        one.load(REF).session()


def test_a_file_that_was_cut_off_is_read_anew_once_it_is_whole(bucket: Bucket) -> None:
    worker = bucket.worker()
    bucket.put("model.onnx", COLOURS[:100])
    with pytest.raises(ConfigError, match="Copy the file again"):
        worker.load(REF)
    bucket.put("model.onnx", COLOURS)
    worker.load(REF).session()


@pytest.mark.parametrize("said", ["x/../../../evil", "/tmp/evil", "..", "x" * 64, 7, None])
def test_nothing_is_written_outside_the_folder_of_models_whatever_a_card_says(
    bucket: Bucket, said: object, tmp_path: Path
) -> None:
    bucket.put("evil.py", b"raise SystemExit\n")
    bucket.put("model.yaml", yaml.safe_dump({"sha256": said, "file": "evil.py"}).encode())
    (tmp_path / "engine" / "models" / "colours-1.0.0-x").mkdir(parents=True)
    with pytest.raises((ConfigError, Failure)):
        bucket.worker().load(REF.model_copy(update={"sha256": str(said)}))
    assert not list(tmp_path.rglob("evil*")), "a bucket's file is on the machine"


def test_another_file_under_the_jobs_version_is_refused(bucket: Bucket) -> None:
    other = onnx.load_from_string(COLOURS)
    other.doc_string = "another"
    bucket.put("model.onnx", changed := other.SerializeToString())
    bucket.put("model.yaml", yaml.safe_dump(card(changed)).encode())
    with pytest.raises(ConfigError, match=r"models/colours/1\.0\.0/model\.yaml: sha256: .*never change") as raised:
        bucket.worker().load(REF)
    assert "a version of their own" in raised.value.remedy
    bucket.worker().load(REF.model_copy(update={"sha256": sha256_of(changed)}))


def test_what_a_model_says_of_itself_while_it_runs_is_told_as_its_fault() -> None:
    failure = as_failure(ConfigError("Model colours 1.0.0: head: it is another.", remedy="Correct it."))
    assert (failure.code, failure.remedy) == ("model_unusable", "Correct it.") and "head:" in failure.message


WRONG = {
    "binary": (b"\x00\xff\x17", None, "is no version"),
    "another folder": (b"../../etc", None, "is no version"),
    "huge": (b"1" * 10**6, None, "is no version"),
    "empty": (b"", None, "is no version"),
    "a hash that is a path": (b"v1", b"sha256: x/../../../../onnxruntime\nfile: a.py\n", "sha256 is 'x/"),
    "a hash of a megabyte": (b"v1", b"sha256: " + b"a" * 10**6, "sha256 is 'aaa"),
    "no fields": (b"v1", b"", "holds no fields"),
    "a broken line": (b"v1", b"a: b\nc: [\n", "is not YAML"),
}


@pytest.mark.parametrize(("current", "said", "expected"), WRONG.values(), ids=WRONG)
def test_nonsense_for_a_model_costs_its_jobs_one_short_line(current: bytes, said: bytes | None, expected: str) -> None:
    async def scenario(world: Simulated) -> str:
        world.put("models/moths/current", current)
        if said is not None:
            world.put("models/moths/v1/model.yaml", said)
        world.put("incoming/st7/n1/a.jpg", b"moth")
        await asyncio.sleep(60)
        return world.store.get("status/st7/n1.json").data.decode()

    told = Simulated(PROJECT).play(scenario)
    assert expected in told and "FAILED" in told
    assert len(told) < 6000 and "\\n" not in told
