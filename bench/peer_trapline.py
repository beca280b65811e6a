"""Trapline's own pipeline over a folder: detect, classify and the compiled results."""

from __future__ import annotations

from bench.peer import Measured, Peer, Work
from trapline.bench import measure as parts


def measure(work: Work) -> Measured:
    """From the moment the job goes on to its final results, as `trapline bench` takes it."""
    bench = parts.Bench(work.folder, "folder", len(work.files), work.workers, None, lambda line: None)
    served = bench.served("data", work.project)
    try:
        told = parts.through(bench, served, list(work.drawn), len(work.files))
    finally:
        served.close()
    return Measured(len(work.files), told["seconds"])


PEER = Peer(
    name="Trapline",
    setup="`trapline up` over a folder, {workers} workers; to the compiled results",
    durable=(
        "kill -9 of a worker or of the S3 endpoint is not noticed, and an engine that was killed goes on from the "
        "bucket when it is started again, to the results of a calm run (tried, "
        "tests/integration/test_engine_kills.py). A folder's files are not fsynced: a power cut may take what the "
        "system had not written yet, and images whose records are gone run again (tried in simulation only). An image "
        "that fails has a dead letter, with code and remedy, and its line in the results. Fan-in: a job's results are "
        "compiled from all its images."
    ),
    measure=measure,
    packages=("trapline",),
)
