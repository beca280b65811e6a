"""Jobs of any size made of the sample night: its images and what the sample functions find on them, over and over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from functions.compile.handler import Compile
from tests.functions_items import parameters
from trapline.errors import Failure, Permanent
from trapline.images import Image
from trapline.records import (
    DeadLetter,
    FileRef,
    ImageRecord,
    ModelRef,
    ProducedBy,
    RollEntry,
    Source,
    StageNote,
)
from trapline.runtime.images import merged
from trapline.runtime.items import GatherItem, Member, sha256_of
from trapline.testing import run_function

ROOT = Path(__file__).resolve().parents[1]
NIGHT = ROOT / "local_dev" / "samples" / "night" / "st7" / "2026-11-20"
JOB = "st7/2026-11-20"
STATION = {"latitude": 55.6, "longitude": 12.5, "timezone": "Europe/Copenhagen"}
SHA = "ab" * 32


@cache
def images() -> dict[str, bytes]:
    """The sample night's images by name."""
    return {path.name: path.read_bytes() for path in sorted(NIGHT.rglob("*.JPG"))}


@cache
def answers() -> dict[str, Any]:
    """What detect and classify say of each image, or its `Failure`."""
    found = dict(zip(images(), run_function(ROOT, "detect", images()), strict=True))
    read = {name: said for name, said in found.items() if not isinstance(said, Failure)}
    named = run_function(ROOT, "classify", {name: images()[name] for name in read}, records=read)
    return found | {name: merged(read[name], said)[0] for name, said in zip(read, named, strict=True)}


def notes() -> dict[str, StageNote]:
    """What the stages leave in a record."""
    made = {
        stage: ProducedBy(function=stage, version="1.2.0", model=ModelRef(name=model, version="1.0.0", sha256=SHA))
        for stage, model in (("detect", "moth-detector"), ("classify", "moth-classifier"))
    }
    return {stage: StageNote(recipe=f"{stage}-0a1b2c3d", produced_by=by) for stage, by in made.items()}


def done(rel: str, known: dict[str, Any]) -> Member:
    """An image that was read, of which this is known."""
    stages = notes()
    record = ImageRecord(
        stage="classify",
        source=Source(key=f"incoming/{rel}", etag="e", size=10, sha256=SHA),
        recipe=stages["classify"].recipe,
        produced_by=stages["classify"].produced_by,
        stages=stages,
        known=known,
    )
    return Member(RollEntry(rel, "done", "classify"), lambda _: record)


def failed(rel: str, code: str, message: str = "cut", remedy: str = "again") -> Member:
    """An image that failed."""
    letter = DeadLetter(stage="detect", job=JOB, source=Source(key=rel), code=code, message=message, remedy=remedy)
    return Member(RollEntry(rel, "failed", "detect", code=code), lambda _: letter)


def members(count: int, job: str = JOB) -> Iterator[Member]:
    """The sample night again and again, each turn two minutes after the one before it."""
    names, turn = list(images()), timedelta(minutes=2)
    for number in range(count):
        name = names[number % len(names)]
        rel, said = f"{job}/DCIM/{100 + number // len(names)}MEDIA/{name}", answers()[name]
        if isinstance(said, Failure):
            yield failed(rel, said.code, said.message, said.remedy)
            continue
        taken = datetime.fromisoformat(said["image"]["captured_at"]) + number // len(names) * turn
        yield done(rel, {**said, "image": {**said["image"], "captured_at": taken.isoformat()}})


@dataclass
class Job:
    """A job that is compiled into a folder."""

    folder: Path
    members: Sequence[Member] | Iterator[Member]
    job: str = JOB
    outputs: tuple[str, ...] = ("report",)
    station: dict[str, Any] = field(default_factory=lambda: dict(STATION))
    manifest: dict[str, Any] | None = None
    not_received: tuple[str, ...] = ()
    not_received_count: int = 0  # unless there are names
    unusable: dict[str, str] = field(default_factory=dict)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the model's name
    pictures: dict[str, bytes] = field(default_factory=dict)  # by key, before those of the sample night
    final: bool = True
    review: bytes | None = None

    def compiled(self) -> dict[str, Any]:
        """Compile it; returns the summary's body."""
        item = GatherItem(
            job=self.job,
            revision="r1-0a1b2c3d",
            final=self.final,
            manifest=self.manifest,
            station=self.station,
            not_received=self.not_received,
            not_received_count=self.not_received_count or len(self.not_received),
            unusable=self.unusable,
            unusable_count=len(self.unusable),
            parameters=parameters("compile", outputs=list(self.outputs)),
            scratch=self._made("scratch"),
            image=self.image,
            roll=lambda: iter(self.members),
            publish=self._publish,
            review=self.review,
            card=lambda name, version: self.cards.get(name, {}),
        )
        function = Compile()
        function.setup(None)
        (body,) = function.handle([item])
        return body

    def image(self, key: str, sha256: str = "") -> Image:
        data = self.pictures.get(key) or images().get(key.rpartition("/")[2])
        if not data:
            raise Permanent(f"{key} is not there any more.", code="source_missing")
        return Image(data, timezone=self.station.get("timezone"))

    def open(self, name: str) -> BinaryIO:
        return (self.folder / "files" / name).open("rb")

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _publish(self, name: str, path: Path, content_type: str) -> FileRef:
        shutil.copyfile(path, self._made("files") / name)
        return FileRef(name=name, key=name, size=path.stat().st_size, sha256=sha256_of(path), content_type=content_type)
