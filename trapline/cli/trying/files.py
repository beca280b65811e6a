"""Which local files are tried: files as named, folders and globs by what the pipeline reads as an image."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trapline.errors import ConfigError
from trapline.keys import Layout
from trapline.pipeline.reading import did_you_mean


@dataclass(frozen=True)
class LocalFile:
    """A file to try."""

    path: Path
    name: str  # as it is shown and stored: relative to the folder that was named, with `/`


@dataclass
class Found:
    """What the command line named."""

    files: list[LocalFile] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # why → how many


def find_files(named: Iterable[str], layout: Layout, made: Callable[[Path], bool] = lambda path: False) -> Found:
    """The files meant, each once, in the order named. Raises `ConfigError` where there are none.

    `made`: whether a file in a folder is what an earlier trial left there.
    """
    found, seen, names = Found(), set[Path](), set[str]()
    for text in named:
        for path, name in _meant(text, layout, found.left_out):
            if path != Path(text).expanduser() and made(path):
                found.left_out["made by an earlier trial"] += 1
                continue
            real = path.resolve()
            if real not in seen:
                seen.add(real)
                found.files.append(LocalFile(path, _unused(_in_unicode(name), names)))
    if not found.files:
        why = "; ".join(f"{count} left out: {reason}" for reason, count in found.left_out.items())
        raise ConfigError(
            f"There is no image in {', '.join(named)}{f' ({why})' if why else ''}.",
            remedy=f"These are read: {', '.join(sorted(layout.suffixes))}.",
        )
    return found


def _meant(text: str, layout: Layout, left_out: Counter[str]) -> Iterator[tuple[Path, str]]:
    path = Path(text).expanduser()
    if path.is_dir():
        yield from _inside(path, layout, left_out)
    elif path.is_file():
        yield path, path.name
    elif path.exists():
        raise ConfigError(f"{text} is neither a file nor a folder.", remedy="Copy what it gives into a file.")
    elif glob.has_magic(text):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            raise ConfigError(f"No file is called {text}.", remedy="Check the pattern; ** stands for any folders.")
        yield from ((match, match.name) for match in matches if not match.is_dir() and _wanted(match, layout, left_out))
    else:
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(
            f"There is no file {text}.", remedy=f"Name an image, a folder or a pattern.{did_you_mean(path.name, near)}"
        )


def _inside(folder: Path, layout: Layout, left_out: Counter[str]) -> Iterator[tuple[Path, str]]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(names)):
            if _wanted(path, layout, left_out):
                yield path, path.relative_to(folder).as_posix()


def _wanted(path: Path, layout: Layout, left_out: Counter[str]) -> bool:
    why = layout.why_ignored(path.name) or ("" if path.is_file() else "not a plain file")
    if why:
        left_out[why] += 1
    return not why


def _in_unicode(name: str) -> str:
    """A name that can stand in a record, whatever bytes the file's has."""
    return name.encode("utf-8", "backslashreplace").decode()


def _unused(name: str, names: set[str]) -> str:
    """The name, with a number where another file has it already."""
    stem, dot, suffix = name.rpartition(".") if "." in name else (name, "", "")
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{stem}-{number}{dot}{suffix}"
    names.add(free)
    return free
