"""report.html as text: what it counts, what it shows a sample of, and what it never lets through."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import tracemalloc
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from functions.compile import figures
from functions.compile.outputs.report import album, survey
from functions.compile.outputs.report.sample import Sample, lot
from functions.compile.outputs.report.text import coded, listed, place, plain, shortened
from functions.compile.picture import Picture
from tests.nights import JOB, SHA, Job, done, failed
from trapline import __version__
from trapline.errors import CODES, Permanent, StoreUnavailable
from trapline.images import Image
from trapline.records.hours import in_order
from trapline.runtime.items import Member
from trapline.template import copy_project

BIDI = "a\u202egpj.exe"


def photo(width: int = 64, height: int = 48, colour: str = "tan") -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (width, height), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def found(*labels: str, at: str | None = "2026-11-20T22:00:00+01:00", **more: Any) -> dict[str, Any]:
    """What is known of an image with these on it, left to right."""
    boxes = [
        {
            "id": f"d{n}",
            "box": [4 * n, 4, 4 * n + 4, 12],
            "label": "insect",
            "confidence": 0.5,
            "classifications": [{"label": label, "score": 0.9}],
        }
        for n, label in enumerate(labels)
    ]
    return {"image": {"width": 64, "height": 48, "captured_at": at}, "detections": boxes, **more}


def moths(count: int, *labels: str) -> list[Member]:
    return [done(f"{JOB}/{n:05d}.jpg", found(*(labels or ("Xestia",)))) for n in range(count)]


def report(folder: Path, *members: Member, **job: Any) -> str:
    """The page of a job whose images are all alike."""
    pictures = {f"incoming/{member.entry.rel}": photo() for member in members}
    made = Job(folder, members, **{"pictures": pictures, **job})
    made.compiled()
    with made.open("report.html") as stream:
        return stream.read().decode()


def words(page: str) -> str:
    """What a page says, without its tags, on one line."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def row(page: str, name: str) -> list[str]:
    """The cells of a row of the table of kinds."""
    (line,) = [line for line in page.splitlines() if f"<bdi>{name}</bdi></th>" in line and "main" in line]
    return re.findall(r"<td[^>]*>([^<]*)</td>", line)


def test_when_is_by_the_clock_of_the_place_and_several_places_are_counted(tmp_path: Path) -> None:
    utc = found("Xestia", at="2026-11-20T23:30:00+00:00")
    said = words(report(tmp_path / "one", done(f"{JOB}/a.jpg", utc)))
    assert "21 November 2026, 00:30 (Europe/Copenhagen)" in said and "55.60000° N, 12.50000° E" in said
    assert (listed([], "places"), listed(["a"], "places"), listed(["a", "b"], "places")) == ("", "a", "a; b")
    assert listed(list("abcdefgh"), "places") == "8 places: a; b; c; d; e and 3 more"


