"""Environments for tests, made without a download: libraries that are a file each, venvs that see the engine's."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from trapline.environments.requirements import read_requirements
from trapline.environments.venvs import finish, unfinish, venv_of, wanted

ROOT = Path(__file__).resolve().parents[1]


def library(folder: Path, name: str, version: str, needs: Sequence[str] = (), package: str | None = None) -> None:
    """A distribution in a folder of Python's path: a module that holds its version, and the metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    spelt = name.lower().replace("-", "_").replace(".", "_")
    (folder / f"{package or spelt}.py").write_text(f"VERSION = {version!r}\n")
    info = folder / f"{spelt}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    (info / "METADATA").write_text("\n".join(lines) + "\n\nVersion: 99 is not what this says\n")


def site_packages(venv: Path) -> Path:
    """Where an environment's libraries lie."""
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def bare_venv(project: Path, function: str) -> Path:
    """A function's own environment, finished, that sees everything of the engine's."""
    venv = venv_of(project, function)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, capture_output=True)
    seen = f"{sysconfig.get_path('purelib')}\n{ROOT}\n"
    (site_packages(venv) / "engine.pth").write_text(seen)
    made_now(project, function)
    return venv


def made_now(project: Path, function: str) -> None:
    """Say of an environment that it was made from the requirements.txt as it is now."""
    venv = venv_of(project, function)
    unfinish(venv)
    finish(venv, wanted(read_requirements(project, function).digest))
