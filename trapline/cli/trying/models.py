"""Where a tried function gets its model from: the functions' own folders, a folder that is named, the data folder.

Everything is read only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.errors import ConfigError
from trapline.keys import Layout
from trapline.pipeline.reading import did_you_mean
from trapline.records import ModelRef
from trapline.registry import in_force

if TYPE_CHECKING:
    from trapline.models import Model

_CARD = "model.yaml"


@dataclass(frozen=True)
class Found:
    """A model on this machine."""

    ref: ModelRef
    folder: Path  # or the file itself, where it has no card
    kind: str  # detector, classifier, …


@dataclass
class LocalModels:
    """The models that a project's machine has. `load` is what the runtime asks for."""

    project: Path
    bucket: Path  # the embedded bucket's folder; it need not be there
    layout: Layout
    notes: list[str] = field(default_factory=list)  # what a person should know of a model
    _found: dict[ModelRef, Found] = field(default_factory=dict)  # one file may stand under two cards
    _loaded: dict[ModelRef, Model] = field(default_factory=dict)

    def load(self, ref: ModelRef) -> Model:
        """The model, once per process. Raises `ConfigError`."""
        from trapline.models import Model  # noqa: PLC0415 - a function without a model does not wait for onnxruntime

        if ref not in self._loaded:
            self._loaded[ref] = Model.load(self._found[ref].folder)
        return self._loaded[ref]

    def where(self, ref: ModelRef) -> str:
        """Where a model came from, as a person would name it."""
        folder = self._found[ref].folder
        for base in (self.project, Path.cwd()):
            if folder.is_relative_to(base):
                return folder.relative_to(base).as_posix()
        return str(folder)

    def chosen(self, named: str) -> Found:
        """The model that `--model` names: a folder, an ONNX file, or NAME[@VERSION]."""
        path = Path(named).expanduser()
        if path.suffix == ".onnx" or path.is_file():
            return self._of_file(path)
        if path.is_dir():
            return self._read(path)
        name, _, version = named.partition("@")
        return self.needed(name, version or "current", "", asked=named)

    def needed(self, name: str, version: str, function: str, *, asked: str = "") -> Found:
        """The model that a function names. Carried by a function, else in the data folder. Raises `ConfigError`."""
        for folder in self._carried(function):
            found = self._read(folder) if folder.parent.name == function else self._try(folder)
            if found and found.ref.name == name and version in ("current", found.ref.version):
                return found
        stored = self._stored(name, version)
        if stored is not None:
            return self._read(stored)
        raise self._missing(name, version, function, asked)

    def _carried(self, function: str) -> list[Path]:
        """The functions' `model/` folders, the function's own first."""
        folders = sorted(path.parent for path in (self.project / "functions").glob(f"*/model/{_CARD}"))
        return sorted(folders, key=lambda folder: folder.parent.name != function)

    def _stored(self, name: str, version: str) -> Path | None:
        """The folder of a version in the embedded bucket."""
        if version == "current":
            try:
                version = in_force((self.bucket / self.layout.model_current(name)).read_bytes())
            except (OSError, ValueError):
                return None
        card = self.bucket / self.layout.model(name, version, _CARD)
        return card.parent if version and card.is_file() else None

    def _of_file(self, path: Path) -> Found:
        if not path.is_file():
            raise ConfigError(f"--model: there is no file {path}.", remedy="Name an ONNX file, or a model's folder.")
        if self._card_file(path.parent) == path.name:
            return self._read(path.parent)
        from trapline.cli.trying.guessing import guessed_model  # noqa: PLC0415

        model, line = guessed_model(path)
        self.notes.append(line)
        card = model.card
        found = Found(ModelRef(name=card.name, version=card.version, sha256=card.sha256), path, card.kind)
        self._found[found.ref], self._loaded[found.ref] = found, model
        return found

    def _card_file(self, folder: Path) -> str:
        """The file that a folder's card is of; empty where there is no card."""
        from trapline.models import read_card  # noqa: PLC0415

        return read_card(folder / _CARD).file if (folder / _CARD).is_file() else ""

    def _read(self, folder: Path) -> Found:
        from trapline.models import read_card  # noqa: PLC0415

        card = read_card(folder / _CARD)
        found = Found(ModelRef(name=card.name, version=card.version, sha256=card.sha256), folder, card.kind)
        self._found.setdefault(found.ref, found)
        return found

    def _try(self, folder: Path) -> Found | None:
        """Another function's model; what is wrong with it is not this function's business."""
        try:
            return self._read(folder)
        except ConfigError:
            return None

    def _missing(self, name: str, version: str, function: str, asked: str) -> ConfigError:
        have = sorted({found.ref.name for found in self._all()} | set(self._stored_names()))
        listed = f"Found: {', '.join(have) or 'none'}.{did_you_mean(name, have)}"
        wanted = repr(name) if version == "current" else f"{name!r} {version}"
        if asked:
            return ConfigError(
                f"--model: there is no model {wanted} on this machine, and no folder {asked}.",
                remedy=f"{listed} Or name a folder with a model.yaml.",
            )
        return ConfigError(
            f"functions/{function}/function.yaml: the model {wanted} is not on this machine.",
            remedy=f"{listed} Put it into functions/{function}/model/, or name its folder with --model.",
        )

    def _all(self) -> Iterator[Found]:
        for folder in self._carried(""):
            found = self._try(folder)
            if found:
                yield found

    def _stored_names(self) -> Iterator[str]:
        folder = self.bucket / self.layout.prefix("models")
        if folder.is_dir():
            yield from (path.parent.name for path in folder.glob("*/current"))
