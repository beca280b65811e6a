"""`datapackage.json`: what the package is, who made it, and what it covers."""

from __future__ import annotations

import re
from typing import IO, Any

from functions.compile.document import Items, write_document
from functions.compile.outputs.camtrap_dp.deployments import Places
from functions.compile.outputs.camtrap_dp.taxa import Taxa
from functions.compile.outputs.camtrap_dp.times import written
from functions.compile.picture import instant, mapping, moment
from functions.compile.results import Results

VERSION = "1.0.2"
_HOME = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
_TABLES = ("deployments", "media", "observations")
_PROJECT = ("title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel")  # all required
_MORE = ("id", "acronym", "description", "path")
_PACKAGE = ("bibliographicCitation", "keywords", "homepage", "references")
_LEFT_OUT = {
    "name": "left-out",
    "path": "left-out.csv",
    "description": "Images that are not in media.csv, and why: a failure's code, or no_capture_time.",
    "profile": "tabular-data-resource",
    "format": "csv",
    "mediatype": "text/csv",
    "encoding": "utf-8",
    "schema": {"fields": [{"name": "file", "type": "string"}, {"name": "reason", "type": "string"}]},
}


def missing(results: Results) -> list[str]:
    """What the format needs of a project and nobody gave, and where to give it."""
    project = results.parameters.get("project") or {}
    absent = [field for field in (*_PROJECT, "contributors") if field not in project]
    return [f"project.{field}: give it in pipeline.yaml under `project:`" for field in absent]


def write(stream: IO[bytes], results: Results, places: Places, taxa: Taxa, *, left_out: bool) -> None:
    """Write the descriptor; the names that the tables use must have been noted."""
    project = results.parameters["project"]
    document: dict[str, Any] = {
        "resources": [*map(_resource, _TABLES), *[_LEFT_OUT] * left_out],
        "profile": f"{_HOME}/camtrap-dp-profile.json",
        "name": re.sub(r"[^a-z0-9._-]+", "-", f"{results.job}-{results.revision}".lower()),
        "created": _created(results, places),
        "title": f"{project['title']}: {results.job}",
        "version": results.revision,
        "contributors": project["contributors"],
        **({"licenses": _licenses(project["licenses"])} if "licenses" in project else {}),
        **{field: project[field] for field in _PACKAGE if field in project},
        "project": {field: project[field] for field in (*_PROJECT, *_MORE) if field in project},
        "spatial": places.spatial,
        "temporal": places.temporal,
        "taxonomic": Items(taxa.entries()),
    }
    write_document(stream, document)


def _resource(name: str) -> dict[str, str]:
    return {
        "name": name,
        "path": f"{name}.csv",
        "profile": "tabular-data-resource",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": f"{_HOME}/{name}-table-schema.json",
    }


def _licenses(told: dict[str, str]) -> list[dict[str, str]]:
    """Names of licences, or where they can be read."""
    return [{"path" if "://" in word else "name": word, "scope": scope} for scope, word in told.items()]


def _created(results: Results, places: Places) -> str:
    """When the newest record was made; the last image's time where no record says."""
    made = (moment(mapping(note).get("at")) for picture in results.pictures() for note in picture.stages.values())
    return written(max((instant(when, None) for when in made if when), default=places.last), None)
