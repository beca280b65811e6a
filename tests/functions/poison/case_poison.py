"""A pipeline whose images are words; some take their time, some are the end of the worker that reads them."""

from __future__ import annotations

import json
import os
import time
from typing import Any


class Detect:
    """One detection a word; `slow`, `exit`, `hang` and `eat` do as they say."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        words = item.data.decode().split()
        if "slow" in words:
            time.sleep(0.02)  # waiting costs no CPU, so that what is measured is who waits for whom
        if "exit" in words:
            os._exit(3)
        if "hang" in words:
            time.sleep(600)
        if "eat" in words:
            _eat()
        boxes = [
            {"id": f"d{n}", "box": [n, 0, n + 1, 1], "label": "insect", "confidence": 0.9} for n, _ in enumerate(words)
        ]
        return {"image": {"width": 10, "height": 10}, "detections": boxes}


def _eat() -> None:
    """Takes 400 MB, no faster than somebody can watch, and keeps them."""
    eaten = []
    for _ in range(40):
        eaten.append(bytearray(os.urandom(1)) * 10_000_000)
        time.sleep(0.01)
    time.sleep(600)


class Compile:
    """One line a member."""

    def handle(self, items: list[Any]) -> list[Any]:
        (item,) = items
        with item.open("results.jsonl", "application/x-ndjson") as out:
            for member in item.roll():
                failure = {"code": member.dead_letter.code} if member.dead_letter else None
                found = member.record.known["detections"] if member.record else []
                line = {"rel": member.entry.rel, "state": member.entry.state, "failure": failure, "detections": found}
                out.write(json.dumps(line).encode() + b"\n")
        return [{}]


class Notify:
    """There is nobody to tell."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{"outcome": "nobody"} for _ in items]
