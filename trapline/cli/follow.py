"""The live display of one job, and the loop that feeds it from the bucket.

On a terminal: a bar per stage with count, rate and time left. Elsewhere: plain lines, not too many.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from trapline.cli import words
from trapline.cli.jobs import is_final
from trapline.errors import SurroundingsError
from trapline.records import StageCount, Status

EVERY = 0.5  # seconds between two looks at the status
LINE_EVERY = 5.0  # seconds between two plain lines of the same state
GONE_AFTER = 3.0  # seconds without an engine before following ends
STUCK_AFTER = 90.0  # seconds in which nothing moved before that is said
BAR = 20  # columns


class Display(Protocol):
    """Shows how far a job is."""

    def upload(self, sent: int, total: int, note: str) -> None:
        """Bytes that are over, of those that will be."""

    def reading(self, read: int, total: int) -> None:
        """Bytes of this machine that are read, of those that will be."""

    def status(self, status: Status | None) -> None:
        """The newest status; None: there is none yet."""

    def note(self, line: str) -> None:
        """One line that stays."""


def display(out: Console, job: str, *, closing: bool = False) -> AbstractContextManager[Display]:
    """Bars on a terminal, plain lines elsewhere. `closing`: a `_DONE` is on its way, the job waits for nothing else."""
    return Bars(out, closing) if out.is_terminal else Lines(out, job)


def follow(
    read: Callable[[], Status | None],
    shown: Display,
    *,
    ended: Callable[[Status], bool],
    serving: Callable[[], bool],
    stuck_after: float = STUCK_AFTER,
) -> Status:
    """Show a job's status until `ended` says so. Raises `SurroundingsError` when the engine goes away."""
    watch = _Watch(serving, stuck_after)
    while True:
        status = read()
        shown.status(status)
        if status is not None and ended(status):
            return status
        if line := watch.look(status):
            shown.note(line)
        time.sleep(EVERY)


class _Watch:
    """Notices when nothing moves, and when the engine has gone."""

    def __init__(self, serving: Callable[[], bool], stuck_after: float) -> None:
        self._serving = serving
        self._stuck_after = stuck_after
        self._served_at = self._moved_at = time.monotonic()
        self._last: datetime | None = None

    def look(self, status: Status | None) -> str:
        """What to say now; empty: nothing."""
        now = time.monotonic()
        if self._serving():
            self._served_at = now
        elif now - self._served_at > GONE_AFTER:
            raise SurroundingsError(
                "The engine has stopped; the job goes on where it was when one runs again.",
                remedy="Start it with `trapline up`, then follow with `trapline status JOB --watch`.",
            )
        newest = status.updated_at if status else None
        if newest != self._last:
            self._last, self._moved_at = newest, now
        if now - self._moved_at < self._stuck_after:
            return ""
        self._moved_at = now
        return self._stuck(status)

    def _stuck(self, status: Status | None) -> str:
        if status is None:
            return "No engine has looked at the job yet. Does one run on this bucket? `trapline sweep` asks it to look."
        if status.settles_at is not None:
            return f"Nothing has moved since {words.moment(status.updated_at)}. {waiting_for(status)}"
        return f"Nothing has moved since {words.moment(status.updated_at)}; does the engine still run?"


def waiting_for(status: Status) -> str:
    """What an open job waits for, in words; empty for one that is closed."""
    if status.closed or status.settles_at is None:
        return ""
    left = max(0.0, (status.settles_at - datetime.now(UTC)).total_seconds())
    at = status.settles_at.astimezone().strftime("%H:%M:%S")
    end = "" if left < 10 else "; `_DONE` closes it sooner"
    return f"Open: closes at {at} (in {words.duration(left)}) unless more arrives{end}."


def settled(count: StageCount) -> int:
    """How many images a stage is through with."""
    return count.done + count.skipped + count.failed + count.blocked


