"""A data set as folders: one for each class, named for it, with pictures of single things."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trapline.errors import ConfigError
from trapline.evaluation.dataset import Dataset, Entry, Mark
from trapline.images import SUFFIXES


def read_folders(folder: Path) -> Dataset:
    """Every picture below `folder`, labelled by the subfolder that it is in. Raises `ConfigError` where there is none.

    Hidden files and files that are no pictures by their suffix are left out.
    """
    classes = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    entries = tuple(
        Entry(file.relative_to(folder).as_posix(), file, (Mark(one.name),)) for one in classes for file in _files(one)
    )
    if not entries:
        there = "no subfolders" if not classes else f"{len(classes)} subfolders without a picture"
        raise ConfigError(
            f"{folder}: has {there}.",
            remedy="Give a folder with one subfolder of pictures for each class, a YOLO folder, or a COCO file.",
        )
    return Dataset("folders", entries, tuple(dict.fromkeys(entry.marks[0].label for entry in entries)))


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(place, name)
