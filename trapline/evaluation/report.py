"""`evaluation.json`: what was measured, on what, with what; and of it what stands on a model's card."""

from __future__ import annotations

import hashlib
import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from trapline import __version__
from trapline.evaluation.classifying import Named, classifier_figures
from trapline.evaluation.dataset import Dataset, Naming, Problem
from trapline.evaluation.detecting import detector_figures
from trapline.evaluation.intervals import RESAMPLES
from trapline.evaluation.matching import MOST
from trapline.evaluation.measuring import FLOOR, Answer
from trapline.models import ModelCard

TYPE, SCHEMA = "evaluation", 1
_DIGITS = 6

_OF_A_DETECTOR = ("map50", "map")
_OF_A_CLASSIFIER = ("top1", "top5", "macro_f1")


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    threshold: float | None = None  # confidence at which a detector is used; None: the card's
    floor: float = FLOOR  # confidence from which detections are ranked
    most: int = MOST  # detections of a label that count per picture
    seed: int = 0  # of the intervals
    draws: int = RESAMPLES  # of pictures, for the intervals; 0: none


@dataclass(frozen=True)
class Run:
    """What there is to tell beside the figures."""

    command: str
    data: str  # the data set as it was named
    seconds: float = 0.0


def report(
    card: ModelCard, data: Dataset, names: Naming, answers: Sequence[Answer], settings: Settings, run: Run
) -> dict[str, Any]:
    """The whole document. Figures that cannot be said are None."""
    answers = sorted(answers, key=lambda one: one.number)
    seen = [one for one in answers if one.read]
    spent = sum(one.cpu_seconds for one in seen)
    document: dict[str, Any] = tidy(
        {
            **_head(card, run),
            "data": _data(card, data, names, answers, run),
            "settings": _settings(card, settings),
            "figures": figures(card, seen, settings),
            "problems": _problems([*data.problems, *(problem for one in answers for problem in one.problems)]),
            "timing": {"seconds": run.seconds, "cpu_ms_per_image": 1000 * spent / len(seen) if seen else None},
        }
    )
    return document


def _head(card: ModelCard, run: Run) -> dict[str, Any]:
    """What the document is, and of which model."""
    return {
        "type": TYPE,
        "schema": SCHEMA,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": run.command,
        "versions": {
            "trapline": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnxruntime": _onnxruntime(),
        },
        "model": {
            "name": card.name,
            "version": card.version,
            "kind": card.kind,
            "sha256": card.sha256,
            "labels": list(card.labels),
        },
    }


def _settings(card: ModelCard, settings: Settings) -> dict[str, Any]:
    """The settings; those of a detector are None for others."""
    detector = {"threshold": _threshold(card, settings), "floor": settings.floor, "most": settings.most}
    used = detector if card.kind == "detector" else dict.fromkeys(detector)
    return {**used, "seed": settings.seed}


def _threshold(card: ModelCard, settings: Settings) -> float:
    return card.threshold if settings.threshold is None else settings.threshold


def _problems(problems: Sequence[Problem]) -> dict[str, Any]:
    return {
        "counts": dict(sorted(Counter(problem.code for problem in problems).items())),
        "items": [asdict(problem) for problem in problems],
    }


def figures(card: ModelCard, answers: Sequence[Answer], settings: Settings) -> dict[str, Any]:
    """The figures of either kind of model."""
    if card.kind == "detector":
        return detector_figures(
            [one.truth for one in answers],
            [one.found for one in answers],
            card.labels,
            _threshold(card, settings),
            most=settings.most,
            seed=settings.seed,
            draws=settings.draws,
        )
    return classifier_figures(named(answers, len(card.labels)), card.labels, seed=settings.seed, draws=settings.draws)


def named(answers: Sequence[Answer], labels: int) -> Named:
    """A classifier's answers in one table. A crowd is not one thing: left out."""
    rows = [
        (int(truth), rank, number)
        for number, one in enumerate(answers)
        for truth, crowd, rank in zip(one.truth.labels, one.truth.crowd, one.ranks, strict=True)
        if not crowd
    ]
    width = max((len(rank) for _, rank, _ in rows), default=min(labels, 1))
    told = np.array([[place for place, _ in rank] for _, rank, _ in rows], np.intp).reshape(-1, width)
    scores = np.array([[score for _, score in rank] for _, rank, _ in rows], np.float64).reshape(-1, width)
    return Named(
        np.array([truth for truth, _, _ in rows], np.intp),
        told,
        scores,
        np.array([number for _, _, number in rows], np.intp),
        len(answers),
    )


def quality(document: Mapping[str, Any]) -> dict[str, Any]:
    """What stands on a card under `quality`: the command, the main figures with four digits, how much was looked at."""
    data = document["data"]
    return {
        "command": document["command"],
        **main_figures(document["model"]["kind"], document["figures"]),
        "images": data["images"],
        "objects": data["objects"],
    }


def main_figures(kind: str, told: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures by which a model of this kind is known, with four digits, of all that was measured."""
    if kind == "detector":
        main = {name: told[name] for name in _OF_A_DETECTOR}
        main |= {name: told["at_threshold"][name] for name in ("precision", "recall")}
    else:
        main = {name: told[name] for name in _OF_A_CLASSIFIER}
    main["ece"] = told["calibration"]["ece"]
    return {name: None if value is None or math.isnan(value) else round(value, 4) for name, value in main.items()}


def tidy(value: Any) -> Any:
    """As JSON can hold it: NaN is None, figures have six digits, tuples are lists."""
    if isinstance(value, Mapping):
        return {key: tidy(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(one) for one in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value


def _data(card: ModelCard, data: Dataset, names: Naming, answers: Sequence[Answer], run: Run) -> dict[str, Any]:
    seen = [one for one in answers if one.read]
    counts: Counter[int] = Counter()
    for one in seen:
        counts.update(one.truth.labels[~one.truth.crowd].tolist())
    unknown = Counter(mark.label for entry in data.entries for mark in entry.marks if mark.label in names.unknown)
    return {
        "path": run.data,
        "kind": data.kind,
        "sha256": digest(data, answers),
        "images": len(seen),
        "images_failed": len(answers) - len(seen),
        "objects": sum(counts.values()),
        "crowds": int(sum(one.truth.crowd.sum() for one in seen)),
        "labels": {label: counts[place] for place, label in enumerate(card.labels)},
        "categories": {category: card.labels[place] for category, place in names.places.items()},
        "unknown_categories": {category: unknown[category] for category in names.unknown},
        "absent_labels": list(names.absent),
    }


def digest(data: Dataset, answers: Sequence[Answer]) -> str:
    """A hash of the data set: of what is written beside the pictures, and of every picture's name and bytes."""
    whole = hashlib.sha256(data.listing)
    for one in sorted(answers, key=lambda one: one.number):
        whole.update(f"\n{one.sha256 or '-'} {data.entries[one.number].name}".encode("utf-8", "surrogatepass"))
    return whole.hexdigest()


def _onnxruntime() -> str | None:
    """Its version, whichever build of it is installed."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
