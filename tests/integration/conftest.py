"""What the tests of a whole engine share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.engine import Engine, engine, project


@pytest.fixture(scope="module")
def quick_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample project, whose jobs close when they were quiet for a few seconds."""
    return project(tmp_path_factory.mktemp("quick") / "traps")


@pytest.fixture(scope="module")
def served(quick_project: Path) -> Iterator[Engine]:
    """One engine for a whole module; each test has a job of its own."""
    with engine(quick_project, quick_project.parent / "data") as made:
        yield made
