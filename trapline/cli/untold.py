"""Who could not be told of a job: the dead letters of `notify`, in the words of their codes."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from trapline.cli import jobs, words
from trapline.cli.place import Place
from trapline.pipeline.reading import one_line
from trapline.records import DeadLetter

_MOST = 4  # letters: those of the newest revisions


def tell_untold(out: Console, place: Place, job: str) -> None:
    """Say of each what failed, why, and what to do."""
    for letter in list(_letters(place, job))[:_MOST]:
        words.say(out, f"{letter.code}: {letter.meaning}", style="red")
        if letter.message != letter.meaning:
            words.say(out, f"  {words.safe(one_line(letter.message))}")
        words.say(out, f"  {words.safe(one_line(letter.remedy))}")


def _letters(place: Place, job: str) -> Iterator[DeadLetter]:
    stage = place.pipeline.of_kind("notify")
    if stage is None:
        return
    store = place.store()
    prefix = place.layout.dead_letter(stage.name, f"{job}/").removesuffix(".json")
    for entry in sorted(store.list(prefix), key=lambda entry: entry.modified, reverse=True):
        if letter := jobs.read(store, DeadLetter, entry.key):
            yield letter