def summing_up(status: Status, closing: bool = False) -> str:
    """A status in a few words."""
    if is_final(status):
        return status.message or f"Finished: {status.state}."
    if status.message:
        return status.message
    if status.images.get("open"):
        left = f", about {words.duration(status.eta_seconds)} left" if status.eta_seconds else ""
        return f"{status.state.capitalize()}{left}."
    return ("" if closing else waiting_for(status)) or "Every image is through; the results are being compiled."


# -- on a terminal


class Bars:
    """A bar per stage."""

    def __init__(self, out: Console, closing: bool) -> None:
        self._out = out
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(BAR),
            _Count(),
            _Rate(),
            _Left(),
            TextColumn("{task.fields[note]}"),
        )
        self._rows: dict[str, TaskID] = {}
        self._closing = closing
        self._below = Text("")
        self._live = Live(get_renderable=self._render, console=out, refresh_per_second=8)

    def __enter__(self) -> Bars:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def upload(self, sent: int, total: int, note: str) -> None:
        self._row("upload", sent, total, note, words.size)

    def reading(self, read: int, total: int) -> None:
        self._row("reading", read, total, "", words.size)

    def status(self, status: Status | None) -> None:
        if status is None:
            self._below = Text("Waiting for the engine to see it.", style="dim")
            return
        for name, count in status.stages.items():
            bad = f"{count.failed} failed" if count.failed else ""
            self._row(name, settled(count), count.total, bad, "{:,.0f}".format)
        self._below = Text(summing_up(status, self._closing), style="dim")

    def note(self, line: str) -> None:
        self._out.print(Text(line), soft_wrap=True)

    def _row(self, name: str, done: int, total: int, note: str, word: Callable[[float], str]) -> None:
        if name not in self._rows:
            self._rows[name] = self._progress.add_task(f"{name:<9}", total=None, note="", word=word)
        self._progress.update(self._rows[name], completed=done, total=total or None, note=note)

    def _render(self) -> Group:
        return Group(self._progress, self._below)


class _Count(ProgressColumn):
    """`12/28`, or `1.2 MB/3.4 MB`."""

    def render(self, task: Task) -> Text:
        word = task.fields["word"]
        return Text(f"{word(task.completed)}/{word(task.total)}" if task.total else "", justify="right")


class _Rate(ProgressColumn):
    """`4.1/s`, over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        big = task.fields["word"] is words.size
        return Text(f"{words.size(speed)}/s" if big else words.rate(speed), style="dim", justify="right")


class _Left(ProgressColumn):
    """The time left."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        unknown = task.finished or not left
        return Text("" if unknown else f"{words.duration(left or 0)} left", style="dim")


# -- elsewhere


class Lines:
    """One line at every change of state, and every few seconds while something moves."""

    def __init__(self, out: Console, job: str) -> None:
        self._out = out
        self._job = job
        self._said: dict[str, tuple[str, float]] = {}  # what is shown → the text last said, and when

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def upload(self, sent: int, total: int, note: str) -> None:
        text = f"upload {words.size(sent)}/{words.size(total)}" + (f", {note}" if note else "")
        self._say("upload", text, now=sent >= total)

    def reading(self, read: int, total: int) -> None:
        self._say("reading", f"reading {words.size(read)}/{words.size(total)}", now=read >= total)

    def status(self, status: Status | None) -> None:
        if status is None:
            return
        stages = "  ".join(f"{name} {settled(count)}/{count.total}" for name, count in status.stages.items())
        speed = f"  {words.rate(status.rate)}" if status.rate else ""
        changed = not self._said.get("status", ("",))[0].startswith(status.state)
        self._say("status", f"{status.state}  {stages}{speed}", now=changed or is_final(status))

    def note(self, line: str) -> None:
        words.say(self._out, line)

    def _say(self, what: str, text: str, *, now: bool) -> None:
        last, at = self._said.get(what, ("", -LINE_EVERY))
        if text != last and (now or time.monotonic() - at >= LINE_EVERY):
            self._said[what] = (text, time.monotonic())
            words.say(self._out, f"{self._job}: {text}")
