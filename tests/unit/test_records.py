"""What is written into a bucket as JSON, and what is made of what is found there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.errors import ManifestError
from trapline.records import (
    MANIFEST_BYTES,
    SCHEMA,
    Callback,
    DeadLetter,
    ImageRecord,
    ProducedBy,
    RollEntry,
    SchemaNewer,
    Source,
    Summary,
    load,
    read_manifest,
)

LETTER = DeadLetter(stage="detect", job="st7/n1", code="timeout", message="it took too long", recipe="ab")
RECORD = ImageRecord(
    stage="detect",
    source=Source(key="incoming/st7/n1/a.jpg", etag="e1", size=5, sha256="ab" * 32),
    recipe="cd",
    produced_by=ProducedBy(function="detect", version="1.0.0"),
)
MANIFEST = {"sourceImages": [{"id": "a", "url": "https://example.org/a.jpg"}]}


def test_a_record_reads_back_as_it_was_written() -> None:
    assert load(DeadLetter, LETTER.dump()) == LETTER
    assert load(ImageRecord, RECORD.dump()) == RECORD
    assert json.loads(RECORD.dump())["schema"] == SCHEMA


@given(st.text(), st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text() | st.none() | st.booleans()))
def test_whatever_a_function_knows_survives(rel: str, known: dict[str, Any]) -> None:
    clean = json.loads(json.dumps({"rel": rel, "known": known}).encode("ascii"))
    if any("\ud800" <= c <= "\udfff" for c in json.dumps(clean, ensure_ascii=False)):
        return
    record = RECORD.model_copy(update={"known": clean})
    assert load(ImageRecord, record.dump()) == record


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"schema": 1, "stage": ', b"null", b"[]", b'"text"', b"\xff\xfe", b"\0" * 4096, b"[" * 100_000],
)
def test_what_is_no_record_counts_as_absent(data: bytes) -> None:
    assert load(DeadLetter, data) is None


def test_any_cut_of_a_record_counts_as_absent() -> None:
    whole = RECORD.dump()
    assert all(load(ImageRecord, whole[:size]) is None for size in range(len(whole)))


def test_a_record_that_lacks_a_field_counts_as_absent() -> None:
    assert load(DeadLetter, b'{"schema": 1, "stage": "detect"}') is None


def test_a_record_of_a_newer_release_is_told_apart_even_when_it_has_other_fields() -> None:
    with pytest.raises(SchemaNewer, match=f"schema {SCHEMA + 1}; this release reads up to {SCHEMA}"):
        load(DeadLetter, json.dumps({"schema": SCHEMA + 1, "new": True}).encode())


def test_fields_that_a_later_release_adds_are_passed_over() -> None:
    data = {**json.loads(LETTER.dump()), "added_later": [1, 2]}
    assert load(DeadLetter, json.dumps(data).encode()) == LETTER


def test_a_token_is_in_no_repr_and_no_error() -> None:
    raw = {**MANIFEST, "callback": {"callbackUrl": "https://example.org/", "callbackToken": "s3cret"}}
    manifest = read_manifest(json.dumps(raw).encode(), "jobs/a/b.json")
    assert manifest.callback is not None
    assert manifest.callback.callbackToken == "s3cret"
    assert "s3cret" not in repr(manifest) + str(manifest) + repr(manifest.callback)
    assert "s3cret" not in repr(Callback(callbackUrl="https://example.org/", callbackToken="s3cret"))
    broken = json.dumps({**raw, "callback": {"callbackToken": "s3cret"}}).encode()
    with pytest.raises(ManifestError) as caught:
        read_manifest(broken, "jobs/a/b.json")
    assert "s3cret" not in str(caught.value)


def test_a_manifest_keeps_fields_it_does_not_know() -> None:
    listed = {"id": "a", "url": "https://example.org/a.jpg", "camera": "north"}
    manifest = read_manifest(json.dumps({"sourceImages": [listed], "note": "wet"}).encode(), "jobs/a/b.json")
    assert manifest.model_dump()["note"] == "wet"
    assert manifest.sourceImages[0].model_dump()["camera"] == "north"


def test_a_manifest_is_a_list_of_images_and_all_else_may_be_left_out() -> None:
    manifest = read_manifest(json.dumps(MANIFEST).encode(), "jobs/a/b.json")
    assert (manifest.priority, manifest.deadline, manifest.callback, manifest.pipelineConfig) == (0, None, None, None)


def test_deadlines_are_durations() -> None:
    manifest = read_manifest(json.dumps({**MANIFEST, "deadline": "PT6H"}).encode(), "jobs/a/b.json")
    assert manifest.deadline is not None
    assert manifest.deadline.total_seconds() == 6 * 3600


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[]", "the document"),
        (b'{"sourceImages": 7}', "sourceImages"),
        (b'{"sourceImages": [{"id": "a"}]}', "sourceImages.0.url"),
        (b'{"sourceImages": [{"id": "", "url": "x"}]}', "sourceImages.0.id"),
        (json.dumps({**MANIFEST, "priority": "high"}).encode(), "priority"),
        (json.dumps({**MANIFEST, "priority": 100000}).encode(), "priority"),
        (json.dumps({**MANIFEST, "deadline": "soon"}).encode(), "deadline"),
        (json.dumps({**MANIFEST, "callback": {}}).encode(), "callback.callbackUrl"),
        (b"{}", "sourceImages"),
        (b"\xff", "utf-8"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_wrong_manifest_is_told_in_one_line_with_place_and_example(data: bytes, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(data, "jobs/ecos/j1.json")
    assert caught.value.message.startswith("jobs/ecos/j1.json is not a job manifest: ")
    assert said in caught.value.message
    assert "docs/reference/manifest.md" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_an_image_may_not_name_a_deployment_that_is_not_there() -> None:
    images = [{"id": str(n), "url": "https://example.org/a.jpg"} for n in range(2)]
    named = [images[0], {**images[1], "deploymentID": "north"}]
    assert read_manifest(json.dumps({"sourceImages": named}).encode(), "jobs/a/b.json").sourceImages[1].id == "1"
    there = {"sourceImages": named, "deployments": [{"id": "north"}, {"id": "south"}]}
    assert read_manifest(json.dumps(there).encode(), "jobs/a/b.json").sourceImages[1].id == "1"
    absent = {"sourceImages": named, "deployments": [{"id": "nroth"}, {"id": "south"}]}
    with pytest.raises(
        ManifestError, match=r"sourceImages\[1\] names deployment 'north'; `deployments` has nroth, south"
    ):
        read_manifest(json.dumps(absent).encode(), "jobs/a/b.json")


def test_a_manifest_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(ManifestError, match=f"has {MANIFEST_BYTES + 1} bytes"):
        read_manifest(b" " * (MANIFEST_BYTES + 1), "jobs/a/b.json")


def test_records_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        LETTER.code = "other"  # type: ignore[misc]


def test_a_summary_of_an_earlier_run_without_optional_fields_is_read() -> None:
    data = {
        "schema": 1,
        "job": "a/b",
        "state": "SUCCEEDED",
        "final": True,
        "revision": "r1-ab",
        "folder": "results/a/b/r1-ab/",
    }
    summary = load(Summary, json.dumps(data).encode())
    assert summary is not None
    assert (summary.files, summary.last_final) == ((), None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"rel": "a.jpg", "sta',
        b"[]",
        b'{"rel": "a.jpg"}',
        b'{"state": "done"}',
        b'{"rel": ["a.jpg"], "state": "done"}',
        b'{"rel": "a.jpg", "state": {"x": 1}}',
        b'{"rel": "a.jpg", "state": "lost"}',
        b'{"rel": "a.jpg", "state": "done", "size": "9"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_torn_or_odd_line_of_a_roll_is_told_as_such(line: bytes) -> None:
    with pytest.raises(ValueError):
        RollEntry.read(line)


def test_a_line_of_a_roll_comes_back_whole_and_what_a_newer_release_adds_is_passed_over() -> None:
    entry = RollEntry("é.jpg", "failed", "detect", code="timeout", kept=True, size=3)
    assert RollEntry.read(entry.line().encode()) == entry
    assert RollEntry.read(b'{"rel": "a.jpg", "state": "done", "mood": "good"}') == RollEntry("a.jpg", "done")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"sourceImages": 7}, "sourceImages: input should be a valid list."),
        ({"sourceImages": []}, "sourceImages: list should have at least 1 item, not 0."),
        ([], "the document: input should be a valid object."),
        ({"sourceImages": [{"id": "1", "url": "x"}], "callback": 7}, "callback: input should be a valid object."),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said_in_the_words_of_json(said: Any, told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(json.dumps(said).encode(), "jobs/ecos/j1.json")
    assert caught.value.message.endswith(f"is not a job manifest: {told}")
