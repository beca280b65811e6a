"""How good the models are, on held-out scenes, through the files and the code that the stages use. Needs no torch.

`python -m functions.train.evaluate` measures the models that the functions carry.
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

import numpy as np
from numpy.typing import NDArray

from functions.train.scenes import Insect, look_at_random, make
from trapline.images import Image
from trapline.models import Detection, Model
from trapline.models.heads import overlaps

FUNCTIONS = Path(__file__).resolve().parents[1]
DETECTOR, CLASSIFIER = Path("detect/model"), Path("classify/model")
SEED, EXAMS = 7, 80

MATCH = 0.5  # intersection over union from which a detection counts as the insect
FAINTEST = 0.05  # detections are ranked from this confidence up


@dataclass(frozen=True)
class Exam:
    """One held-out file and the truth about it."""

    jpeg: bytes
    insects: tuple[Insect, ...]


@dataclass(frozen=True)
class Ranked:
    """Detections over all exams, best first, and which of them are right."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    insects: int  # how many there are to find


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


def detector_quality(model: Model, papers: Sequence[Exam]) -> dict[str, float | int]:
    """Average precision at an overlap of 0.5, precision and recall at the card's threshold, and milliseconds."""
    begun = time.process_time()
    found = [model.detect([Image(paper.jpeg)], threshold=FAINTEST)[0] for paper in papers]
    spent = time.process_time() - begun
    ranked = rank(found, papers)
    told = ranked.scores >= model.card.threshold
    hits = int((ranked.right & told).sum())
    return {
        "map50": round(average_precision(ranked), 4),
        "precision": round(hits / max(1, int(told.sum())), 4),
        "recall": round(hits / max(1, ranked.insects), 4),
        "images": len(papers),
        "insects": ranked.insects,
        "cpu_ms_per_image": round(1000 * spent / len(papers), 1),
    }


def classifier_quality(model: Model, detector: Model, papers: Sequence[Exam]) -> dict[str, float | int]:
    """Share of insects named right, on the true boxes and on the boxes that the detector finds."""
    on_truth: list[bool] = []
    on_found: list[bool] = []
    spent, crops = 0.0, 0
    for paper in papers:
        image = Image(paper.jpeg)
        begun = time.process_time()
        on_truth += _named_right(model, image, [insect.box for insect in paper.insects], paper.insects)
        spent, crops = spent + time.process_time() - begun, crops + len(paper.insects)
        boxes, insects = _pairs(detector.detect([image])[0], paper.insects)
        on_found += _named_right(model, image, boxes, insects)
    return {
        "top1": round(float(np.mean(on_truth)), 4),
        "top1_on_detections": round(float(np.mean(on_found)), 4),
        "crops": crops,
        "cpu_ms_per_crop": round(1000 * spent / max(1, crops), 2),
    }


def rank(found: Sequence[Sequence[Detection]], papers: Sequence[Exam]) -> Ranked:
    """Match detections with insects, image by image, each insect at most once, the most confident first."""
    rows: list[tuple[float, bool]] = []
    for detections, paper in zip(found, papers, strict=True):
        matched = matches(detections, paper.insects)
        rows += [(one.confidence, at is not None) for one, at in zip(detections, matched, strict=True)]
    rows.sort(key=lambda row: -row[0])
    scores, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], bool)
    return Ranked(scores, right, sum(len(paper.insects) for paper in papers))


def matches(detections: Sequence[Detection], insects: Sequence[Insect]) -> list[int | None]:
    """Per detection the number of the insect it found, or none."""
    if not insects or not detections:
        return [None] * len(detections)
    shares = overlaps(_boxes([one.box for one in detections]), _boxes([insect.box for insect in insects]))
    result: list[int | None] = []
    for row in shares:
        best = int(row.argmax())
        result.append(best if row[best] >= MATCH else None)
        if row[best] >= MATCH:
            shares[:, best] = 0
    return result


def average_precision(ranked: Ranked) -> float:
    """The area under precision over recall, with precision made monotonic."""
    if not len(ranked.right):
        return 0.0
    hits = np.cumsum(ranked.right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], hits / max(1, ranked.insects)]))
    return float((precision * steps).sum())


def best_threshold(ranked: Ranked) -> float:
    """The confidence at which precision and recall are best together (F1)."""
    hits = np.cumsum(ranked.right)
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + ranked.insects)
    return float(ranked.scores[int(f1.argmax())])


def _pairs(
    detections: Sequence[Detection], insects: Sequence[Insect]
) -> tuple[list[tuple[float, float, float, float]], list[Insect]]:
    matched = matches(detections, insects)
    pairs = [(one.box, insects[at]) for one, at in zip(detections, matched, strict=True) if at is not None]
    return [box for box, _ in pairs], [insect for _, insect in pairs]


def _named_right(
    model: Model, image: Image, boxes: Sequence[tuple[float, float, float, float]], insects: Sequence[Insect]
) -> list[bool]:
    spec = model.card.input
    crops = image.crops(boxes, spec.width or 0, margin=spec.margin)
    named = [ranked[0][0] for ranked in model.classify(crops, top_k=1)]
    return [name == insect.label for name, insect in zip(named, insects, strict=True)]


def _boxes(boxes: Sequence[tuple[float, float, float, float]]) -> NDArray[np.float32]:
    return np.array(boxes, np.float32).reshape(-1, 4)


def main() -> None:
    """Read the options and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m functions.train.evaluate", description=main.__doc__)
    parser.add_argument("--models", type=Path, default=FUNCTIONS, help="folder with detect/model and classify/model")
    parser.add_argument("--seed", type=int, default=SEED, help="of the held-out scenes (default %(default)s)")
    parser.add_argument("--exams", type=int, default=EXAMS, help="how many of them (default %(default)s)")
    options = parser.parse_args()
    papers = exams(options.seed, options.exams, os.cpu_count() or 1)
    detector, classifier = Model.load(options.models / DETECTOR), Model.load(options.models / CLASSIFIER)
    print(detector.card.name, detector_quality(detector, papers))
    print(classifier.card.name, classifier_quality(classifier, detector, papers))


if __name__ == "__main__":
    main()
