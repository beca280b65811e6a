"""Two readers of every detection and what joins them. An image is a word; who is named in BROKEN fails over it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from trapline.errors import Permanent

ASKED: Counter[tuple[str, str]] = Counter()  # (function, rel) → how often
BROKEN: set[tuple[str, str]] = set()  # (function, word)


def forget() -> None:
    """Start anew, for the next test."""
    ASKED.clear()
    BROKEN.clear()


class _Reader:
    name = ""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        ASKED[self.name, item.rel] += 1
        if (self.name, item.data.decode()) in BROKEN:
            return Permanent(f"{self.name} cannot read {item.data.decode()}")
        return self.answer(item)

    def answer(self, item: Any) -> Any:
        raise NotImplementedError


class Detect(_Reader):
    name = "detect"

    def answer(self, item: Any) -> Any:
        return {"detections": [{"id": "d1", "box": [0, 0, 1, 1], "label": "insect", "confidence": 0.9}]}


class Left(_Reader):
    name = "left"

    def answer(self, item: Any) -> Any:
        return {"detections": [{"id": "d1", "left": "l"}], "left": item.write("left.txt", item.data, "text/plain")}


class Right(_Reader):
    name = "right"

    def answer(self, item: Any) -> Any:
        return {"detections": [{"id": "d1", "right": "r"}]}


class Join(_Reader):
    name = "join"

    def answer(self, item: Any) -> Any:
        return {
            "saw": {stage: known is not None for stage, known in item.records.items()},
            "missing": list(item.missing),
            "both": item.detections,
        }


class Compile:
    def handle(self, items: list[Any]) -> list[Any]:
        with items[0].open("results.jsonl") as out:
            for member in items[0].roll():
                known = member.record.known if member.record else {}
                code = member.dead_letter.code if member.dead_letter else ""
                line = {"rel": member.entry.rel, "state": member.entry.state, "code": code, **known}
                out.write(json.dumps(line).encode() + b"\n")
        return [{}]
