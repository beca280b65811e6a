"""What a function's requirements.txt asks for, read as pip reads it. Nothing is installed or looked up here."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from trapline.errors import ConfigError
from trapline.pipeline.reading import one_line, shown

FILE = "requirements.txt"
_REMEDY = "Write a name and the versions that will do, such as numpy>=2.1; see docs/reference/function.md."
_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_OPTION = re.compile(r"(-r|-c|-e|--[a-z-]+)(?:\s*=\s*|\s+|(?<=^-[rce]))(.*)")
_HERE = ("-r", "--requirement")
_LIMITS = ("-c", "--constraint")
_PLACE = re.compile(r"(\.{0,2}/|~|\w[\w+.-]*://|file:)")  # a folder or an address without a name before it
_ARCHIVE = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz")
_DEEPEST = 16  # files within files


@dataclass(frozen=True)
class Line:
    """One requirement and where it stands."""

    requirement: Requirement
    where: str  # such as `functions/detect/requirements.txt, line 3`


@dataclass(frozen=True)
class Requirements:
    """A requirements.txt with every file that it names."""

    lines: tuple[Line, ...] = ()
    limits: tuple[Line, ...] = ()  # of `-c` files: versions for what is needed anyway
    unjudged: tuple[str, ...] = ()  # what only pip can tell: folders, addresses without a name
    digest: str = ""  # of every line that says something; comments do not


@dataclass
class _Reading:
    """What was read so far."""

    project: Path
    lines: list[Line] = field(default_factory=list)
    limits: list[Line] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    open: list[Path] = field(default_factory=list)  # the files in which the present one is named


def read_requirements(project: Path, function: str) -> Requirements:
    """What `functions/<function>/requirements.txt` asks for; nothing where there is none. Raises `ConfigError`."""
    reading = _Reading(project)
    path = project / "functions" / function / FILE
    if path.exists():
        _read(reading, path, limits=False)
    digest = hashlib.sha256("\n".join(reading.said).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Requirements(tuple(reading.lines), tuple(reading.limits), tuple(reading.unjudged), digest)


def _read(reading: _Reading, path: Path, *, limits: bool) -> None:
    name = os.path.relpath(path, reading.project)
    if path in reading.open or len(reading.open) >= _DEEPEST:
        raise ConfigError(f"{name} names itself, by way of others.", remedy="Take one of these `-r` lines out.")
    reading.open.append(path)
    for number, line in _lines(_text(path, name)):
        where = f"{name}, line {number}"
        reading.said.append(line)
        expanded = _VARIABLE.sub(lambda found: os.environ.get(found[1]) or found[0], line)
        if expanded.startswith("-"):
            _option(reading, path, expanded, where, limits=limits)
        else:
            _requirement(reading, expanded, where, limits=limits)
    reading.open.pop()


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not UTF-8 text.", remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.", remedy="It must be a text file.") from None


def _lines(text: str) -> list[tuple[int, str]]:
    """(line number, what it says), without comments; a line that ends in a backslash goes on in the next."""
    found: list[tuple[int, str]] = []
    begun, first = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        whole = f"{begun}{raw}" if begun else raw
        first = first or number
        if whole.endswith("\\") and not raw.lstrip().startswith("#"):
            begun = whole[:-1]
            continue
        said = _COMMENT.sub("", whole).strip()
        if said:
            found.append((first, said))
        begun, first = "", 0
    if begun.strip():
        found.append((first, begun.strip()))
    return found


def _option(reading: _Reading, path: Path, line: str, where: str, *, limits: bool) -> None:
    """An option: a further file, a folder to install from, or something that only matters when pip installs."""
    match = _OPTION.fullmatch(line)
    option, value = (match[1], match[2].strip().strip("'\"")) if match else (line, "")
    if option in (*_HERE, *_LIMITS):
        if "://" in value:
            reading.unjudged.append(line)
        elif not value:
            raise ConfigError(f"{where}: {option} names no file.", remedy="Write for example -r base.txt.")
        else:
            _read(reading, path.parent / value, limits=limits or option in _LIMITS)
    elif option in ("-e", "--editable"):
        reading.unjudged.append(line)


def _requirement(reading: _Reading, line: str, where: str, *, limits: bool) -> None:
    said = re.split(r"\s+(?=--[a-z])", line, maxsplit=1)[0]  # `--hash=…` is for pip
    into = reading.limits if limits else reading.lines
    if _PLACE.match(said) or (said.lower().endswith(_ARCHIVE) and "@" not in said):
        wheel = _of_wheel(said)
        if wheel is None:
            reading.unjudged.append(said)
        else:
            into.append(Line(wheel, where))
        return
    try:
        into.append(Line(Requirement(said), where))
    except InvalidRequirement as error:
        why = one_line(str(error).split("\n", maxsplit=1)[0]).rstrip(".")
        raise ConfigError(f"{where}: {shown(said)} is not a requirement: {why}.", remedy=_REMEDY) from None


def _of_wheel(place: str) -> Requirement | None:
    """The name and version that a wheel's file name tells."""
    try:
        name, version, *_ = parse_wheel_filename(re.split(r"[#?]", place)[0].rsplit("/", maxsplit=1)[-1])
    except InvalidWheelFilename:
        return None
    return Requirement(f"{name}=={version}")
