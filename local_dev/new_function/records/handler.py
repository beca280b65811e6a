"""A join: what each of several stages calls a detection, and whether they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """What several stages know about one image."""

    records: dict[str, dict[str, Any] | None]  # by stage; None where it failed
    missing: tuple[str, ...]  # the stages that failed
    detections: list[dict[str, Any]]  # those of all stages, merged by id
    parameters: dict[str, Any]


class NewFunction:
    """Compares the names that stages give."""

    def setup(self, context: Context) -> None:
        """Nothing is kept between images."""

    def handle(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """One record per item, in order. The images themselves are not decoded."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any]:
        named = {
            stage: names(record, item.parameters["least"])
            for stage, record in item.records.items()
            if record is not None
        }
        joined = []
        for found in item.detections:
            told = {stage: by_id[found["id"]] for stage, by_id in named.items() if found["id"] in by_id}
            joined.append({"id": found["id"], "named": told, "agreed": len(told) > 1 and len(set(told.values())) == 1})
        counts = {"agreed": sum(row["agreed"] for row in joined), "missing": list(item.missing)}
        return {"detections": joined, "new_function": counts}


def names(record: dict[str, Any], least: float) -> dict[str, str]:
    """Detection id → what a stage calls it: its best class, where that scores at least `least`."""
    best = {found["id"]: found.get("classifications", [])[:1] for found in record.get("detections", [])}
    return {ident: rows[0]["label"] for ident, rows in best.items() if rows and rows[0]["score"] >= least}
