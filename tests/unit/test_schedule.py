"""Cron lines: when they come, in every time zone and over a clock that jumps, and which are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from trapline.errors import ConfigError
from trapline.events import TriggerContext
from trapline.keys import Layout
from triggers.schedule import Entry, ScheduleTrigger, open_trigger

COPENHAGEN = "Europe/Copenhagen"
URL = "https://images.example.org"
MANIFEST = {"jobId": "import-{date}", "sourceImages": [{"id": "a", "url": f"{URL}/{{yesterday}}/a.jpg"}]}
NIGHTLY = {"cron": "0 2 * * *", "manifest": "nightly.json", "job": "nightly/{date}"}


class Clock:
    """A clock that is set by hand."""

    def __init__(self, text: str, zone: str = COPENHAGEN) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)

    def __call__(self) -> datetime:
        return self.now


class Ran:
    """A schedule in a simulated time: what it put and asked for."""

    def __init__(self, clock: Clock, **entry: Any) -> None:
        self.put: list[str] = []
        self.texts: list[str] = []
        self.sweeps: list[datetime] = []
        self.clock = clock
        context = TriggerContext(
            "traps", None, (), lambda event: None, lambda key: None, sweep=self._sweep, put=self._put
        )
        text = json.dumps(MANIFEST) if "manifest" in entry else ""
        self.trigger = ScheduleTrigger(context, (Entry(**{"timezone": COPENHAGEN} | entry),), (text,), clock)

    def _sweep(self) -> None:
        self.sweeps.append(self.clock.now.astimezone(ZoneInfo(COPENHAGEN)))

    def _put(self, key: str, data: bytes) -> None:
        self.put.append(key)
        self.texts.append(data.decode())

    def passes(self, **time: float) -> Ran:
        """Time goes on, and the schedule looks as often as it wants to."""
        end = self.clock.now + timedelta(**time)
        while self.clock.now < end:
            wait = self.trigger.look()
            self.clock.now = min(end, self.clock.now + timedelta(seconds=max(wait, 0.001)))
        self.trigger.look()
        return self


def test_a_nightly_manifest_is_dropped_once_a_night_under_a_name_of_its_own() -> None:
    ran = Ran(Clock("2026-11-20T12:00"), **NIGHTLY).passes(days=3)
    assert ran.put == [f"jobs/nightly/2026-11-{day}.json" for day in (21, 22, 23)]


def test_the_fields_of_a_run_are_filled_in_where_they_stand_in_the_manifest() -> None:
    (text,) = Ran(Clock("2026-11-20T12:00"), **NIGHTLY).passes(days=1).texts
    assert json.loads(text) == {
        "jobId": "import-2026-11-21",
        "sourceImages": [{"id": "a", "url": f"{URL}/2026-11-20/a.jpg"}],
    }


def test_a_sweep_is_asked_for_at_local_time() -> None:
    ran = Ran(Clock("2026-11-20T12:00"), cron="30 6 * * MON", sweep=True).passes(days=8)
    assert [f"{at:%a %d %H:%M}" for at in ran.sweeps] == ["Mon 23 06:30"]


@pytest.mark.parametrize(
    ("cron", "start", "hours", "times"),
    [
        ("30 2 * * *", "2026-03-28T12:00", 44, ["03-29 0300", "03-30 0230"]),  # 02:30 does not exist on the 29th
        ("30 2 * * *", "2026-10-24T12:00", 44, ["10-25 0230", "10-26 0230"]),  # … and is there twice on the 25th
        ("30 * * * *", "2026-10-25T01:00", 4, ["10-25 0130", "10-25 0230", "10-25 0230b", "10-25 0330"]),
        ("30 * * * *", "2026-03-29T01:00", 2, ["03-29 0130", "03-29 0330"]),
    ],
)
def test_where_clocks_change_a_daily_run_comes_once_and_hours_run_through(
    cron: str, start: str, hours: float, times: list[str]
) -> None:
    ran = Ran(Clock(start), cron=cron, manifest="m", job="{date}/{time}")
    assert [key[10:-5].replace("/", " ") for key in ran.passes(hours=hours).put] == times


def test_a_start_in_the_second_of_two_equal_hours_does_not_run_what_the_first_did() -> None:
    clock = Clock("2026-10-25T02:10")
    clock.now += timedelta(hours=1)
    assert Ran(clock, cron="30 2 * * *", sweep=True).passes(hours=5).sweeps == []


def test_a_machine_that_slept_over_several_runs_does_the_last_when_it_wakes() -> None:
    ran = Ran(Clock("2026-11-20T12:00"), **NIGHTLY)
    ran.trigger.look()
    ran.clock.now += timedelta(days=3)
    ran.passes(hours=1)
    assert ran.put == ["jobs/nightly/2026-11-23.json"]


def test_a_clock_that_was_far_ahead_and_is_set_right_goes_on_from_there() -> None:
    ran = Ran(Clock("2036-11-20T12:00"), **NIGHTLY)
    ran.trigger.look()
    ran.clock.now = Clock("2026-11-20T12:00").now
    assert ran.passes(days=1).put == ["jobs/nightly/2026-11-21.json"]


def test_a_clock_that_steps_back_a_little_repeats_nothing() -> None:
    ran = Ran(Clock("2026-11-21T01:59:59"), **NIGHTLY).passes(seconds=1.5)
    ran.clock.now -= timedelta(seconds=3)
    assert ran.passes(seconds=10).put == ["jobs/nightly/2026-11-21.json"]


@pytest.mark.parametrize(
    ("start", "catch_up", "put"),
    [
        ("2026-11-20T12:00", True, ["jobs/nightly/2026-11-20.json"]),
        ("2026-11-20T12:00", False, []),
    ],
)
def test_what_was_missed_in_the_last_day_is_caught_up_with_where_that_is_asked_for(
    start: str, catch_up: bool, put: list[str]
) -> None:
    ran = Ran(Clock(start), **NIGHTLY, catch_up=catch_up)
    ran.trigger.start()
    ran.trigger.stop()
    assert ran.put == put


def test_what_was_missed_longer_ago_is_not_caught_up_with() -> None:
    ran = Ran(Clock("2026-11-20T12:00"), **NIGHTLY | {"cron": "0 2 * * MON"}, catch_up=True)
    ran.trigger.start()
    ran.trigger.stop()
    assert ran.put == []


CHANGES = ("2026-03-29T00:20", "2026-03-29T03:40", "2026-10-25T00:10", "2026-10-25T02:50", "2026-11-20T12:34:56")


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/7 * * * *", "30 * * * *", "0 12 * * MON", "15,45 */20 * * * *"])
@pytest.mark.parametrize("start", CHANGES)
def test_the_last_run_is_the_one_that_is_reached_by_walking(cron: str, start: str) -> None:
    entry = Entry(cron=cron, timezone=COPENHAGEN, sweep=True)
    for seconds in range(0, 7200, 1201):
        now = Clock(start).now + timedelta(seconds=seconds)
        walked, run = None, entry.after(now - timedelta(days=1))
        while run is not None and run <= now:
            walked, run = run, entry.after(run.astimezone(UTC))
        assert entry.last(now) == walked
        assert walked is None or entry.last(now, walked) == walked


@pytest.mark.parametrize("slept", [timedelta(0), timedelta(days=30)])
def test_a_run_each_second_costs_a_few_steps(slept: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, after = [0], Entry.after

    def counted(entry: Entry, moment: datetime) -> datetime | None:
        steps[0] += 1
        return after(entry, moment)

    monkeypatch.setattr(Entry, "after", counted)
    ran = Ran(Clock("2026-11-20T12:00"), cron="* * * * * *", sweep=True)
    ran.clock.now += slept
    ran.passes(seconds=60)
    assert len(ran.sweeps) in (60, 61)
    assert steps[0] <= 2 * len(ran.sweeps) + 50


def opened(project: Path, every: Any) -> ScheduleTrigger:
    (project / "nightly.json").write_text(json.dumps(MANIFEST))
    (project / "torn.json").write_text('{"sourceImages": [')
    (project / "empty.json").write_text('{"sourceImages": []}')
    context = TriggerContext(
        "traps", None, (), lambda event: None, lambda key: None, project=project, check_job=Layout().check_job
    )
    return open_trigger(context, every)


SWEEP = {"cron": "0 2 * * *", "sweep": True}
WRONG: dict[str, tuple[Any, str]] = {
    "no entries": (None, "triggers.schedule: expected `every:` and a list"),
    "an entry alone": (SWEEP, "triggers.schedule: expected `every:` and a list"),
    "a word": (["nightly"], "every.0: "),
    "a wrong minute": ([SWEEP, SWEEP | {"cron": "61 2 * * *"}], "every.1: cron: '61 2 * * *' is not a cron line (bad"),
    "too few fields": ([SWEEP | {"cron": "0 2 *"}], "cron: '0 2 *' is not a cron line (wrong number"),
    "a shorthand": ([SWEEP | {"cron": "@daily"}], "every.0: cron: '@daily' is not a cron line"),
    "a day that never comes": ([SWEEP | {"cron": "0 0 30 2 *"}], "every.0: cron: '0 0 30 2 *'"),
    "a number": ([SWEEP | {"cron": 2}], "every.0: cron: "),
    "an unknown zone": ([SWEEP | {"timezone": "Europe/Kopenhagen"}], "timezone: the time zone 'Europe/Kopenhagen'"),
    "a path as zone": ([SWEEP | {"timezone": "../etc/passwd"}], "every.0: timezone: the time zone"),
    "nothing to do": ([{"cron": "0 2 * * *"}], "every.0: write either sweep: true or a manifest"),
    "both": ([NIGHTLY | {"sweep": True}], "every.0: write either sweep: true or a manifest"),
    "no job": ([{"cron": "0 2 * * *", "manifest": "nightly.json"}], "every.0: a manifest needs the name of its job"),
    "a sweep to catch up with": ([SWEEP | {"catch_up": True}], "every.0: job and catch_up belong to a manifest"),
    "an unknown key": ([SWEEP | {"zone": "UTC"}], "every.0: zone: "),
    "one job for all runs": ([NIGHTLY | {"job": "a/nightly"}], "every.0.job: 'a/nightly' names one job for two runs"),
    "one job for a day's runs": ([NIGHTLY | {"cron": "0 2,14 * * *"}], "names one job for two runs"),
    "an unknown field": ([NIGHTLY | {"job": "nightly/{day}"}], "every.0.job: unknown field {day}. Known: {date}"),
    "an open brace": ([NIGHTLY | {"job": "nightly/{date"}], "every.0.job: 'nightly/{date'"),
    "another shape": ([NIGHTLY | {"job": "{date}"}], "every.0.job: '20"),
    "no such manifest": ([NIGHTLY | {"manifest": "weekly.json"}], "weekly.json cannot be read: No such file"),
    "a torn manifest": ([NIGHTLY | {"manifest": "torn.json"}], "torn.json is not a job manifest"),
    "an empty manifest": ([NIGHTLY | {"manifest": "empty.json"}], "every.0.manifest: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_scheduled_is_refused_in_one_line_that_names_the_entry(tmp_path: Path, name: str) -> None:
    every, said = WRONG[name]
    with pytest.raises(ConfigError) as refused:
        opened(tmp_path, every)
    assert said in str(refused.value)
    assert str(refused.value).startswith("pipeline.yaml: triggers.schedule") and "\n" not in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "entry",
    [
        SWEEP,
        NIGHTLY,
        {"cron": "*/5 * * * * *", "sweep": True},
        {"cron": "0 2,14 * * *", "manifest": "nightly.json", "job": "nightly/{date}T{time}", "timezone": COPENHAGEN},
        {"cron": "0 * * * *", "manifest": "nightly.json", "job": "{date}/{time}", "timezone": COPENHAGEN},
        {"cron": "0 0 29 2 MON#5", "manifest": "nightly.json", "job": "{date}/{time}"},
    ],
)
def test_what_can_be_scheduled_is_taken(tmp_path: Path, entry: Any) -> None:
    opened(tmp_path, [entry])
