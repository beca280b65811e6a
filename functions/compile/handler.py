"""`compile`: one pass over a job's roll makes its files and its counts. Memory does not grow with the job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

from functions.compile import jsonl, table
from functions.compile.member import Member, View
from functions.compile.tally import Tally


class Item(Protocol):
    """What the runtime hands over for one job."""

    job: str
    revision: str  # the folder's name
    final: bool
    manifest: dict[str, Any] | None  # without tokens
    station: dict[str, Any]
    not_received: tuple[str, ...]

    def roll(self) -> Iterator[Member]:
        """The job's members, sorted by rel."""

    def open(self, name: str, content_type: str = ...) -> AbstractContextManager[BinaryIO]:
        """A new file in the revision's own folder."""


class Compile:
    """Writes `results.jsonl` (lossless) and `observations.csv` (one row a detection)."""

    def setup(self, context: object) -> None:
        """Nothing is kept between jobs."""

    def handle(self, items: list[Item]) -> list[dict[str, Any]]:
        return [_compiled(item) for item in items]


def _compiled(item: Item) -> dict[str, Any]:
    deployment = (item.manifest or {}).get("deployment") or {}
    tally = Tally()
    with (
        item.open("results.jsonl", content_type="application/x-ndjson") as lines,
        item.open("observations.csv", content_type="text/csv; charset=utf-8") as rows,
    ):
        rows.write(table.header())
        for member in item.roll():
            view = View(member, item.job, item.revision, item.station, deployment)
            tally.add(view)
            lines.write(jsonl.line(view))
            rows.write(table.rows(view))
    return tally.body(len(item.not_received))
