"""A data set as YOLO tools keep it: pictures under `images`, a text file for each under `labels`, names in a YAML file.

A line of a text file is `class x y width height`, the box's centre and size as shares of the picture's sides; or
`class x y x y …`, an outline, of which the box is taken.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from trapline.errors import ConfigError
from trapline.evaluation.dataset import Box, Dataset, Entry, Gathered, Mark, read_listing, within
from trapline.images import SUFFIXES
from trapline.pipeline.reading import parsed

YAMLS = ("data.yaml", "data.yml", "dataset.yaml")
_NAMES = "classes.txt"
_SPLITS = ("test", "val", "train")  # the first that the file names is taken


def is_yolo(path: Path) -> bool:
    """Whether a folder or file looks like one."""
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml")
    return any((path / name).is_file() for name in (*YAMLS, _NAMES)) and (
        (path / "labels").is_dir() or any((path / name).is_file() for name in YAMLS)
    )


def read_yolo(path: Path, images: Path | None) -> Dataset:
    """Read the folder, or the YAML file. Raises `ConfigError`; a bad line is a problem and costs itself alone."""
    file = path if path.is_file() else next((path / name for name in YAMLS if (path / name).is_file()), None)
    content = _content(file) if file else {}
    root = file.parent if file else path
    names = _names(content.get("names"), file) if file else _listed(path / _NAMES)
    folder = images or _pictures(content, root, file)
    gathered = Gathered()
    read: list[bytes] = []
    entries = []
    for picture in sorted(one for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES):
        if picture.name.startswith("."):
            continue
        text = _beside(picture, folder)
        data = read_listing(text, "the text file") if text.is_file() else b""
        read.append(data)
        name = picture.relative_to(folder).as_posix()
        entries.append(Entry(name, picture, tuple(_marks(name, data, names, gathered)), shares=True))
    if not entries:
        raise ConfigError(f"{folder}: has no pictures.", remedy="Name their folder with --images.")
    categories = tuple(dict.fromkeys(names.values()))
    return Dataset("yolo", tuple(entries), categories, tuple(gathered.problems), b"\n".join(read))


def _content(file: Path) -> dict[str, Any]:
    try:
        content = parsed(read_listing(file, "the data set").decode("utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:
        line = " ".join(str(error).split())[:120]
        raise ConfigError(f"{file}: is not YAML ({line}).", remedy="Mend the line it names.") from None
    if not isinstance(content, dict) or not content.get("names"):
        raise ConfigError(f"{file}: has no `names`.", remedy="Give the classes' names there, in order.")
    return content


def _names(given: Any, file: Path | None) -> dict[int, str]:
    if isinstance(given, list):
        return {number: str(name) for number, name in enumerate(given)}
    if isinstance(given, dict) and all(str(key).isdecimal() for key in given):
        return {int(key): str(name) for key, name in given.items()}
    raise ConfigError(f"{file}: `names` is no list of names.", remedy="Write names: [moth, beetle].")


def _listed(file: Path) -> dict[int, str]:
    try:
        lines = read_listing(file, "the list of classes").decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8.", remedy="Save it as UTF-8, one name a line.") from None
    return {number: line.strip() for number, line in enumerate(lines) if line.strip()}


def _pictures(content: dict[str, Any], root: Path, file: Path | None) -> Path:
    """The folder of the pictures to measure on."""
    base = root / str(content["path"]) if content.get("path") else root
    for split in _SPLITS:
        named = content.get(split)
        if not isinstance(named, str):
            continue
        for folder in (base / named, root / named, root / named.removeprefix("../")):  # as some exports write it
            if folder.is_dir():
                return folder
    if (root / "images").is_dir():
        return root / "images"
    raise ConfigError(
        f"{file or root}: the folder of its pictures is not found.",
        remedy="Name it with --images, or under `val` in the file.",
    )


def _beside(picture: Path, folder: Path) -> Path:
    """The picture's text file: in the `labels` that stands where the last `images` does, else beside the picture."""
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            return Path(*parts).with_suffix(".txt")
    there = within(folder.parent / "labels", picture.relative_to(folder).with_suffix(".txt").as_posix())
    return there if there is not None and there.is_file() else picture.with_suffix(".txt")


def _marks(name: str, data: bytes, names: dict[int, str], gathered: Gathered) -> list[Mark]:
    marks = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{name}, line {number}"
        box = _box(words[1:])
        if box is None or not words[0].isdecimal():
            gathered.add(where, "box_wrong", f"It reads {line[:60]!r}; a class and a box in shares of 1 are needed.")
        elif int(words[0]) not in names:
            gathered.add(where, "category_unknown", f"There is no class {words[0]}.")
        else:
            marks.append(Mark(names[int(words[0])], box, name=where))
    return marks


def _box(words: list[str]) -> Box | None:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    if not all(math.isfinite(number) for number in numbers):
        return None
    if len(numbers) == 4:
        x, y, width, height = numbers
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        box = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
    else:
        return None
    return box if box[2] > box[0] and box[3] > box[1] else None
