"""Three jobs of small images, and all that a run leaves of them, so that two runs can be compared byte for byte.

What may differ between two runs is named here, in one place, with the reason; everything else may not.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tests.integration.engine import Engine, night, until

JOBS = ("st1/n1", "st1/n2", "st2/n1")
IMAGES = 300
SIZE = (240, 180)

# Fields of a JSON object that depend on when or how something ran, never on what was found.
RUN = {
    "at": "a time",
    "updated_at": "a time",
    "attempts": "how often a task was tried: a kill costs a try",
    "usage": "what it cost",
    "received": "which trigger was first to tell of the image, and when",
    "etag": "a folder's etag has the ctime and inode in it",
    "done_answered": "the etag of a `_DONE`",
    "seq": "how often the ledger was told something",
    "rate": "images per second",
    "webhook_id": "a hash with the revision's number in it",
    "N": "a revision that was begun and never named costs a number; the seal behind it may not differ",
}
OF_REVISION = ("size", "sha256")  # of a revision's files: they hold the above, and are themselves compared
_NUMBERED = re.compile(r"\br?\d+-([0-9a-f]{8})\b")  # `r3-0a1b2c3d`, of a receipt `3-0a1b2c3d`
_COMPARED = ("incoming", "jobs", "detections", "classifications", "failed", "results", "receipts", "status")


def crops(number: int = IMAGES) -> dict[str, bytes]:
    """Three jobs of small images cut from the sample night, a few of them cut off, and a `_DONE` each."""
    made, sheets = dict[str, bytes](), [Image.open(io.BytesIO(night(n))).convert("RGB") for n in range(2, 14)]
    for place in range(number):
        data = _crop(sheets[place % len(sheets)], place)
        made[f"{JOBS[place % len(JOBS)]}/DCIM/{place:03d}.JPG"] = data[: len(data) // 2] if place % 61 == 60 else data
    return made | {f"{job}/_DONE": b"" for job in JOBS}


def _crop(sheet: Image.Image, place: int) -> bytes:
    left, top = 37 * place % (sheet.width - SIZE[0]), 53 * place % (sheet.height - SIZE[1])
    crop = sheet.crop((left, top, left + SIZE[0], top + SIZE[1]))
    out = io.BytesIO()
    (ImageOps.mirror(crop) if place % 2 else crop).save(out, "JPEG", quality=88)
    return out.getvalue()


def drop(served: Engine, images: dict[str, bytes]) -> None:
    """Into the folder, as a file manager would."""
    for name, data in images.items():
        path = served.incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def told(served: Engine, seconds: float = 90, jobs: Iterable[str] = JOBS) -> None:
    """Waits until every job is closed, its client told, and its status says so."""
    for job in jobs:
        until(lambda job=job: _is_told(served, job), seconds, lambda job=job: _story(served, job))  # type: ignore[misc]


def _is_told(served: Engine, job: str) -> bool:
    status, summary = _read(served.root / f"status/{job}.json"), _read(served.root / f"results/{job}/summary.json")
    return bool(
        summary.get("final")
        and status.get("closed")
        and status.get("told")
        and status["revision"] == summary["revision"]
    )


def _story(served: Engine, job: str) -> object:
    return _read(served.root / f"status/{job}.json"), served.said()[-3000:]


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.is_file() else {}


def contents(root: Path, jobs: Iterable[str] = JOBS) -> dict[str, bytes]:
    """Everything that stands in a bucket's folder about these jobs, without what depends on the run."""
    found = {}
    for path in sorted(path for prefix in _COMPARED for path in (root / prefix).rglob("*") if path.is_file()):
        key = path.relative_to(root).as_posix()
        if any(f"/{job}" in f"/{key}" for job in jobs):
            found[_NUMBERED.sub(r"rN-\1", key)] = comparable(key, path.read_bytes())
    return found


def comparable(key: str, data: bytes) -> bytes:
    """An object's bytes without what depends on the run; its fields keep their order."""
    if key.startswith("incoming/"):
        return hashlib.sha256(data).digest()
    if key.endswith(".json"):
        return _plain(json.loads(data))
    if key.endswith(".jsonl"):
        return b"\n".join(_plain(json.loads(line)) for line in data.splitlines())
    if key.endswith(".received.csv"):
        data = b"\r\n".join(line.rpartition(b",")[0] for line in data.split(b"\r\n"))  # without the etag
    if key.startswith("status/") and key.endswith(".txt"):
        return _without_time(data)
    return _NUMBERED.sub(r"rN-\1", data.decode()).encode()


def _plain(value: Any) -> bytes:
    return _NUMBERED.sub(r"rN-\1", json.dumps(_stripped(value), ensure_ascii=False)).encode()


def _stripped(value: Any) -> Any:
    if isinstance(value, list):
        return [_stripped(one) for one in value]
    if not isinstance(value, dict):
        return value
    dropped = {*RUN, *(OF_REVISION if str(value.get("key", "")).startswith("results/") else ())}
    return {name: _stripped(one) for name, one in value.items() if name not in dropped}


def _without_time(line: bytes) -> bytes:
    text = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"", line)
    return _NUMBERED.sub(r"rN-\1", text.decode()).encode()


def differences(found: dict[str, bytes], calm: dict[str, bytes]) -> list[str]:
    """What two runs do not agree about, the first twenty, for a person to read."""
    missing = [f"missing: {key}" for key in calm if key not in found]
    more = [f"more: {key}" for key in found if key not in calm]
    other = [
        f"other: {key}\n  {_apart(found[key], calm[key])}" for key in calm if found.get(key, calm[key]) != calm[key]
    ]
    return [*missing, *more, *other][:20]


def _apart(found: bytes, calm: bytes) -> str:
    place = next((n for n, (a, b) in enumerate(zip(found, calm, strict=False)) if a != b), min(len(found), len(calm)))
    around = slice(max(0, place - 120), place + 120)
    return f"{found[around]!r}\n  instead of {calm[around]!r}"
