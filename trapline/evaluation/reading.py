"""Which kind of data set a path is, and reading it."""

from __future__ import annotations

from pathlib import Path

from trapline.errors import ConfigError
from trapline.evaluation.coco import read_coco
from trapline.evaluation.dataset import Dataset
from trapline.evaluation.folders import read_folders
from trapline.evaluation.yolo import is_yolo, read_yolo


def read_dataset(path: Path, images: Path | None = None) -> Dataset:
    """A COCO file (.json), a YOLO folder or its YAML file, or a folder per class. Raises `ConfigError`.

    `images` is the folder of the pictures, for data sets that keep them elsewhere.
    """
    if images is not None and not images.is_dir():
        raise ConfigError(f"--images {images} is not a folder.", remedy="Name the folder with the data set's pictures.")
    if not path.exists():
        raise ConfigError(
            f"There is no data set {path}.", remedy="Give a COCO file (.json), a YOLO folder, or a folder per class."
        )
    if path.is_file() and path.suffix.lower() == ".json":
        return read_coco(path, images)
    if is_yolo(path):
        return read_yolo(path, images)
    if path.is_dir():
        return read_folders(path)
    raise ConfigError(
        f"{path} is no data set.", remedy="Give a COCO file (.json), a YOLO folder, or a folder per class."
    )
