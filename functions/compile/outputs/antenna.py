"""The output `antenna`: `antenna.json`, the body of the Antenna pipeline-controller's callback."""

from __future__ import annotations

import re
from typing import Any

from functions.compile.document import Items, write_document
from functions.compile.frames import within
from functions.compile.made import Made, made, maker
from functions.compile.picture import Mapping, Picture, corners, mapping, moment, ranked, real, scored
from functions.compile.results import Open, Results
from trapline.records.naming import number

_CORNERS = ("x1", "y1", "x2", "y2")
_SECRET = re.compile(
    r"sig|token|cred|secret|key|auth|pass|policy", re.IGNORECASE
)  # names in the query of a signed address
_USER = re.compile(r"^((?:[a-z][a-z0-9+.-]*:(?=/))?/*)(?:[^/?#\[]*:(?!\d{0,5}/)[^?#]*@|[^/?#]*@)", re.IGNORECASE)


def write(results: Results, open: Open) -> list[str]:
    """Write `antenna.json`. Every image is in it; one that failed has a `failure`, its `kind` the failure's code."""
    told = results.manifest or {}
    addresses = {entry.get("id"): entry.get("url") for entry in told.get("sourceImages") or ()}
    document = {
        "jobId": told.get("jobId") or results.job,
        "pipelineRequestId": results.job,
        "data": Items(_image(picture, addresses) for picture in results.pictures() if picture.state != "pending"),
    }
    with open("antenna.json", content_type="application/json") as stream:
        write_document(stream, document)
    return []


def _image(picture: Picture, addresses: dict[Any, Any]) -> dict[str, Any]:
    entry = {
        "sourceImageId": picture.id or picture.rel,
        "sourceImageUrl": _address(addresses.get(picture.id or "")) or picture.key or picture.rel,
        "eventId": picture.event,
        "stages": [_stage(name, note) for name, note in picture.stages.items()],
        "detections": [_detection(picture, *named) for named in picture.named],
    }
    return {**entry, "failure": _failure(picture)} if picture.state != "done" else entry


def _address(url: Any) -> str:
    """An image's address as the manifest has it, without what lets its reader in: results are for more people."""
    if not isinstance(url, str):
        return ""
    before, mark, query = _USER.sub(r"\1", url).partition("?")
    return before if _SECRET.search(query) else before + mark + query


def _failure(picture: Picture) -> dict[str, Any]:
    told = picture.failure or {}
    return {
        "kind": told.get("code") or picture.state,
        **{part: told.get(part) for part in ("stage", "message", "remedy")},
    }


def _stage(name: str, note: Mapping) -> dict[str, Any]:
    """What a stage did; times in seconds. Nothing here is a call over HTTP that somebody measured."""
    seconds = number(mapping(note.get("usage")).get("seconds")) or 0.0
    at = moment(note.get("at"))
    return {
        "taskId": name,
        "version": _version(made(note)),
        "timing": {"http": 0.0, "inference": seconds, "total": seconds},
        "timestamp": int(at.timestamp()) if at else 0,
    }


def _version(by: Made) -> dict[str, str] | None:
    """The algorithm (the model, or the function where it has none), and the versions of function and model."""
    version = {"algorithm": by.model or by.function, "apiVersion": by.version, "modelVersion": by.model_version}
    return version if by.function else None


def _detection(picture: Picture, detection: Mapping, top: Mapping) -> dict[str, Any]:
    entry = {
        "id": _text(detection.get("id")),
        "cropUrl": _text(mapping(detection.get("crop")).get("key")),
        "version": _version(maker(picture, detection, first=True)),
        "boundingBox": _box(picture, detection),
        "label": _text(detection.get("label")),
        "confidence": number(detection.get("confidence")),
        "classifications": _classifications(picture, ranked(detection, top)),
    }
    features = _features(picture, detection)
    return {**entry, "cnnFeatures": features} if features else entry


def _box(picture: Picture, detection: Mapping) -> dict[str, int] | None:
    """Whole pixels."""
    box = within(picture, detection) if corners(detection) else None
    return {corner: round(side) for corner, side in zip(_CORNERS, box, strict=True)} if box else None


def _features(picture: Picture, detection: Mapping) -> dict[str, Any] | None:
    """Where the detection's vector is: a file of the bucket, and which of its rows."""
    told = mapping(mapping(picture.line.get("known")).get("embeddings"))
    names, url = told.get("detections"), mapping(told.get("file")).get("key")
    if not url or not isinstance(names, list) or detection.get("id") not in names:
        return None
    model = mapping(told.get("model"))
    return {
        "version": model.get("version"),
        "algorithm": model.get("name"),
        "url": url,
        "row": names.index(detection["id"]),
    }


def _classifications(picture: Picture, entries: list[Mapping]) -> list[dict[str, Any]]:
    """One entry for each that classified, its labels with the best first."""
    groups: dict[Made, list[Mapping]] = {}
    for entry in entries:
        groups.setdefault(maker(picture, entry, first=False), []).append(entry)
    return [_names(by, group) for by, group in groups.items()]


def _names(by: Made, entries: list[Mapping]) -> dict[str, Any]:
    labels = [str(entry.get("label") or "") for entry in entries]
    scores = [scored(entry, real(entry.get("score"))) for entry in entries]
    return {
        "algorithm": by.model or by.function,
        "version": _version(by),
        "labelIds": labels,
        "labelNames": labels,
        "displayScores": [round(100 * score) for score in scores],
        "scores": scores,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
