"""`status/<job>.received.csv` and `.sha256`: what came of a job's files, to compare with a station's card.

Written by the engine, read by `trapline received`, `mc cat` and spreadsheets. Pure.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import NamedTuple

from trapline.errors import TraplineError
from trapline.records.spreadsheets import marked, plain

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ReceivedFile(NamedTuple):
    """One file of a job. The fields are the table's columns."""

    file: str  # relative to the job's folder; whole where the job is `unsorted`, or the key cannot be used
    size: int = 0  # bytes
    sha256: str = ""  # of the bytes that are there; empty: nobody has read them yet
    state: str = ""  # of the image at the last stage; `ignored`
    code: str = ""  # why it failed, or is ignored
    etag: str = ""  # the store's, of the bytes that were read; empty: they are not in the bucket


def table(files: Iterable[ReceivedFile]) -> bytes:
    """The table, with CRLF at the end of every line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(ReceivedFile._fields)
    for file in files:
        size = "" if file.state == "ignored" else file.size
        writer.writerow((marked(file.file), size, file.sha256, file.state, file.code, marked(file.etag)))
    return out.getvalue().encode("utf-8", "surrogateescape")


def read_table(data: bytes, key: str) -> list[ReceivedFile]:
    """The files that a table names. Raises `TraplineError` where it is none, or not whole."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""), strict=True))
        if not data.endswith(b"\r\n") or tuple(rows[0]) != ReceivedFile._fields:
            raise ValueError("expected another first line, or a line end at the end")
        return [_file(row) for row in rows[1:]]
    except (ValueError, TypeError, IndexError, csv.Error) as error:
        raise TraplineError(
            f"{key} is not the list of a job's files, or is cut off ({error}).",
            remedy="`trapline sweep` has the engine look at the job; it writes the list anew when something changes.",
        ) from None


def _file(row: list[str]) -> ReceivedFile:
    name, size, sha256, state, code, etag = row
    if sha256 and not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256[:70]!r} is no sha256")
    return ReceivedFile(plain(name), int(size or 0), sha256, state, code, plain(etag))


# -- as `sha256sum` prints it


def checksums(files: Iterable[ReceivedFile]) -> bytes:
    """What `sha256sum` prints of the files whose bytes are in the bucket and were read."""
    lines = (sum_line(file.sha256, file.file) for file in files if file.sha256 and file.etag)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def sum_line(sha256: str, name: str) -> str:
    """One line of `sha256sum`, without its end; a backslash in front where the name had to be escaped."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}"
