"""A pipeline that only counts: what it was handed, again and again, stands in a file beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HANDED = "handed.txt"  # a line each time that an image is handed to the function


class Count:
    """The bytes of each."""

    def handle(self, items: list[Any]) -> list[Any]:
        with Path(__file__).with_name(HANDED).open("a") as file:
            file.write("".join(f"{item.rel}\n" for item in items))
        return [{"bytes": len(item.data)} for item in items]


class Compile:
    """One line a member: which trigger told of it."""

    def handle(self, items: list[Any]) -> list[Any]:
        (item,) = items
        with item.open("results.jsonl", "application/x-ndjson") as out:
            for member in item.roll():
                trigger = member.record.received.trigger if member.record else None
                line = {"rel": member.entry.rel, "state": member.entry.state, "trigger": trigger}
                out.write(json.dumps(line).encode() + b"\n")
        return [{}]
