"""A file for what belongs later in a document than where it is read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class Spool:
    """Bytes that are written, and read back once all are there. Gone when its block ends."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self.empty = True

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self.empty = False

    def lines(self) -> Iterator[bytes]:
        """The lines, without their ends."""
        self._file.seek(0)
        for line in self._file:
            yield line[:-1]

    def copy_to(self, stream: IO[bytes]) -> None:
        self._file.seek(0)
        shutil.copyfileobj(self._file, stream)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
