"""Ensemble: what several classifiers say of the same detections, joined into one answer. It sees no pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from functions.ensemble.joining import Scores, best, joint
from trapline.errors import Failure, Permanent

Known = Mapping[str, Any]


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """What the stages that are read know of one image."""

    records: dict[str, dict[str, Any] | None]  # by stage; None: it failed
    detections: list[dict[str, Any]]  # of all of them, each once
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The parameters, once they are known not to contradict each other."""

    method: str
    weights: dict[str, float]  # by stage; empty: each counts the same
    stages: tuple[str, ...]  # the classifiers; empty: every stage that is read
    least: int
    top_k: int

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Settings:
        """Raises `Permanent` naming the contradiction."""
        method, weights = parameters.get("method", "mean"), dict(parameters.get("weights") or {})
        stages = tuple(parameters.get("stages") or ())
        if method == "weights" and not weights:
            raise _wrong("`method: weights` without `weights`", "Give each stage its weight: `weights: {classify: 2}`.")
        if method != "weights" and weights:
            raise _wrong(f"`weights` beside `method: {method}`", "Set `method: weights`, or remove the weights.")
        if stages and weights and set(stages) != set(weights):
            raise _wrong("`stages` and `weights` name different stages", "Give each of `stages` a weight.")
        least = parameters.get("least", 1)
        if stages and least > len(stages):
            raise _wrong(f"`least: {least}` of {len(stages)} `stages`", "Lower `least`, or name more stages.")
        return cls(method, weights, stages, least, parameters.get("top_k", 5))


class Ensemble:
    """Joins records. Needs no model."""

    def setup(self, context: Context) -> None:
        """Refuse parameters that contradict each other."""
        self._settings = Settings.of(context.parameters)

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any] | Failure]:
        """One record or failure per item, in order."""
        return [_one(item, self._settings) for item in items]


def _one(item: Item, settings: Settings) -> dict[str, Any] | Failure:
    try:
        return _joined(item, settings)
    except Failure as failure:
        return failure


def _joined(item: Item, settings: Settings) -> dict[str, Any]:
    stages = _stages(item, settings)
    records = {stage: item.records.get(stage) for stage in stages}
    missing = [stage for stage, record in records.items() if record is None]
    if len(stages) - len(missing) < settings.least:
        raise Permanent(
            f"{len(stages) - len(missing)} of {len(stages)} classifiers read the image, {settings.least} must; "
            f"missing: {', '.join(missing) or 'none'}.",
            remedy="See their dead letters under failed/, or lower the parameter `least`.",
        )
    said = {stage: _said(stage, record) for stage, record in records.items() if record is not None}
    rows = [_row(_ident(detection, n), stages, said, settings) for n, detection in enumerate(item.detections, start=1)]
    told: dict[str, Any] = {"method": settings.method, "stages": list(stages), "missing": missing}
    if settings.weights:
        told["weights"] = {stage: settings.weights[stage] for stage in stages}
    return {"ensemble": told, **({"detections": rows} if rows else {})}


def _row(ident: str, stages: Sequence[str], said: Mapping[str, Mapping[str, Scores]], settings: Settings) -> Any:
    """What becomes of one detection. A classifier that says nothing of it is named, and does not count."""
    heard = {stage: said[stage][ident] for stage in stages if ident in said.get(stage, {})}
    silent = [stage for stage in stages if stage not in heard]
    row: dict[str, Any] = {"id": ident}
    if silent:
        row["missing"] = silent
    if not heard:
        return row
    ranked = joint(settings.method, heard, settings.weights)
    opinions = {stage: best(scores) for stage, scores in heard.items()}
    agreeing = sum(1 for label, _ in opinions.values() if label == ranked[0][0])
    return row | {
        "classifications": [_entry(label, score) for label, score in ranked[: settings.top_k]],
        "opinions": {stage: _entry(label, score) for stage, (label, score) in opinions.items()},
        "agreement": round(agreeing / len(heard), 4),
    }


def _entry(label: str, score: float) -> dict[str, Any]:
    return {"label": label, "score": round(score, 4)}


def _stages(item: Item, settings: Settings) -> tuple[str, ...]:
    """The classifiers, in the order in which they are read."""
    read = tuple(item.records)
    if not read:
        raise Permanent(
            "ensemble is handed the records of one stage alone.",
            remedy="Name the prefixes of two classifiers or more: `from: [first/, second/]`.",
        )
    for stage in (*settings.stages, *settings.weights):
        if stage not in read:
            raise Permanent(
                f"The parameters of ensemble name the stage {stage!r}, whose records it does not read.",
                remedy=f"It reads those of {', '.join(read) or 'no stage'}; see `from` in pipeline.yaml.",
            )
    stages = tuple(stage for stage in read if not settings.stages or stage in settings.stages)
    for stage in stages:
        if settings.weights and stage not in settings.weights:
            raise Permanent(
                f"The stage {stage!r} has no weight.",
                remedy="Give it one under the parameter `weights`, or name the classifiers under `stages`.",
            )
    return stages


def _said(stage: str, known: Known) -> dict[str, Scores]:
    """What a classifier says, by detection; those of which it says nothing are left out."""
    said: dict[str, Scores] = {}
    for number, detection in enumerate(known.get("detections") or (), start=1):
        ident = _ident(detection, number)
        scores = _scores(f"Stage {stage}, detection {ident}", detection.get("classifications") or ())
        if scores:
            said[ident] = scores
    return said


def _scores(where: str, entries: Any) -> Scores:
    if not isinstance(entries, list | tuple):
        raise _output(f"{where}: `classifications` is no list.")
    scores: Scores = {}
    for entry in entries:
        label, score = (entry.get("label"), entry.get("score")) if isinstance(entry, dict) else (None, None)
        if not isinstance(label, str) or not label:
            raise _output(f"{where}: a classification without a label: {str(entry)[:80]}.")
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise _output(f"{where}: the score of {label!r} is {str(score)[:40]}.")
        scores[label] = max(float(score), scores.get(label, 0.0))
    return scores


def _ident(detection: Any, number: int) -> str:
    ident = detection.get("id") if isinstance(detection, dict) else None
    if not isinstance(ident, str) or not ident:
        raise _output(f"Detection {number} has no id that is text.")
    return ident


def _output(message: str) -> Permanent:
    return Permanent(
        message,
        code="function_output",
        remedy="Classifiers give each detection `classifications: [{label, score}]` with scores from 0 to 1.",
    )


def _wrong(problem: str, remedy: str) -> Permanent:
    return Permanent(f"The parameters of ensemble contradict each other: {problem}.", remedy=remedy)
