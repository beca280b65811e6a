"""A job's `results.jsonl` and what holds for the whole job: all that an output is made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from functions.compile.bursts import Bursts
from functions.compile.picture import Picture, local, moment
from trapline.pipeline.spec import seconds

GAP = "PT60S"  # between images of one burst, unless `events` says otherwise

Box = tuple[float, float, float, float]  # x1, y1, x2, y2


class Pixels(Protocol):
    """An image that is decoded when it is asked for: see `trapline.images.Image`."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def pixels(self, *, min_side: int | None = None, max_side: int | None = None) -> Any: ...

    def crops(self, boxes: Sequence[Box], size: int, *, margin: float = 0.0) -> list[Any]: ...

    def release(self) -> None: ...


class OpenPixels(Protocol):
    """An image of the job by its key. Raises `Failure` where it cannot be read, or its bytes are not `sha256`."""

    def __call__(self, key: str, sha256: str = "") -> Pixels: ...


class Open(Protocol):
    """A new file in the revision's own folder, stored whole when the block ends without an error."""

    def __call__(self, name: str, content_type: str = ...) -> AbstractContextManager[BinaryIO]: ...


@dataclass(frozen=True)
class Results:
    """One revision of a job's results, as the outputs see it. Nothing grows with the job."""

    job: str
    revision: str  # the folder's name
    final: bool
    lines: Callable[[], BinaryIO]  # `results.jsonl`, from its beginning
    summary: dict[str, Any]  # the counts: what the summary will say in `results`
    station: dict[str, Any]
    deployment: dict[str, Any]  # the manifest's `deployment`; a line has the image's own
    not_received: tuple[str, ...]  # the first that have a name; the summary has their number
    scratch: Path  # a folder of this compile alone, gone after it
    unusable: dict[str, str] = field(default_factory=dict)  # the first paths that cannot be keys, and why …
    unusable_count: int = 0  # … of so many
    manifest: dict[str, Any] | None = None  # without tokens
    parameters: dict[str, Any] = field(default_factory=dict)  # compile's: `outputs`, `events`, `project`, …
    image: OpenPixels | None = None
    card: Callable[[str, str], dict[str, Any]] | None = None  # what a model's card says, by name and version
    left_out: dict[str, list[str]] = field(default_factory=dict)  # formats not written before this one: what each needs

    def pictures(self) -> Iterator[Picture]:
        """Every member of the job, sorted by rel."""
        with self.lines() as stream:
            for line in stream:
                yield Picture(json.loads(line))

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """When the first and the last image were taken, by the clocks of their one time zone, where they have one."""
        told, there = self.summary["captured"], self.summary["timezone"]
        return local(moment(told["first"]), there), local(moment(told["last"]), there)

    @property
    def gap(self) -> timedelta:
        """How far apart images of one event may be."""
        return timedelta(seconds=seconds(self.parameters.get("events", {}).get("gap", GAP)))

    @cached_property
    def bursts(self) -> Bursts:
        """The job's events; made at first use."""
        return Bursts(self.job, self.pictures(), self.gap, self.scratch)

    def close(self) -> None:
        """Let go of what was made on the way."""
        if "bursts" in self.__dict__:
            self.bursts.close()


class Output(Protocol):
    """A module of `functions.compile.outputs`: one format."""

    def write(self, results: Results, open: Open) -> list[str]:
        """Write the format's files. Returns what it needs and nobody gave; where that is something, it writes none."""
