"""The formats, a module each: a pure view of `results.jsonl`. None knows where the files go, or of another format.

A format is a module with `write` (see `functions.compile.results.Output`). Modules are imported when they are asked
for, since some need a library that is not everywhere.
"""

from __future__ import annotations

from importlib import import_module

from functions.compile.results import Output
from trapline.errors import Permanent

MODULES = {
    "csv": "csv",
    "parquet": "parquet",
    "megadetector": "megadetector",
    "camtrap-dp": "camtrap_dp",
    "coco": "coco",
    "antenna": "antenna",
    "report": "report",
    "charts": "charts",
}  # the name in `outputs` → the module
PROVISIONAL = frozenset(("csv",))  # what is compiled while a job is open: what costs little
LAST = frozenset(("report",))  # made after the others, since it tells of them
_EXTRAS = {"pyarrow": "parquet", "matplotlib": "plots"}  # library → the extra that installs it


def output(name: str) -> Output:
    """The module of a format. Raises `Permanent` where a library that it needs is not installed."""
    try:
        return import_module(f"functions.compile.outputs.{MODULES[name]}")
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get((missing.name or "").partition(".")[0])
        if extra is None:
            raise
        raise Permanent(
            f"The output {name!r} needs the library {missing.name}, which is not installed.",
            code="function_error",
            remedy=f"Install it with `pip install 'trapline[{extra}]'`, or leave {name!r} out of `outputs`.",
        ) from None
