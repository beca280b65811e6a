"""`python -m functions.train.second`: a small classifier from other pictures, for a second opinion in an ensemble."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from functions.train import evaluate, export, fit
from functions.train.data import pictures
from trapline.models import Model

NAME, WIDTHS = "moth-classifier-small", (12, 20, 32, 48)
SEED, PICTURES, EPOCHS = 11, 120, 8
OUT = evaluate.FUNCTIONS.parent / "models" / NAME  # where a project carries a model that no function names


def main() -> None:
    """Train it, measure it as the first one is measured, write it with its card."""
    parser = argparse.ArgumentParser(prog="python -m functions.train.second", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="gets model.onnx and model.yaml")
    parser.add_argument("--seed", type=int, default=SEED, help="of scenes, weights and order (default %(default)s)")
    options = parser.parse_args()
    season = pictures(options.seed, PICTURES, os.cpu_count() or 1)
    network = fit.fit_classifier(season, EPOCHS, options.seed, lambda line: print(line, flush=True), WIDTHS)
    card, content = export.export_classifier(network)
    command = f"python -m functions.train.second --seed {options.seed}"
    card |= {"name": NAME, "training": {"data": "scenes drawn by functions/train/scenes.py", "command": command}}
    papers = evaluate.exams(evaluate.SEED, evaluate.EXAMS, os.cpu_count() or 1)
    detector = Model.load(evaluate.FUNCTIONS / evaluate.DETECTOR)
    measured = evaluate.classifier_quality(export.as_model(card, content), detector, papers)
    card["quality"] = {"command": command, **measured}
    export.write(options.out, card, content)
    print(f"{len(content)} bytes, {measured}")


if __name__ == "__main__":
    main()
