"""`trapline results --plot`: a job's counts as bars in the terminal, from its summary alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from trapline.cli import words
from trapline.records.hours import HOURS, in_order

LABELS = 20  # with a bar of their own
HEIGHT = 6  # lines of a column
_NAME = 30  # letters of a label
_STYLE = "green"
_EIGHTHS, _ASCII = ("▏▎▍▌▋▊▉█", "▁▂▃▄▅▆▇█"), ("#", "#")  # lying, standing; the last is whole


def plot(out: Console, found: Mapping[str, Any]) -> None:
    """Draw what a summary's `results` counts; what it does not say is left out."""
    lying, standing = _ASCII if out.options.ascii_only or out.is_dumb_terminal else _EIGHTHS
    labels = found.get("labels")
    if isinstance(labels, Mapping) and labels:
        _bars(out, labels, lying)
    if any(effort := _counts(found, "effort", HOURS)):
        order = in_order(effort)
        activity = _counts(found, "activity", HOURS)
        _columns(out, "by hour of the day", [activity[hour] for hour in order], [f"{h:02d}" for h in order], standing)
        if not all(effort):
            words.say(out, f"  {_silent(effort, order)}", style="dim")
    confidence = _counts(found, "confidence")
    if any(confidence):
        ticks = [f"{place / len(confidence):.1f}" for place in range(len(confidence))]
        _columns(out, "by confidence of the name", confidence, ticks, standing)


def _counts(found: Mapping[str, Any], name: str, length: int | None = None) -> list[int]:
    """A list of counts; empty where it is none, which another program's `compile` may say."""
    said = found.get(name)
    counts = said if isinstance(said, list) and all(type(count) is int and count >= 0 for count in said) else []
    return counts if length in (None, len(counts)) else [0] * (length or 0)


def _silent(effort: Sequence[int], order: Sequence[int]) -> str:
    """Between which hours images were taken."""
    taken = [hour for hour in order if effort[hour]]
    return f"images were taken from {taken[0]:02d}:00 to {taken[-1]:02d}:59"


# -- lying bars


def _bars(out: Console, labels: Mapping[str, Any], blocks: str) -> None:
    rows = [(_name(label), count) for label, count in labels.items() if type(count) is int and count > 0]
    shown = rows[:LABELS]
    if not shown:
        return
    wide, digits = max(len(name) for name, _ in shown), max(len(f"{count:,}") for _, count in shown)
    room = max(out.width - wide - digits - 5, 4)
    most = max(count for _, count in shown)
    words.say(out)
    for name, count in shown:
        bar = _lying(count / most * room, blocks)
        line = Text(f"  {name:<{wide}} ").append(f"{bar:<{room}}", style=_STYLE).append(f" {count:>{digits},}")
        out.print(line, soft_wrap=True)
    if len(rows) > LABELS:
        words.say(out, f"  and {words.plural(len(rows) - LABELS, 'more label')}", style="dim")


def _name(label: str) -> str:
    name = words.safe(label) or "(no label)"
    return name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."


def _lying(length: float, blocks: str) -> str:
    whole, part = divmod(max(round(length * len(blocks)), 1), len(blocks))
    return blocks[-1] * whole + (blocks[part - 1] if part else "")


# -- standing columns


def _columns(out: Console, title: str, counts: Sequence[int], ticks: Sequence[str], blocks: str) -> None:
    most, margin = max(*counts, 1), len(f"{max(counts):,}")
    wide = max(1, min(3, (out.width - margin - 4) // len(counts)))
    words.say(out)
    words.say(out, f"  {title}")
    for line in range(HEIGHT, 0, -1):
        said = f"{most:,}" if line == HEIGHT else ""
        bars = "".join(_piece(count / most * HEIGHT - line + 1, blocks, wide) for count in counts)
        out.print(Text(f"  {said:>{margin}} ").append(bars.rstrip(), style=_STYLE), soft_wrap=True)
    words.say(out, f"  {'':>{margin}} {_ticks(ticks, wide)}", style="dim")


def _piece(height: float, blocks: str, wide: int) -> str:
    """A column's part of a line: `height` is how much of the line it fills, 0 to 1."""
    eighth = min(round(max(height, 0) * len(blocks)), len(blocks))
    block = blocks[eighth - 1] if eighth else " "
    return block * (wide - 1) + " " if wide > 1 else block


def _ticks(ticks: Sequence[str], wide: int) -> str:
    """The words below the columns, as many as there is room for."""
    every = -(-(max(map(len, ticks)) + 1) // wide)
    every = next((step for step in (1, 2, 3, 4, 6, 12) if step >= every), every)
    return "".join(f"{tick:<{wide * every}}" for tick in ticks[::every]).rstrip()
