"""Camtrap DP: every hostile job makes a package that is valid, or none and the names of what is missing."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import frictionless
import jsonschema
import pytest

from tests.compiled import JOBS, PROJECT, STATION, compiled, done, failed, hostile, moth, with_detections
from tests.functions_items import parameters
from trapline.errors import ConfigError

SPEC = Path(__file__).resolve().parents[1] / "camtrap-dp"
TABLES = ("deployments", "media", "observations")
AT = "2026-10-25T02:30:00+02:00"

WRITTEN = [job for job in JOBS if job not in ("nothing", "failures", "timeless", "odd deployment")]


def package(data: bytes, folder: Path) -> Path:
    """The package unpacked, its schemas inlined and the profile dropped, so that nothing is looked up."""
    zipfile.ZipFile(io.BytesIO(data)).extractall(folder)
    told = json.loads((folder / "datapackage.json").read_text())
    del told["profile"]
    for resource in told["resources"]:
        if resource["name"] in TABLES:
            resource["schema"] = json.loads((SPEC / f"{resource['name']}-table-schema.json").read_text())
    (folder / "offline.json").write_text(json.dumps(told))
    return folder / "offline.json"


def rows(data: bytes, name: str) -> list[dict[str, str]]:
    text = zipfile.ZipFile(io.BytesIO(data)).read(name).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def written(job: str, **project: Any) -> bytes:
    item, body = hostile(job, "camtrap-dp", project=PROJECT | project)
    assert "left_out" not in body, body["left_out"]
    return item.files["camtrap-dp.zip"]


@pytest.mark.parametrize("levels", [["media"], ["event"], ["media", "event"]])
@pytest.mark.parametrize("job", WRITTEN)
def test_frictionless_finds_no_error(job: str, levels: list[str], tmp_path: Path) -> None:
    report = frictionless.validate(str(package(written(job, observationLevel=levels), tmp_path)))
    assert report.flatten(["name", "type", "message"]) == []


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [("bboxX", "2", "constraint-error"), ("mediaID", "no.jpg", "foreign-key"), ("eventStart", "noon", "type-error")],
)
def test_frictionless_would_have_told(column: str, value: str, error: str, tmp_path: Path) -> None:
    where = package(written("rotated"), tmp_path)
    found = rows(written("rotated"), "observations.csv")
    found[0][column] = value
    with (tmp_path / "observations.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, found[0])
        table.writeheader()
        table.writerows(found)
    assert error in [told[0] for told in frictionless.validate(str(where)).flatten(["type"])]


@pytest.mark.parametrize("job", WRITTEN)
def test_the_descriptor_is_as_the_profile_says(job: str) -> None:
    told = json.loads(zipfile.ZipFile(io.BytesIO(written(job))).read("datapackage.json"))
    profile = json.loads((SPEC / "camtrap-dp-profile.json").read_text())
    own = {"$defs": profile["$defs"], **profile["allOf"][1]}  # the other is the Data Package's own, at an address
    own["properties"]["spatial"].pop("$ref")
    jsonschema.Draft202012Validator(own).validate(told)
    assert told["spatial"]["type"] == "MultiPoint" and told["temporal"]["start"] <= told["temporal"]["end"]


@pytest.mark.parametrize("job", ["nothing", "failures", "timeless"])
def test_without_a_capture_time_there_is_no_package_and_the_summary_says_so(job: str) -> None:
    item, body = hostile(job, "camtrap-dp")
    assert "camtrap-dp.zip" not in item.files
    (reason,) = body["left_out"]["camtrap-dp"]
    assert reason.startswith("capture times: no image")


def test_each_missing_field_is_named_with_where_to_give_it() -> None:
    night = with_detections(moth(), captured_at=AT)
    item, body = compiled(night, parameters={"outputs": ["camtrap-dp"], "project": {"title": "x"}}, station={})
    assert set(item.files) == {"results.jsonl"}
    missing = body["left_out"]["camtrap-dp"]
    assert [reason.partition(":")[0] for reason in missing] == [
        "project.samplingDesign",
        "project.captureMethod",
        "project.individualAnimals",
        "project.observationLevel",
        "project.contributors",
        "latitude of the deployment 'st7/2026-11-20'",
        "longitude of the deployment 'st7/2026-11-20'",
    ]
    assert "pipeline.yaml under `project:`" in missing[0] and "`stations: {st7: {latitude: …}}`" in missing[-2]


def test_an_image_without_a_time_and_a_failed_one_are_named_in_a_table_of_their_own(tmp_path: Path) -> None:
    night = [with_detections(moth(), rel="a.jpg", captured_at=AT), done("b.jpg"), failed("c.jpg")]
    item, _ = compiled(*night, parameters={"outputs": ["camtrap-dp"], "project": PROJECT}, station=STATION)
    data = item.files["camtrap-dp.zip"]
    assert [row["mediaID"] for row in rows(data, "media.csv")] == ["a.jpg"]
    assert [tuple(row.values()) for row in rows(data, "left-out.csv")] == [
        ("b.jpg", "no_capture_time"),
        ("c.jpg", "image_truncated"),
    ]
    assert frictionless.validate(str(package(data, tmp_path))).valid


def test_a_detection_is_an_observation_with_its_box_its_name_and_who_says_so() -> None:
    night = with_detections(moth(box=[10, 15, 30, 30]), captured_at=AT)
    item, _ = compiled(night, parameters={"outputs": ["camtrap-dp"], "project": PROJECT}, station=STATION)
    media, event = rows(item.files["camtrap-dp.zip"], "observations.csv")
    assert [media[f"bbox{part}"] for part in ("X", "Y", "Width", "Height")] == ["0.25", "0.5", "0.5", "0.5"]
    assert (media["observationType"], media["scientificName"], media["count"]) == ("animal", "Noctua pronuba", "1")
    assert (media["classificationMethod"], media["classifiedBy"]) == ("machine", "namer 7")
    assert (media["classificationProbability"], media["eventStart"]) == ("0.9", AT)
    assert (event["observationLevel"], event["mediaID"], event["eventID"]) == ("event", "", media["eventID"])
    (place,) = rows(item.files["camtrap-dp.zip"], "deployments.csv")
    assert (place["deploymentID"], place["latitude"], place["deploymentStart"]) == ("st7/2026-11-20", "55.6", AT)


def test_an_events_observations_count_the_most_in_one_image_and_a_blank_image_is_an_observation() -> None:
    night = [
        with_detections(moth(), rel="a.jpg", captured_at=AT),
        with_detections(moth(), moth(id="d2"), rel="b.jpg", captured_at=AT),
        with_detections(rel="c.jpg", captured_at="2026-10-25T05:00:00Z"),
    ]
    item, _ = compiled(*night, parameters={"outputs": ["camtrap-dp"], "project": PROJECT}, station=STATION)
    found = rows(item.files["camtrap-dp.zip"], "observations.csv")
    events = [row for row in found if row["observationLevel"] == "event"]
    assert [(row["observationType"], row["count"]) for row in events] == [("animal", "2"), ("blank", "")]
    assert [row["observationType"] for row in found if row["mediaID"] == "c.jpg"] == ["blank"]


def test_what_a_person_says_is_an_observation_by_that_person() -> None:
    found = [row for row in rows(written("reviewed"), "observations.csv") if row["observationLevel"] == "media"]
    assert [(row["observationType"], row["scientificName"], row["classificationMethod"]) for row in found] == [
        ("animal", "Xestia", "human"),
        ("human", "", "human"),
        ("blank", "", "human"),
    ]
    assert (found[0]["classifiedBy"], found[0]["classificationProbability"]) == ("'=Åsa", "")


def test_a_label_means_what_the_project_says_and_the_package_lists_each_name_once() -> None:
    taxa = {
        "Noctua pronuba": {"scientificName": "Noctuidae", "taxonRank": "family"},
        "insect": {"scientificName": "Insecta"},
    }
    people = moth(id="d2", label="person", classifications=[])
    night = with_detections(moth(), people, moth(id="d3", classifications=[]), captured_at=AT)
    chosen = {"outputs": ["camtrap-dp"], "project": PROJECT | {"taxa": taxa, "observationLevel": ["media"]}}
    item, _ = compiled(night, parameters=chosen, station=STATION)
    found = rows(item.files["camtrap-dp.zip"], "observations.csv")
    assert [(row["observationType"], row["scientificName"], row["observationTags"]) for row in found] == [
        ("animal", "Noctuidae", "label:Noctua pronuba"),
        ("human", "", "label:person"),
        ("animal", "Insecta", "label:insect"),
    ]
    told = json.loads(zipfile.ZipFile(io.BytesIO(item.files["camtrap-dp.zip"])).read("datapackage.json"))
    assert told["taxonomic"] == [{"scientificName": "Noctuidae", "taxonRank": "family"}, {"scientificName": "Insecta"}]


def test_two_deployments_of_a_manifest_are_two_rows_with_what_it_says_of_them() -> None:
    north, south = sorted(rows(written("two deployments"), "deployments.csv"), key=lambda row: row["deploymentID"])
    assert (north["locationName"], north["latitude"]) == ('Øst, "the" wood', "56")
    assert (south["latitude"], south["deploymentStart"]) == ("-33.9", "2026-10-25T03:30:00+02:00")


def test_a_time_without_an_offset_and_no_time_zone_is_marked_as_doubtful() -> None:
    (place,) = rows(written("naive", contributors=[{"title": "x"}]), "deployments.csv")
    assert (place["timestampIssues"], place["deploymentStart"]) == ("true", "2026-10-25T02:30:00+00:00")


def test_the_package_is_the_same_bytes_whenever_it_is_made() -> None:
    assert written("crowd") == written("crowd")


def test_addresses_are_under_the_projects_own_base_where_it_has_one() -> None:
    chosen = written("names", media={"base": "https://images.example.org/x/", "public": True})
    for row in rows(chosen, "media.csv"):
        assert row["filePath"].startswith("https://images.example.org/x/incoming/") and row["filePublic"] == "true"


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ({"samplingDesign": "random"}, "samplingDesign: 'random' is not one of"),
        ({"contributors": [{"role": "contact"}]}, "contributors: 'title' is a required property"),
        ({"titel": "x"}, "'titel' was unexpected"),
        ({"licenses": {"data": "CC0-1.0"}}, "licenses: 'media' is a required property"),
    ],
)
def test_a_project_that_the_format_would_not_take_is_refused_at_the_start(project: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parameters("compile", project=project)
    assert said in str(refused.value)
