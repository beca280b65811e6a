"""What functions log and raise while they run, and where in the project's own code it was."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from trapline.runtime.logs import FUNCTION_LOG

_PACKAGE = Path(__file__).resolve().parents[2]
_RUNTIME = str(_PACKAGE / "runtime" / "images.py")  # where a function's answer is taken
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<name>.+)$', re.M)


class FunctionLog(logging.Handler):
    """What functions log while they run: told on stderr, tracebacks kept for those who ask."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._raised: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("raised: "):
            self._raised.append(text.removeprefix("raised: "))
        else:
            sys.stderr.write(f"{record.levelname.lower()}: {text}\n")

    def take(self, message: str) -> str:
        """The traceback of what was raised with this message."""
        for text in self._raised:
            if message[-200:].strip() in text:
                self._raised.remove(text)
                return text
        return self._raised.pop(0) if self._raised and "set up" in message else ""

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen to functions, and keep the house's own log quiet."""
        house, functions = logging.getLogger("trapline"), logging.getLogger(FUNCTION_LOG)
        before = house.propagate, functions.propagate, functions.level
        house.propagate = functions.propagate = False
        functions.setLevel(logging.INFO)
        functions.addHandler(self)
        quiet = logging.NullHandler()
        house.addHandler(quiet)
        try:
            yield
        finally:
            house.removeHandler(quiet)
            functions.removeHandler(self)
            house.propagate, functions.propagate = before[:2]
            functions.setLevel(before[2])


def own_line(raised: str, folder: Path) -> str:
    """The last line of the project's own code in a traceback, as `functions/x/handler.py, line 12, in _one`."""
    frames = [found for found in _FRAME.finditer(raised) if _is_own(Path(found["file"]), folder)]
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last['file']).relative_to(folder)}, line {last['line']}, in {last['name']}"


def _is_own(file: Path, folder: Path) -> bool:
    """Whether a file is the project's, and neither Trapline nor an installed library."""
    installed = file.is_relative_to(_PACKAGE) or "site-packages" in file.parts
    return file.is_relative_to(folder) and not installed


def raised_in_runtime(raised: str) -> bool:
    """Whether it was the answer that could not be taken, and not the function that raised."""
    files = [found["file"] for found in _FRAME.finditer(raised)]
    return files[-1:] == [_RUNTIME]
