"""The output `megadetector`: `megadetector.json`, the batch output of MegaDetector, format 1.6."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from functions.compile.document import Items, Pairs, write_document
from functions.compile.frames import shares
from functions.compile.made import Made, made
from functions.compile.picture import HUMAN, Mapping, Picture, moment, ranked, real, scored
from functions.compile.results import Open, Results
from functions.compile.words import Words

VERSION = "1.6"
_ANIMAL = "animal"  # what MegaDetector calls all that is none of these:
_OTHERS = {"person": "person", "human": "person", "vehicle": "vehicle", "car": "vehicle"}
_BLANK = "unknown"  # the format has no category without a name


def write(results: Results, open: Open) -> list[str]:
    """Write `megadetector.json`: an image that could not be read has a `failure` and no list of detections."""
    with Words(results.scratch, "md-detections") as found, Words(results.scratch, "md-classifications") as named:
        images = _Images(found, named)
        document = {
            "images": Items(images.entry(picture) for picture in results.pictures() if picture.state != "pending"),
            "detection_categories": lambda: Pairs(found),
            "classification_categories": lambda: Pairs(named),
            "info": lambda: images.info,
        }
        with open("megadetector.json", content_type="application/json") as stream:
            write_document(stream, document)
    return []


class _Images:
    """Makes the entries, and remembers what was seen on the way: categories, and who found and named."""

    def __init__(self, found: Words, named: Words) -> None:
        self._found, self._named = found, named
        self._detector, self._classifier = _Maker(), _Maker()

    @property
    def info(self) -> dict[str, Any]:
        return {
            "format_version": VERSION,
            **self._detector.told("detector", "detection_completion_time", always=True),
            **self._classifier.told("classifier", "classification_completion_time"),
        }

    def entry(self, picture: Picture) -> dict[str, Any]:
        failure = _failure(picture)
        if failure:
            return {"file": picture.rel, "detections": None, "failure": failure}
        if picture.stages:
            self._detector.saw(picture.made({}, first=True))
        return {"file": picture.rel, "detections": [self._detection(picture, *named) for named in picture.named]}

    def _detection(self, picture: Picture, detection: Mapping, top: Mapping) -> dict[str, Any]:
        self._saw(self._detector, picture, detection, first=True)
        entry: dict[str, Any] = {
            "category": str(self._found.number(_category(detection))),
            "conf": scored(detection, real(detection.get("confidence"))),
            "bbox": [float(share) for share in shares(picture, detection) or ()],
        }
        names = [self._classification(picture, named) for named in ranked(detection, top)]
        names.sort(key=lambda pair: -pair[1])
        return {**entry, "classifications": names} if names else entry

    def _classification(self, picture: Picture, named: Mapping) -> tuple[str, float]:
        self._saw(self._classifier, picture, named, first=False)
        score = scored(named, real(named.get("score")))
        return str(self._named.number(_word(named))), score

    def _saw(self, who: _Maker, picture: Picture, part: Mapping, *, first: bool) -> None:
        if part.get("by") != HUMAN:
            who.saw(picture.made(part, first=first))


class _Maker:
    """Who made one kind of thing, and when the last of it was made."""

    def __init__(self) -> None:
        self._made, self._until = Made(), ""

    def saw(self, note: Mapping | None) -> None:
        if note:
            self._made = self._made if self._made.function else made(note)
            self._until = max(self._until, _time(note))

    def told(self, name: str, until: str, *, always: bool = False) -> dict[str, Any]:
        if not self._made.name:
            return {name: _BLANK} if always else {}
        time = {until: self._until} if self._until else {}
        return {name: self._made.name, **time, f"{name}_metadata": vars(self._made)}


def _failure(picture: Picture) -> str:
    """Why an image has no list of detections; empty where it has one."""
    if picture.failure or picture.state != "done":
        told = picture.failure or {}
        return f"{told.get('code') or picture.state}: {told.get('message') or 'it was not read'}"
    if picture.line.get("detections") is None:
        return "not_detected: no stage looked for anything on it"
    if picture.named and picture.size is None:
        return "size_unknown: boxes are shares of the image's size, which no stage told"
    return ""


def _category(detection: Mapping) -> str:
    """What a detector calls it. A person who adds a box says the kind, which is no detector's word."""
    word = _word(detection)
    return word if detection.get("by") != HUMAN else _OTHERS.get(word.lower(), _ANIMAL)


def _word(part: Mapping) -> str:
    word = str(part.get("label") or "")
    return word if word.strip() else _BLANK


def _time(note: Mapping) -> str:
    """When a stage was done, in UTC as the format writes times."""
    when = moment(note.get("at"))
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if when else ""
