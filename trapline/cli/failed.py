"""What failed in a job, by code: how many images, which, why in the first one's own words, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from trapline.cli import words
from trapline.errors import CODES
from trapline.pipeline.reading import one_line

NAMED = 3  # files named for each failure code


def tell_failed(out: Console, counts: Mapping[str, int], failures: Iterable[Mapping[str, Any]]) -> None:
    """`counts`: images by code; `failures`: rel, stage, code, message and remedy of some, one for each stage."""
    entries = list(failures)
    for code, count in Counter(counts).most_common():
        if count:
            _tell(out, code, count, [entry for entry in entries if entry.get("code") == code])


def _tell(out: Console, code: str, count: int, entries: list[Mapping[str, Any]]) -> None:
    known = CODES.get(code)
    meaning, remedy = (known.meaning, known.remedy) if known else ("", "")
    words.say(out, f"{count} failed, {code}: {meaning}", style="red")
    messages = list(dict.fromkeys(words.safe(one_line(str(entry.get("message") or ""))) for entry in entries))
    if messages and messages[0] not in ("", meaning):
        words.say(out, f"  {'The first: ' if len(messages) > 1 else ''}{messages[0]}")
    names = _names(entries)
    for name in names[:NAMED]:
        words.say(out, f"    {name}")
    if count > NAMED:
        words.say(out, f"    … and {count - NAMED} more under failed/")
    if len(messages) == 1 and entries[0].get("remedy"):
        remedy = words.safe(one_line(str(entries[0]["remedy"])))
    if remedy:
        words.say(out, f"  {remedy}")


def _names(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each image once, with the stages where several failed."""
    stages: dict[str, list[str]] = {}
    for entry in entries:
        stages.setdefault(words.safe(str(entry.get("rel"))), []).append(words.safe(str(entry.get("stage"))))
    return [f"{rel} ({', '.join(at)})" if len(at) > 1 else rel for rel, at in stages.items()]