@pytest.mark.parametrize("at", ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00"])
def test_without_a_time_zone_all_times_are_those_of_the_cameras_clock(tmp_path: Path, at: str) -> None:
    job = Job(tmp_path, [done(f"{JOB}/a.jpg", found("Xestia", at=at))], outputs=("report", "csv"), station={})
    body = job.compiled()
    page = (tmp_path / "files" / "report.html").read_text()
    assert "25 October 2026, 02:30 (the camera&#39;s clock)" in words(page).replace("'", "&#39;")
    assert "2026-10-25 02:30:00" in page and ">02:30</time>" in page and "00:30" not in words(page)
    assert body["activity"][2] == 1 and f",{at},{at}," in (tmp_path / "files" / "events.csv").read_text()


def test_one_moth_in_twenty_frames_of_an_event_is_one_individual(tmp_path: Path) -> None:
    page = report(tmp_path, *moths(20), done(f"{JOB}/z.jpg", found("Xestia", at="2026-11-20T23:30:00+01:00")))
    added, at_once, events, images, detections, confidence = row(page, "Xestia")
    assert (added, at_once, events, images, detections, confidence) == ("2", "1", "2", "21", "21", "0.90")


def test_an_animal_that_stays_is_no_reason_to_say_that_there_were_several(tmp_path: Path) -> None:
    stays = [done(f"{JOB}/{n}.jpg", found("beetle", at=f"2026-11-20T22:{2 * n:02}:00+01:00")) for n in range(6)]
    page = report(tmp_path, *stays)
    assert row(page, "beetle")[:2] == ["6", "1"]
    assert "at least" not in words(page)
    assert "an animal that stays is counted again in each event" in words(page)


def test_kinds_come_in_the_order_of_the_number_that_is_set_in_bold(tmp_path: Path) -> None:
    often = [done(f"{JOB}/b{n}.jpg", found("burst", at="2026-11-20T22:00:00+01:00")) for n in range(9)]
    apart = [done(f"{JOB}/s{n}.jpg", found("spread", at=f"2026-11-20T23:{9 * n:02}:00+01:00")) for n in range(3)]
    page = report(tmp_path, *often, *apart)
    assert page.index("<bdi>spread</bdi></th>") < page.index("<bdi>burst</bdi></th>")


def test_what_nobody_can_tell_is_no_kind_and_neither_right_nor_wrong(tmp_path: Path) -> None:
    rows = "".join(f"{JOB}/{n:05d}.jpg,d0,{label}\n" for n, label in enumerate(("Xestia", "Agrotis", "unknown")))
    page = report(tmp_path, *moths(3), review=f"file,detection_id,label\n{rows}".encode())
    said = words(page)
    assert "cannot be told 1" in said and "moth-classifier 1.0.0 2 1 50 %" in said
    assert "<bdi>unknown</bdi></th>" not in page and "kinds 2" in said and "added over events 2" in said
    assert "1 detection that nobody can name is in no row" in said


def test_every_kind_of_an_event_and_of_an_image_is_named_while_there_are_few(tmp_path: Path) -> None:
    labels = [f"kind{n:02}" for n in range(13)]
    page = report(tmp_path / "few", *moths(1, *labels))
    assert "kind12</bdi> 1" in page and "further kind" not in page and "of other kinds" not in page
    page = report(tmp_path / "many", *moths(1, *labels, "kind13"))
    assert "and 2 further kinds" in page and "2 of other kinds" in page


def test_an_event_is_told_with_its_name_its_first_image_and_its_place(tmp_path: Path) -> None:
    later = found("Xestia", at="2026-11-20T22:00:20+01:00")
    empty = done(f"{JOB}/e.jpg", found(at="2026-11-20T23:00:00+01:00"))
    members = [done(f"{JOB}/z.jpg", found("Xestia")), done(f"{JOB}/a.jpg", later), empty]
    places = {"deployment": {"deploymentID": "south", "locationName": "South wood"}}
    page = report(tmp_path, *members, manifest=places)
    (line,) = [line for line in page.splitlines() if "2026-11-20 22:00:00" in line]
    assert "<bdi>south/20261120T220000+0100</bdi>" in line and "<bdi>z.jpg</bdi>" in line and "a.jpg" not in line
    said = words(page)
    assert "2 events. 1 without anything." in said and "Where South wood, 55.60000° N" in said


def test_failures_are_told_in_the_words_of_the_table_of_codes(tmp_path: Path) -> None:
    members = [*moths(1), failed(f"{JOB}/b.jpg", "image_truncated"), failed(f"{JOB}/c.jpg", "not_received")]
    said = words(report(tmp_path, *members, not_received=(f"{JOB}/gone.jpg",)))
    assert CODES["image_truncated"].meaning in said and CODES["image_truncated"].remedy in said
    assert "2 of 3 images could not be read; 1 image never arrived." in said
    assert "gone.jpg" in said and "b.jpg" in said


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "There are no images."),
        ([failed(f"{JOB}/a.jpg", "image_truncated")], "No image was read."),
        ([done(f"{JOB}/a.jpg", found())], "Nothing was found on 1 image."),
        ([done(f"{JOB}/a.jpg", found("unknown"))], "1 detection that nobody can name."),
    ],
)
def test_where_no_kind_was_found_the_page_says_why(tmp_path: Path, members: list[Member], said: str) -> None:
    assert said in words(report(tmp_path, *members))


