"""What is wrong with a function's code, when it cannot even be imported: the place in it, or what is not installed."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from trapline.cli.trying.raised import own_line
from trapline.errors import ConfigError, TraplineError
from trapline.pipeline.spec import FunctionSpec


def explained(function: FunctionSpec, folder: Path, error: Exception, tracebacks: bool) -> TraplineError:
    """The error as one line. With `tracebacks`, the traceback goes to stderr first."""
    cause = error.__cause__ if isinstance(error, TraplineError) and isinstance(error.__cause__, Exception) else error
    text = "".join(traceback.format_exception(cause))
    if tracebacks:
        sys.stderr.write(text)
    place = own_line(text, folder)
    at = f" ({place.rpartition(',')[0]})" if place else ""
    if isinstance(cause, ModuleNotFoundError) and cause.name and not cause.name.startswith("functions."):
        return _not_installed(function, folder, cause.name.partition(".")[0], at)
    if isinstance(cause, TraplineError):
        return cause
    return ConfigError(
        f"functions/{function.name} cannot be imported: {type(cause).__name__}: {cause}{at}.",
        remedy="Mend the Python there; --traceback shows how it came there.",
    )


def _not_installed(function: FunctionSpec, folder: Path, module: str, at: str) -> ConfigError:
    requirements = f"functions/{function.name}/requirements.txt"
    listed = (folder / requirements).is_file()
    return ConfigError(
        f"{function.name} needs the module {module!r}, which is not installed here{at}.",
        remedy=f"Run `python -m pip install -r {requirements}`"
        + ("." if listed else f", once that file names what {module!r} comes in."),
    )
