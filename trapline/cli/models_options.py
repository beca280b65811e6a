"""What is typed after `trapline models add`, as fields of a card. Every wrong option is one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trapline.errors import ConfigError
from trapline.models import checked_card
from trapline.models.beside import read_labels
from trapline.models.outputs import KINDS
from trapline.models.proposing import PRESET_WORDS, PRESETS
from trapline.pipeline.reading import did_you_mean, parsed
from trapline.registry import CARD, FIRST, card_fields

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_OWN = ("schema", "version", "file", "sha256", "input.name", "input.layout", "input.dtype", "outputs", "dimensions",
        "training", "quality")  # fmt: skip
_SOUND: dict[str, Any] = {  # the other fields of a card of which two are looked at
    "name": "m", "version": FIRST, "sha256": "0" * 64, "kind": "embedder", "head": "embedding",
    "input": {"width": 8, "height": 8}, "licence": "-",
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,5})(?:[xX×](\d{1,5}))?")


@dataclass(frozen=True)
class Wanted:
    """The options, as typed."""

    file: Path
    name: str | None = None
    version: str | None = None
    kind: str | None = None
    head: str | None = None
    labels: str | None = None
    labels_file: Path | None = None
    licence: str | None = None
    size: str | None = None
    preset: str | None = None
    mean: str | None = None
    std: str | None = None
    threshold: float | None = None
    tiles: str | None = None
    set: tuple[str, ...] = ()
    card: Path | None = None
    sample: Path | None = None
    promote: bool = False
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class Source:
    """The file to add, and the card that came with it."""

    path: Path
    data: bytes
    card: dict[str, Any]  # dotted fields; empty: none came
    whole: bool  # the card is this file's own, version and hash included


def read_source(wanted: Wanted) -> Source:
    """The model's bytes, and the fields of the card beside it or of `--card`. Raises `ConfigError`."""
    path, whole = wanted.file.expanduser(), False
    card: dict[str, Any] = {}
    if path.is_dir():
        path, card = _of_folder(path)
        whole = bool(card)
    if wanted.card is not None:
        card = {**card, **_without_own(flat(_read_card(wanted.card.expanduser())))}
    if path.suffix.lower() in (".pt", ".pth", ".pkl", ".ckpt", ".safetensors"):
        raise ConfigError(
            f"{path} is a checkpoint, not an ONNX file.",
            remedy=f"Export it first: `trapline models export {path} --out {path.stem}.onnx`.",
        )
    try:
        return Source(path, path.read_bytes(), card, whole)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", remedy="Name the .onnx file.") from None


def given_fields(wanted: Wanted, card: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a person has said about the card, as dotted fields; options go before `--card`."""
    given = {key: value for key, value in card.items() if key not in ("schema", "name", "version", "file")}
    given.update(_plain(wanted))
    if wanted.labels is not None and wanted.labels_file is not None:
        raise ConfigError("--labels and --labels-file both name the labels.", remedy="Give one of them.")
    if wanted.labels is not None:
        given["labels"] = labels_of(wanted.labels)
    if wanted.labels_file is not None:
        given["labels"] = read_labels(wanted.labels_file.expanduser())
    if wanted.size is not None:
        given["input.width"], given["input.height"] = size_of(wanted.size)
    for name, text in (("mean", wanted.mean), ("std", wanted.std)):
        if text is not None:
            given[f"input.{name}"] = _three(f"--{name}", text)
    if wanted.tiles is not None:
        given.update({f"tiles.{key}": value for key, value in _tiles(wanted.tiles).items()})
    for text in wanted.set:
        name, value = _setting(text)
        given.update(flat(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return given


def check_name(name: str, said: str = "--name") -> str:
    """A model's name, as `said` gave it. Raises `ConfigError`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{said}: {name!r} is not a model's name.",
            remedy="Write lower-case letters, digits and hyphens, at most 63, such as moth-detector.",
        )
    return name


def check_version(version: str) -> str:
    """A version. Raises `ConfigError`."""
    if not re.fullmatch(r"\d{1,9}\.\d{1,9}\.\d{1,9}", version):
        raise ConfigError(f"--version: {version!r} is not a version.", remedy="Write three numbers, such as 1.2.0.")
    return version


