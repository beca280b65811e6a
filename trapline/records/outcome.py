"""What became of a ticket."""

from __future__ import annotations

from typing import Any, Literal

from trapline.records.base import Frozen
from trapline.records.image import FileRef, Source
from trapline.records.summary import Changes


class ItemOutcome(Frozen):
    """What became of one item of a ticket."""

    rel: str
    result: Literal["done", "skipped", "failed", "gone", "changed", "refused", "late", "unknown"]
    source: Source = Source()
    code: str = ""
    message: str = ""
    remedy: str = ""
    retry: bool | None = None  # None: the stage's policy decides
    after: float | None = None  # seconds; with `unknown`: the store failed, try again then; a code: for this key alone
    stage: str = ""  # for `refused`: the stage whose record did not agree


class Outcome(Frozen):
    """What became of a ticket."""

    ticket: str
    items: tuple[ItemOutcome, ...] = ()
    died: str = ""  # the worker died: `worker_died`, `out_of_memory`, `timeout`
    setup: ItemOutcome | None = None  # the function could not be set up: no item ran
    recipe_refused: str = ""  # the worker cannot reproduce the recipe: why
    files: tuple[FileRef, ...] = ()  # of a gather
    changes: Changes | None = None  # of a final gather
    body: dict[str, Any] = {}  # of a gather (the summary's `results`) or a notify (the receipt)
    started: float = 0.0  # seconds, the executor's clock
