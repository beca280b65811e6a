"""The projects that are measured: the sample functions, and functions that do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from trapline.template import copy_project

BUCKET = "bench"
EMPTY_STAGES = ("first", "second")

_HANDLER = '''"""A function that does nothing."""


class Empty:
    def handle(self, items):
        return [{} for _ in items]
'''


def sample(folder: Path, workers: int, root: str = "") -> Path:
    """Find insects, name them, compile: the sample pipeline without what speaks to the outside."""
    copy_project(folder)
    stages: dict[str, dict[str, object]] = {
        "detect": {"function": "detect", "from": "incoming/", "to": "detections/"},
        "classify": {
            "function": "classify",
            "from": "detections/",
            "to": "classifications/",
            "when": {"label": ["insect"], "confidence": 0.2},
        },
        "compile": {"function": "compile", "from": "classifications/", "to": "results/", "gather": "job"},
    }
    return _written(folder, stages, workers, root)


def empty(folder: Path, workers: int, root: str = "") -> Path:
    """Two stages whose function returns at once, and the sample's compile."""
    copy_project(folder)
    function = folder / "functions" / "empty"
    function.mkdir()
    (function / "handler.py").write_text(_HANDLER)
    settings = {
        "name": "empty",
        "version": "1.0.0",
        "handler": "functions.empty.handler:Empty",
        "accepts": "image",
        "batch": {"size": 64},
    }
    (function / "function.yaml").write_text(yaml.safe_dump(settings))
    first, second = EMPTY_STAGES
    stages = {
        first: {"function": "empty", "from": "incoming/", "to": f"{first}/"},
        second: {"function": "empty", "from": f"{first}/", "to": f"{second}/"},
        "compile": {"function": "compile", "from": f"{second}/", "to": "results/", "gather": "job"},
    }
    return _written(folder, stages, workers, root)


def _written(folder: Path, stages: Mapping[str, Mapping[str, object]], workers: int, root: str) -> Path:
    spec: dict[str, object] = {
        "name": "bench",
        "bucket": BUCKET,
        "triggers": ["folder"],
        "stages": stages,
        "executor": "local",
        "local": {"workers": workers},
    }
    if root:
        spec["root"] = root
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return folder
