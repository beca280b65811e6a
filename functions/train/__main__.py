"""`python -m functions.train`: make the scenes, train, derive the embedder, measure, write models with their cards."""

from __future__ import annotations

import argparse
from pathlib import Path

from functions.train import evaluate


def main() -> None:
    """Read the options; train, or measure what is there."""
    options = _options()
    if options.evaluate:
        evaluate.evaluate(options.out, options.seed, evaluate.EXAMS)
        return
    from functions.train.training import train  # noqa: PLC0415 - measuring needs no torch

    train(options.seed, options.out, quick=options.quick)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m functions.train", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=evaluate.FUNCTIONS, help="gets detect/model, classify/model and embed/model"
    )
    parser.add_argument("--seed", type=int, default=evaluate.SEED, help="of scenes, weights and order (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a minute's training, to see that everything works")
    parser.add_argument("--evaluate", action="store_true", help="measure the models in --out; needs no torch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
