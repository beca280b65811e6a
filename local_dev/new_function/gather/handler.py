"""A job as a table: a row an image, with how many insects are on it. One pass; memory does not grow with the job."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

from trapline.runtime.items import Member

COLUMNS = ("file", "state", "failure", "detections")


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """What the runtime hands over for one job."""

    job: str
    final: bool  # whether the job is closed; until then results are provisional
    parameters: dict[str, Any]

    def roll(self) -> Iterator[Member]:
        """The job's images, sorted by path, with what is stored about each."""

    def open(self, name: str, content_type: str = ...) -> AbstractContextManager[BinaryIO]:
        """A new file among the results."""


class NewFunction:
    """Writes `new_function.csv`."""

    def setup(self, context: Context) -> None:
        """Nothing is kept between jobs."""

    def handle(self, items: list[Item]) -> list[dict[str, Any]]:
        """What is returned stands under `results` in the job's summary."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> dict[str, Any]:
        images = detections = 0
        with item.open("new_function.csv", content_type="text/csv; charset=utf-8") as file:
            file.write(line(COLUMNS))
            for member in item.roll():
                count = counted(member, item.parameters["least"])
                failure = member.dead_letter.code if member.dead_letter else ""
                file.write(line((member.entry.rel, member.entry.state, failure, count)))
                images, detections = images + 1, detections + count
        return {"images": images, "detections": detections}


def counted(member: Member, least: float) -> int:
    """The detections of an image that are sure enough."""
    found = member.record.known.get("detections", []) if member.record else []
    return sum(one.get("confidence", 1.0) >= least for one in found)


def line(cells: tuple[object, ...]) -> bytes:
    """One row of CSV. Text that a spreadsheet would run as a formula gets a mark before it."""
    text = io.StringIO()
    csv.writer(text).writerow([f"'{cell}" if str(cell)[:1] in ("=", "+", "-", "@", "\t") else cell for cell in cells])
    return text.getvalue().encode("utf-8", "backslashreplace")
