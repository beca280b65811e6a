"""`python -m tests.simulation --seeds N --from S`: play seeds; the first that breaks a promise is told, and shrunk.

`--story SEED|FILE` plays one and prints its timeline. `--teeth` shows that deliberate bugs are caught.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

try:
    from tests.simulation import teeth
    from tests.simulation.plan import Plan, draw, load
    from tests.simulation.shrink import shrink
    from tests.simulation.story import Broken
    from tests.simulation.world import Simulated, play
except ModuleNotFoundError as missing:
    if __name__ != "__main__" or missing.name != "greenlet":
        raise
    print("greenlet is not installed. Run `make test` first, which installs it.", file=sys.stderr)
    sys.exit(2)

TOGETHER = 20  # seeds a process plays before it tells


def main() -> int:
    """Do what was asked for. Returns the exit code."""
    options = _options()
    if options.story:
        return _tell(options.story)
    if options.teeth is not None:
        return _teeth(options)
    return _play(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    add = parser.add_argument
    add("--seeds", metavar="N", type=int, default=200, help="how many worlds to play (default: %(default)s)")
    add("--from", metavar="S", dest="first", type=int, default=0, help="the first seed (default: %(default)s)")
    jobs = len(os.sched_getaffinity(0))
    add("--jobs", metavar="N", type=int, default=jobs, help="processes at a time (default: one a CPU: %(default)s)")
    add("--story", metavar="SEED|FILE", help="play one world and print its timeline")
    add("--keep", metavar="FILE", type=Path, help="where to write a failing world once it is shrunk (default: nowhere)")
    seconds = "how long to make a failing world smaller (default: %(default)g)"
    add("--shrink-seconds", metavar="SECONDS", type=float, default=60.0, help=seconds)
    add("--teeth", nargs="*", metavar="BUG", help="catch deliberate bugs: all, or those named")
    return parser.parse_args()


# -- playing


def _play(options: argparse.Namespace) -> int:
    began, played, first = time.monotonic(), 0, None
    for seed in _failing(options.first, options.seeds, options.jobs):
        if isinstance(seed, int):
            played += seed
            _progress(played, options.seeds, began)
        else:
            first = seed[0]
            break
    seconds = time.monotonic() - began
    if first is not None:
        _report(first, options)
        print(f"seed {first} failed; {played} passed before it was found ({seconds:.1f} s)")
        return 1
    print(f"{options.seeds} passed, 0 failed ({seconds:.1f} s, {options.seeds / seconds:.1f} seeds/s)")
    return 0


def _failing(first: int, count: int, jobs: int) -> Iterator[int | tuple[int]]:
    """For each batch of seeds, in order: how many passed, or (the first that failed,)."""
    batches = [range(n, min(n + TOGETHER, first + count)) for n in range(first, first + count, TOGETHER)]
    with ProcessPoolExecutor(max(1, jobs)) as pool:
        try:
            for batch, failed in zip(batches, pool.map(_batch, batches), strict=True):
                yield len(batch) if failed is None else (failed,)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _batch(seeds: Iterable[int]) -> int | None:
    """The first of some seeds that fails."""
    return next((seed for seed in seeds if failure(draw(seed)) is not None), None)


def failure(plan: Plan) -> Broken | None:
    """What goes wrong in a world; None when nothing does."""
    try:
        play(plan)
    except Broken as broken:
        return broken
    return None


def _progress(played: int, count: int, began: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{played}/{count}  {played / (time.monotonic() - began):.1f} seeds/s", end="", file=sys.stderr)


# -- telling


def _report(seed: int, options: argparse.Namespace) -> None:
    """Print a failing seed's story, made smaller."""
    plan = draw(seed)
    broken = failure(plan)
    if broken is None:
        print(f"seed {seed} failed once, and passes when it is played again")
        return
    promise = broken.promise
    small = shrink(plan, lambda p: (f := failure(p)) is not None and f.promise == promise, options.shrink_seconds)
    _show(small)
    if options.keep:
        options.keep.write_text(small.dump() + "\n")
        print(f"kept as {options.keep}")
    else:
        print(small.dump())


def _tell(which: str) -> int:
    return _show(draw(int(which)) if which.lstrip("-").isdecimal() else load(Path(which)))


def _show(plan: Plan) -> int:
    world, broken = watch(plan)
    print(world.story.text())
    if broken is None:
        print("every promise holds")
        return 0
    if broken.__cause__ is not None and not isinstance(broken.__cause__, Broken):
        traceback.print_exception(broken.__cause__)
    print(f"BROKEN  {broken}")
    return 1


def watch(plan: Plan) -> tuple[Simulated, Broken | None]:
    """A world that was played, and what went wrong in it."""
    try:
        return play(plan), None
    except Broken as broken:
        assert broken.world is not None
        return broken.world, broken


# -- teeth


def _teeth(options: argparse.Namespace) -> int:
    """Play seeds with each deliberate bug until it is caught."""
    names = options.teeth or list(teeth.BUGS)
    missed = []
    with ProcessPoolExecutor(max(1, options.jobs)) as pool:
        hunts = {name: pool.submit(teeth.hunt, name, options.first, options.seeds) for name in names}
        for name, hunt in hunts.items():
            seed, promise, played = hunt.result()
            missed += [name] if seed is None else []
            print(f"{name:34} {'NOT CAUGHT' if seed is None else f'seed {seed}'} after {played}: {promise}", flush=True)
    print(f"{len(names) - len(missed)} of {len(names)} deliberate bugs caught within {options.seeds} seeds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
