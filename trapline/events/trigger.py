"""What a trigger is, and what it hands to the dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """Something happened to an object: a hint, never needed for correctness."""

    key: str
    kind: Literal["created", "removed"]
    trigger: str  # the trigger's name


class Trigger(Protocol):
    """A running event source. Both methods return soon."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class TriggerContext:
    """What a module in `triggers/` is handed: `open_trigger(context, **options) -> Trigger`."""

    bucket: str
    folder: Path | None  # the bucket's own folder, where the store is one
    prefixes: tuple[str, ...]  # what is worth telling about
    notice: Callable[[ObjectEvent], None]  # may be called from any thread
    closed: Callable[[str], None]  # tells a folder's store that a file's writer is done with it
