"""A file for what belongs later in a document than where it is read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class Spool:
    """Lines that are written, and read back once all are there. Gone when its block ends."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__

    def add(self, line: bytes) -> None:
        self._file.write(line + b"\n")

    def __iter__(self) -> Iterator[bytes]:
        """The lines, without their ends."""
        self._file.seek(0)
        for line in self._file:
            yield line[:-1]

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
