"""The measures, each a function of an engine that is served; what they mean is in docs/performance.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.bench import bare, images, projects
from trapline.bench.processes import Cost, cpu_seconds
from trapline.bench.served import Kind, Outside, Served
from trapline.errors import NotFound, SurroundingsError
from trapline.store.open import open_store

Say = Callable[[str], None]

WARM = 24  # images a worker has seen before anything is measured
LATENCY_IMAGES = 40
OVERHEAD_IMAGES = 5_000
_REST = 1.0  # seconds after which an engine with nothing to do is at rest


@dataclass(frozen=True)
class Bench:
    """What one run measures with."""

    folder: Path  # an empty folder for everything that is made
    kind: Kind
    count: int  # images of each size
    workers: int
    outside: Outside | None
    say: Say

    def served(self, name: str, project: Path) -> Served:
        return Served(project, self.folder / name, self.kind, self.workers, self.outside)


def throughput(bench: Bench, size: str, drawn: list[bytes]) -> dict[str, Any]:
    """Images per second from detect to the compiled results, beside the bare loop before and after it."""
    project = projects.sample(bench.folder / f"project-{size}", bench.workers, _root(bench, size))
    files = bench.folder / f"files-{size}"
    bench.say(f"{size}: making {bench.count} images")
    images.write(files, drawn, bench.count)
    paths = sorted(files.rglob("*.JPG"))
    bench.say(f"{size}: the bare loop, {bench.workers} processes")
    before = bare.loop(project, paths, bench.workers)
    served = bench.served(f"data-{size}", project)
    try:
        run = through(bench, served, drawn, bench.count)
        took = _latency(bench, served, drawn)
    finally:
        served.close()
    bench.say(f"{size}: the bare loop again")
    after = bare.loop(project, paths, bench.workers)
    alone = bare.single(project, paths[:LATENCY_IMAGES])
    limit = statistics.harmonic_mean([before.rate, after.rate])
    bare_cpu = (before.cpu_seconds + after.cpu_seconds) / 2 / bench.count
    cpu = (sum(run["cpu_seconds"].values()) + run["outside_endpoint_cpu_seconds"]) / bench.count
    return {
        "images": bench.count,
        "pixels": images.SIZES[size][0] * images.SIZES[size][1],
        "bytes_per_image": sum(path.stat().st_size for path in paths) // len(paths),
        "bare_images_per_s": round(limit, 3),
        "bare_runs": [round(before.rate, 3), round(after.rate, 3)],
        "pipeline_images_per_s": run["images_per_s"],
        "ratio_to_limit": round(run["images_per_s"] / limit, 4),
        "bare_cpu_ms_per_image": round(1000 * bare_cpu, 3),
        "pipeline_cpu_ms_per_image": round(1000 * cpu, 3),
        "cpu_ratio": round(bare_cpu / cpu, 4),
        **run,
        "latency": _beside(took, alone),
    }


def overhead(bench: Bench, count: int = OVERHEAD_IMAGES) -> dict[str, Any]:
    """CPU of all the engine's processes per image and stage, with a function that does nothing and 2 kB images."""
    project = projects.empty(bench.folder / "project-empty", bench.workers, _root(bench, "empty"))
    served = bench.served("data-empty", project)
    try:
        run = through(bench, served, [images.tiny()], count)
    finally:
        served.close()
    return {
        "overhead_ms": run["cpu_ms_per_image_and_stage"],
        "images": count,
        "stages": len(projects.EMPTY_STAGES),
        **run,
    }


def through(bench: Bench, served: Served, drawn: list[bytes], count: int) -> dict[str, Any]:
    """One job, cancelled until its images are there and the workers are warm; timed from when it goes on."""
    warm, job = "bench/warm", "bench/job"
    bench.say(f"putting {count} images into the bucket")
    served.fill(job, drawn, count, ("_CANCEL", "_DONE"))
    served.fill(warm, drawn, WARM * bench.workers)
    startup = served.start()
    served.until("the warm-up's results", lambda: served.final(warm), every=0.1)
    served.until("the job's listing", lambda: listed(served, job, count), every=0.1)
    served.until("rest", _at_rest(served))
    bench.say(f"{count} images through the pipeline")
    assert served.watch is not None
    before, endpoint = served.watch.cost(), _endpoint_cpu(served)
    began = time.time()
    served.delete(f"{job}/_CANCEL")
    if served.kind == "s3":
        served.sweep()
    ended = served.until("the job's results", lambda: served.final(job), every=0.02 if served.kind == "folder" else 0.1)
    used = served.watch.cost().since(before)
    _check(served, job, count)
    began, _ = served.logged("job.resumed", repr(job), since=began - 1.0)[0]
    return _figures(served, count, ended - began, used, _endpoint_cpu(served) - endpoint) | {
        "startup_seconds": round(startup, 3)
    }


