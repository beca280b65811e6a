"""Sweeps and manifests at times of the clock: cron lines, each in a time zone.

Nothing is remembered: which runs there were stands in the bucket, where every run's manifest has a name of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from string import Formatter
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from trapline.errors import ConfigError, KeyUnusable, ManifestError
from trapline.events import TriggerContext
from trapline.records import read_manifest
from trapline.wellformed import first_problem

_LOOK = timedelta(seconds=20)  # the clock may be set, and the machine may sleep: no wait is longer
_MISSED = timedelta(days=1)  # what should have run longer ago is left out
_SECOND = timedelta(seconds=1)  # no two runs are nearer to each other
_COMPARED = 200, timedelta(days=3660)  # runs, and years, in which no two jobs may have one name
_FIELDS = ("date", "time", "yesterday")

log = logging.getLogger(__name__)


def _cron(line: str) -> str:
    try:
        next(CronSim(line, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        said = str(error)
        raise ValueError(
            f"{line!r} is not a cron line ({said[:1].lower()}{said[1:]}); write minute, hour, day of the month, "
            "month, day of the week, such as '0 2 * * *'"
        ) from None
    except StopIteration:
        raise ValueError(f"the cron line {line!r} never comes; write for example '0 2 * * *'") from None
    return line


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"the time zone {name!r} is not known; write an IANA name such as Europe/Copenhagen") from None
    return name


class Entry(BaseModel):
    """One item of `every:`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    cron: Annotated[str, AfterValidator(_cron)]
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    sweep: bool = False
    manifest: str = ""  # a file of the project
    job: str = ""  # the name of each run's job, with fields in braces
    catch_up: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Entry:
        if self.sweep == bool(self.manifest):
            raise ValueError("write either sweep: true or a manifest, such as manifest: nightly.json")
        if self.manifest and not self.job:
            raise ValueError("a manifest needs the name of its job; write for example job: nightly/{date}")
        if self.sweep and (self.job or self.catch_up):
            raise ValueError("job and catch_up belong to a manifest; leave them out (every start sweeps)")
        return self

    def after(self, moment: datetime) -> datetime | None:
        """The first run after a moment; None where there is none for fifty years."""
        runs = CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone)))
        # In an hour that is there twice it counts on from the first.
        return next((run for run in runs if run.astimezone(UTC) > moment), None)

    def last(self, now: datetime, known: datetime | None = None) -> datetime | None:
        """The last run that should have been by now. `known`: a run that was due; without it, of one day alone.

        Found by halving the time, for a line may have a run a second.
        """
        last = self.after((known or now - _MISSED).astimezone(UTC))
        if last is None or last > now:
            return known
        late = now  # no run is after this
        while late - last.astimezone(UTC) >= _SECOND:
            middle = late - (late - last.astimezone(UTC)) / 2
            run = self.after(middle)
            if run is not None and run <= now:
                last = run
            else:
                late = middle
        return last


class Plan:
    """Which entries are due, as a clock says that only `due` is told of. Pure."""

    def __init__(self, entries: tuple[Entry, ...], now: datetime) -> None:
        self._entries = entries
        self._seen = now
        self._next = [entry.after(now) for entry in entries]

    def due(self, now: datetime) -> list[tuple[int, datetime]]:
        """Each entry whose time has come since the last call, once, with the last of those times."""
        if now < self._seen - _LOOK:  # the clock was set back
            self._next = [entry.after(now) for entry in self._entries]
        self._seen = now
        found = []
        for number, (entry, at) in enumerate(zip(self._entries, self._next, strict=True)):
            if at is not None and at <= now:
                found.append((number, entry.last(now, at) or at))
                self._next[number] = entry.after(now)
        return found

    def wait(self, now: datetime) -> float:
        """Seconds until something may be due."""
        return min([_LOOK, *(at - now for at in self._next if at is not None)]).total_seconds()


class ScheduleTrigger:
    """Does at their times what the entries ask for. `now` tells the time, with its zone."""

    def __init__(
        self, context: TriggerContext, entries: tuple[Entry, ...], texts: tuple[str, ...], now: Callable[[], datetime]
    ) -> None:
        self._context = context
        self._entries = entries
        self._texts = texts  # the manifest of each, empty for a sweep
        self._now = now
        self._plan = Plan(entries, now())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="schedule", daemon=True)

    def start(self) -> None:
        self._catch_up()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def look(self) -> float:
        """Run what is due; returns how many seconds may pass before the next look."""
        now = self._now()
        for number, at in self._plan.due(now):
            self._run(number, at)
        return max(0.0, self._plan.wait(now))

    def _work(self) -> None:
        while not self._stopped.wait(self.look()):
            pass

    def _catch_up(self) -> None:
        """The last run again, where it is not long ago: a manifest that is there already changes nothing."""
        now = self._now()
        for number, entry in enumerate(self._entries):
            at = entry.last(now) if entry.catch_up else None
            if at is not None:
                self._run(number, at)

    def _run(self, number: int, at: datetime) -> None:
        entry = self._entries[number]
        if entry.sweep:
            log.info("event=schedule.sweep cron=%r at=%s", entry.cron, at.isoformat())
            self._context.sweep()
            return
        job = filled(entry.job, at)
        log.info("event=schedule.manifest cron=%r at=%s job=%r", entry.cron, at.isoformat(), job)
        self._context.put(f"{self._context.manifests}{job}.json", filled(self._texts[number], at).encode())


