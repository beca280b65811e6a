"""Functions whose images are words: `moth moth` has two insects. Some words misbehave on purpose.

`bad` cannot be read, `flaky` works at the third try, `raise` has a bug, `poison` ends its worker, `hang` never ends.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Protocol

from trapline.errors import Permanent, Temporary


class Surroundings(Protocol):
    """What the simulated world does to a function that runs in it."""

    def asked(self, stage: str, rel: str, data: bytes) -> int:
        """Note that a function saw an image; returns how often it saw these bytes."""
        ...

    def nonce(self) -> str:
        """What differs from run to run, as a time would."""
        ...

    def pause(self, seconds: float) -> None: ...

    def die(self) -> None: ...

    def fails(self, what: str, name: str) -> bool:
        """Whether something outside the function fails now."""
        ...

    def told(self, job: str, revision: str, webhook_id: str, to: str) -> None: ...

    def news(self, job: str, event: str, to: str) -> None: ...


HERE: list[Surroundings] = []  # the world that is played


class Fetch:
    """Brings `https://…/<words>.jpg`, with `_` for a blank."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        word = item.url.rpartition("/")[2].partition(".")[0]
        if word == "absent":
            return Permanent("nothing there", code="fetch_not_found")
        if HERE[0].fails("fetch", item.rel):
            return Temporary("the server does not answer", code="fetch_failed")
        return {"data": word.replace("_", " ").encode(), "content_type": "image/jpeg"}


class Detect:
    """One detection a word."""

    def setup(self, context: Any) -> None:
        self._mark = context.parameters["mark"]

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        words = item.data.decode().split()
        times = HERE[0].asked("detect", item.rel, item.data)
        if "bad" in words:
            return Permanent("cannot be read", code="image_unreadable")
        if "flaky" in words and times < 3:
            return Temporary("not now")
        if "raise" in words:
            raise RuntimeError("a bug")
        if "poison" in words:
            HERE[0].die()
        if "hang" in words:
            HERE[0].pause(100.0)
        found = [w for w in words if w in ("moth", "beetle")]
        boxes = [
            {"id": f"d{n}", "box": [n, 0, n + 1, 1], "label": "insect", "confidence": 0.9} for n, _ in enumerate(found)
        ]
        boxes += [{"id": "stone", "box": [0, 0, 1, 1], "label": "stone", "confidence": 0.9}] if "moths" in words else []
        return {"image": {"words": found, "mark": self._mark}, "detections": boxes}


class Classify:
    """Names each detection by its word, and by the model that named it."""

    def setup(self, context: Any) -> None:
        self._model = context.model.card.version

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        HERE[0].asked("classify", item.rel, item.data)
        return {"detections": [self._name(item, d) for d in item.detections]}

    def _name(self, item: Any, detection: dict[str, Any]) -> dict[str, Any]:
        word = item.record["image"]["words"][int(detection["id"][1:])]
        return {"id": detection["id"], "classifications": [{"label": word, "model": self._model}]}


class Second:
    """Names what it reads without knowing where it is, in a file; `moths` are too many for it, `raise` is no word."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        words = item.data.decode().split()
        HERE[0].asked("second", item.rel, item.data)
        if "moths" in words or "raise" in words:
            return Permanent("cannot be told", code="function_error")
        named = [w for w in words if w in ("moth", "beetle")]
        return {"second": {"words": named, "file": item.write("words.txt", " ".join(named).encode(), "text/plain")}}


class Beside:
    """Fails where there are three."""

    def handle(self, items: list[Any]) -> list[Any]:
        for item in items:
            HERE[0].asked("beside", item.rel, item.data)
        return [
            Permanent("three", code="function_error") if len(item.detections) == 3 else {"beside": len(item.detections)}
            for item in items
        ]


class Join:
    """What either knows; what both know must be the same."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        HERE[0].asked("join", item.rel, item.data)
        named, second = item.records["classify"], item.records["second"]
        lacking = [stage for stage, known in item.records.items() if known is None]
        told = [c["label"] for d in (named or {}).get("detections", []) for c in d.get("classifications", [])]
        words = told if named is not None else second["second"]["words"]
        if named is not None and second is not None and sorted(told) != sorted(second["second"]["words"]):
            raise RuntimeError(f"two readings of {item.rel} differ")
        return {"joined": {"words": words, "lacking": lacking, "missing": list(item.missing)}}


class Compile:
    """One line a member, and a second file that differs from run to run."""

    def handle(self, items: list[Any]) -> list[Any]:
        (item,) = items
        if HERE[0].fails("compile", item.job):
            raise RuntimeError("compile has a bug")
        labels: Counter[str] = Counter()
        unchanged = item.unchanged("results.jsonl")
        with item.open("results.jsonl", "application/x-ndjson") as out:
            for member in item.roll():
                said = unchanged(member.entry)
                line = self.line(member) if said is None else {**said, "kept": member.entry.kept}
                labels.update(line["labels"])
                out.write(json.dumps(line).encode() + b"\n")
        with item.open("made.txt", "text/plain") as out:
            out.write(f"{item.revision} {HERE[0].nonce()} {item.manifest}".encode())
        said = {"review": item.review.decode()} if item.review is not None else {}
        left_out = {"review_problem": item.review_problem} if item.review_problem else {}
        return [{"labels": dict(labels), **said, **left_out}]

    def line(self, member: Any) -> dict[str, Any]:
        """What is told of a member whose record is read."""
        known = member.record.known if member.record else {}
        named = [c for d in known.get("detections", []) for c in d.get("classifications", [])]
        return {
            "rel": member.entry.rel,
            "state": member.entry.state,
            "code": member.dead_letter.code if member.dead_letter else "",
            "labels": known["joined"]["words"] if "joined" in known else [c["label"] for c in named],
            "missing": list(member.record.missing or ()) if member.record else [],
            "models": sorted({c["model"] for c in named}),
            "mark": known.get("image", {}).get("mark", ""),
            "sha256": member.record.source.sha256 if member.record else "",
            "kept": member.entry.kept,
        }


class Notify:
    """Remembers whom it told."""

    def handle(self, items: list[Any]) -> list[Any]:
        (item,) = items
        if item.overtaken:
            return [{"outcome": "overtaken"}]
        if item.summary is None and HERE[0].fails("news", item.job):
            return [Temporary("nobody listens", code="callback_failed")]
        if item.summary is None:
            HERE[0].news(item.job, item.event, item.to)
            return [{"outcome": "told"}]
        if HERE[0].fails("notify", item.job):
            return [Temporary("the client does not answer", code="callback_failed")]
        HERE[0].told(item.job, item.summary.revision, item.webhook_id, item.to)
        return [{"outcome": "told" if item.callback or item.people else "nobody"}]
