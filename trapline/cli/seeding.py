"""The models that functions carry: checked at every start, put into the bucket at the first."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from trapline.errors import ConfigError, NotFound
from trapline.pipeline.load import Pipeline
from trapline.store.base import Store


def seed_models(pipeline: Pipeline, store: Store) -> list[str]:
    """Put every carried model that the bucket lacks into force. Returns their names. Raises `ConfigError`."""
    seeded = []
    for name, folder in _carried(pipeline).items():
        card = _card(folder)
        data = _file(folder, card)
        if not _in_force(store, pipeline.layout.model_current(name)):
            _check(folder)
            _put(
                store,
                pipeline,
                name,
                str(card["version"]),
                {"model.yaml": (folder / "model.yaml").read_bytes(), str(card["file"]): data},
            )
            seeded.append(name)
    return seeded


def _carried(pipeline: Pipeline) -> dict[str, Path]:
    functions = {f.name: f for stage in pipeline.stages.values() for f in stage.functions.values() if f.model}
    folders = {f.model.name: pipeline.folder / "functions" / f.name / "model" for f in functions.values() if f.model}
    return {name: folder for name, folder in folders.items() if (folder / "model.yaml").is_file()}


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
        return {key: card[key] for key in ("version", "file", "sha256")}
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{_where(folder)}: the card cannot be read: {error}.", remedy="See docs/reference/function.md."
        ) from None


def _file(folder: Path, card: dict[str, Any]) -> bytes:
    path = folder / str(card["file"])
    if not path.is_file():
        raise ConfigError(
            f"{_where(folder)}: there is no {card['file']}.", remedy="Copy the model's file beside its card."
        )
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise ConfigError(
            f"{_where(folder)}: {card['file']} has sha256 {found[:16]}…, the card says {str(card['sha256'])[:16]}….",
            remedy="Put back the file that belongs to this card, or give the new model its own card and version.",
        )
    return data


def _check(folder: Path) -> None:
    from trapline.models import Model  # noqa: PLC0415 - onnxruntime is needed at the first start alone

    Model.load(folder)


def _where(folder: Path) -> str:
    return f"functions/{folder.parent.name}/model/model.yaml"


def _in_force(store: Store, key: str) -> bool:
    try:
        store.head(key)
    except NotFound:
        return False
    return True


def _put(store: Store, pipeline: Pipeline, name: str, version: str, files: dict[str, bytes]) -> None:
    for file, data in files.items():
        store.put(pipeline.layout.model(name, version, file), data)
    store.put(pipeline.layout.model_current(name), version.encode())
