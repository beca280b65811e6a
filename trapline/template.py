"""The files of a new project, and of a new function in it: where they are and how they are copied.

What is in them is not this file's business.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trapline.errors import ConfigError, SurroundingsError

# Where each part lies in the source tree (and, the same, in the wheel) → where it lies in a project.
_PARTS = {
    "pipeline.yaml": "pipeline.yaml",
    "functions": "functions",
    "triggers": "triggers",
    "local_dev/samples/night": "samples/night",
    "local_dev/samples/expected.json": "samples/expected.json",
    "local_dev/project": ".",
}
_FUNCTION = "local_dev/new_function"  # a folder for each kind of function, and what all have
NAME, CLASS = "new_function", "NewFunction"  # what stands in their files where a function's own names will
_PACKAGE = Path(__file__).resolve().parent


def template_root() -> Path:
    """The folder that holds the parts: the wheel's copy, or the source checkout."""
    for root in (_PACKAGE / "_template", _PACKAGE.parent):
        if (root / "pipeline.yaml").is_file():
            return root
    raise ConfigError(
        "This installation of Trapline carries no project to copy.", remedy="Install it anew, from a wheel or a clone."
    )


def copy_project(target: Path) -> list[Path]:
    """Make a project in `target`, a folder that is absent or empty. Returns the files made, relative to it, sorted.

    The project appears whole or not at all. Raises `ConfigError` or `SurroundingsError`.
    """
    target = Path(os.path.abspath(target))
    files = list(project_files(template_root()))
    _check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            staged = Path(scratch) / "project"
            for source, name in files:
                _copy(source, staged / name)
            staged.replace(target)
    except OSError as error:
        raise SurroundingsError(
            f"The project cannot be made in {target}: {error.strerror}.",
            remedy="Name a folder that can be written to, with a few MB free.",
        ) from error
    return sorted(name for _, name in files)


def project_files(root: Path) -> Iterator[tuple[Path, Path]]:
    """Every file of a project under `root`, as (its path there, its name in a project)."""
    for part, place in _PARTS.items():
        top = root / part
        if top.is_file():
            yield top, Path(place)
        for path in sorted(top.rglob("*")):
            name = path.relative_to(top)
            if path.is_file() and not path.is_symlink() and not _left_out(name):
                yield path, Path(place) / name


def function_kinds() -> list[str]:
    """The kinds of function that can be made."""
    return sorted(path.parent.name for path in (template_root() / _FUNCTION).glob("*/function.yaml"))


def make_function(folder: Path, kind: str, name: str, class_name: str) -> list[Path]:
    """Make the function `name` in `folder`, which is absent. Returns the files made, relative to it, sorted.

    It appears whole or not at all. Raises `SurroundingsError`.
    """
    source = template_root() / _FUNCTION / kind
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder.parent) as scratch:
            staged = Path(scratch) / name
            files = (*_files(source), source.parent / "Containerfile")  # one for every kind
            made = [_written(path, staged, name, class_name) for path in files]
            staged.replace(folder)
    except OSError as error:
        raise SurroundingsError(
            f"The function cannot be made in {folder}: {error.strerror}.",
            remedy="Its project's functions/ must be a folder that can be written to.",
        ) from error
    return sorted(path.relative_to(staged) for path in made)


def template_files(root: Path) -> Iterator[Path]:
    """Every file under `root` that the wheel carries for new projects and functions."""
    yield from (source for source, _ in project_files(root))
    yield from _files(root / _FUNCTION)


def _files(top: Path) -> Iterator[Path]:
    return (path for path in sorted(top.rglob("*")) if path.is_file() and not _left_out(path.relative_to(top)))


def _written(source: Path, folder: Path, name: str, class_name: str) -> Path:
    """Copy one file of a function, with the function's own names in it."""
    target = folder / source.name.replace(NAME, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text(encoding="utf-8").replace(CLASS, class_name).replace(NAME, name), "utf-8")
    return target


def _left_out(name: Path) -> bool:
    """Whether a file is a tool's by-product. A project's own `.gitignore` is wanted."""
    hidden = any(part.startswith(".") for part in name.parts) and name.name != ".gitignore"
    return hidden or "__pycache__" in name.parts


def _check_target(target: Path) -> None:
    remedy = "Name a new folder, such as `trapline init my-traps`."
    if target == Path.cwd():
        raise ConfigError(f"{target} is the folder you are in.", remedy=remedy)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"{target} is not a folder.", remedy=remedy)
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty.", remedy=remedy)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
