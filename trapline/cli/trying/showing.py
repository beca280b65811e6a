"""What a trial prints: per image what was found, how long it took, or why it failed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trapline.cli import words
from trapline.cli.trying import findings
from trapline.cli.trying.running import Result

_ROWS = 20  # detections that are listed of one image
_FILES = 5  # files that are listed of one image
_CELL = 60  # characters of a detection's own value
_RETRY = " Then delete the dead letter"  # there is none here
_EVERY = 10.0  # seconds between two lines of progress where there is no terminal
_BAR = 20  # columns


@dataclass
class Shown:
    """Prints results as they come."""

    total: int
    as_json: bool
    tracebacks: bool
    kept: bool  # whether files that functions write are kept in a folder
    out: Console = field(default_factory=words.console)
    err: Console = field(default_factory=lambda: words.console(stderr=True))
    done: int = 0
    failed: int = 0
    times: list[float] = field(default_factory=list)
    _bar: Progress | None = None
    _task: TaskID | None = None
    _began: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    def say(self, line: str, style: str = "dim") -> None:
        """A line about the trial itself; with --json it stays off stdout."""
        words.say(self.err if self.as_json else self.out, line, style=style)

    def progress(self) -> AbstractContextManager[Any]:
        """A bar on a terminal, if there is more than one image."""
        live = self.out if self.out.is_terminal else self.err
        if self.total < 2 or not live.is_terminal:
            return nullcontext()
        columns = (TextColumn("{task.description}"), BarColumn(_BAR), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=live, transient=True)
        self._task = self._bar.add_task("trying", total=self.total)
        return self._bar

    def result(self, result: Result) -> None:
        """Print one result."""
        self.done = self.done + 1 if result.file is not None else self.total
        self.failed += result.failure is not None
        if result.seconds is not None and result.file is not None:
            self.times.append(result.seconds)
        if self.as_json:
            words.emit(result.raw)
        elif result.failure is None:
            self._found(result)
        if result.failure is not None:
            self._failure(result)
        self._moved()

    def summary(self, function: str, *, stopped: bool = False) -> None:
        """The last line."""
        took = _seconds(time.monotonic() - self._began)
        passed = max(0, self.done - self.failed)
        counts = f"{words.plural(passed, 'image')} done" + (f", {self.failed} failed" if self.failed else "")
        if stopped:
            self.say(f"Stopped after {self.done} of {self.total}: {counts}.", style="")
            return
        each = f"; {function} took {_seconds(statistics.median(self.times))} an image" if self.times else ""
        self.say(f"{counts} in {took}{each}.")

    # -- one result

    def _found(self, result: Result) -> None:
        name = words.safe(result.file.name) if result.file else f"The job of {words.plural(self.total, 'image')}"
        words.say(self.out, f"{name}  {_headline(result)}", style="bold")
        found = findings.detections(result.raw.get("known", {}))
        if found and not result.skipped:
            head, *rows = _table(found[:_ROWS])
            words.say(self.out, head, style="dim")
            for row in rows:
                words.say(self.out, row)
        if len(found) > _ROWS and not result.skipped:
            words.say(self.out, f"  … and {len(found) - _ROWS} more; --json tells them all.", style="dim")
        for line in findings.told(result.added):
            words.say(self.out, f"  {line}")
        for file in result.files[:_FILES]:
            words.say(self.out, f"  file {words.safe(file.name)}, {words.size(len(file.data))}{self._where()}")

        if len(result.files) > _FILES:
            words.say(self.out, f"  … and {len(result.files) - _FILES} more files{self._where()}", style="dim")

    def _where(self) -> str:
        return "" if self.kept else " (--out DIR keeps it)"

    def _failure(self, result: Result) -> None:
        """A failure, on stderr with --json, where stdout has its dead letter."""
        assert result.failure is not None
        out = self.err if self.as_json else self.out
        name = words.safe(result.file.name) if result.file else "The job"
        where = f" in {result.failed_stage}" if result.failed_stage else ""
        words.say(out, f"{name}  failed{where}: {result.failure.code}", style="bold red")
        words.say(out, f"  {words.safe(result.failure.message)}")
        if result.place:
            words.say(out, f"  {result.place}")
        if result.failure.remedy and not result.place:
            words.say(out, f"  {words.safe(result.failure.remedy.partition(_RETRY)[0])}")
        if result.failure.retry:
            after = f" {result.failure.after:g} s later" if result.failure.after is not None else ""
            words.say(out, f"  The engine would try again{after}.")
        if result.raised and self.tracebacks:
            words.say(out, _indented(result.raised), style="dim")
        elif result.place:
            words.say(out, "  --traceback shows how it came there.", style="dim")

    def _moved(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done)
        elif self.total > 1 and time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            words.say(self.err, f"{self.done} of {self.total}", style="dim")


def _headline(result: Result) -> str:
    known = result.raw.get("known", {})
    parts = []
    image = known.get("image")
    if isinstance(image, dict) and image.get("width") and image.get("height"):
        parts.append(f"{image['width']} × {image['height']} px")
    if result.skipped:
        parts.append("passed by: no detection that the stage's `when` asks for")
    elif "detections" in known:
        parts.append(words.plural(len(findings.detections(known)), "detection"))
    if result.seconds is not None:
        parts.append(_seconds(result.seconds))
    return "  ".join(parts)


def _table(found: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of equal columns. They are never cut: the terminal may wrap them."""
    others = findings.others(found)
    rows = [("id", "label", "conf.", "box (px)", "best classes", *others)]
    for one in found:
        row = (str(one.get("id", "")), str(one.get("label", "")), findings.number(one.get("confidence")))
        kept = (findings.shown(one[key], _CELL) if key in one else "" for key in others)
        rows.append((*row, findings.corners(one), findings.classes(one), *kept))
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(cell_len(words.safe(cell)) for cell in column) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (set_cell_size(words.safe(cell), width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 90 else words.duration(seconds)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())
