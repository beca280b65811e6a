"""What is installed where: distributions by name, from the metadata beside them. Nothing is imported or run."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_FIELD = re.compile(r"^(Version|Requires-Dist):[ \t]*(.*)$", re.M)
_FOLDED = re.compile(r"\n[ \t]+")


@dataclass(frozen=True)
class Distribution:
    """One installed distribution."""

    name: str
    version: Version
    needed: tuple[str, ...]  # as its metadata say it: requirements with their markers

    def needs(self, extras: bool) -> Iterator[Requirement]:
        """What it needs, whatever the markers say; what is for extras alone only if `extras`."""
        for text in self.needed:
            if extras or "extra" not in text or " or " in text:  # most lines, and reading one is slow
                with suppress(InvalidRequirement):  # nobody can judge that one, pip neither
                    yield Requirement(text)


class Installed:
    """The distributions on some folders of Python's path, the first of a name counting."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = list(paths)
        self._known: dict[str, Distribution | None] = {}

    def get(self, name: str) -> Distribution | None:
        """A distribution by name, however that is spelt; None where there is none, or none that can be read."""
        wanted = canonicalize_name(name)
        if wanted not in self._known:
            self._known[wanted] = self._read(wanted)
        return self._known[wanted]

    def _read(self, name: str) -> Distribution | None:
        for found in metadata.distributions(name=name, path=self._paths):
            text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
            read = _distribution(name, text)
            if read is not None:
                return read
        return None


def here() -> Installed:
    """What this interpreter sees."""
    return Installed(dict.fromkeys(path or "." for path in sys.path))


def inside(venv: Path) -> Installed:
    """What an interpreter in a virtual environment would see."""
    paths: dict[str, None] = {}
    for folder in _site_folders(str(venv)):
        _add_site(paths, folder)
    if _shares_system(venv):
        for folder in _site_folders(sys.base_prefix):
            _add_site(paths, folder)
    return Installed(paths)


def _site_folders(prefix: str) -> Sequence[str]:
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else sysconfig.get_default_scheme()
    found = sysconfig.get_paths(scheme, vars={"base": prefix, "platbase": prefix, "installed_base": prefix})
    return list(dict.fromkeys((found["purelib"], found["platlib"])))


def _add_site(paths: dict[str, None], folder: str) -> None:
    """A folder of installed packages with those that its `.pth` files name."""
    paths[folder] = None
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".pth") and not name.startswith("."))
    except OSError:
        return
    for name in names:
        try:
            lines = Path(folder, name).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                path = os.path.join(folder, line.rstrip())
                if os.path.isdir(path):
                    paths[path] = None


def _shares_system(venv: Path) -> bool:
    try:
        said = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return re.search(r"^include-system-site-packages\s*=\s*true\s*$", said, re.M | re.I) is not None


def _distribution(name: str, text: str) -> Distribution | None:
    """Read by hand: the standard library's reader goes through the whole description as well."""
    head = _FOLDED.sub(" ", text.replace("\r\n", "\n").partition("\n\n")[0])
    fields: dict[str, list[str]] = {"Version": [], "Requires-Dist": []}
    for match in _FIELD.finditer(head):
        fields[match[1]].append(match[2])
    try:
        version = Version(fields["Version"][0])
    except (IndexError, InvalidVersion):
        return None
    return Distribution(name, version, tuple(fields["Requires-Dist"]))
