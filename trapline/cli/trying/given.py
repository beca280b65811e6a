"""Records that are handed over with `--records`, and which of them belongs to which image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trapline.errors import ConfigError, TraplineError
from trapline.records import ImageRecord, ProducedBy, Source, load

_SUFFIXES = (".json", ".jsonl")
_EXPECTED = (
    "Expected a record as a stage commits it, a folder of them, or lines of them as `trapline try --json` prints."
)


@dataclass
class Records:
    """Records by the image that they are about."""

    where: Path
    by_hash: dict[str, list[ImageRecord]] = field(default_factory=dict)
    by_name: dict[str, list[ImageRecord]] = field(default_factory=dict)  # the image's file name
    nameless: list[ImageRecord] = field(default_factory=list)

    def of(self, sha256: str, name: str) -> list[ImageRecord]:
        """The records of an image: by its bytes, else by its file name, else the only one there is."""
        own = name.rpartition("/")[2]
        return self.by_hash.get(sha256) or self.by_name.get(own) or self._only()

    def _only(self) -> list[ImageRecord]:
        alone = len(self.nameless) == 1 and not self.by_hash and not self.by_name
        return self.nameless if alone else []

    def add(self, record: ImageRecord, name: str) -> None:
        """Note a record; `name` is that of its image, where the file's own name or the record tells it."""
        if record.source.sha256:
            self.by_hash.setdefault(record.source.sha256, []).append(record)
        elif name:
            self.by_name.setdefault(name, []).append(record)
        else:
            self.nameless.append(record)


def read_records(path: Path) -> Records:
    """Everything under a path. Raises `ConfigError` naming the file that is no record."""
    found = Records(path)
    if not path.exists():
        raise ConfigError(f"--records: there is no {path}.", remedy=_EXPECTED)
    files = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file()) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"--records: {path} holds no {' and no '.join(_SUFFIXES)}.", remedy=_EXPECTED)
    for file in files:
        for record in _records_in(file):
            found.add(record, _image_of(file, record))
    return found


def _image_of(file: Path, record: ImageRecord) -> str:
    """The image's file name: by the record's source, else by the file's name, as in a bucket (`a.jpg.json`)."""
    if record.source.key:
        return record.source.key.rpartition("/")[2]
    return file.stem if Path(file.stem).suffix else ""


def _records_in(file: Path) -> Iterator[ImageRecord]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"--records: {file} cannot be read ({why}).", remedy=_EXPECTED) from None
    lines = text.splitlines() if file.suffix == ".jsonl" else [text]
    for number, line in enumerate(lines, start=1):
        if line.strip() and (record := _record(line, f"{file}, line {number}" if len(lines) > 1 else str(file))):
            yield record


def _record(text: str, where: str) -> ImageRecord | None:
    """One record; None for the record of a failure, which hands nothing over."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"--records: {where} is not JSON.", remedy=_EXPECTED) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"--records: {where} holds no record.", remedy=_EXPECTED)
    if raw.get("type") == "trapline.failure":
        return None
    return _by_hand(raw) if "type" not in raw else _committed(text, where)


def _by_hand(known: dict[str, Any]) -> ImageRecord:
    """What somebody wrote as known about an image, such as `{"detections": [...]}`."""
    made = ProducedBy(function="given", version="0.0.0")
    return ImageRecord(stage="", source=Source(), recipe="", produced_by=made, known=known)


def _committed(text: str, where: str) -> ImageRecord:
    try:
        record = load(ImageRecord, text.encode("utf-8", "surrogatepass"))
    except TraplineError as error:
        raise ConfigError(f"--records: {where}: {error}") from None
    if record is None:
        raise ConfigError(f"--records: {where} is not a record of an image.", remedy=_EXPECTED)
    return record
