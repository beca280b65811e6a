"""`trapline bench`: how fast the pipeline is here, and how cost grows with the number of images."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trapline.bench import measure, report, scale
from trapline.bench.images import SIZES, pictures
from trapline.bench.measure import Bench
from trapline.bench.served import Kind, Outside
from trapline.cli import interrupt, words
from trapline.errors import ConfigError, SurroundingsError

LEAST = 100  # images: fewer tell nothing but how a run begins and ends
_SCALED = 4 * 10**9  # bytes of free disk that --scale needs
_SPARE = 10**9  # … that a run needs beside its images
_EACH = 5 * 10**6  # … for an image of both sizes, as a file and in the bucket


def bench(
    kind: str,
    count: int,
    endpoint: str | None,
    bucket: str | None,
    folder: Path | None,
    *,
    scaled: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Measure and print. What was made is removed, unless it is to be kept."""
    if kind not in ("folder", "s3"):
        raise ConfigError(f"--store {kind!r} is not known.", remedy="Write --store folder or --store s3.")
    if count < LEAST:
        raise ConfigError(f"--images {count} is too few to say anything.", remedy=f"Give {LEAST} or more.")
    if scaled and kind == "s3":
        raise ConfigError("--scale works on a folder.", remedy="Leave out --store s3.")
    if (endpoint is None) != (bucket is None) or (endpoint and kind == "folder"):
        raise ConfigError(
            "An outside store needs its address and a bucket.",
            remedy="Write --store s3 --endpoint URL --bucket NAME, or leave both out.",
        )
    progress = words.console(stderr=True)
    outside = Outside(endpoint, bucket) if endpoint and bucket else None
    workers = len(os.sched_getaffinity(0))
    store: Kind = "s3" if kind == "s3" else "folder"
    needed = _SCALED if scaled else _SPARE + count * _EACH
    interrupt.listen(signal.SIGTERM, signal.SIGHUP)  # what was made is removed, and an outside bucket emptied again
    with _room(folder, needed, keep) as place:
        made = Bench(place, store, count, workers, outside, lambda line: words.say(progress, line, style="dim"))
        told: dict[str, Any] = {"machine": report.machine(), "store": store, "workers": workers}
        told |= scale.scale(made) if scaled else _speed(made)
    if as_json:
        words.emit(told)
    else:
        report.show(words.console(), told)


def _speed(made: Bench) -> dict[str, Any]:
    overhead = measure.overhead(made)
    classes = {size: measure.throughput(made, size, pictures(size)) for size in SIZES}
    return {
        "overhead_ms": overhead["overhead_ms"],
        "startup_seconds": overhead["startup_seconds"],
        "overhead": overhead,
        "classes": classes,
    }


@contextmanager
def _room(folder: Path | None, needed: int, keep: bool) -> Iterator[Path]:
    """An empty folder for a run, with enough space, removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="trapline-bench-", dir=folder)).absolute()
    try:
        free = shutil.disk_usage(place).free
        if free < needed:
            raise SurroundingsError(
                f"{place.parent} has {words.size(free)} left; {words.size(needed)} are needed.",
                remedy="Name a folder on a larger disk with --dir.",
            )
        yield place
    finally:
        if keep:
            words.say(words.console(stderr=True), f"Kept: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)
