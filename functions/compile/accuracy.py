"""How often people agree with the models, counted from a job's reviewed images."""

from __future__ import annotations

from collections import Counter

from functions.compile.made import maker
from functions.compile.picture import BLANK, UNKNOWN, Mapping, Picture, ident, mapping
from functions.compile.review import Review, human
from trapline.records.naming import label_of

LABELS = 1000  # different labels that are counted by name


class Accuracy:
    """Counts over reviewed detections, per label and per model."""

    def __init__(self) -> None:
        self._all: Counter[str] = Counter()
        self._labels: dict[str, Counter[str]] = {}
        self._models: dict[str, Counter[str]] = {}

    def add(self, picture: Picture) -> None:
        said = picture.review
        if not said:
            return
        self._all["images"] += 1
        for n, (detection, top) in enumerate(picture.by_machine):
            word = human(said, ident(n, detection))
            if word is not None:
                self._reviewed(picture, detection, top, str(word.get("label")))
        for added in said.get("added") or ():
            self._missed(str(mapping(added).get("label")))

    def body(self, review: Review) -> Mapping:
        """The summary's `results.review`."""
        counts = {
            name: self._all[name] for name in ("images", "reviewed", "right", "wrong", "blank", "missed", "unknown")
        }
        labels = sorted(self._labels.items(), key=lambda entry: (-entry[1]["said"] - entry[1]["is"], entry[0]))
        return {
            **counts,
            "rows": review.count,
            "problems": review.problems,
            "problem_count": review.problem_count,
            "labels": {label: _counts(row, ("said", "right", "is")) for label, row in labels[:LABELS]},
            "models": {model: _counts(row, ("said", "right")) for model, row in sorted(self._models.items())},
        }

    def _reviewed(self, picture: Picture, detection: Mapping, top: Mapping, label: str) -> None:
        self._all["reviewed"] += 1
        if label == UNKNOWN:
            self._all["unknown"] += 1
            return
        machine = label_of(detection, top)
        right = machine == label
        self._all["right" if right else "blank" if label == BLANK else "wrong"] += 1
        rows = [self._label(machine), self._models.setdefault(_model(picture, detection, top), Counter())]
        for row in rows:
            row["said"] += 1
            row["right"] += right
        if label != BLANK:
            self._label(label)["is"] += 1

    def _missed(self, label: str) -> None:
        if label not in (BLANK, UNKNOWN):
            self._all["missed"] += 1
            self._label(label)["is"] += 1

    def _label(self, label: str) -> Counter[str]:
        known = label in self._labels or len(self._labels) < 10 * LABELS
        return self._labels.setdefault(label if known else "", Counter())


def _counts(row: Counter[str], names: tuple[str, ...]) -> dict[str, int]:
    return {name: row[name] for name in names}


def _model(picture: Picture, detection: Mapping, top: Mapping) -> str:
    """The model that gave a detection its name, with its version; the function's where it has no model."""
    part, first = (top, False) if top else (detection, True)
    return maker(picture, part, first=first).name
