"""The output `coco`: `coco.json`, detections in the format of COCO, each with its score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from functions.compile.document import Items, as_json, write_document
from functions.compile.frames import within
from functions.compile.picture import Mapping, Picture, scored, sureness
from functions.compile.results import Open, Results
from functions.compile.spool import Spool
from functions.compile.words import Words
from trapline.records.naming import label_of, number

_BLANK = "unknown"
_DIGITS = 3  # of a pixel


def write(results: Results, open: Open) -> list[str]:
    """Write `coco.json`. An image that could not be read is under `failures` and not `images`: it is not empty."""
    folder = results.scratch
    with Words(folder, "coco-categories") as words, Spool(folder) as annotations, Spool(folder) as failures:
        images = _Images(words, annotations, failures)
        document = {
            "info": {"description": f"{results.job}, {results.revision}", "version": results.revision},
            "images": Items(images.entries(results)),
            "annotations": lambda: Items(annotations.lines()),
            "categories": lambda: Items({"id": n, "name": word} for n, word in words),
            "failures": lambda: Items(failures.lines()),
        }
        with open("coco.json", content_type="application/json") as stream:
            write_document(stream, document)
    return []


class _Images:
    """Makes the entries of `images`, and lays by what belongs further down."""

    def __init__(self, words: Words, annotations: Spool, failures: Spool) -> None:
        self._words, self._annotations, self._failures = words, annotations, failures
        self._images = self._boxes = 0

    def entries(self, results: Results) -> Iterator[dict[str, Any]]:
        for picture in results.pictures():
            if picture.state == "done":
                self._images += 1
                yield self._image(picture, results.bursts.event_of(picture.rel))
            elif picture.state != "pending":
                self._failures.write(as_json({"file_name": picture.rel, **(picture.failure or {})}) + b"\n")

    def _image(self, picture: Picture, event: str | None) -> dict[str, Any]:
        for detection, top in picture.named:
            self._annotate(picture, detection, top)
        width, height = picture.size or (None, None)
        sides = {"width": round(width), "height": round(height)} if width and height else {}
        taken = {"date_captured": picture.image["captured_at"]} if picture.captured else {}
        return {"id": self._images, "file_name": picture.rel, **sides, **taken, "event_id": event}

    def _annotate(self, picture: Picture, detection: Mapping, top: Mapping) -> None:
        box = within(picture, detection)
        if box is None:
            return
        x1, y1, x2, y2 = (round(side, _DIGITS) for side in box)
        width, height = round(x2 - x1, _DIGITS), round(y2 - y1, _DIGITS)
        self._boxes += 1
        word = label_of(detection, top)
        entry = {
            "id": self._boxes,
            "image_id": self._images,
            "category_id": self._words.number(word if word.strip() else _BLANK),
            "bbox": [x1, y1, width, height],
            "area": width * height,
            "iscrowd": 0,
            "score": scored(top, sureness(detection, top)),
            "detection_score": number(detection.get("confidence")),
        }
        self._annotations.write(as_json(entry) + b"\n")
