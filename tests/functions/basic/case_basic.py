"""A pipeline whose images are words: `moth moth` has two insects. Some words misbehave on purpose."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from trapline.errors import Permanent, Temporary

ASKED: Counter[str] = Counter()  # how often each image was detected
TOLD: list[tuple[str, str]] = []  # (job, revision) of every client told
NOTIFY_FAILS = [0]  # how many more notifications fail
COMPILE_FAILS = [0]  # how many more compiles fail


def forget() -> None:
    """Start anew, for the next test."""
    ASKED.clear()
    TOLD.clear()
    NOTIFY_FAILS[0] = 0
    COMPILE_FAILS[0] = 0


class Fetch:
    """Brings `word:…` addresses, or objects of the bucket."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        if item.url.endswith("dead.jpg"):
            return Permanent("nothing there", code="fetch_not_found")
        return {"data": item.url.rpartition("/")[2].partition(".")[0].encode(), "content_type": "image/jpeg"}


class Detect:
    """One detection a word."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        ASKED[item.rel] += 1
        words = item.data.decode().split()
        if "bad" in words:
            return Permanent("cannot be read", code="image_unreadable")
        if "flaky" in words and ASKED[item.rel] < 3:
            return Temporary("not now")
        if "raise" in words:
            raise RuntimeError("a bug")
        found = [w for w in words if w in ("moth", "beetle")]
        boxes = [
            {"id": f"d{n}", "box": [n, 0, n + 1, 1], "label": "insect", "confidence": 0.9} for n, _ in enumerate(found)
        ]
        return {"image": {"width": 10, "height": 10, "words": found}, "detections": boxes}


class Classify:
    """Names each detection by its word."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{"detections": [self._name(item, d) for d in item.detections]} for item in items]

    def _name(self, item: Any, detection: dict[str, Any]) -> dict[str, Any]:
        word = item.record["image"]["words"][int(detection["id"][1:])]
        return {"id": detection["id"], "classifications": [{"label": word, "score": 0.9}]}


class Compile:
    """One line a member."""

    def handle(self, items: list[Any]) -> list[Any]:
        (item,) = items
        if COMPILE_FAILS[0] > 0:
            COMPILE_FAILS[0] -= 1
            raise RuntimeError("compile has a bug")
        labels: Counter[str] = Counter()
        with item.open("results.jsonl", "application/x-ndjson") as out:
            for member in item.roll():
                named = [c["label"] for d in self._known(member) for c in d.get("classifications", [])]
                labels.update(named)
                code = member.dead_letter.code if member.dead_letter else ""
                line = {
                    "rel": member.entry.rel,
                    "state": member.entry.state,
                    "code": code,
                    "labels": named,
                    "revision": item.revision,
                }
                out.write(json.dumps(line).encode() + b"\n")
        return [{"labels": dict(labels), **({"review": item.review.decode()} if item.review is not None else {})}]

    def _known(self, member: Any) -> list[dict[str, Any]]:
        return member.record.known.get("detections", []) if member.record else []


class Notify:
    """Remembers whom it told."""

    def handle(self, items: list[Any]) -> list[Any]:
        (item,) = items
        if item.overtaken:
            return [{"outcome": "overtaken"}]
        if NOTIFY_FAILS[0] > 0:
            NOTIFY_FAILS[0] -= 1
            return [Temporary("the client does not answer", code="callback_failed")]
        TOLD.append((item.job, item.summary.revision))
        return [{"outcome": "told" if item.callback else "nobody"}]