def filled(text: str, at: datetime) -> str:
    """A text with the fields of a run. Other braces stay, so a manifest's do."""
    for name, value in _values(at).items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _values(at: datetime) -> dict[str, str]:
    """In local time; `b` marks the second of two equal times, when summer time ends."""
    time = at.strftime("%H%M%S" if at.second else "%H%M") + ("b" if at.fold else "")
    return dict(zip(_FIELDS, (f"{at:%Y-%m-%d}", time, f"{at - timedelta(days=1):%Y-%m-%d}"), strict=True))


def open_trigger(context: TriggerContext, every: Any = None) -> ScheduleTrigger:
    """The trigger of a pipeline. Raises `ConfigError`, which names the entry, where one cannot be used."""
    if not isinstance(every, list) or not every:
        raise ConfigError(
            "pipeline.yaml: triggers.schedule: expected `every:` and a list of entries.",
            remedy="Write for example `- schedule: {every: [{cron: '0 2 * * *', sweep: true}]}`.",
        )
    now = datetime.now(UTC)
    read = [_entry(context, item, f"pipeline.yaml: triggers.schedule.every.{n}", now) for n, item in enumerate(every)]
    entries, texts = zip(*read, strict=True)
    return ScheduleTrigger(context, entries, texts, lambda: datetime.now(UTC))


def _entry(context: TriggerContext, item: object, where: str, now: datetime) -> tuple[Entry, str]:
    try:
        entry = Entry.model_validate(item)
    except ValidationError as error:
        said = first_problem(error).replace("the document: ", "").replace("value error, ", "")
        raise ConfigError(f"{where}: {said}.", remedy="See docs/reference/pipeline.md.") from None
    if entry.sweep:
        return entry, ""
    _check_job(context, entry, where, now)
    return entry, _manifest(context.project / entry.manifest, where, now)


def _check_job(context: TriggerContext, entry: Entry, where: str, now: datetime) -> None:
    """Each run is a job of its own, of the shape that jobs here have."""
    _check_fields(entry.job, where)
    runs = list(_runs(entry, now))
    for one, other in pairwise(runs):
        if filled(entry.job, one) == filled(entry.job, other):
            raise ConfigError(
                f"{where}.job: {entry.job!r} names one job for two runs, {one:%Y-%m-%d %H:%M} and {other:%d %H:%M}.",
                remedy="Put {date} and {time} in it.",
            )
    try:
        context.check_job(filled(entry.job, runs[0]))
    except KeyUnusable as error:
        raise ConfigError(f"{where}.job: {error.message}", remedy=error.remedy) from None


def _runs(entry: Entry, now: datetime) -> Iterator[datetime]:
    count, span = _COMPARED
    run = entry.after(now)
    for _ in range(count):
        if run is None or run > now + span:
            return
        yield run
        run = entry.after(run.astimezone(UTC))


def _check_fields(job: str, where: str) -> None:
    try:
        names = {name for _, name, _, _ in Formatter().parse(job) if name is not None}
    except ValueError as error:
        raise ConfigError(f"{where}.job: {job!r}: {error}.", remedy="Write for example nightly/{date}.") from None
    if wrong := sorted(names - {*_FIELDS}):
        raise ConfigError(
            f"{where}.job: unknown field {{{wrong[0]}}}.",
            remedy=f"Known: {', '.join(f'{{{name}}}' for name in _FIELDS)}.",
        )


def _manifest(path: Path, where: str, now: datetime) -> str:
    try:
        text = path.read_text("utf-8")
        read_manifest(filled(text, now).encode(), str(path))
    except OSError as error:
        raise ConfigError(
            f"{where}.manifest: {path} cannot be read: {error.strerror}.", remedy="Name a JSON file of the project."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where}.manifest: {path} is not UTF-8.", remedy="Save it as UTF-8.") from None
    except ManifestError as error:
        raise ConfigError(f"{where}.manifest: {error.message}", remedy=error.remedy) from None
    return text
