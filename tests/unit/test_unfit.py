"""Models that somebody put into the bucket by hand: what is wrong with them is said, and costs the engine nothing."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dev.examples.making import make
from trapline.cli import unfit as at
from trapline.cli import words
from trapline.cli.seeding import foreign, lacking, seed_models
from trapline.executors.opening import WorkerConfig
from trapline.pipeline.load import load_pipeline
from trapline.store.folder import FolderStore

NAME = "moth-classifier"
CARD = f"models/{NAME}/1.0.0/model.yaml"
FILE = f"models/{NAME}/1.0.0/model.onnx"


class Site:
    """A project with a bucket, and how the engine's processes open it."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = load_pipeline(folder)
        (folder / "bucket").mkdir()
        self.store = FolderStore(folder / "bucket", folder / "scratch")
        seed_models(self.pipeline, self.store)
        self.config = WorkerConfig(project=folder, cache=folder, store="s3", bucket=str(folder / "bucket"))

    def card(self, **changes: Any) -> None:
        card = yaml.safe_load(self.store.get(CARD).data) | changes
        self.store.put(CARD, yaml.safe_dump(card, sort_keys=False).encode())

    def wrong(self) -> str:
        """What the process that loads the model would say, without the process."""
        return words.safe(at._wrong(self.store, self.pipeline.layout, NAME, "1.0.0"))

    def told(self, limit: float = 30) -> list[str]:
        async def gathered() -> list[str]:
            return [line async for line in at.unfit(foreign(self.pipeline, self.store), self.config, limit)]

        return asyncio.run(gathered())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    make("ensemble", tmp_path / "traps")
    site = Site(tmp_path / "traps")
    program = (
        "import sys, trapline.cli.unfit as at\n"
        "from pathlib import Path\nfrom trapline.store.folder import FolderStore\n"
        "at.open_configured = lambda config: FolderStore(Path(config.bucket), config.project / 'scratch')\nat._main()\n"
    )
    monkeypatch.setattr(at, "_PROGRAM", (sys.executable, "-c", program))
    return site


def test_models_that_the_project_carries_are_not_loaded_again(site: Site) -> None:
    assert foreign(site.pipeline, site.store) == []


WRONG: dict[str, tuple[Callable[[Site], object], str]] = {
    "labels too few": (lambda site: site.card(labels=["moth"]), "labels: the card has 1 labels"),
    "an unknown field": (lambda site: site.card(treshold=0.2), "treshold: is not a field of a model card"),
    "another input": (lambda site: site.card(input={"name": "x", "width": 8, "height": 8}), "input.name: the file's"),
    "another hash": (lambda site: site.card(sha256="0" * 64), "sha256: model.onnx has sha256"),
    "no YAML": (lambda site: site.store.put(CARD, b"a: [\n"), "is not YAML"),
    "no file": (lambda site: site.store.delete(FILE), "is not whole"),
    "a file that was cut off": (
        lambda site: site.store.put(FILE, site.store.get(FILE).data[:1000]),
        "Copy the file again",
    ),
    "as many other bytes": (
        lambda site: site.store.put(FILE, bytes(len(site.store.get(FILE).data))),
        "Copy the file again",
    ),
}


@pytest.mark.parametrize(("spoil", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_model_is_told_in_one_line_with_field_and_remedy(
    site: Site, spoil: Callable[[Site], object], expected: str
) -> None:
    spoil(site)
    line = site.wrong()
    assert expected in line and line.isprintable()


@pytest.mark.parametrize("what", ["labels too few", "a file that was cut off"])
def test_a_wrong_model_is_told_with_its_stages_from_a_process_of_its_own(site: Site, what: str) -> None:
    spoil, expected = WRONG[what]
    spoil(site)
    (line,) = site.told()
    assert line.startswith(f"{NAME} 1.0.0, for the stage first: ")
    assert expected in line and line.isprintable()


def test_a_sound_model_that_the_project_does_not_carry_is_nothing_to_tell(site: Site) -> None:
    site.card(citation="Somebody, 2026.")
    assert len(foreign(site.pipeline, site.store)) == 1
    assert site.told() == []


@pytest.mark.parametrize(
    ("program", "expected"),
    [("import time; time.sleep(60)", "within 1 s"), ("import os; os.kill(os.getpid(), 11)", "ended with -11")],
)
def test_a_model_that_hangs_or_kills_is_told_and_costs_its_own_process(
    site: Site, program: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.card(citation="Somebody, 2026.")
    monkeypatch.setattr(at, "_PROGRAM", (sys.executable, "-c", program))
    (line,) = site.told(limit=1)
    assert expected in line


def test_a_current_that_names_no_version_there_is_told_with_those_there_are(site: Site) -> None:
    key = f"models/{NAME}/current"
    site.store.put(key, b"9.9.9\x1b[2J\n")
    (line,) = lacking(site.pipeline, site.store)
    assert f"{key} names '9.9.9" in line and "it has 1.0.0" in line and line.isprintable()
    assert "the stage first" in line and f"trapline models promote {NAME} VERSION" in line
    site.store.delete(key)
    (line,) = lacking(site.pipeline, site.store)
    assert f"{key} names no version" in line


def test_a_model_of_which_there_is_nothing_is_told_with_its_stages(site: Site) -> None:
    shutil.rmtree(site.config.project / "bucket" / "models" / NAME)
    (line,) = lacking(site.pipeline, site.store)
    assert f"Model {NAME} (current) is not in the bucket: jobs with the stage first are refused." in line
