"""What came of a review: how often people agree with the models, and which rows could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from trapline.cli import words

SHOWN = 10  # species, and rows that could not be used


def tell_reviewed(out: Console, found: Any) -> None:
    """Say it, where the summary's `results.review` is there and of the usual shape."""
    if not isinstance(found, Mapping):
        return
    reviewed, right = _count(found, "reviewed"), _count(found, "right")
    if reviewed or _count(found, "missed"):
        said = words.plural(reviewed, "detection")
        words.say(out, f"Reviewed by people: {said}, {_share(right, reviewed - _count(found, 'unknown'))} as named.")
        others = [f"{n} {name}" for name in ("wrong", "blank", "missed", "unknown") if (n := _count(found, name))]
        words.say(out, f"  {', '.join(others)}" if others else "", style="dim")
        _table(out, found.get("labels"))
    problems = found.get("problems")
    for problem in problems[:SHOWN] if isinstance(problems, list) else ():
        if isinstance(problem, Mapping):
            words.say(out, f"  line {problem.get('line')}: {words.safe(str(problem.get('why')))}", style="yellow")
    more = _count(found, "problem_count") - SHOWN
    if more > 0:
        words.say(out, f"  and {more} more; all are in the summary, up to 50.", style="yellow")


def _table(out: Console, labels: Any) -> None:
    told = labels if isinstance(labels, Mapping) else {}
    rows = [(label, row) for label, row in told.items() if isinstance(row, Mapping)]
    if not rows:
        return
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for name in ("reviewed", "named so", "right", "are so"):
        table.add_column(name, justify="left" if name == "reviewed" else "right")
    for label, row in rows[:SHOWN]:
        table.add_row(words.safe(str(label)), *(f"{_count(row, name):,}" for name in ("said", "right", "is")))
    out.print(table)


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f} %)" if whole else "none"


def _count(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    return value if isinstance(value, int) else 0
