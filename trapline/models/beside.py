"""What exporters leave in and beside an ONNX file about its model: names, sizes, colours."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from trapline.errors import ConfigError
from trapline.pipeline.reading import parsed

Found = dict[str, tuple[Any, str]]  # field of a card, dotted → its value and where it is from
WRITTEN = "written in the file"
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # as Pillow numbers them
_MOST = 10 * 2**20  # bytes of a file beside the model


def from_metadata(metadata: Mapping[str, str]) -> Found:
    """What Ultralytics and some others write into the file itself."""
    where, found = WRITTEN, Found()
    names = _literal(metadata.get("names", ""))
    if labels := _listed(names):
        found["labels"] = (labels, where)
    stride = metadata.get("stride", "")
    if stride.isdecimal() and 1 < int(stride) <= 256:
        found["stride"] = (int(stride), where)
    licence = metadata.get("license", "")
    if licence.startswith("AGPL-3.0"):
        found["licence"] = ("AGPL-3.0-only", f"{where}: {licence[:16]}")
    return found


def from_folder(folder: Path, file: str) -> Found:
    """What `config.json` and `preprocessor_config.json`, as Hugging Face's tools write them, say beside a file."""
    found = Found()
    for name, reader in (("preprocessor_config.json", _preprocessor), ("config.json", _config)):
        path = folder / name
        if path != folder / file and path.is_file() and path.stat().st_size <= _MOST:
            with suppress(OSError, ValueError, TypeError, AttributeError, KeyError, IndexError):
                said = json.loads(path.read_text("utf-8"))
                found = {**{key: (value, _told(key, name)) for key, value in reader(said).items()}, **found}
    return found


def _told(field: str, file: str) -> str:
    return f"{file} beside it" + (", for pictures of 4:3" if field == "input.max_side" else "")


def read_labels(path: Path) -> list[Any]:
    """Labels from a file: a name a line; JSON or YAML (a list, or number → name); or a CSV with the column `name`.

    A CSV's columns `rank`, `gbif` and `synonyms` (with `;` between) become the label's. Raises `ConfigError`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.", remedy="Name a file with the labels.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text.", remedy="Save it as UTF-8.") from None
    reader = {".json": _tree, ".yaml": _tree, ".yml": _tree, ".csv": _table}.get(path.suffix.lower(), _lines)
    try:
        labels = reader(text)
    except (ValueError, yaml.YAMLError, csv.Error) as error:
        line = " ".join(str(error).split())[:120]
        raise ConfigError(f"{path} cannot be read ({line}).", remedy="Write one name a line.") from None
    if not labels:
        raise ConfigError(f"{path} holds no labels.", remedy="Write one name a line, in the order of the output.")
    return labels


def _lines(text: str) -> list[Any]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _tree(text: str) -> list[Any]:
    said = parsed(text)
    for key in ("names", "id2label", "labels"):
        if isinstance(said, dict) and key in said:
            said = said[key]
    labels = _listed(said)
    if not labels:
        raise ValueError("expected a list of names, or number: name")
    return labels


def _table(text: str) -> list[Any]:
    rows = csv.DictReader(io.StringIO(text))
    if "name" not in (rows.fieldnames or ()):
        raise ValueError("its first line has no column `name`")
    return [_taxon(row) for row in rows if (row.get("name") or "").strip()]


def _taxon(row: Mapping[str, str | None]) -> Any:
    said = {key: (row.get(key) or "").strip() for key in ("name", "rank", "gbif", "synonyms")}
    if not any(said[key] for key in ("rank", "gbif", "synonyms")):
        return said["name"]
    label: dict[str, Any] = {"name": said["name"]}
    if said["rank"]:
        label["rank"] = said["rank"]
    if said["gbif"]:
        label["gbif"] = int(said["gbif"])
    if said["synonyms"]:
        label["synonyms"] = [name.strip() for name in said["synonyms"].split(";") if name.strip()]
    return label


def _literal(text: str) -> Any:
    """A Python literal as Ultralytics writes it, or JSON; None where it is neither."""
    for reader in (ast.literal_eval, json.loads):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return reader(text)
    return None


def _listed(names: Any) -> list[str]:
    """Names in the order of their numbers; empty where the numbers are not 0, 1, 2, …"""
    if isinstance(names, Mapping):
        with suppress(ValueError, TypeError):
            numbered = {int(key): str(name) for key, name in names.items()}
            return [numbered[n] for n in range(len(numbered))] if set(numbered) == set(range(len(numbered))) else []
        return []
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _preprocessor(said: Mapping[str, Any]) -> dict[str, Any]:
    """Of Transformers' image processors."""
    found: dict[str, Any] = {}
    scale = said.get("rescale_factor") if said.get("do_rescale", True) else 1.0
    found["input.scale"] = float(scale if scale is not None else 1 / 255)
    if said.get("do_normalize", False):
        found["input.mean"] = [float(value) for value in said["image_mean"]]
        found["input.std"] = [float(value) for value in said["image_std"]]
    else:
        found["input.mean"], found["input.std"] = [0.0] * 3, [1.0] * 3
    if said.get("resample") in _RESAMPLING:
        found["input.interpolation"] = _RESAMPLING[said["resample"]]
    return {**found, **_sides(said)}


def _sides(said: Mapping[str, Any]) -> dict[str, int]:
    """The size that pictures are brought to: both sides; the shorter one, of squares; or bounds for both edges."""
    size = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
    if isinstance(size, int):
        size = {"shortest_edge": size, "longest_edge": said.get("max_size")}
    if not isinstance(size, Mapping):
        return {}
    short, long = size.get("shortest_edge"), size.get("longest_edge")
    if short and long:  # a card has the longer side alone: what it is for a camera's pictures, 4:3
        return {"input.max_side": min(int(long), round(int(short) * 4 / 3))}
    height, width = size.get("height", short), size.get("width", short)
    return {"input.height": int(height), "input.width": int(width)} if height and width else {}


def _config(said: Mapping[str, Any]) -> dict[str, Any]:
    """Of Transformers' models, and of timm's on the Hugging Face Hub."""
    found: dict[str, Any] = {}
    if labels := _listed(said.get("id2label") or said.get("label_names") or []):
        found["labels"] = labels
    timm = said.get("pretrained_cfg")
    if isinstance(timm, Mapping):
        found["input.scale"] = 1 / 255
        found["input.mean"] = [float(value) for value in timm["mean"]]
        found["input.std"] = [float(value) for value in timm["std"]]
        found["input.height"], found["input.width"] = (int(side) for side in timm["input_size"][1:])
        if timm.get("interpolation") in _RESAMPLING.values():
            found["input.interpolation"] = timm["interpolation"]
    return found
