"""One image of `results.jsonl`, read back. Trusts no shape of what functions returned."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from trapline.records.naming import classification, classifications, number

_CORNERS = ("x1", "y1", "x2", "y2")

Mapping = dict[str, Any]

BLANK = "blank"  # the label of nothing at all, as in Camtrap DP
UNKNOWN = "unknown"  # a person looked and cannot tell: neither right nor wrong
HUMAN = "human"  # the `by` of a classification that a person made; it has no score


class Picture:
    """One line of `results.jsonl`: an image, what became of it, and what is on it."""

    def __init__(self, line: Mapping) -> None:
        self.line = line
        self.rel: str = line["rel"]  # the path under `incoming/`
        self.key: str | None = line["key"]  # the whole key; None: never read
        self.state: str = line["state"]  # `done`, `failed`, `blocked` or `pending`
        self.failure: Mapping | None = line.get("failure")  # {stage, code, message, remedy}
        self.id: str | None = line.get("id")  # the manifest's
        self.event: str | None = line.get("eventId")  # the manifest's
        self.station: Mapping = mapping(line.get("station"))
        self.deployment: Mapping = mapping(line.get("deployment"))

    @cached_property
    def image(self) -> Mapping:
        """`width` and `height` in pixels as displayed, `captured_at`, …"""
        return mapping(self.line.get("image"))

    @cached_property
    def sha256(self) -> str | None:
        found: str | None = mapping(self.line.get("source")).get("sha256")
        return found

    @cached_property
    def detections(self) -> list[Mapping]:
        found = self.line.get("detections")
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    @property
    def review(self) -> Mapping:
        """What a person says of the image: `detections` by id, and those `added`; empty where nobody did."""
        return mapping(self.line.get("review"))

    @cached_property
    def by_machine(self) -> list[tuple[Mapping, Mapping]]:
        """Each detection with its best classification, which is empty where it has none, whatever people say."""
        return [(detection, classification(detection)) for detection in self.detections]

    @cached_property
    def listed(self) -> list[tuple[Mapping, Mapping]]:
        """As `by_machine`; what a person says comes first, and what a person added comes last.

        A person's classification has `by: human` and no score; one of nothing at all has the label `blank`.
        """
        if not self.review:
            return self.by_machine
        said = mapping(self.review.get("detections"))
        found = []
        for n, (detection, top) in enumerate(self.by_machine):
            word = said.get(ident(n, detection))
            found.append((detection, {**word, "by": HUMAN} if isinstance(word, dict) else top))
        return found + _added(self.review.get("added"))

    @cached_property
    def named(self) -> list[tuple[Mapping, Mapping]]:
        """What is on the image: `listed` without what a person says is nothing."""
        if not self.review:
            return self.by_machine
        return [pair for pair in self.listed if not is_blank(pair[1])]

    @cached_property
    def captured(self) -> datetime | None:
        """When the image was taken; without an offset where neither file nor station has one."""
        return moment(self.image.get("captured_at"))

    @cached_property
    def taken(self) -> datetime | None:
        """When the image was taken, in UTC. A time without an offset is the time zone's, or UTC where there is none."""
        try:
            return self.captured and instant(self.captured, self.timezone).astimezone(UTC)
        except OverflowError:  # an offset that leads out of the calendar
            return None

    @property
    def local(self) -> datetime | None:
        """When the image was taken, as a clock at its place says; without a time zone, as the camera says."""
        return local(self.captured, self.timezone)

    @property
    def timezone(self) -> str | None:
        """The IANA name of the time zone: the manifest's, or else the station's."""
        for place in (self.deployment, self.station):
            if zone(place.get("timezone")):
                return str(place["timezone"])
        return None

    @property
    def size(self) -> tuple[float, float] | None:
        """Width and height in pixels as displayed; None where they are not known."""
        width, height = number(self.image.get("width")), number(self.image.get("height"))
        return (width, height) if width and height and width > 0 and height > 0 else None

    @property
    def coordinates(self) -> tuple[Any, Any]:
        """Latitude and longitude: the manifest's, or else the station's."""
        where = self.deployment if self.deployment.get("latitude") is not None else self.station
        return where.get("latitude"), where.get("longitude")

    @cached_property
    def stages(self) -> dict[str, Mapping]:
        """What each stage did, in their order."""
        return {name: mapping(note) for name, note in mapping(self.line.get("stages")).items()}

    def made(self, part: Mapping, *, first: bool) -> Mapping | None:
        """The note of the stage that made a detection (`first`) or a classification.

        The one that it names, or else the first, or the last to name. Records of releases that do not say which
        stages named leave the last that ran.
        """
        if part.get("stage") in self.stages:
            return self.stages[str(part.get("stage"))]
        notes = list(self.stages.values())
        if first:
            return notes[0] if notes else None
        naming = [note for note in notes if note.get("named")]
        naming = naming or [note for note in notes[1:] if note.get("outcome") == "done"]
        return naming[-1] if naming else None


