"""Tables in a file of a compile's own folder, for what may grow with the job. Gone with the folder."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_ALONE = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;"


def opened(folder: Path, name: str, tables: str) -> sqlite3.Connection:
    """A new file with such tables, without transactions of its own; what it held before is gone."""
    path = folder / f"{name}.sqlite"
    path.unlink(missing_ok=True)
    book = sqlite3.connect(path, isolation_level=None)
    book.executescript(_ALONE + tables)
    return book


def stored(text: str) -> str:
    """Text that a file can hold: half a surrogate pair as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
