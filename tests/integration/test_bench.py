"""`trapline bench` on few images: what it tells, and that it leaves nothing behind. No figure is judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trapline.bench import bare, images, measure, projects, report, scale
from trapline.bench.measure import Bench
from trapline.bench.processes import Watch
from trapline.bench.served import Kind
from trapline.cli import words
from trapline.errors import SurroundingsError


def made(folder: Path, kind: Kind = "folder", count: int = 24) -> Bench:
    return Bench(folder, kind, count, 1, None, lambda line: None)


def test_the_bare_loop_runs_over_every_image(tmp_path: Path) -> None:
    project = projects.sample(tmp_path / "project", 1)
    images.write(tmp_path / "files", images.pictures("2MP"), 20)
    files = sorted((tmp_path / "files").rglob("*.JPG"))
    found = bare.loop(project, files, 2)
    assert found.images == len(files) == 20
    assert found.seconds > 0 and found.cpu_seconds > 0


def test_a_function_that_fails_is_told_and_nothing_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = projects.sample(tmp_path / "project", 1)
    images.write(tmp_path / "files", [b"no picture"], 4)
    with pytest.raises(SurroundingsError, match="did not end well"):
        bare.loop(project, sorted((tmp_path / "files").rglob("*.JPG")), 2)
    assert "function failed" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_run_tells_every_figure_of_a_size(kind: Kind, tmp_path: Path) -> None:
    bench = made(tmp_path, kind)
    told = measure.throughput(bench, "2MP", images.pictures("2MP"))
    assert told["images"] == bench.count
    assert told["ratio_to_limit"] == pytest.approx(told["pipeline_images_per_s"] / told["bare_images_per_s"], rel=1e-3)
    assert told["peak_memory_mb"].keys() >= {"dispatcher", "workers", "compile"}
    assert told["cpu_seconds"]["workers"] > told["cpu_seconds"]["dispatcher"] > 0
    timed = told["latency"]
    assert timed["bare_ms"] > 0
    if kind == "folder":
        assert timed["p95_ms"] >= timed["p50_ms"] > 0
    else:  # without a trigger, nobody hears of an upload at once
        assert timed["p50_ms"] is None


@pytest.mark.slow
def test_growth_is_told_for_every_size_with_what_a_finished_bucket_costs(tmp_path: Path) -> None:
    told = scale.scale(made(tmp_path), (300, 3_000), 20_000)
    assert [row["images"] for row in told["grown"]] == [300, 3_000]
    assert all(row["compile_seconds"] > 0 for row in told["grown"])
    assert told["sweep"]["images"] == 3_000
    assert told["late_image"]["seconds"] > 0
    assert told["simulated_sweep"]["opened"] == 0, "finished jobs are known by their listings alone"
    report.show(words.console(), {"machine": report.machine(), **told})


def test_a_watch_counts_what_a_process_and_its_children_use() -> None:
    child = "import time\nwhile time.process_time() < 0.5: pass"
    burn = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\ninput()"
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, text=True) as process:
        watch = Watch(process.pid, workers=0)
        try:
            while watch.cost().cpu["endpoint"] < 0.3:
                os.sched_yield()
            cost = watch.cost()
        finally:
            watch.stop()
            process.communicate("\n")
    assert cost.since(cost).seconds == 0
    assert cost.peak["dispatcher"] > 2**20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--store", "tape"], "--store"),
        (["--images", "3"], "100 or more"),
        (["--scale", "--store", "s3"], "--store s3"),
        (["--endpoint", "http://127.0.0.1:1"], "--bucket"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(options: list[str], said: str) -> None:
    command = [sys.executable, "-m", "trapline.cli", "bench", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert said in ran.stderr and len(ran.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_prints_one_line_of_json_and_removes_what_it_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trapline.cli", "bench", "--images", "100", "--json", "--dir", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told.keys() >= {"machine", "store", "workers", "overhead_ms", "startup_seconds", "classes"}
    assert told["classes"].keys() == {"2MP", "12MP"}
    assert list(tmp_path.iterdir()) == []
