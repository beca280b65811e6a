"""How cost and memory grow with the number of images: `trapline bench --scale`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trapline.bench import images, projects
from trapline.bench.measure import Bench, listed, through
from trapline.bench.served import Served

SIZES = (1_000, 10_000, 100_000)  # images owed at once
LISTED = 1_000_000  # finished images in simulated listings
_LATE = "DCIM/late.JPG"
_JOB = "bench/job"


def scale(bench: Bench, sizes: tuple[int, ...] = SIZES, simulated: int = LISTED) -> dict[str, Any]:
    """Every measure of growth, the largest bucket reused for what starts from a finished job."""
    grown: list[dict[str, Any]] = []
    finished: dict[str, Any] = {}
    for count in sizes:
        project = projects.empty(bench.folder / f"project-{count}", bench.workers)
        served = bench.served(f"data-{count}", project)
        try:
            grown.append(_grown(bench, served, count))
            if count == sizes[-1]:
                finished = _finished(bench, served, count)
        finally:
            served.close()
    return {
        "grown": _beside_the_first(grown),
        **finished,
        "restart": _restarted(bench, sizes[-1]),
        "simulated_sweep": simulated_sweep(bench, simulated),
    }


def _grown(bench: Bench, served: Served, count: int) -> dict[str, Any]:
    """One job from owed to compiled."""
    run = through(bench, served, [images.tiny()], count)
    assert served.watch is not None
    return {
        "images": count,
        "images_per_s": run["images_per_s"],
        "cpu_ms_per_image": round(len(projects.EMPTY_STAGES) * run["cpu_ms_per_image_and_stage"], 4),
        "dispatcher_peak_mb": run["peak_memory_mb"]["dispatcher"],
        "dispatcher_memory_mb": _thinned([size for _, size in served.watch.resident]),
        "worker_peak_mb": run["peak_memory_mb"]["workers"],
        "compile_peak_mb": run["peak_memory_mb"].get("compile"),
        "compile_seconds": _compile_seconds(served)[0],
    }


def _beside_the_first(grown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each size with how many times the smallest one's cost an image has there."""
    first = grown[0]
    for row in grown:
        row["cpu_growth"] = round(row["cpu_ms_per_image"] / first["cpu_ms_per_image"], 3)
        row["rate_growth"] = round(row["images_per_s"] / first["images_per_s"], 3)
        row["memory_growth"] = round(row["dispatcher_peak_mb"] / first["dispatcher_peak_mb"], 3)
        row["compile_growth"] = round(
            (row["compile_seconds"] / row["images"]) / (first["compile_seconds"] / first["images"]), 3
        )
    return grown


def _finished(bench: Bench, served: Served, count: int) -> dict[str, Any]:
    """What a late image costs a finished job, and what a finished bucket costs an engine that starts."""
    bench.say("one late image")
    began = time.time()
    served.put(f"{_JOB}/{_LATE}", images.commented(images.tiny(), "late"))
    served.put(f"{_JOB}/_DONE", b"")
    ended = served.until("the late image's revision", lambda: served.final(_JOB, 2), every=0.1)
    late = {"seconds": round(ended - began, 3), "compile_seconds": _compile_seconds(served, since=began)[-1]}
    served.until("the job to be forgotten", lambda: _forgotten(served, began), every=0.2)
    served.stop()
    bench.say(f"a sweep of {count} finished images")
    began = time.time()
    startup = served.start()
    served.until("the sweep", lambda: bool(served.logged("sweep.done", since=began)))
    ready, done = served.logged("engine.ready", since=began)[0][0], served.logged("sweep.done", since=began)[0][0]
    assert served.watch is not None
    peak = served.watch.cost().peak["dispatcher"]
    sweep = {"seconds": round(done - ready, 3), "startup_seconds": round(startup, 3), "dispatcher_peak_mb": _mb(peak)}
    return {"late_image": late, "sweep": {"images": count, **sweep}}


def _restarted(bench: Bench, count: int) -> dict[str, Any]:
    """Killed when half of a job is done: how long until the next engine's first record."""
    project = projects.empty(bench.folder / "project-restart", bench.workers)
    served = bench.served("data-restart", project)
    try:
        bench.say(f"putting {count} images into the bucket")
        served.fill(_JOB, [images.tiny()], count, ("_CANCEL", "_DONE"))
        served.start()
        served.until("the job's listing", lambda: listed(served, _JOB, count), every=0.1)
        bench.say(f"killing the engine at half of {count} images")
        served.delete(f"{_JOB}/_CANCEL")
        served.until("half of the images", lambda: _done(served) >= count / 2, every=0.1)
        served.stop(kill=True)
        done = _records(served)
        began = time.time()
        served.start()
        over = served.until("the first new record", lambda: _newest(served) > began or served.final(_JOB), every=0.05)
        first = _oldest_since(served, began)
        took = round(first - began, 3) if first < over else None  # None: it was done before it could be killed
        return {"images": count, "done_before": done, "first_record_seconds": took}
    finally:
        served.close()


def _done(served: Served) -> int:
    status = served.status(_JOB)
    return status.images.get("done", 0) if status else 0


def _records(served: Served) -> int:
    return sum(len(files) for _, _, files in os.walk(_last_folder(served)))


def _newest(served: Served) -> float:
    """When a record was last written in any folder of the last stage."""
    return max((entry.stat().st_mtime for entry in os.scandir(_last_folder(served) / "DCIM")), default=0.0)


def _oldest_since(served: Served, moment: float) -> float:
    found = (
        entry.stat().st_mtime
        for folder in os.scandir(_last_folder(served) / "DCIM")
        for entry in os.scandir(folder.path)
    )
    return min((at for at in found if at > moment), default=time.time())


def _last_folder(served: Served) -> Path:
    return served.folder / list(served.layout.records.values())[-1] / _JOB


def _compile_seconds(served: Served, since: float = 0.0) -> list[float]:
    """Of each final compile of the job, as the engine logged it."""

    def lines() -> list[tuple[float, str]]:
        return served.logged("job.compiled", f"job='{_JOB}' revision=r", since)

    served.until("the compile's line in the log", lambda: bool(lines()))  # it is written after the summary
    return [float(line.rpartition("seconds=")[2]) for _, line in lines()]


def _forgotten(served: Served, since: float) -> bool:
    key = f"{served.layout.prefix('control')}seen/{_JOB}.json"
    path = served.folder / key
    return path.exists() and path.stat().st_mtime > since and json.loads(path.read_bytes()).get("finished", False)


def _thinned(sizes: list[int], most: int = 20) -> list[float]:
    """Some of the dispatcher's sizes over its life, in MB."""
    step = max(1, len(sizes) // most)
    return [_mb(size) for size in sizes[::step]]


def _mb(size: float) -> float:
    return round(size / 1e6, 1)


# -- listings that nobody stores


def simulated_sweep(bench: Bench, count: int, jobs: int = 1_000) -> dict[str, Any]:
    """A sweep of finished images in listings that are made up as they are read, in a process of its own."""
    bench.say(f"a sweep of {count} images in simulated listings")
    project = projects.empty(bench.folder / "project-simulated", bench.workers)
    command = [sys.executable, "-m", "trapline.bench.listings", str(project), str(count), str(jobs)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found
