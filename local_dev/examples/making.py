"""An example's folder over the sample project's files: a project that runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from trapline.errors import ConfigError
from trapline.template import copy_project

EXAMPLES = Path(__file__).resolve().parent


def names() -> list[str]:
    """The examples that there are."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/pipeline.yaml"))


def about(name: str) -> str:
    """The first paragraph of an example's README."""
    paragraphs = (EXAMPLES / name / "README.md").read_text("utf-8").split("\n\n")
    return " ".join(paragraphs[1].split())


def make(name: str, folder: Path) -> None:
    """Make the example's project in `folder`, absent or empty. Raises `ConfigError` or `SurroundingsError`."""
    if name not in names():
        raise ConfigError(f"There is no example {name!r}.", remedy=f"There are: {', '.join(names())}.")
    copy_project(folder)
    shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
