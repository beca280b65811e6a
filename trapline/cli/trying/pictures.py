"""What a trial leaves in a folder: the pictures with their boxes, and the files that functions wrote."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image as Pillow

from trapline.cli.trying.files import LocalFile
from trapline.cli.trying.findings import boxed, caption_of, label_of, told
from trapline.cli.trying.running import Result
from trapline.errors import ConfigError, Failure, SurroundingsError
from trapline.images import Image
from trapline.images.drawing import Colours, Mark, drawn

_OURS = b"drawn by trapline try"  # the comment in the pictures, by which the next run knows them
_FILES = ".files"  # ends the name of the folder for what a function wrote about an image
_QUALITY = 88
_NOTES = 6  # lines of other findings in a picture's corner


@dataclass
class Folder:
    """Where pictures go. Nothing is overwritten but what an earlier run put there."""

    path: Path
    max_pixels: int
    pictures: int = 0
    files: int = 0
    _inputs: set[Path] = field(default_factory=set)
    _colours: Colours = field(default_factory=Colours)
    _names: dict[str, str] = field(default_factory=dict)  # a file's name → its picture's, without suffix

    def expect(self, files: Iterable[LocalFile]) -> None:
        """Refuse, before anything runs, what would overwrite somebody's file. Raises `ConfigError`."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--out: {self.path} is not a folder.", remedy="Name another one.")
        files, taken = list(files), set[str]()
        self._inputs = {file.path.resolve() for file in files}
        for file in files:
            stem, number = str(Path(file.name).with_suffix("")), 1
            name = stem
            while name.lower() in taken:
                number += 1
                name = f"{stem}-{number}"
            taken.add(name.lower())
            self._names[file.name] = name
            self._check(self._picture(file))

    def keep(self, result: Result) -> None:
        """Write what belongs to one result. Raises `SurroundingsError` where the folder cannot be written to."""
        place = self.path if result.file is None else self.path / f"{self._names[result.file.name]}{_FILES}"
        for file in result.files:
            self._write(place / file.name, file.data)
            self.files += 1
        if result.file is not None and result.failure is None:
            try:
                picture = self._drawn(result)
            except Failure:
                return  # the function did not look at the image, which cannot be read
            self._write(self._picture(result.file), picture)
            self.pictures += 1

    def _picture(self, file: LocalFile) -> Path:
        return self.path / f"{self._names[file.name]}.jpg"

    def _drawn(self, result: Result) -> bytes:
        image = Image(result.data, max_pixels=self.max_pixels)
        known = result.raw.get("known", {})
        marks = [Mark(box, label_of(found), caption_of(found)) for found, box in boxed(known)]
        pixels = drawn(image.full(), marks, told(result.added)[:_NOTES], self._colours)
        stream = io.BytesIO()
        Pillow.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, comment=_OURS)
        return stream.getvalue()

    def _check(self, path: Path) -> None:
        self._check_input(path)
        if path.exists() and not _is_ours(path):
            raise ConfigError(
                f"{path} is there already, and was not drawn by `trapline try`.",
                remedy="Name another folder with --out.",
            )

    def _check_input(self, path: Path) -> None:
        if path.resolve() in self._inputs:
            raise ConfigError(f"{path} is one of the images that are tried.", remedy="Name another folder with --out.")

    def _write(self, path: Path, data: bytes) -> None:
        self._check_input(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise SurroundingsError(
                f"{path} cannot be written: {error.strerror}.", remedy="Name another folder with --out."
            ) from error


def made_by_trial(path: Path, folder: Path) -> bool:
    """Whether a file in a folder for pictures is what an earlier trial left there."""
    if not path.resolve().is_relative_to(folder.resolve()):
        return False
    return _is_ours(path) or any(parent.name.endswith(_FILES) for parent in path.parents)


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _OURS in stream.read(4096)
    except OSError:
        return False
