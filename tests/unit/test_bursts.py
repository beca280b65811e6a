"""Which images are one event: bursts by the moment they were taken, named so that names stay."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.compile.bursts import Bursts, Event
from functions.compile.picture import Picture
from tests.functions_items import parameters
from trapline.errors import ConfigError

JOB = "st7/2026-11-20"
COPENHAGEN = {"timezone": "Europe/Copenhagen"}


def picture(rel: str, at: str | None = None, *labels: str, state: str = "done", **line: Any) -> Picture:
    found = [{"label": label} for label in labels]
    image = {"captured_at": at}
    station = line.pop("station", COPENHAGEN)
    return Picture(
        {"rel": rel, "key": rel, "state": state, "image": image, "detections": found, "station": station} | line
    )


def bursts(folder: Path, *pictures: Picture, gap: float = 60) -> Bursts:
    return Bursts(JOB, pictures, timedelta(seconds=gap), folder)


def groups(folder: Path, *times: str, gap: float = 60, **line: Any) -> list[int]:
    """How many images each event has, of images with these times."""
    made = bursts(folder, *(picture(f"{n}.jpg", at, **line) for n, at in enumerate(times)), gap=gap)
    return [event.images for event in made.events()]


def test_images_at_most_a_gap_apart_are_one_event_named_for_its_first_image(tmp_path: Path) -> None:
    times = ("2026-11-20T22:00:00+01:00", "2026-11-20T22:01:00+01:00", "2026-11-20T22:02:01+01:00")
    made = bursts(tmp_path, *(picture(f"{n}.jpg", at) for n, at in enumerate(times)))
    first, second = f"{JOB}/20261120T220000+0100", f"{JOB}/20261120T220201+0100"
    assert [made.event_of(f"{n}.jpg") for n in range(3)] == [first, first, second]
    assert [(event.id, event.images) for event in made.events()] == [(first, 2), (second, 1)]


def test_an_event_counts_the_most_in_one_image_and_not_over_all(tmp_path: Path) -> None:
    night = [picture(f"{n:02}.jpg", f"2026-11-20T22:00:{n:02}+01:00", "moth") for n in range(20)]
    night[7] = picture("07.jpg", "2026-11-20T22:00:07+01:00", "moth", "moth", "fly")
    (event,) = bursts(tmp_path, *night).events()
    assert (event.images, event.counts) == (20, {"fly": 1, "moth": 2})


def test_order_by_name_does_not_matter_and_midnight_neither(tmp_path: Path) -> None:
    assert groups(tmp_path, "2026-11-21T00:00:20+01:00", "2026-11-20T23:59:50+01:00", "2026-11-20T12:00:00+01:00") == [
        1,
        2,
    ]


def test_the_hour_that_comes_twice_is_two_hours(tmp_path: Path) -> None:
    assert groups(tmp_path, "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00") == [1, 1]
    assert groups(tmp_path, "2026-10-25T02:59:50+02:00", "2026-10-25T02:00:10+01:00") == [2]
    made = bursts(tmp_path, picture("a", "2026-10-25T00:30:00+00:00"), picture("b", "2026-10-25T01:30:00+00:00"))
    assert [event.id[-20:] for event in made.events()] == ["20261025T023000+0200", "20261025T023000+0100"]


def test_times_in_different_zones_are_compared_as_instants(tmp_path: Path) -> None:
    assert groups(tmp_path, "2026-11-20T22:00:00+01:00", "2026-11-20T21:00:30Z", "2026-11-20T22:00:10+02:00") == [1, 2]


def test_a_time_without_an_offset_is_the_stations_or_utc(tmp_path: Path) -> None:
    naive, aware = "2026-07-20T22:00:00", "2026-07-20T20:00:20Z"
    assert groups(tmp_path, naive, aware) == [2]
    assert groups(tmp_path, naive, aware, station={}) == [1, 1]
    assert groups(tmp_path, naive, "2026-07-20T22:00:20Z", station={}) == [2]
    assert groups(tmp_path, naive, aware, station={}, deployment=COPENHAGEN) == [2]


@pytest.mark.parametrize(
    ("at", "name"),
    [
        ("2026-10-25T02:30:00+02:00", "20261025T023000+0200"),
        ("2026-10-25T02:30:00Z", "20261025T023000+0000"),
        ("2026-10-25T02:30:00", "20261025T023000"),
    ],
)
def test_without_a_time_zone_an_event_is_told_by_the_cameras_own_clock(tmp_path: Path, at: str, name: str) -> None:
    alone = picture("a.jpg", at, station={})
    (event,) = bursts(tmp_path, alone).events()
    assert (event.id, event.start) == (f"{JOB}/{name}", alone.local)
    assert event.start is not None and alone.local is not None and event.start.tzinfo == alone.local.tzinfo


def test_an_event_knows_its_first_image_and_each_of_its_ends_has_the_clock_of_its_image(tmp_path: Path) -> None:
    times = ("2026-10-25T02:59:50+02:00", "2026-10-25T02:00:10+01:00", "2026-10-25T02:00:00+01:00")
    (event,) = bursts(tmp_path, *(picture(f"{n}.jpg", at, station={}) for n, at in enumerate(times))).events()
    assert event.start is not None and event.end is not None
    assert (event.file, event.start.isoformat(), event.end.isoformat()) == ("0.jpg", times[0], times[1])


def test_the_manifests_event_wins_and_binds_no_others(tmp_path: Path) -> None:
    made = bursts(
        tmp_path,
        picture("a", "2026-11-20T22:00:00Z", "moth"),
        picture("b", "2026-11-20T22:00:50Z", "moth", eventId="E1"),
        picture("c", "2026-11-20T22:01:40Z", "moth"),
        picture("d", None, "moth", eventId="E1"),
    )
    assert [(event.id, event.images) for event in made.events()] == [
        (f"{JOB}/20261120T230000+0100", 1),
        ("E1", 2),
        (f"{JOB}/20261120T230140+0100", 1),
    ]
    assert made.event_of("d") == "E1"


def test_an_image_without_a_time_is_an_event_of_its_own_and_comes_last(tmp_path: Path) -> None:
    made = bursts(
        tmp_path, picture("a.jpg", None, "moth"), picture("b.jpg", "?", "moth"), picture("c.jpg", "2026-11-20")
    )
    assert [event.id for event in made.events()][1:] == ["a.jpg", "b.jpg"]
    assert [(event.start, event.end) for event in made.events()][1:] == [(None, None)] * 2


@pytest.mark.parametrize("state", ["failed", "blocked", "pending"])
def test_an_image_that_was_not_looked_at_forms_no_event(tmp_path: Path, state: str) -> None:
    made = bursts(tmp_path, picture("a.jpg", "2026-11-20T22:00:00Z", "moth", state=state))
    assert (list(made.events()), made.event_of("a.jpg")) == ([], None)


def test_a_late_image_changes_no_other_events_name(tmp_path: Path) -> None:
    chance = random.Random(7)
    minutes = sorted(chance.sample(range(0, 600, 3), 40))
    night = [picture(f"{n:03}.jpg", f"2026-11-20T{n // 60 + 10}:{n % 60:02}:00Z") for n in minutes]
    late = picture("late.jpg", f"2026-11-20T{minutes[20] // 60 + 10}:{minutes[20] % 60:02}:30Z")
    before = bursts(tmp_path, *night)
    known = {one.rel: before.event_of(one.rel) for one in night}
    after = bursts(tmp_path, late, *reversed(night))
    assert {one.rel: after.event_of(one.rel) for one in night} == known
    assert after.event_of("late.jpg") == known[night[20].rel]


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59Z"]
)
def test_the_calendars_ends_break_nothing(tmp_path: Path, at: str) -> None:
    (event,) = bursts(tmp_path, picture("a.jpg", at)).events()
    assert event.images == 1


def test_names_that_no_file_can_hold_are_escaped(tmp_path: Path) -> None:
    made = bursts(tmp_path, picture("a\ud800\x00b.jpg", None, "\udfff"), picture("蛾.jpg", None, "", eventId="=1+1"))
    assert [(event.id, event.counts) for event in made.events()] == [
        ("=1+1", {"": 1}),
        ("a\\ud800\x00b.jpg", {"\\udfff": 1}),
    ]
    assert made.event_of("a\ud800\x00b.jpg") == "a\\ud800\x00b.jpg"


def test_two_bursts_in_one_second_have_two_names(tmp_path: Path) -> None:
    made = bursts(tmp_path, picture("a", "2026-11-20T22:00:00.1Z"), picture("b", "2026-11-20T22:00:00.9Z"), gap=0)
    assert len({event.id for event in made.events()}) == 2


def test_nothing_has_no_events(tmp_path: Path) -> None:
    assert list(bursts(tmp_path).events()) == []


def test_an_event_is_read_as_it_was_made(tmp_path: Path) -> None:
    (event,) = bursts(tmp_path, picture("a", "2026-11-20T22:00:00Z", "moth")).events()
    assert event == Event(event.id, event.start, event.end, 1, {"moth": 1}, timezone="Europe/Copenhagen", file="a")
    assert event.start is not None and event.start.isoformat() == "2026-11-20T23:00:00+01:00"


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ({"gap": "60"}, "gap: '60' is not an ISO 8601 duration; write for example PT30S"),
        ({"gap": 60}, "gap: 60 is not of type 'string'"),
        ({"gab": "PT60S"}, "'gab' was unexpected"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(events: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=r"stages\.compile\.parameters\.events") as refused:
        parameters("compile", events=events)
    assert said in str(refused.value)


def test_images_of_two_deployments_are_no_burst_and_the_event_says_where(tmp_path: Path) -> None:
    north = {"deploymentID": "north", "latitude": 56, "longitude": 10.5, "timezone": "Europe/Oslo"}
    south = {"deploymentID": "south", "latitude": -33.9, "longitude": 18, "timezone": "Africa/Johannesburg"}
    made = bursts(
        tmp_path,
        *(picture(f"{n}", f"2026-11-20T22:00:0{n}Z", deployment=(north, south)[n % 2]) for n in range(4)),
    )
    assert [(event.id, event.place, event.latitude, event.timezone, event.images) for event in made.events()] == [
        (f"{JOB}/north/20261120T230000+0100", "north", 56.0, "Europe/Oslo", 2),
        (f"{JOB}/south/20261121T000001+0200", "south", -33.9, "Africa/Johannesburg", 2),
    ]


def test_the_end_of_an_event_over_several_places_is_by_the_clock_of_its_own_image(tmp_path: Path) -> None:
    south = {"deploymentID": "south", "timezone": "Africa/Johannesburg"}
    with_zone = picture("a.jpg", "2026-11-20T22:00:00", eventId="e", deployment=south)
    without = picture("b.jpg", "2026-11-20T22:05:00", eventId="e", station={})
    (event,) = bursts(tmp_path, with_zone, without).events()
    assert event.start and event.end and event.timezone is None
    assert (event.start.isoformat(), event.end.isoformat()) == ("2026-11-20T22:00:00+02:00", "2026-11-20T22:05:00")


def test_a_failed_image_keeps_the_manifests_event_and_is_not_counted_in_it(tmp_path: Path) -> None:
    made = bursts(tmp_path, picture("a", None, "moth", eventId="E1"), picture("b", state="failed", eventId="E1"))
    assert (made.event_of("b"), [event.images for event in made.events()]) == ("E1", [1])
    alone = bursts(tmp_path, picture("b", state="failed", eventId="E1"))
    assert (alone.event_of("b"), list(alone.events()), alone.around("b")) == ("E1", [], None)