def test_a_table_of_which_no_row_can_be_used_is_no_check_by_a_person(tmp_path: Path) -> None:
    said = words(report(tmp_path, *moths(1), review=b"x,y\n1,2\n"))
    assert "were not checked by a person" in said and "There is no column" in said


def test_an_image_whose_name_cannot_be_a_key_is_no_image_that_was_read(tmp_path: Path) -> None:
    said = words(report(tmp_path, *moths(1), unusable={f"{JOB}/a\\tb.jpg": "a control character"}))
    assert "1 image has a name that cannot be used." in said and "every image was read" not in said
    assert CODES["key_unusable"].meaning in said and "no control characters, shorter names." in said
    assert "a\\tb.jpg a control character" in said


def test_a_count_that_was_not_met_is_told_without_names(tmp_path: Path) -> None:
    said = words(report(tmp_path, *moths(1), not_received_count=1500))
    assert "1,500 images never arrived." in said and "fewer images came than that" in said
    assert "names the file" not in said and "The first" not in said


def test_a_code_that_is_not_in_the_table_is_told_in_its_own_words(tmp_path: Path) -> None:
    said = words(report(tmp_path, failed(f"{JOB}/b.jpg", "own_code", "It is odd.", "Look at it.")))
    assert "own_code" in said and "It is odd." in said and "Look at it." in said


def test_an_image_that_cannot_be_read_any_more_costs_its_own_picture_alone(tmp_path: Path) -> None:
    pictures = {f"incoming/{JOB}/00000.jpg": photo()}
    page = report(tmp_path, *moths(2), pictures=pictures)
    assert page.count('class="frame"') == 1
    assert "00001.jpg is not there any more." in words(page)
    assert row(page, "Xestia")[3] == "2"


def test_a_store_that_does_not_answer_fails_the_compile_which_is_then_tried_again(tmp_path: Path) -> None:
    class Away(Job):
        def image(self, key: str, sha256: str = "") -> Image:
            raise StoreUnavailable("The store does not answer.")

    with pytest.raises(StoreUnavailable):
        Away(tmp_path, moths(1)).compiled()


def test_the_same_job_makes_the_same_bytes(tmp_path: Path) -> None:
    members = moths(40, "Xestia", "Agrotis")
    assert report(tmp_path / "one", *members) == report(tmp_path / "two", *members)


def test_a_provisional_revision_has_no_report(tmp_path: Path) -> None:
    made = Job(tmp_path, moths(1), outputs=("csv", "report"), final=False)
    made.compiled()
    assert sorted(os.listdir(tmp_path / "files")) == ["events.csv", "observations.csv", "results.jsonl"]


def test_a_large_job_shows_a_sample_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "IMAGES", 20)
    monkeypatch.setattr(survey, "EMPTY", 5)
    monkeypatch.setattr(survey, "CROPS", 8)
    empty = [done(f"{JOB}/e{n}.jpg", found()) for n in range(30)]
    page = report(tmp_path, *moths(60), *empty)
    assert "20 of 90 images shown" in words(page)
    assert page.count("nothing found</span>") == 5
    assert "8 of 60 detections" in words(page) and page.count('width="160"') == 8
    assert row(page, "Xestia")[4] == "60"  # what is counted is counted over all


@pytest.mark.parametrize("label", ["<script>window.pwned=1</script>", "</script><b>", '"><img src=x onerror=x>', BIDI])
def test_no_name_becomes_markup_or_turns_the_text_around(tmp_path: Path, label: str) -> None:
    members = [done(f"{JOB}/{label}.jpg", found(label)), failed(f"{JOB}/{label}2.jpg", label, label, label)]
    hostile = {"deployment": {"locationName": label, "timezone": label}}
    cards = {"moth-detector": {"sha256": SHA, "citation": label, "licence": label}}
    page = report(tmp_path, *members, manifest=hostile, cards=cards, not_received=(label,), job=label)
    assert page.count("<script>") == page.count("</script>") == 1
    assert not re.search(r"<img src=x|<b>\W*\.jpg|\u202e", page)


