"""What is drawn as bars: detections by hour of the day, and by confidence. Counts in, heights out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from functions.compile.tally import BINS
from trapline.records.hours import in_order


@dataclass(frozen=True)
class Bar:
    """One bar."""

    tick: str  # what stands below it; may be empty
    name: str  # what it counts
    count: int
    height: float  # percent of the highest
    images: int = 1  # that were read; 0: nothing could be counted


def hours(found: dict[str, Any]) -> list[Bar]:
    """Things found by hour of the day, a night in one piece; none where no image has a time."""
    activity, effort = found.get("activity") or [], found.get("effort") or []
    if not any(effort):
        return []
    highest = max(*activity, 1)
    return [
        Bar(f"{hour:02d}", f"{hour:02d}:00 to {hour:02d}:59", activity[hour], 100 * activity[hour] / highest, images)
        for hour in in_order(effort)
        for images in (effort[hour],)
    ]


def confidences(found: dict[str, Any]) -> list[Bar]:
    """Things found by how sure their names are; none where nothing says so."""
    counts = found.get("confidence") or []
    if not any(counts):
        return []
    highest, width = max(counts), 1 / BINS
    return [
        Bar(
            tick=f"{place * width:.1f}" if place % 4 == 0 else "",
            name=f"{place * width:.2f} to {(place + 1) * width:.2f}",
            count=count,
            height=100 * count / highest,
        )
        for place, count in enumerate(counts)
    ]
