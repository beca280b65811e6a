"""The model that a command names: a folder, an ONNX file with its card, or one in the bucket."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trapline.cli.place import Place
from trapline.errors import ConfigError, SurroundingsError
from trapline.models import read_card
from trapline.registry import CARD, Registry

_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,62})(?:@(\d+\.\d+\.\d+))?")


@dataclass(frozen=True)
class Chosen:
    """A model's folder, and its card where that is a file of the user's own."""

    folder: Path  # `model.yaml` and the file that it names
    own: Path | None  # None: it is a copy from the bucket


@contextmanager
def chosen_model(what: str, card: Path | None, place: Callable[[], Place]) -> Iterator[Chosen]:
    """The model that `what` names, in a folder that is there while the context is open. Raises `ConfigError`."""
    path = Path(what)
    with tempfile.TemporaryDirectory(prefix="trapline-model-") as room:
        if path.is_dir():
            if card is not None:
                raise ConfigError("--card goes with an ONNX file.", remedy=f"Put the card into {path} as {CARD}.")
            yield Chosen(path, path / CARD)
        elif path.is_file() and path.suffix.lower() in (".yaml", ".yml") and path.name == CARD:
            yield Chosen(path.parent, path)
        elif path.is_file():
            yield _with_card(path, card, Path(room))
        elif match := _NAME.fullmatch(what):
            yield _from_bucket(_bucket(place, what), match[1], match[2], Path(room))
        else:
            raise ConfigError(
                f"There is no model {what!r}.",
                remedy="Give a folder with model.yaml, an .onnx file with --card, or NAME or NAME@VERSION in a bucket.",
            )


def _bucket(place: Callable[[], Place], what: str) -> Registry:
    try:
        found = place()
        return Registry(found.store(), found.layout)
    except (ConfigError, SurroundingsError) as error:
        raise ConfigError(f"There is no folder {what!r} here, and no bucket to look in: {error}") from None


def _with_card(file: Path, card: Path | None, room: Path) -> Chosen:
    if file.suffix.lower() != ".onnx":
        raise ConfigError(
            f"{file} is no ONNX file.", remedy="Give an .onnx file with --card, or a folder with model.yaml."
        )
    beside = file.parent / CARD
    if card is None and not (beside.is_file() and read_card(beside).file == file.name):
        raise ConfigError(f"{file}: no card says what it is.", remedy="Name its card with --card FILE.")
    own = card or beside
    read = read_card(own)
    if own.name == CARD and own.parent == file.parent and read.file == file.name:
        return Chosen(file.parent, own)
    (room / CARD).write_bytes(own.read_bytes())
    shutil.copyfile(file, room / read.file)
    return Chosen(room, own)


def _from_bucket(registry: Registry, name: str, version: str | None, room: Path) -> Chosen:
    chosen = version or registry.known(name).in_force
    if not chosen:
        raise ConfigError(
            f"No version of {name} is in force.", remedy=f"Name one as {name}@VERSION; `trapline models list` has them."
        )
    data = registry.card(name, chosen)
    card = read_card(data, f"{name} {chosen}: {CARD}")
    (room / CARD).write_bytes(data)
    (room / card.file).write_bytes(registry.file(name, chosen))
    return Chosen(room, None)
