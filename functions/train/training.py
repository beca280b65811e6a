"""Training, choosing the threshold, measuring, and writing the models with their cards. Needs torch."""

from __future__ import annotations

import os
from pathlib import Path

from functions.train import embedder, evaluate, export, fit
from functions.train.data import pictures
from trapline.models import Model


def train(seed: int, out: Path, *, quick: bool) -> None:
    """Draw the scenes, train, and write `detect/model`, `classify/model` and `embed/model` into `out`."""
    pictures_, epochs, steps = (24, 2, 60) if quick else (360, 5, 1300)
    season = pictures(seed, pictures_, os.cpu_count() or 1)
    _say(f"{len(season)} pictures, {sum(len(picture.kinds) for picture in season)} insects")
    classifier = export.export_classifier(fit.fit_classifier(season, epochs, seed, _say))
    detector = export.export_detector(fit.fit_detector(season, steps, 10, seed, _say))
    made = f"python -m functions.train --seed {seed}" + (" --quick" if quick else "")
    finish(detector, classifier, made, seed, out)


def finish(detector: export.Exported, classifier: export.Exported, made: str, seed: int, out: Path) -> None:
    """Choose the threshold, measure both models on held-out scenes, write them with what was measured."""
    for card, _ in (detector, classifier):
        card["training"] = {"data": "scenes drawn by functions/train/scenes.py", "command": made}
    detector[0]["threshold"] = threshold(export.as_model(*detector), seed)
    papers = evaluate.exams(seed, evaluate.EXAMS, os.cpu_count() or 1)
    measured = {"command": evaluate.command(seed, evaluate.EXAMS)}
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
    return round(evaluate.best_threshold(detector, papers), 2)


def _say(line: str) -> None:
    print(line, flush=True)
