"""What functions log while a ticket runs: through `context.log`, and the tracebacks of what they raise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

FUNCTION_LOG = "trapline.function"
_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(message)s\n")
_MOST = 2_000  # lines of one ticket


class _Keep(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) < _MOST:
            self._lines.append(_FORMAT.format(record))


@contextmanager
def captured() -> Iterator[list[str]]:
    """The lines that functions log inside the block."""
    lines: list[str] = []
    keep, logger = _Keep(lines), logging.getLogger(FUNCTION_LOG)
    logger.addHandler(keep)
    try:
        yield lines
    finally:
        logger.removeHandler(keep)
