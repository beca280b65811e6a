"""`python -m tests.simulation --seeds N --from S`: play seeds; stop at the first that breaks a promise."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulation.world import Broken, play, simulated_pipeline


def main() -> int:
    """Play the seeds asked for. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--from", dest="first", type=int, default=0)
    options = parser.parse_args()
    pipeline, began = simulated_pipeline(), time.monotonic()
    for seed in range(options.first, options.first + options.seeds):
        try:
            play(seed, pipeline)
        except Broken as broken:
            print(broken)
            return 1
        except Exception:  # noqa: BLE001 - whatever the engine raised is what is looked for
            print(f"seed {seed}: the engine itself failed")
            traceback.print_exc()
            return 1
    seconds = time.monotonic() - began
    print(f"{options.seeds} passed, 0 failed ({seconds:.1f} s, {options.seeds / seconds:.1f} seeds/s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