def _check(served: Served, job: str, count: int) -> None:
    """Refuse to tell how fast images failed."""
    summary = served.summary(job)
    done = summary.images.get("done", 0) if summary else 0
    if done != count:
        raise SurroundingsError(
            f"{count - done} of {count} images failed: there is nothing to tell.",
            remedy="Run it with --keep, and see failed/ in the bucket.",
        )


def _figures(served: Served, count: int, seconds: float, used: Cost, endpoint: float) -> dict[str, Any]:
    stages = sum(1 for _ in served.layout.records)
    return {
        "images_per_s": round(count / seconds, 3),
        "seconds": round(seconds, 3),
        "cpu_seconds": {role: round(cpu, 3) for role, cpu in used.cpu.items()},
        "outside_endpoint_cpu_seconds": round(endpoint, 3),
        "endpoint_ms_per_image": round(1000 * (endpoint + used.cpu["endpoint"]) / count, 4),
        "cpu_ms_per_image_and_stage": round(1000 * used.seconds / count / stages, 4),
        "peak_memory_mb": {role: round(peak / 1e6, 1) for role, peak in used.peak.items() if peak},
    }


def listed(served: Served, job: str, count: int) -> bool:
    """Whether a cancelled job's images are all known to the engine."""
    status = served.status(job)
    return status is not None and status.state == "CANCELLED" and status.images.get("total") == count


def _at_rest(served: Served) -> Callable[[], bool]:
    """Whether the engine's processes have used next to no CPU for a second."""
    seen: list[tuple[float, float]] = []

    def holds() -> bool:
        assert served.watch is not None
        now = time.monotonic()
        seen.append((now, served.watch.cost().seconds))
        past = [cpu for at, cpu in seen if at <= now - _REST]
        return bool(past) and seen[-1][1] - past[-1] < 0.1 * _REST

    return holds


def _endpoint_cpu(served: Served) -> float:
    pid = served.endpoint_pid
    return cpu_seconds(pid) if pid else 0.0


# -- latency


def _latency(bench: Bench, served: Served, drawn: list[bytes]) -> list[float] | None:
    """Seconds from the answer to an upload over S3 to the last per-image record, for images sent one by one."""
    if served.kind == "s3":
        return None  # an outside store tells nobody of uploads: without a trigger, a sweep finds them
    bench.say(f"{LATENCY_IMAGES} images sent one by one")
    client = open_store(served.s3())
    last = list(served.layout.records)[-1]
    took = []
    for number in range(LATENCY_IMAGES):
        rel = f"bench/latency/IMG_{number:04d}.JPG"
        client.put(served.layout.image(rel), images.commented(drawn[number % len(drawn)], rel))
        sent = time.monotonic()
        record = served.folder / served.layout.record(last, rel)
        while not record.exists():
            if time.monotonic() - sent > 60:
                raise NotFound(str(record))
            time.sleep(0.001)
        took.append(time.monotonic() - sent)
        time.sleep(0.15)
    return took


def _beside(took: Sequence[float] | None, alone: float) -> dict[str, Any]:
    found: dict[str, Any] = {"bare_ms": round(1000 * alone, 2), "p50_ms": None, "p95_ms": None, "added_ms": None}
    if took:
        p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[-1]
        found |= {"p50_ms": round(1000 * p50, 2), "p95_ms": round(1000 * p95, 2)}
        found["added_ms"] = round(1000 * (p50 - alone), 2)
    return found


def _root(bench: Bench, name: str) -> str:
    """Where in an outside bucket a measure writes."""
    return f"trapline-bench-{int(time.time())}-{name.lower()}/" if bench.outside else ""
