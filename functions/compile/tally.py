"""What a job's files hold, counted while they are written."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

from functions.compile.picture import Picture, sureness
from trapline.records.hours import HOURS
from trapline.records.naming import label_of

LABELS = 1000  # different labels counted by name; more than a summary can use
BINS = 20  # of equal width from 0 to 1, in which confidences are counted

_FAILED = frozenset(("failed", "blocked"))


class Tally:
    """Counts of images, detections and labels, by hour and by confidence, and the span of capture times."""

    def __init__(self) -> None:
        self._images: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._said: Counter[str] = Counter()  # of a label's things, those that say how sure it is
        self._sums: defaultdict[str, float] = defaultdict(float)  # … and the sum of that
        self._detections = self._other_labels = 0
        self._activity, self._effort, self._confidence = [0] * HOURS, [0] * HOURS, [0] * BINS
        self._zones: set[str] = set()  # IANA names, the first two
        self._first: tuple[datetime, str] | None = None
        self._last: tuple[datetime, str] | None = None

    def add(self, picture: Picture) -> None:
        self._images["total"] += 1
        self._captured(picture)
        if picture.state == "pending" or picture.state in _FAILED:
            self._images["pending" if picture.state == "pending" else "failed"] += 1
            return
        self._images["with_detections" if picture.named else "empty"] += 1
        self._hour(picture)
        if picture.timezone and len(self._zones) < 2:
            self._zones.add(picture.timezone)
        for detection, top in picture.named:
            self._detections += 1
            label, sure = label_of(detection, top), sureness(detection, top)
            self._label(label)
            if sure is not None:
                self._confidence[bin_of(sure)] += 1
                self._sure(label, sure)

    def body(self, not_received: int) -> dict[str, Any]:
        """The summary's `results`."""
        images = {name: self._images[name] for name in ("total", "with_detections", "empty", "failed", "pending")}
        body: dict[str, Any] = {
            "images": images,
            "detections": self._detections,
            "labels": dict(sorted(self._labels.items(), key=lambda entry: (-entry[1], entry[0]))),
            "scores": {label: round(self._sums[label] / said, 4) for label, said in sorted(self._said.items())},
            "captured": {"first": self._first and self._first[1], "last": self._last and self._last[1]},
            "timezone": next(iter(self._zones)) if len(self._zones) == 1 else None,
            "activity": self._activity,
            "effort": self._effort,
            "confidence": self._confidence,
            "not_received": not_received,
        }
        return {**body, "other_labels": self._other_labels} if self._other_labels else body

    def _label(self, label: str) -> None:
        if label in self._labels or len(self._labels) < LABELS:
            self._labels[label] += 1
        else:
            self._other_labels += 1

    def _sure(self, label: str, sure: float) -> None:
        if label in self._labels:
            self._said[label] += 1
            self._sums[label] += sure

    def _hour(self, picture: Picture) -> None:
        if picture.local is not None:
            self._effort[picture.local.hour] += 1
            self._activity[picture.local.hour] += len(picture.named)

    def _captured(self, picture: Picture) -> None:
        if picture.taken is None:
            return
        span = (picture.taken, picture.image["captured_at"])
        self._first = span if self._first is None else min(self._first, span)
        self._last = span if self._last is None else max(self._last, span)


def bin_of(sure: float) -> int:
    """In which of the bins a confidence of 0 to 1 is counted; 1 itself in the last."""
    return min(int(sure * BINS), BINS - 1)
