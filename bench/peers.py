"""`python -m bench.peers`: the bare loop, Trapline and its peers on the same images, in turns, in one run."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from bench import peer_cog, peer_dramatiq, peer_prefect, peer_process, peer_trapline
from bench.peer import NotRun, Peer, Work
from bench.started import end_family
from trapline.bench import bare, images, projects
from trapline.bench.measure import WARM
from trapline.errors import TraplineError

PEERS = (peer_trapline.PEER, peer_dramatiq.PEER, peer_cog.PEER, peer_prefect.PEER, peer_process.PEER)
BARE = (
    "Nothing: it writes nothing. A process that is killed ends the run, an image that fails is passed over without a "
    "word, and there is no fan-in."
)

_LONGEST = 120.0  # seconds a turn may take, and this much more per image
_LONGEST_PER_IMAGE = 1.0
_FAILURES = (NotRun, TraplineError, RuntimeError, OSError, subprocess.SubprocessError, httpx.HTTPError)


@dataclass
class Turns:
    """What one peer's turns came to."""

    peer: Peer
    versions: dict[str, str] = field(default_factory=dict)
    images: int = 0
    rates: list[float] = field(default_factory=list)
    not_run: str | None = None


def main() -> None:
    """Measure and print."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    try:
        with tempfile.TemporaryDirectory(prefix="trapline-peers-", ignore_cleanup_errors=True) as folder:
            told = _run(options, Path(folder))
    finally:
        end_family(os.getpid())
    print(json.dumps(told, indent=2) if options.json else _table(told))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        epilog="The peers come with pip install --constraint constraints.txt --editable '.[bench]', and with Debian's "
        "redis-server; one that is missing is told as not run.",
    )
    parser.add_argument("--images", type=_positive, default=200, help="images in a turn (default 200)")
    parser.add_argument(
        "--workers", type=_positive, default=len(os.sched_getaffinity(0)), help="processes (default: one per core)"
    )
    parser.add_argument("--size", choices=sorted(images.SIZES), default="2MP", help="of the images (default 2MP)")
    parser.add_argument("--rounds", type=_positive, default=3, help="turns of each, whose median counts (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    load = os.getloadavg()[0]
    _say(f"making {options.images} images of {options.size}")
    project, drawn = projects.sample(folder / "project", options.workers), images.pictures(options.size)
    files = _written(folder / "files", drawn, options.images)
    warm = _written(folder / "warm", drawn, WARM * options.workers)
    longest = _LONGEST + _LONGEST_PER_IMAGE * options.images
    turns = [_found(peer) for peer in PEERS]
    loops = [_bare(project, files, options.workers, longest)]
    for number in range(options.rounds):
        for turn in turns:
            own = folder / f"turn-{number}-{turns.index(turn)}"
            own.mkdir()
            _take(turn, Work(project, files, warm, drawn, options.workers, own, longest))
            shutil.rmtree(own, ignore_errors=True)
        loops.append(_bare(project, files, options.workers, longest))
    return _told(options, turns, loops, load)


def _written(folder: Path, drawn: list[bytes], count: int) -> list[Path]:
    images.write(folder, drawn, count)
    return sorted(folder.rglob("*.JPG"))


def _found(peer: Peer) -> Turns:
    try:
        return Turns(peer, peer.versions())
    except NotRun as reason:
        return Turns(peer, not_run=str(reason))


def _bare(project: Path, files: Sequence[Path], workers: int, longest: float) -> float:
    _say("the bare loop")
    with _limited(longest):
        return bare.loop(project, files, workers).rate


def _take(turn: Turns, work: Work) -> None:
    """One turn of one peer; a peer that failed has no more."""
    if turn.not_run is not None:
        return
    _say(turn.peer.name)
    try:
        with _limited(work.longest):
            measured = turn.peer.measure(work)
    except _FAILURES as failure:
        turn.not_run = " ".join(f"{type(failure).__name__}: {failure}".split())
        return
    turn.images = measured.images
    turn.rates.append(measured.rate)


@contextmanager
def _limited(longest: float) -> Iterator[None]:
    """Raises `TimeoutError` where the block takes longer."""

    def over(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done in {longest:.0f} s")

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, longest)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _ended(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


# -- what is told


def _told(options: argparse.Namespace, turns: list[Turns], loops: list[float], load: float) -> dict[str, Any]:
    limits = [statistics.harmonic_mean(pair) for pair in itertools.pairwise(loops)]
    return {
        "size": options.size,
        "workers": options.workers,
        "rounds": options.rounds,
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "cpu": _cpu(),
            "load_before": round(load, 2),
            "python": platform.python_version(),
            "onnxruntime": metadata.version("onnxruntime"),
        },
        "bare": {
            "images": options.images,
            "images_per_s": round(statistics.median(loops), 2),
            "runs": [round(rate, 2) for rate in loops],
            "durable": BARE,
        },
        "peers": [_peer(turn, limits, options.workers) for turn in turns],
    }


def _peer(turn: Turns, limits: list[float], workers: int) -> dict[str, Any]:
    told: dict[str, Any] = {"name": turn.peer.name, "setup": turn.peer.setup.format(workers=workers)}
    told |= {"versions": turn.versions, "durable": turn.peer.durable}
    if turn.not_run is not None:
        return told | {"not_run": turn.not_run}
    ratios = [rate / limit for rate, limit in zip(turn.rates, limits, strict=True)]
    return told | {
        "images": turn.images,
        "images_per_s": round(statistics.median(turn.rates), 2),
        "runs": [round(rate, 2) for rate in turn.rates],
        "ratio_to_bare": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def _table(told: dict[str, Any]) -> str:
    machine, loop = told["machine"], told["bare"]
    lines = [
        f"{told['size']}, {told['workers']} workers, medians of {told['rounds']}; "
        "a ratio is to the bare loop before and after its round.",
        f"{machine['cores']} cores of {machine['cpu']}, load {machine['load_before']} before; "
        f"Python {machine['python']}, onnxruntime {machine['onnxruntime']}.",
        "",
        _row("", "images/s", "of bare", "images", "versions"),
        _row("the bare loop", f"{loop['images_per_s']:.2f}", "1.000", str(loop["images"]), ""),
    ]
    for peer in told["peers"]:
        versions = ", ".join(f"{name} {version}" for name, version in peer["versions"].items())
        if "not_run" in peer:
            lines.append(_row(peer["name"], "not run", "", "", peer["not_run"]))
            continue
        ratio = f"{peer['ratio_to_bare']:.3f}"
        lines.append(_row(peer["name"], f"{peer['images_per_s']:.2f}", ratio, str(peer["images"]), versions))
    lines += ["", *_paragraph("the bare loop", loop["durable"])]
    for peer in told["peers"]:
        lines += ["", *_paragraph(peer["name"], f"{peer['setup']}. {peer['durable']}")]
    return "\n".join(lines)


def _row(name: str, rate: str, ratio: str, count: str, versions: str) -> str:
    return f"{name:<21}{rate:>10}{ratio:>10}{count:>9}   {versions}".rstrip()


def _paragraph(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name}: {text}", 118, subsequent_indent="  ")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
