"""Where a trial runs: in this process, or anew in the environment of its own that a function has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from trapline.cli.trying.plan import Plan
from trapline.environments.checking import check_functions
from trapline.environments.chosen import chosen
from trapline.environments.venvs import PYTHON_PATHS, python_of, venv_of
from trapline.errors import ConfigError


def go_where_it_runs(plan: Plan) -> None:
    """Check that what runs finds its libraries; begin anew where the function's own are, if it has its own.

    Raises `ConfigError`.
    """
    functions = plan.running
    own = [name for name, spec in functions.items() if spec.environment == "own"]
    if len(own) > 1:
        raise ConfigError(
            f"{' and '.join(own)} run in environments of their own: they cannot be tried in one go.",
            remedy=f"Save what {own[0]} finds with `trapline try {own[0]} … --json > found.jsonl`, and hand it over "
            "with --records found.jsonl.",
        )
    folder = plan.pipeline.folder
    if own and _inside(venv_of(folder, own[0])):
        return
    check_functions(folder, functions, chosen(plan.pipeline))
    if own:
        _begin_anew(venv_of(folder, own[0]))


def _inside(venv: Path) -> bool:
    return Path(sys.prefix).resolve() == venv.resolve()


def _begin_anew(venv: Path) -> NoReturn:
    """Be the same command in another environment, as if that had been activated."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {name: value for name, value in os.environ.items() if name not in PYTHON_PATHS}
    python = python_of(venv)
    words = [str(python), "-P", "-m", "trapline.cli", *sys.argv[1:]]
    os.execve(python, words, {**kept, "VIRTUAL_ENV": str(venv)})
