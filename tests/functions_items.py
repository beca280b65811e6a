"""What the runtime hands to a function for one image, in memory: the files it writes are kept in `files`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trapline.images import Image
from trapline.pipeline.parameters import resolve_parameters
from trapline.pipeline.spec import FunctionSpec

FUNCTIONS = Path(__file__).resolve().parents[1] / "functions"


def parameters(function: str, **given: Any) -> dict[str, Any]:
    """A function's parameters with defaults, as the pipeline checks them. Raises what the pipeline raises."""
    spec = FunctionSpec.model_validate(yaml.safe_load((FUNCTIONS / function / "function.yaml").read_text()))
    return resolve_parameters(spec, given, f"stages.{function}.parameters")


@dataclass
class Item:
    """One image of a per-image stage."""

    image: Image
    detections: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    records: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, name: str, data: bytes, content_type: str = "application/octet-stream") -> dict[str, Any]:
        assert name not in self.files
        self.files[name] = data
        digest = hashlib.sha256(data).hexdigest()
        return {"key": f"files/x/{name}", "size": len(data), "sha256": digest, "content_type": content_type}


def detection(ident: str, *box: float, confidence: float = 0.9) -> dict[str, Any]:
    return {"id": ident, "box": list(box), "label": "insect", "confidence": confidence}
