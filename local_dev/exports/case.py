"""One exported network with its library's answers, and how it is written down. No library of networks is known here."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from functions.train.scenes import Look, make

Array = NDArray[Any]

SIDE = 128  # of the detectors' inputs, pixels
LABELS = ("moth", "beetle", "lacewing")
# Name to size in pixels: one that only needs padding, one that is scaled up by 2, one scaled down to odd sizes.
PICTURES = {"plain": (128, 80), "small": (64, 50), "odd": (191, 131)}
WHOLE = ("yolov5", "yolov8", "timm")  # whose networks are kept; of the others, which are larger, their outputs alone
FED = "yolov8n"  # of which the library's own input is kept too


@dataclass(frozen=True)
class Case:
    """What a library exported, and what it makes of the pictures."""

    name: str
    card: dict[str, Any]  # the fields of a model card that say how to read it
    content: bytes  # the ONNX file
    packages: tuple[str, ...]  # whose versions matter
    fed: Array  # what the library itself feeds the network for the pictures, in their order
    answers: Sequence[Array]  # per picture n x 6: corners in input pixels, score, label; or the scores or the vector
    pictured: Sequence[Array] = ()  # the same in full pixels, by the library's own predictor from picture to box
    roles: dict[str, str | None] = field(default_factory=lambda: {"predictions": None})  # to outputs; none: the first
    box: tuple[int, int, int, int] | None = None  # the part of each picture that a classifier looks at
    versions: dict[str, str] = field(default_factory=dict)  # of packages that are not those installed


def pictures() -> dict[str, Image.Image]:
    """The pictures that every network sees."""
    drawn = {}
    for number, (name, size) in enumerate(PICTURES.items()):
        scene = make(Look(640, 400, insects=9, noise=0.0, clutter=False), np.random.default_rng(number)).picture
        drawn[name] = scene.resize(size, Image.Resampling.LANCZOS).quantize(64).convert("RGB")
    return drawn


def run(content: bytes, fed: Array, names: Sequence[str] | None = None) -> list[Array]:
    """What the exported file makes of what it is fed, one picture at a time where it takes no more."""
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    step = source.shape[0] if isinstance(source.shape[0], int) else len(fed)
    parts = [session.run(names, {source.name: fed[at : at + step]}) for at in range(0, len(fed), step)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def without_notes(content: bytes) -> bytes:
    """The same network without what exporters note about every step in between."""
    model = onnx.load_from_string(content)
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return bytes(model.SerializeToString())


def write(case: Case, folder: Path) -> str:
    """Write a case's files into `folder`, and say what was written."""
    own = folder / case.name
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    names = list(case.roles.values())
    outputs = run(case.content, case.fed, None if None in names else [name or "" for name in names])
    arrays = {f"output_{role}": array for role, array in zip(case.roles, outputs, strict=False)}
    for kind, rows in (("answer", case.answers), ("pictured", case.pictured)):
        arrays |= {f"{kind}_{at}": np.asarray(row, np.float32) for at, row in enumerate(rows)}
    if case.name == FED:
        arrays["fed"] = np.rint(case.fed * 255).astype(np.uint8)
    np.savez_compressed(own / "case.npz", **arrays)
    told = {
        "card": case.card,
        "network": _kept(case.content, folder / "networks") if case.name.startswith(WHOLE) else None,
        "bytes_of_the_network": len(case.content),
        "pictures": list(PICTURES),
        "box": case.box,
        "made_with": {name: importlib.metadata.version(name) for name in case.packages} | case.versions,
    }
    (own / "case.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return (
        f"{case.name}: {len(case.content)} bytes of network; found {', '.join(str(len(one)) for one in case.answers)}"
    )


def _kept(content: bytes, folder: Path) -> str:
    """The name of the file in which the network is kept; cases may share one."""
    folder.mkdir(exist_ok=True)
    name = f"{hashlib.sha256(content).hexdigest()[:12]}.onnx"
    (folder / name).write_bytes(content)
    return name


def prune(folder: Path) -> None:
    """Remove networks that no case names any more."""
    named = {json.loads(file.read_text(encoding="utf-8"))["network"] for file in folder.glob("*/case.json")}
    for file in (folder / "networks").glob("*.onnx"):
        if file.name not in named:
            file.unlink()