def test_long_names_are_cut_and_half_a_surrogate_pair_is_written_out(tmp_path: Path) -> None:
    page = report(tmp_path, done(f"{JOB}/{'n' * 900}.jpg", found("x" * 10_000, "\ud800")))
    assert len(page) < 60_000 and "x" * 100 not in page
    assert "\\ud800" in page


@pytest.mark.parametrize(
    "box", [[1e300, 0, 2, 2], [0, 0, 0, 0], [-1e12, -1e12, 1e12, 1e12], [60, 40, 900, 900], None, "x", [1, 2]]
)
def test_a_box_of_any_shape_breaks_nothing(tmp_path: Path, box: Any) -> None:
    known = found("Xestia")
    known["detections"][0]["box"] = box
    page = report(tmp_path, done(f"{JOB}/a.jpg", known))
    assert row(page, "Xestia")[4] == "1" and 'class="frame"' in page


def test_the_policy_lets_nothing_run_but_the_pages_own_script_and_nothing_load(tmp_path: Path) -> None:
    page = report(tmp_path, *moths(1))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    for tag in ("style", "script"):
        (code,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"""(src|href|action)=["']?(https?:)?//|url\(|@import| style=| on\w+=""", page)


def test_models_are_cited_as_their_cards_say_where_the_card_is_of_the_very_file(tmp_path: Path) -> None:
    cards = {
        "moth-detector": {"sha256": SHA, "citation": "Nord (2026). Moths.", "licence": "Apache-2.0"},
        "moth-classifier": {"sha256": "00" * 32, "citation": "Another file."},
    }
    said = words(report(tmp_path, *moths(1), cards=cards))
    assert "Nord (2026). Moths." in said and "licence Apache-2.0" in said
    assert "Another file." not in said and "moth-classifier, version 1.0.0" in said
    assert SHA in said and "classify-0a1b2c3d" in said


def test_formats_that_were_not_written_are_told_with_what_they_need(tmp_path: Path) -> None:
    said = words(report(tmp_path / "one", *moths(1), outputs=("report", "camtrap-dp")))
    assert "Formats that were not written camtrap-dp It needs: project.title: give it in pipeline.yaml" in said
    assert "not written" not in words(report(tmp_path / "two", *moths(1)))


def test_the_page_says_which_release_made_it_when_and_what_was_asked_for(tmp_path: Path) -> None:
    line = {"rel": "a.jpg", "key": "a.jpg", "state": "done", "stages": {"d": {"at": "2026-11-21T04:10:00+01:00"}}}
    found = survey.Survey()
    survey._read(found, 0, Picture(line))
    assert found.until == datetime.fromisoformat("2026-11-21T03:10:00+00:00")
    said = words(report(tmp_path, *moths(1), outputs=("csv", "report")))
    assert f"By Trapline {__version__}" in said and "asked for: csv, report. events.gap : 60 s." in said


def test_what_people_said_is_told_beside_what_the_model_said() -> None:
    from functions.compile.outputs.report.tables import agreements

    review = {"labels": {"Xestia": {"said": 4, "right": 3, "is": 6}}, "models": {"m 1": {"said": 4, "right": 3}}}
    (kind,), (model,) = agreements(review, "labels"), agreements(review, "models")
    assert (kind.precision, kind.recall, model.precision, model.recall) == ("75 %", "50 %", "75 %", "")
    assert agreements(None, "labels") == agreements({"labels": 3}, "labels") == []


def test_a_review_is_told_and_the_names_that_people_gave_are_counted(tmp_path: Path) -> None:
    table = (
        f"file,detection_id,label\n{JOB}/00000.jpg,d0,Agrotis\n{JOB}/00001.jpg,d0,Xestia\n{JOB}/gone.jpg,d0,Xestia\n"
    )
    page = report(tmp_path, *moths(3), review=table.encode())
    said = words(page)
    assert row(page, "Agrotis")[4] == "1" and row(page, "Xestia")[4] == "2"
    assert "Checked by people" in said and "moth-classifier 1.0.0 2 1 50 %" in said
    assert "1 line of the table could not be used: Line " in said and "by hand" in said