def ident(position: int, detection: Mapping) -> str:
    """What a detection is called in a review: its id, or its position where it has none."""
    return str(detection.get("id") or f"#{position}")


def is_blank(top: Mapping) -> bool:
    """Whether a person says that there is nothing."""
    return top.get("by") == HUMAN and top.get("label") == BLANK


def _added(entries: Any) -> list[tuple[Mapping, Mapping]]:
    """What people found and no detector did."""
    words = [mapping(entry) for entry in entries] if isinstance(entries, list) else []
    return [
        ({"id": f"human{n}", "box": word.get("box"), "label": word.get("label"), "by": HUMAN}, {**word, "by": HUMAN})
        for n, word in enumerate(words, 1)
    ]


def ranked(detection: Mapping, top: Mapping) -> list[Mapping]:
    """A detection's classifications: the best one, `top`, then the models' others by their scores."""
    entries, best = classifications(detection), classification(detection)
    others = [entry for entry in entries if entry is not top and (entry is not best or top.get("by") == HUMAN)]
    others.sort(key=lambda entry: -(number(entry.get("score")) or 0.0))
    return [top, *others] if top else others


def sureness(detection: Mapping, top: Mapping) -> float | None:
    """How sure the word of `label_of` is, 0 to 1: the best classification's score, or else the detector's confidence.

    None where neither said so.
    """
    if top.get("by") == HUMAN:
        return None
    found = number(top.get("score") if top.get("label") else detection.get("confidence"))
    return None if found is None or not 0 <= found <= 1 else found


def scored(part: Mapping, score: float | None) -> float:
    """A score for formats that must have one: 1 where a person says so, 0 where nobody said how sure it is."""
    return 1.0 if part.get("by") == HUMAN else score or 0.0


def corners(detection: Mapping) -> tuple[float, float, float, float] | None:
    """A detection's box: x1, y1, x2, y2 in pixels of the image as displayed; None where it has no whole one."""
    box = detection.get("box", detection.get("bbox"))
    found = box if isinstance(box, list) else [mapping(box).get(corner) for corner in _CORNERS]
    numbers = [number(corner) for corner in found]
    if len(numbers) != len(_CORNERS) or any(corner is None for corner in numbers):
        return None
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2  # type: ignore[return-value]


def moment(text: Any) -> datetime | None:
    """When an ISO 8601 time is; None for anything else."""
    try:
        return datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None


def zone(name: Any) -> ZoneInfo | None:
    """The time zone of an IANA name; None where there is none of that name."""
    return _zone(name) if isinstance(name, str) else None


@lru_cache
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None


def instant(when: datetime, timezone: str | None) -> datetime:
    """A time that can be compared: one without an offset is the time zone's, or UTC where there is none."""
    return when if when.tzinfo else when.replace(tzinfo=zone(timezone) or UTC)


def local(when: datetime | None, timezone: str | None) -> datetime | None:
    """A time as a clock in that time zone says; as it is where it has no offset, or there is no zone."""
    there = zone(timezone)
    try:
        return when.astimezone(there) if there and when and when.tzinfo else when
    except OverflowError:  # at the calendar's very ends
        return when


def real(value: Any) -> float | None:
    """A number that can be reckoned with, as a float; None for anything else."""
    found = number(value)
    return None if found is None else float(found)


def mapping(value: Any) -> Mapping:
    """`value` where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}
