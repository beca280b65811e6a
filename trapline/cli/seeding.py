"""The models that a project carries, in functions/<name>/model and models/<name>: checked at every start, put into the
bucket at the first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from trapline.cli import words
from trapline.errors import ConfigError, NotFound
from trapline.pipeline.load import Pipeline
from trapline.pipeline.reading import shown
from trapline.pipeline.recipe import needed_models
from trapline.registry import CARD, Kept, Registry
from trapline.store.base import Store

_PAGE = "docs/reference/model.md"


def seed_models(pipeline: Pipeline, store: Store) -> list[str]:
    """Put every carried model that the bucket lacks into force. Returns their names. Raises `ConfigError`."""
    seeded, registry = [], Registry(store, pipeline.layout)
    for name, folder in carried(pipeline).items():
        card = _card(folder, name)
        data = _file(folder, card)
        if not registry.model(name).in_force:
            _check(folder, data)
            if not registry.whole(name, card["version"]):
                registry.put(name, card["version"], {CARD: (folder / CARD).read_bytes(), card["file"]: data})
            registry.promote(name, card["version"])
            seeded.append(name)
    return seeded


@dataclass(frozen=True)
class Needed:
    """A model that stages name, as it is in the bucket now."""

    name: str
    said: str  # the version as a stage writes it, or `current`
    version: str  # the one that this stands for; empty where it stands for none
    used_by: str  # its stages, in words


def lacking(pipeline: Pipeline, store: Store) -> list[str]:
    """What to do about each model that a stage names and the bucket lacks; jobs that need it are refused until then."""
    registry = Registry(store, pipeline.layout)
    return [line for one in _needed(pipeline, registry) if (line := _lacks(one, registry.model(one.name), pipeline))]


def foreign(pipeline: Pipeline, store: Store) -> list[Needed]:
    """The models that stages need and the bucket has, but for those that the project carries byte for byte."""
    registry, own = Registry(store, pipeline.layout), carried(pipeline)
    return [
        one
        for one in _needed(pipeline, registry)
        if one.version in registry.model(one.name).versions and not _same(one, own.get(one.name), pipeline, store)
    ]


def _needed(pipeline: Pipeline, registry: Registry) -> list[Needed]:
    users: dict[tuple[str, str], list[str]] = {}
    for stage in pipeline.stages.values():
        for choice in (stage.model(function) for function in stage.functions):
            if choice and stage.name not in users.setdefault((choice.name, choice.version), []):
                users[(choice.name, choice.version)].append(stage.name)
    return [
        Needed(
            name,
            said,
            registry.model(name).in_force if said == "current" else said,
            f"the stage{'s' * (len(stages) > 1)} {', '.join(stages)}",
        )
        for (name, said), stages in sorted(users.items())
    ]


def _lacks(one: Needed, kept: Kept, pipeline: Pipeline) -> str:
    """Why no version of a model can be chosen for its stages; empty where one is."""
    if one.version in kept.versions:
        return ""
    refused = f"jobs with {one.used_by} are refused"
    if not kept.versions or one.said != "current":
        has = f"; it has {', '.join(kept.versions)}" if kept.versions else ""
        return words.safe(
            f"Model {one.name} ({one.said}) is not in the bucket{has}: {refused}. "
            f"Add it with `trapline models add FILE --name {one.name}`, or correct the stage's `model`."
        )
    key = pipeline.layout.model_current(one.name)
    names = f"{shown(one.version)}, which is not in the bucket" if one.version else "no version"
    return words.safe(
        f"Model {one.name}: {key} names {names}; it has {', '.join(kept.versions)}: {refused}. "
        f"Choose one with `trapline models promote {one.name} VERSION`."
    )


def _same(one: Needed, folder: Path | None, pipeline: Pipeline, store: Store) -> bool:
    """Whether the bucket holds the carried card and file; these are looked at whenever they are put there."""
    if folder is None:
        return False
    card = _card(folder, one.name)
    files = {name: pipeline.layout.model(one.name, one.version, name) for name in (CARD, card["file"])}
    try:
        return all(
            store.head(key).size == (folder / name).stat().st_size
            and store.get(key).data == (folder / name).read_bytes()
            for name, key in files.items()
        )
    except (NotFound, OSError):
        return False


def carried(pipeline: Pipeline) -> dict[str, Path]:
    """Model name → the folder that it is carried in: its function's, or one of its own under models/."""
    functions = {f.name: f for stage in pipeline.stages.values() for f in stage.functions.values() if f.model}
    folders = {f.model.name: pipeline.folder / "functions" / f.name / "model" for f in functions.values() if f.model}
    others = {name: pipeline.folder / "models" / name for name, _ in needed_models(pipeline)}
    return {name: folder for name, folder in (*sorted(others.items()), *folders.items()) if folder.exists()}


def _card(folder: Path, name: str) -> dict[str, str]:
    """What of a card is needed at every start; the whole card is checked at the first."""
    path = folder / CARD
    if not path.is_file():
        raise _wrong(folder, "there is no such file", f"Put the model's card there; see {_PAGE}.")
    try:
        card = yaml.safe_load(path.read_bytes())
        found = {key: str(card[key]) for key in ("name", "version", "file", "sha256")}
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError):
        found = _read_whole(folder)
    if found["name"] != name:
        own = folder.parent.name != "models"
        named = f"functions/{folder.parent.name}/function.yaml names" if own else "its folder is"
        raise _wrong(folder, f"name: it says {found['name']!r}, but {named} {name!r}", "Change one of them.")
    return found


def _file(folder: Path, card: dict[str, str]) -> bytes:
    try:
        data = (folder / card["file"]).read_bytes()
    except OSError as error:
        remedy = "Copy the model's file beside its card."
        raise _wrong(folder, f"file: {card['file']} cannot be read ({error.strerror})", remedy) from None
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise _wrong(
            folder,
            f"sha256: {card['file']} has {found[:16]}…, the card says {card['sha256'][:16]}…",
            "Put back the file that belongs to this card, or give the new model its own card and version.",
        )
    return data


def _read_whole(folder: Path) -> dict[str, str]:
    """A card that the quick look did not understand, read by those who say what is wrong with it."""
    from trapline.models import read_card  # noqa: PLC0415 - onnxruntime is not needed where all is well

    card = read_card(folder / CARD, _where(folder))
    return {"name": card.name, "version": card.version, "file": card.file, "sha256": card.sha256}


def _check(folder: Path, data: bytes) -> None:
    from trapline.models import check_model, read_card  # noqa: PLC0415 - onnxruntime is needed at the first start alone

    check_model(read_card(folder / CARD, _where(folder)), data)


def _wrong(folder: Path, problem: str, remedy: str) -> ConfigError:
    return ConfigError(f"{_where(folder)}: {problem}.", remedy=remedy)


def _where(folder: Path) -> str:
    above = folder.parent
    return f"models/{folder.name}/model.yaml" if above.name == "models" else f"functions/{above.name}/model/model.yaml"
