"""Where a function's own environment is, and what it was made from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from trapline import __version__
from trapline.pipeline.reading import one_line

KEPT = Path(".trapline", "environments")  # in the project; its .gitignore names the first
PYTHON_PATHS = ("PYTHONPATH", "PYTHONHOME")  # variables that would let another environment's packages in
_LONGEST_START = 30.0  # seconds
_MADE = "trapline.json"  # written last: without it an environment is unfinished


@dataclass(frozen=True)
class Made:
    """What an environment was made from."""

    requirements: str  # digest of the requirements.txt
    trapline: str  # version
    python: str  # the interpreter's, such as cpython-3.12


def venv_of(project: Path, function: str) -> Path:
    """The folder of a function's own environment, whether it is there or not."""
    return project / KEPT / function


def python_of(venv: Path) -> Path:
    """The interpreter in an environment."""
    return venv / "bin" / "python"


def wanted(requirements: str) -> Made:
    """What an environment for these requirements (a digest) would be made from now."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Made(requirements, __version__, f"{sys.implementation.name}-{version}")


def made(venv: Path) -> Made | None:
    """What an environment was made from; None: it is not there, or unfinished."""
    try:
        told = json.loads((venv / _MADE).read_text(encoding="utf-8"))
        return Made(str(told["requirements"]), str(told["trapline"]), str(told["python"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def last_words(python: Path) -> str:
    """The last line of what an interpreter says that cannot import a worker; empty where it can. Runs it."""
    try:
        done = subprocess.run(
            [str(python), "-P", "-c", "import trapline.executors.worker"],
            env={name: value for name, value in os.environ.items() if name not in PYTHON_PATHS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_START,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return one_line(str(error))
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return one_line(lines[-1]) if done.returncode and lines else ""


def finish(venv: Path, of: Made) -> None:
    """From now on the environment counts."""
    part = venv / f"{_MADE}.part"
    part.write_text(json.dumps(asdict(of)) + "\n", encoding="utf-8")
    part.replace(venv / _MADE)


def unfinish(venv: Path) -> None:
    """From now on the environment does not count."""
    (venv / _MADE).unlink(missing_ok=True)
