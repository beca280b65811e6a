"""How good the models are, on held-out scenes, through the files and the code that the stages use. Needs no torch.

`python -m functions.train --evaluate` measures the models that the functions carry. What the figures are is decided in
`trapline.evaluation`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from functions.train.scenes import Insect, look_at_random, make
from trapline.evaluation.cards import write_quality
from trapline.evaluation.classifying import classifier_figures
from trapline.evaluation.detecting import detector_figures, pairs
from trapline.evaluation.matching import Found, Truth
from trapline.evaluation.measuring import FLOOR, Answer, found_of
from trapline.evaluation.report import main_figures, named
from trapline.images import Box, Image
from trapline.models import Detection, Model

FUNCTIONS = Path(__file__).resolve().parents[1]
DETECTOR, CLASSIFIER = Path("detect/model"), Path("classify/model")
SEED, EXAMS = 7, 80

Quality = dict[str, Any]


@dataclass(frozen=True)
class Exam:
    """One held-out file and the truth about it."""

    jpeg: bytes
    insects: tuple[Insect, ...]


def exams(seed: int, count: int, workers: int = 1) -> list[Exam]:
    """`count` held-out files at 1600 x 1200. Their seeds are never those of training pictures."""
    if workers == 1:
        return [_exam(seed, number) for number in range(count)]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(partial(_exam, seed), range(count), chunksize=4))


def _exam(seed: int, number: int) -> Exam:
    rng = np.random.default_rng([seed, 1, number])
    scene = make(look_at_random(rng), rng)
    return Exam(scene.jpeg(int(rng.integers(60, 93))), scene.insects)


def detector_quality(model: Model, papers: Sequence[Exam]) -> Quality:
    """What stands on a detector's card: average precision, precision and recall at its threshold, CPU milliseconds."""
    spent, found = 0.0, []
    for paper in papers:
        image = Image(paper.jpeg)
        begun = time.process_time()
        model.detect([image])  # as a stage does
        spent += time.process_time() - begun
        found += model.detect([image], threshold=FLOOR)
    return {
        **main_figures("detector", detector_measured(model, papers, found)),
        "images": len(papers),
        "objects": sum(len(paper.insects) for paper in papers),
        "cpu_ms_per_image": round(1000 * spent / len(papers), 1),
    }


def best_threshold(model: Model, papers: Sequence[Exam]) -> float:
    """The confidence at which precision and recall are best together (F1)."""
    found = [model.detect([Image(paper.jpeg)], threshold=FLOOR)[0] for paper in papers]
    best = detector_measured(model, papers, found)["best"]
    return float(best["threshold"]) if best else model.card.threshold


def detector_measured(model: Model, papers: Sequence[Exam], found: Sequence[Sequence[Detection]]) -> Quality:
    """Every figure of what a detector found; the scenes' insects are all of its one label."""
    (label,) = model.card.labels
    truths = [truth(paper.insects, [label] * len(paper.insects), (label,)) for paper in papers]
    founds = [found_of(one, {label: 0}) for one in found]
    return detector_figures(truths, founds, (label,), model.card.threshold, draws=0)


def classifier_quality(model: Model, detector: Model, papers: Sequence[Exam]) -> Quality:
    """What stands on a classifier's card: insects named right, on true boxes and on those that the detector finds."""
    on_truth, on_found = [], []
    spent = 0.0
    for number, paper in enumerate(papers):
        image = Image(paper.jpeg)
        begun = time.process_time()
        on_truth.append(_named(model, number, image, [insect.box for insect in paper.insects], paper.insects))
        spent += time.process_time() - begun
        boxes, insects = found_insects(detector.detect([image])[0], paper.insects)
        on_found.append(_named(model, number, image, boxes, insects))
    told, told_on_found = (
        classifier_figures(named(some, len(model.card.labels)), model.card.labels, draws=0)
        for some in (on_truth, on_found)
    )
    objects = sum(len(paper.insects) for paper in papers)
    return {
        **main_figures("classifier", told),
        "top1_on_detections": round(told_on_found["top1"], 4),
        "images": len(papers),
        "objects": objects,
        "cpu_ms_per_crop": round(1000 * spent / max(1, objects), 2),
    }


def found_insects(detections: Sequence[Detection], insects: Sequence[Insect]) -> tuple[list[Box], list[Insect]]:
    """The boxes that found an insect, and which insects those are."""
    found = Found.of([one.box for one in detections], [0] * len(detections), [one.confidence for one in detections])
    there = truth(insects, ["insect"] * len(insects), ("insect",))
    both = [(told, at) for at, told in pairs(there, found, 0.0) if at is not None and told is not None]
    return [detections[told].box for told, _ in both], [insects[at] for _, at in both]


def truth(insects: Sequence[Insect], names: Sequence[str], labels: Sequence[str]) -> Truth:
    """The insects of one scene as truth, named by `names`, which are among `labels`."""
    return Truth.of([insect.box for insect in insects], [labels.index(name) for name in names])


def _named(model: Model, number: int, image: Image, boxes: Sequence[Box], insects: Sequence[Insect]) -> Answer:
    labels = model.card.labels
    rows = model.classify(model.crops(image, boxes)) if boxes else []
    ranks = tuple(tuple((labels.index(label), score) for label, score in row) for row in rows)
    there = truth(insects, [insect.label for insect in insects], labels)
    return Answer(number, there, Found.of([], [], []), ranks, read=True)


def evaluate(models: Path, seed: int, count: int, *, write_cards: bool = False) -> None:
    """Measure the models in `models`, print the figures, and with `write_cards` put them on their cards."""
    papers = exams(seed, count, os.cpu_count() or 1)
    detector, classifier = Model.load(models / DETECTOR), Model.load(models / CLASSIFIER)
    told = {DETECTOR: detector_quality(detector, papers), CLASSIFIER: classifier_quality(classifier, detector, papers)}
    for folder, figures in told.items():
        print(folder.parent, figures)
        if write_cards:
            write_quality(models / folder / "model.yaml", {"command": command(seed, count), **figures})


def command(seed: int, count: int) -> str:
    """What measures the figures on a card again."""
    return f"python -m functions.train.evaluate --seed {seed} --exams {count}"


def main() -> None:
    """Read the options and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m functions.train.evaluate", description=main.__doc__)
    parser.add_argument("--models", type=Path, default=FUNCTIONS, help="folder with detect/model and classify/model")
    parser.add_argument("--seed", type=int, default=SEED, help="of the held-out scenes (default %(default)s)")
    parser.add_argument("--exams", type=int, default=EXAMS, help="how many of them (default %(default)s)")
    parser.add_argument("--write-cards", action="store_true", help="put the figures on the models' cards")
    options = parser.parse_args()
    evaluate(options.models, options.seed, options.exams, write_cards=options.write_cards)


if __name__ == "__main__":
    main()
