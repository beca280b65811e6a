"""`deployments.csv`: where and when a job's images were taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import IO, Any

from functions.compile.cells import row
from functions.compile.outputs.camtrap_dp.times import written
from functions.compile.picture import Mapping, Picture, instant, moment
from functions.compile.results import Results
from trapline.records.deployments import identity
from trapline.records.naming import number

_FEATURES = (
    *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge"),
    *("culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree"),
)
_OPTIONAL: dict[str, Any] = {  # column → text, a choice, true or false, or (whole?, least, most)
    "setupBy": str,
    "cameraID": str,
    "cameraModel": str,
    "cameraDelay": (True, 0, None),
    "cameraHeight": (False, 0, None),
    "cameraDepth": (False, 0, None),
    "cameraTilt": (True, -90, 90),
    "cameraHeading": (True, 0, 360),
    "detectionDistance": (False, 0, None),
    "timestampIssues": bool,
    "baitUse": bool,
    "featureType": _FEATURES,
    "habitat": str,
    "deploymentGroups": str,
    "deploymentTags": str,
    "deploymentComments": str,
}
COLUMNS = (
    *("deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty"),
    *("deploymentStart", "deploymentEnd", *_OPTIONAL),
)
_MISSING = frozenset(("", "NA", "NaN", "nan"))  # what the format's readers take for nothing


def deployment_id(results: Results, place: str) -> str:
    """The deployment's own name, or else the job's: one night at one station."""
    return place if place not in _MISSING else results.job


@dataclass
class _Place:
    """A deployment, and the span of its images."""

    told: Mapping  # what station and manifest say of it
    latitude: float | None
    longitude: float | None
    timezone: str | None
    first: datetime
    last: datetime


class Places:
    """A job's deployments: those of its images that were read and have a capture time."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._places: dict[str, _Place] = {}
        for picture in results.pictures():
            if picture.state == "done" and picture.taken:
                self._add(deployment_id(results, identity(picture.deployment)), picture, picture.taken)

    def missing(self) -> list[str]:
        """What nobody gave, and where it may be given."""
        if not self._places:
            return ["capture times: no image of the job that could be read has one; set the camera's clock (EXIF)"]
        station = self._results.job.partition("/")[0]
        return [
            f"{field} of the deployment {name!r}: give it in the manifest's `deployment`, or in pipeline.yaml under "
            f"`stations: {{{station}: {{{field}: …}}}}`"
            for name, place in self._places.items()
            for field in ("latitude", "longitude")
            if getattr(place, field) is None
        ]

    def write(self, stream: IO[bytes]) -> None:
        stream.write(row(COLUMNS))
        for name, place in self._places.items():
            stream.write(row(_cells(name, place)))

    @property
    def spatial(self) -> dict[str, Any]:
        """The places, as GeoJSON."""
        points = [[place.longitude, place.latitude] for place in self._places.values()]
        return {"type": "MultiPoint", "coordinates": points}

    @property
    def temporal(self) -> dict[str, str]:
        """First and last day."""
        spans = [_span(place) for place in self._places.values()]
        days = [_day(moment(end)) for span in spans for end in span]
        return {"start": min(days).isoformat(), "end": max(days).isoformat()}

    @property
    def last(self) -> datetime:
        """When the last image was taken."""
        return max(place.last for place in self._places.values())

    def _add(self, name: str, picture: Picture, taken: datetime) -> None:
        place = self._places.get(name)
        if place is None:
            told = {**picture.station, **picture.deployment}
            where = (_within(picture.coordinates[0], 90), _within(picture.coordinates[1], 180))
            self._places[name] = _Place(told, *where, picture.timezone, taken, taken)
            return
        place.first, place.last = min(place.first, taken), max(place.last, taken)


def _cells(name: str, place: _Place) -> list[Any]:
    told = place.told
    unsure = {} if place.timezone or "timestampIssues" in told else {"timestampIssues": True}
    uncertainty = _value((True, 1, None), told.get("coordinateUncertainty"))
    where = [_value(str, told.get("locationID")), _value(str, told.get("locationName"))]
    rest = [_value(kind, {**told, **unsure}.get(column)) for column, kind in _OPTIONAL.items()]
    return [name, *where, place.latitude, place.longitude, uncertainty, *_span(place), *rest]


def _span(place: _Place) -> tuple[str, str]:
    """Start and end: what was told, or else the first and the last image."""
    start = _told(place, "deploymentStart") or place.first
    end = _told(place, "deploymentEnd") or place.last
    return written(start, place.timezone), written(max(start, end), place.timezone)


def _told(place: _Place, name: str) -> datetime | None:
    when = moment(place.told.get(name))
    return when and instant(when, place.timezone)


def _day(when: datetime | None) -> date:
    return (when or datetime.min).date()


def _within(value: Any, most: float) -> float | None:
    found = number(value)
    return found if found is not None and -most <= found <= most else None


def _value(kind: Any, value: Any) -> Any:
    """A value of the column's kind; None for any other."""
    if kind is str:
        return value if isinstance(value, str) and value not in _MISSING else None
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(kind[0], str):
        return value if value in kind else None
    whole, least, most = kind
    found = number(value)
    if found is None or found < least or (most is not None and found > most) or (whole and found != int(found)):
        return None
    return int(found) if whole else found