def test_a_night_is_drawn_from_noon_to_noon_and_a_day_from_midnight() -> None:
    night, day = [0] * 24, [0] * 24
    night[22] = night[23] = night[0] = night[3] = 5
    day[9] = day[12] = day[0] = day[23] = 5
    assert in_order(night)[:2] == [12, 13]
    assert in_order(day)[:2] == [0, 1]
    bars = figures.hours({"activity": [2 * count for count in night], "effort": night})
    assert [(bar.tick, bar.height) for bar in bars if bar.count] == [(h, 100) for h in ("22", "23", "00", "03")]
    assert sum(not bar.images for bar in bars) == 20


def test_a_job_without_images_or_without_times_has_a_page_too(tmp_path: Path) -> None:
    assert "No image could be read." in words(report(tmp_path / "none"))
    page = report(tmp_path / "timeless", done(f"{JOB}/a.jpg", found("Xestia", at=None)))
    assert "by hour of the day" not in page and row(page, "Xestia")[0] == "1"


def test_careless_functions_cost_nobody_the_page(tmp_path: Path) -> None:
    known: list[dict[str, Any]] = [
        {},
        {"image": 3, "detections": "x"},
        {"detections": [None, {"classifications": [1], "label": {"a": 1}}]},
        {"image": {"width": "w", "captured_at": 7}, "detections": [{"label": 3, "confidence": "high"}]},
    ]
    page = report(tmp_path, *(done(f"{JOB}/{n}.jpg", said) for n, said in enumerate(known)))
    assert page.count('class="frame"') == 4


def test_a_sample_is_the_same_whatever_the_order_and_as_large_as_asked() -> None:
    names = [f"{n}.jpg" for n in range(1000)]
    samples = []
    for order in (names, names[::-1]):
        sample: Sample[str] = Sample(50)
        for name in order:
            sample.offer(lot(name), name)
        samples.append(sample.least(50))
    assert samples[0] == samples[1] and len(set(samples[0])) == 50
    assert 300 < sum(int(name[:-4]) for name in samples[0]) / 50 < 700  # no end of the night is preferred


def test_noise_that_will_not_shrink_is_made_smaller_until_it_fits() -> None:
    noise = Pillow.frombytes("RGB", (480, 360), os.urandom(480 * 360 * 3))
    data, size = album._encoded(noise, album.MOST)
    assert len(data) <= album.MOST and size[0] < 480


def test_words_for_people() -> None:
    assert plain("a\u200db\x1b") == "a\u200db\\x1b"
    assert (shortened("abcdefghij", 5), shortened("abcde", 5)) == ("ab…ij", "abcde")
    assert coded("Raise `a<b`.") == "Raise <code>a&lt;b</code>."
    assert coded("odd ` one") == "odd ` one"
    assert place(-55.6, 12.5) == "55.60000° S, 12.50000° E"
    assert place(None, 1) == place("a", "b") == ""


def test_a_new_project_has_the_pages_template_style_and_script(tmp_path: Path) -> None:
    copy_project(tmp_path / "traps")
    folder = tmp_path / "traps" / "functions" / "compile" / "outputs" / "report"
    assert {"page.html.j2", "style.css", "script.js"} <= set(os.listdir(folder))


class _Many(Job):
    """A job whose members are made as they are read, with one picture for all."""

    def image(self, key: str, sha256: str = "") -> Image:
        if key.endswith("7.jpg"):
            raise Permanent("gone", code="source_missing")
        return Image(photo())


def _endless(count: int) -> Iterator[Member]:
    return (done(f"{JOB}/{n}.jpg", found(f"L{n % 30}", f"M{n % 7}")) for n in range(count))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "IMAGES", 50)
    peaks = []
    for count in (2_000, 8_000):
        folder = tmp_path / str(count)
        job = _Many(folder, _endless(count))
        tracemalloc.start()
        job.compiled()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks
