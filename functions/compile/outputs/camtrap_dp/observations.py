"""`observations.csv`: what was seen, a row for each detection, and one for each label of an event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from functions.compile.bursts import Event
from functions.compile.cells import row
from functions.compile.frames import shares
from functions.compile.made import Made, maker
from functions.compile.outputs.camtrap_dp.deployments import deployment_id
from functions.compile.outputs.camtrap_dp.taxa import Taxa
from functions.compile.outputs.camtrap_dp.times import written
from functions.compile.picture import HUMAN, Mapping, Picture, corners, mapping, moment, sureness
from functions.compile.results import Results
from trapline.records.deployments import identity
from trapline.records.naming import label_of

COLUMNS = (
    *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"),
    *("observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior", "individualID"),
    *("individualPositionRadius", "individualPositionAngle", "individualSpeed"),
    *("bboxX", "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy"),
    *("classificationTimestamp", "classificationProbability", "observationTags", "observationComments"),
)


def of_image(results: Results, picture: Picture, taxa: Taxa) -> Iterator[bytes]:
    """An image's rows: one a detection, or one that says that it is blank, or that nobody looked."""
    event = results.bursts.around(picture.rel)
    assert event is not None
    about = _about(results, picture, event)
    idents = Counter(str(detection.get("id") or "") for detection, _ in picture.named)
    for number, (detection, top) in enumerate(picture.named, start=1):
        own = str(detection.get("id") or "")  # it stays when a person says that others are nothing
        ident = f"{picture.rel}#{own if own and idents[own] == 1 else number}"
        yield _row({**about, **_seen(picture, taxa, detection, top), "observationID": ident})
    if not picture.named:
        looked = picture.line.get("detections") is not None
        said = picture.listed[0][1] if picture.listed else {}  # a person says that there is nothing
        found = {"observationType": "blank", **_made(picture, said, first=True)} if looked else _UNKNOWN
        yield _row({**about, **found, "observationID": picture.rel})


def of_events(results: Results, taxa: Taxa) -> Iterator[bytes]:
    """A row for each event and label, with the largest count in one image."""
    for event, label, most in results.bursts.largest():
        if event.start is None or event.end is None:
            continue
        about = {
            **_span(results, event),
            "observationID": f"event:{event.id}" + ("" if label is None else f"#{label.replace('#', '%23')}"),
            "observationLevel": "event",
            "observationType": "blank" if label is None else taxa.type_of(label),
            "scientificName": taxa.name_of(label, classified=taxa.was_classified(label)) if label else None,
            "count": most or None,
            "observationTags": _tag(label),
        }
        yield _row(about)


_UNKNOWN = {"observationType": "unclassified"}


def _row(values: dict[str, Any]) -> bytes:
    return row(values.get(column) for column in COLUMNS)


def _about(results: Results, picture: Picture, event: Event) -> dict[str, Any]:
    place = deployment_id(results, identity(picture.deployment))
    return {**_span(results, event), "deploymentID": place, "mediaID": picture.rel, "observationLevel": "media"}


def _span(results: Results, event: Event) -> dict[str, Any]:
    ends = {"eventStart": event.start, "eventEnd": event.end}
    times = {name: written(when, event.timezone) for name, when in ends.items() if when}
    return {"eventID": event.id, "deploymentID": deployment_id(results, event.place), **times}


def _seen(picture: Picture, taxa: Taxa, detection: Mapping, top: Mapping) -> dict[str, Any]:
    """What a detection is, where it is, and who says so."""
    label, classified = label_of(detection, top), bool(top.get("label"))
    return {
        "observationType": taxa.type_of(label),
        "scientificName": taxa.name_of(label, classified=classified),
        "count": 1,
        **_box(picture, detection),
        **_made(picture, top if classified else detection, first=not classified),
        "classificationProbability": sureness(detection, top),
        "observationTags": _tag(label),
    }


def _box(picture: Picture, detection: Mapping) -> dict[str, float]:
    """The box as shares of the image; nothing where it has none, or none that holds anything."""
    box = shares(picture, detection) if corners(detection) else None
    if box is None or min(box[2:]) <= 0:
        return {}
    return dict(zip(("bboxX", "bboxY", "bboxWidth", "bboxHeight"), box, strict=True))


def _made(picture: Picture, part: Mapping, *, first: bool) -> dict[str, Any]:
    by = maker(picture, part, first=first)
    if by.function == HUMAN:
        who = part.get("reviewer")
        return {"classificationMethod": "human", "classifiedBy": who if isinstance(who, str) and who else None}
    if by == Made():
        return {}
    when = moment(mapping(picture.made(part, first=first)).get("at"))
    at = {"classificationTimestamp": _utc(when)} if when else {}
    return {"classificationMethod": "machine", "classifiedBy": by.name, **at}


def _utc(when: datetime) -> str | None:
    return written(when, None) if when.tzinfo else None


def _tag(label: str | None) -> str | None:
    """The label as it came, so that none is lost under the kind of observation that it stands for."""
    return f"label:{label.replace('|', '/')}" if label and label.strip() else None
