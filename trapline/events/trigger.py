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
    """A running event source. Both methods return soon.

    One that listens may have `describe() -> str`: the address to give to whoever sends, known once it is started.
    """

    def start(self) -> None: ...

    def stop(self) -> None: ...


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class TriggerContext:
    """What a module in `triggers/` is handed: `open_trigger(context, **options) -> Trigger`.

    Its functions may be called from any thread and return at once.
    """

    bucket: str
    folder: Path | None  # the bucket's own folder, where the store is one
    prefixes: tuple[str, ...]  # what is worth telling about
    notice: Callable[[ObjectEvent], None]  # the event is on its way to the ledger's inbox
    closed: Callable[[str], None]  # tells a folder's store that a file's writer is done with it
    sweep: Callable[[], None] = _nothing  # asks that the whole bucket be looked over: events may have been lost
    quarantine: Callable[[bytes, str, str], None] = _nothing  # (message, why, trigger): kept for a person, bounded
    put: Callable[[str, bytes], None] = (
        _nothing  # stores an object under a key; tried again, and logged, where it fails
    )
    endpoint: str | None = None  # of the S3 store; None: AWS itself, or the embedded store
    embedded: bool = True  # whether the bucket is a folder of this machine, which tells of itself by `folder` alone
    manifests: str = "jobs/"  # the prefix of manifests
    project: Path = Path()  # the folder of pipeline.yaml
    check_job: Callable[[str], None] = _nothing  # raises `KeyUnusable` where a job cannot be named so
