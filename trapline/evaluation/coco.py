"""A data set as COCO writes it: one JSON file with images, annotations and categories."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trapline.errors import ConfigError
from trapline.evaluation.dataset import Box, Dataset, Entry, Gathered, Mark, read_listing, within

_PARTS = ("images", "annotations", "categories")


def read_coco(file: Path, images: Path | None) -> Dataset:
    """Read the file; its pictures lie in `images`, else beside it or in a folder `images` there.

    Raises `ConfigError` where it is no such file. A bad image or annotation is a problem and costs itself alone.
    """
    data = read_listing(file, "the data set")
    content = _content(file, data)
    gathered = Gathered()
    categories = _categories(file, content["categories"], gathered)
    marks: dict[Any, list[Mark]] = {}
    pictures = list(_pictures(content["images"], gathered))
    for picture in pictures:
        marks[picture["id"]] = []
    for number, row in enumerate(content["annotations"]):
        _add(row, number, categories, marks, gathered)
    folder = images or _folder(file, pictures)
    entries = []
    for picture in sorted(pictures, key=_by_id):
        name = str(picture["file_name"])
        path = within(folder, name)
        if path is None:
            gathered.add(
                name or f"image {picture['id']}", "name_unusable", "Its file_name leads out of the folder of images."
            )
            continue
        entries.append(Entry(name, path, tuple(marks[picture["id"]]), _size(picture)))
    names = tuple(dict.fromkeys(categories.values()))
    return Dataset("coco", tuple(entries), names, tuple(gathered.problems), data)


def _content(file: Path, data: bytes) -> dict[str, list[Any]]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        line = " ".join(str(error).split())[:120]
        raise ConfigError(f"{file}: is not JSON ({line}).", remedy="Give a COCO file, or a folder of images.") from None
    if isinstance(content, list):
        raise ConfigError(
            f"{file}: is a list, as files of detections are, not a data set.",
            remedy="Give the file with images, annotations and categories.",
        )
    for part in _PARTS:
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise ConfigError(
                f"{file}: has no list `{part}`.",
                remedy="A COCO file has three: images, annotations and categories.",
            )
    for part in ("images", "categories"):
        if not content[part]:
            raise ConfigError(f"{file}: `{part}` is empty.", remedy="Nothing can be measured on it; give another file.")
    return {part: content[part] for part in _PARTS}


def _categories(file: Path, rows: list[Any], gathered: Gathered) -> dict[Any, str]:
    named: dict[Any, str] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not _is_id(row.get("id")) or not isinstance(row.get("name"), str):
            gathered.add(f"categories[{number}]", "category_wrong", "It lacks an id or a name.")
        elif row["id"] in named:
            gathered.add(f"categories[{number}]", "category_wrong", f"The id {row['id']!r} is there twice.")
        else:
            named[row["id"]] = row["name"]
    if not named:
        raise ConfigError(
            f"{file}: no category has an id and a name.", remedy='Write them as {"id": 1, "name": "moth"}.'
        )
    return named


def _pictures(rows: list[Any], gathered: Gathered) -> Iterator[dict[str, Any]]:
    seen: set[Any] = set()
    for number, row in enumerate(rows):
        where = f"images[{number}]"
        if not isinstance(row, dict) or not _is_id(row.get("id")) or not isinstance(row.get("file_name"), str):
            gathered.add(where, "image_wrong", "It lacks an id or a file_name.")
        elif row["id"] in seen:
            gathered.add(row["file_name"], "listed_twice", f"Another image has the id {row['id']!r} too.")
        else:
            seen.add(row["id"])
            yield row


def _add(row: Any, number: int, categories: dict[Any, str], marks: dict[Any, list[Mark]], gathered: Gathered) -> None:
    name = f"annotation {row['id']}" if isinstance(row, dict) and _is_id(row.get("id")) else f"annotations[{number}]"
    if not isinstance(row, dict):
        gathered.add(name, "annotation_wrong", "It is not an object.")
        return
    picture, category = row.get("image_id"), row.get("category_id")
    if not _is_id(picture) or picture not in marks:
        gathered.add(name, "image_unknown", f"Its image_id {picture!r} is no image of the file.")
    elif not _is_id(category) or category not in categories:
        gathered.add(name, "category_unknown", f"Its category_id {category!r} is no category of the file.")
    elif (box := _box(row.get("bbox"))) is None:
        message = f"Its bbox is {str(row.get('bbox'))[:60]}; four numbers are needed: x, y, width and height above 0."
        gathered.add(name, "box_wrong", message)
    else:
        area = float(row["area"]) if _is_number(row.get("area")) and row["area"] > 0 else None
        marks[picture].append(Mark(categories[category], box, bool(row.get("iscrowd")), area, name))


def _box(given: Any) -> Box | None:
    if not isinstance(given, list) or len(given) != 4 or not all(_is_number(side) for side in given):
        return None
    x, y, width, height = (float(side) for side in given)
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _by_id(picture: dict[str, Any]) -> tuple[bool, int, str]:
    found = picture["id"]
    return isinstance(found, str), found if isinstance(found, int) else 0, str(found)


def _size(picture: dict[str, Any]) -> tuple[int, int] | None:
    width, height = picture.get("width"), picture.get("height")
    sound = isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
    return (width, height) if sound else None  # type: ignore[return-value]


def _folder(file: Path, pictures: list[dict[str, Any]]) -> Path:
    """Where the pictures are, unless it is said: beside the file, or in `images` there."""
    for picture in pictures[:20]:
        for folder in (file.parent, file.parent / "images"):
            path = within(folder, picture["file_name"])
            if path is not None and path.is_file():
                return folder
    return file.parent
