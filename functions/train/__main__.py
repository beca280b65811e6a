"""`python -m functions.train`: make the scenes, train, derive the embedder, measure, write models with their cards."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from functions.train import embedder, evaluate, export, fit
from functions.train.data import pictures
from trapline.images import Image
from trapline.models import Model


def main() -> None:
    """Read the options and train."""
    options = _options()
    pictures_, epochs, steps = (24, 2, 60) if options.quick else (360, 5, 1300)
    season = pictures(options.seed, pictures_, os.cpu_count() or 1)
    _say(f"{len(season)} pictures, {sum(len(picture.kinds) for picture in season)} insects")
    classifier = export.export_classifier(fit.fit_classifier(season, epochs, options.seed, _say))
    detector = export.export_detector(fit.fit_detector(season, steps, 10, options.seed, _say))
    made = f"python -m functions.train --seed {options.seed}" + (" --quick" if options.quick else "")
    finish(detector, classifier, made, options.seed, options.out)


def finish(detector: export.Exported, classifier: export.Exported, made: str, seed: int, out: Path) -> None:
    """Choose the threshold, measure both models on held-out scenes, write them with what was measured."""
    for card, _ in (detector, classifier):
        card["training"] = {"data": "scenes drawn by functions/train/scenes.py", "command": made}
    detector[0]["threshold"] = threshold(export.as_model(*detector), seed)
    papers = evaluate.exams(seed, evaluate.EXAMS, os.cpu_count() or 1)
    measured = {"command": f"python -m functions.train.evaluate --seed {seed} --exams {evaluate.EXAMS}"}
    finder, namer = export.as_model(*detector), export.as_model(*classifier)
    detector[0]["quality"] = measured | evaluate.detector_quality(finder, papers)
    classifier[0]["quality"] = measured | evaluate.classifier_quality(namer, finder, papers)
    export.write(out / evaluate.DETECTOR, *detector)
    export.write(out / evaluate.CLASSIFIER, *classifier)
    _say(f"{detector[0]['quality']}\n{classifier[0]['quality']}")
    _say(f"{embedder.make(out, seed, papers)['quality']}")


def threshold(detector: Model, seed: int) -> float:
    """The best threshold, on scenes that are neither trained nor measured on."""
    papers = evaluate.exams(seed + 1_000_000, 24, os.cpu_count() or 1)
    found = [detector.detect([Image(paper.jpeg)], threshold=evaluate.FAINTEST)[0] for paper in papers]
    return round(evaluate.best_threshold(evaluate.rank(found, papers)), 2)


def _say(line: str) -> None:
    print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m functions.train", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=evaluate.FUNCTIONS, help="gets detect/model, classify/model and embed/model"
    )
    parser.add_argument("--seed", type=int, default=evaluate.SEED, help="of scenes, weights and order (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a minute's training, to see that everything works")
    return parser.parse_args()


if __name__ == "__main__":
    main()
