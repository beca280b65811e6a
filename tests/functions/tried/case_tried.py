"""Functions that are tried on files of words; some misbehave on purpose."""

from __future__ import annotations

import json
from typing import Any

from trapline.errors import Temporary


class Words:
    """One detection a word."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        words = [word for word in item.data.decode().split() if len(word) >= item.parameters["least"]]
        row = {"label": "word", "confidence": 0.9}
        found = [{"id": f"d{n}", "box": [n, 0, n + 2, 2], **row} for n, _ in enumerate(words)]
        prefix = item.parameters["prefix"]
        return {"words": [prefix + word for word in words], "zone": item.station.get("timezone"), "detections": found}


class Lengths:
    """How long each word is that was found."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        words = (item.record or {}).get("words", [])
        pairs = zip(item.detections, words, strict=False)
        return {"detections": [{"id": found["id"], "length": len(word)} for found, word in pairs]}


class Compile:
    """Every word of a job in one file."""

    def handle(self, items: list[Any]) -> list[Any]:
        (item,) = items
        members = list(item.roll())
        words = [word for member in members if member.record for word in member.record.known["words"]]
        with item.open("words.json") as file:
            file.write(json.dumps(words).encode())
        return [{"words": len(words), "states": [member.entry.state for member in members]}]


class Raises:
    """Has a bug that some words meet."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{"length": self._length(item.data.decode())} for item in items]

    def _length(self, text: str) -> int:
        if "bug" in text:
            raise ZeroDivisionError(f"there is a bug in {text}")
        return len(text)


class Nothing:
    """Returns nothing at all."""

    def handle(self, items: list[Any]) -> None:
        return None


class OneTooFew:
    """Loses the last of a batch."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{} for _ in items[1:]]


class WrongType:
    """Returns lists for records."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [["moth"] for _ in items]


class OddDetections:
    """Answers what no record can hold."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{"detections": None} for _ in items]


class Later:
    """Asks for another try."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [Temporary("The index is being built.", after=30) for _ in items]


class Noisy:
    """Prints and logs."""

    def setup(self, context: Any) -> None:
        self.log = context.log

    def handle(self, items: list[Any]) -> list[Any]:
        print("printed by a function")
        self.log.info("logged by a function")
        return [{"noise": 1} for _ in items]


class NoSetup:
    """Cannot be set up."""

    def setup(self, context: Any) -> None:
        raise FileNotFoundError("no such index")

    def handle(self, items: list[Any]) -> list[Any]:
        return [{} for _ in items]


class Tells:
    """Would tell a client."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{"outcome": "nobody"} for _ in items]


class Joined:
    """Which of several stages said something."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{"joined": self._one(item)} for item in items]

    def _one(self, item: Any) -> Any:
        told = {stage: record is not None for stage, record in item.records.items()}
        return {**told, "missing": list(item.missing)}


class Writes:
    """Writes a file beside its record."""

    def handle(self, items: list[Any]) -> list[Any]:
        return [{"shown": item.write("shown.txt", b"shown", "text/plain")} for item in items]
