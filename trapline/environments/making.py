"""Making a function's own environment: a venv with Trapline as it runs here, and what the function asks for."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import trapline
from trapline import __version__
from trapline.environments.requirements import FILE, Requirements
from trapline.environments.venvs import PYTHON_PATHS, finish, python_of, unfinish, venv_of, wanted
from trapline.errors import SurroundingsError


def make_environment(
    project: Path, function: str, requirements: Requirements, pip_args: Sequence[str], tell: Callable[[str], None]
) -> Path:
    """Make a function's environment anew and return its folder. What pip says goes to stderr.

    It counts only once it is whole: whatever ends this before leaves an environment that is told to be unfinished.
    Raises `SurroundingsError`.
    """
    venv = venv_of(project, function)
    with _alone(venv):
        unfinish(venv)
        tell(f"Making {venv} with {sys.executable} …")
        _make_venv(venv)
        tell("Installing Trapline and the requirements with pip …")
        named = project / "functions" / function / FILE
        more = ["-r", str(named)] if named.exists() else []
        _pip(venv, project, ["install", *pip_args, *trapline_itself(), *more], function)
        finish(venv, wanted(requirements.digest))
    return venv


def trapline_itself() -> list[str]:
    """What pip is told to install the Trapline that runs here: the same checkout, address or version."""
    checkout = Path(trapline.__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return ["-e", str(checkout)]
    told = _direct_url()
    url = str(told.get("url", ""))
    if "vcs_info" in told:
        vcs = told["vcs_info"]
        return [f"trapline @ {vcs['vcs']}+{url}@{vcs['commit_id']}"]
    return [f"trapline @ {url}"] if url else [f"trapline=={__version__}"]


def _direct_url() -> dict[str, Any]:
    """Where Trapline was installed from, if not from an index."""
    try:
        told = json.loads(metadata.distribution("trapline").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _make_venv(venv: Path) -> None:
    done = _run([sys.executable, "-m", "venv", "--clear", str(venv)], venv.parent)
    if done:
        shutil.rmtree(venv, ignore_errors=True)
        raise SurroundingsError(
            f"`python -m venv` could not make {venv} (exit code {done}).",
            remedy="Read what it says above; on Debian and Ubuntu install the package python3-venv.",
        )


def _pip(venv: Path, project: Path, words: list[str], function: str) -> None:
    done = _run([str(python_of(venv)), "-P", "-m", "pip", "--disable-pip-version-check", *words], project)
    if done:
        raise SurroundingsError(
            f"pip could not install what function {function!r} needs (exit code {done}).",
            remedy=f"Read what it says above, change functions/{function}/{FILE}, and run the command again.",
        )


def _run(words: list[str], folder: Path) -> int:
    """Run to the end, or end it with this process. Returns the exit code."""
    env = {name: value for name, value in os.environ.items() if name not in PYTHON_PATHS}
    try:
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=sys.stderr)  # pip may ask for a password
    except OSError as error:
        raise SurroundingsError(f"{words[0]} cannot be run: {error.strerror}.") from None
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


@contextmanager
def _alone(venv: Path) -> Iterator[None]:
    """One at a time makes an environment."""
    try:
        venv.parent.mkdir(parents=True, exist_ok=True)
        lock = (venv.parent / f".{venv.name}.lock").open("a")
    except OSError as error:
        raise SurroundingsError(
            f"{venv.parent} cannot be written to: {error.strerror}.",
            remedy="Make it writable, or a symbolic link to a folder that is.",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SurroundingsError(
                f"{venv} is being made by another process.", remedy="Wait for that one to end."
            ) from None
        yield