def labels_of(text: str) -> list[Any]:
    """Labels with commas between, or a file of them."""
    labels = [label.strip() for label in text.split(",")]
    if "" in labels:
        raise ConfigError(f"--labels: {text!r} has an empty name.", remedy="Write names with single commas between.")
    path = Path(labels[0]).expanduser()
    if len(labels) == 1 and path.suffix in (".txt", ".json", ".yaml", ".yml", ".csv"):
        return read_labels(path)
    return list(labels)


def size_of(text: str) -> tuple[int, int]:
    """`640x480`, or `640` for a square: width, height. Raises `ConfigError`."""
    match = _SIZE.fullmatch(text.strip())
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (8 <= width <= 8192 and 8 <= height <= 8192):
        raise ConfigError(f"--size: {text!r} is not a size.", remedy="Write WIDTHxHEIGHT in pixels, such as 640x640.")
    return width, height


def preset_of(text: str) -> str:
    """A preset's name. Raises `ConfigError`."""
    if text not in PRESETS:
        raise ConfigError(
            f"--preset: there is no preset {text!r}.",
            remedy=f"There are {PRESET_WORDS}.{did_you_mean(text, PRESETS)}",
        )
    return text


def flat(card: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A card's fields, those of `input`, `nms` and `tiles` dotted."""
    made: dict[str, Any] = {}
    for key, value in card.items():
        inner = not before and key in ("input", "nms", "tiles") and isinstance(value, dict)
        made.update(flat(value, f"{key}.") if inner else {f"{before}{key}": value})
    return made


def _plain(wanted: Wanted) -> dict[str, Any]:
    if wanted.kind is not None and wanted.kind not in KINDS.values():
        raise ConfigError(
            f"--kind: there is no kind {wanted.kind!r}.", remedy="There are detector, classifier and embedder."
        )
    if wanted.head is not None and wanted.head not in KINDS:
        raise ConfigError(
            f"--head: there is no head {wanted.head!r}.",
            remedy=f"There are {', '.join(KINDS)}.{did_you_mean(wanted.head, KINDS)}",
        )
    said = {"kind": wanted.kind, "head": wanted.head, "licence": wanted.licence, "threshold": wanted.threshold}
    return {key: value for key, value in said.items() if value is not None}


def _of_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The ONNX file of a folder, and its card's fields."""
    if (folder / CARD).is_file():
        card = _read_card(folder / CARD)
        own: dict[str, Any] = {key: card[key] for key in ("schema", "file") if key in card}
        checked_card({**_SOUND, **own}, str(folder / CARD))
        return folder / str(card.get("file", "model.onnx")), flat(card)
    files = sorted(folder.glob("*.onnx"))
    if len(files) != 1:
        found = ", ".join(path.name for path in files[:3]) or "none"
        raise ConfigError(
            f"{folder} is a folder with {len(files)} ONNX files ({found}) and no {CARD}.",
            remedy="Name the .onnx file itself.",
        )
    return files[0], {}


def _read_card(path: Path) -> dict[str, Any]:
    try:
        return card_fields(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", remedy="Name a model.yaml.") from None


def _without_own(card: dict[str, Any]) -> dict[str, Any]:
    """A card's fields without what is one file's own: its form, and what was measured of it."""
    return {key: value for key, value in card.items() if key not in _OWN}


def _three(option: str, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise ConfigError(f"{option}: {text!r} is not one number or three.", remedy="Write 0.485,0.456,0.406.")
    return values * (3 // len(values))


def _tiles(text: str) -> dict[str, Any]:
    size, *rest = text.split(":")
    try:
        made: dict[str, Any] = {"size": int(size)}
        if rest and rest[0]:
            made["overlap"] = float(rest[0])
        if rest[1:]:
            made["scales"] = [float(scale) for scale in rest[1].split(",")]
        if rest[2:]:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"--tiles: {text!r} is not SIZE[:OVERLAP[:SCALES]].", remedy="Write 640, 640:0.2 or 640:0.2:1.0,0.5."
        ) from None
    return made


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-z][a-z_]*(\.[a-z][a-z_]*)?", name.strip()):
        raise ConfigError(f"--set: {text!r} is not FIELD=VALUE.", remedy="Write for example --set input.margin=0.1.")
    if name.strip() in ("name", "version", "file", "sha256", "schema"):
        raise ConfigError(f"--set: {name.strip()} is not set so.", remedy="Use --name or --version.")
    try:
        return name.strip(), parsed(value)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(
            f"--set: {value!r} is not a value in YAML.", remedy="Write a number, a word, or [a, list]."
        ) from None
