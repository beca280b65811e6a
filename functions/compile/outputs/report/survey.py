"""One look over a job: what the page counts that the summary does not, and which of its pictures are shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from functions.compile.made import Made, made
from functions.compile.outputs.report.counted import Counted, counted
from functions.compile.outputs.report.sample import Sample, lot
from functions.compile.outputs.report.text import place, shortened
from functions.compile.picture import UNKNOWN, Mapping, Picture, corners, mapping, moment, sureness
from functions.compile.results import Results
from functions.compile.tally import LABELS
from trapline.records.deployments import identity
from trapline.records.naming import label_of

IMAGES = 500  # shown at most …
EMPTY = 100  # … of them empty ones, where there are enough others
CROPS = 480  # cut at most …
CROPS_EACH = 24  # … of one kind
KINDS = 160  # kinds of which crops are cut, those that were counted most first
NAMES = 40  # images of one failure that are named
PLACES = 1000  # that are told apart
MADE = 100  # ways of making records that are told apart
_FAILED = frozenset(("failed", "blocked"))

Crop = tuple[int, int]  # number of the image in the job, number of the thing on it


@dataclass
class Kind:
    """All things of one label."""

    label: str
    things: int = 0
    images: int = 0
    said: int = 0  # of how many it is known how sure their name is
    sureness: float = 0.0  # … and the sum of that
    crops: Sample[Crop] = field(default_factory=lambda: Sample(CROPS_EACH))

    @property
    def mean(self) -> float | None:
        """How sure their names are on average."""
        return self.sureness / self.said if self.said else None


@dataclass
class Failed:
    """All images that failed with one code at one stage."""

    stage: str
    code: str
    message: str  # of the first
    remedy: str
    images: int = 0
    names: list[tuple[str, str]] = field(default_factory=list)  # of the first: name, message


@dataclass(frozen=True)
class Step(Made):
    """What a stage's records were made with."""

    stage: str = ""
    recipe: str = ""


@dataclass
class Survey:
    """What is known of a job after one look."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    failed: dict[tuple[str, str], Failed] = field(default_factory=dict)
    made: Counter[Step] = field(default_factory=Counter)
    with_things: Sample[int] = field(default_factory=lambda: Sample(IMAGES))
    empty: Sample[int] = field(default_factory=lambda: Sample(IMAGES))
    places: set[str] = field(default_factory=set)  # names and coordinates, as they are said
    zoned: bool = False  # whether the time zone of any image is known
    until: datetime | None = None  # when the newest record was made
    counted: Counted = field(default_factory=Counted)  # over events
    most: int = 0  # things on one image
    unnamed: int = 0  # things that nobody can name: they are of no kind

    @property
    def ranked(self) -> list[Kind]:
        """The kinds, those that were counted most over the events first."""
        return sorted(self.kinds.values(), key=lambda kind: (-self.counted.added(kind.label), -kind.things, kind.label))

    @property
    def shown(self) -> frozenset[int]:
        """The numbers of the images that are shown."""
        most_empty = max(EMPTY, IMAGES - self.with_things.offered)
        empty = self.empty.least(min(most_empty, IMAGES))
        return frozenset(empty) | frozenset(self.with_things.least(IMAGES - len(empty)))

    @property
    def crops(self) -> dict[Crop, str]:
        """Which things are cut out, with their labels; the same number of each kind, where it has so many."""
        kinds = self.ranked[:KINDS]
        each = max(CROPS // max(len(kinds), 1), 3)
        return {crop: kind.label for kind in kinds for crop in kind.crops.least(each)}


def look_over(results: Results) -> Survey:
    """Look over a job once."""
    found = Survey(counted=counted(results.bursts))
    for number, picture in enumerate(results.pictures()):
        if picture.state in _FAILED:
            _failed(found, picture)
        elif picture.state != "pending":
            _read(found, number, picture)
    return found


def _failed(found: Survey, picture: Picture) -> None:
    said = {name: str(text) for name, text in mapping(picture.failure).items()}
    key = said.get("stage", ""), said.get("code", "")
    one = found.failed.setdefault(key, Failed(*key, said.get("message", ""), said.get("remedy", "")))
    one.images += 1
    if len(one.names) < NAMES:
        one.names.append((picture.rel, said.get("message", "")))


def _read(found: Survey, number: int, picture: Picture) -> None:
    (found.with_things if picture.named else found.empty).offer(lot(picture.rel), number)
    found.most = max(found.most, len(picture.named))
    _where(found, picture)
    _made(found, picture.stages)
    seen = set()
    for thing, (detection, top) in enumerate(picture.named):
        label = label_of(detection, top)
        found.unnamed += label == UNKNOWN
        kind = None if label == UNKNOWN else _kind(found, label)
        if kind is None:
            continue
        _thing(kind, sureness(detection, top))
        if corners(detection) is not None:
            kind.crops.offer(lot(picture.rel, thing), (number, thing))
        if kind.label not in seen:
            seen.add(kind.label)
            kind.images += 1


def _kind(found: Survey, label: str) -> Kind | None:
    if label not in found.kinds and len(found.kinds) >= LABELS:
        return None
    return found.kinds.setdefault(label, Kind(label))


def _thing(kind: Kind, sure: float | None) -> None:
    kind.things += 1
    if sure is not None:
        kind.said += 1
        kind.sureness += sure


def _where(found: Survey, picture: Picture) -> None:
    found.zoned = found.zoned or bool(picture.timezone)
    said = _place(picture)
    if said and len(found.places) < PLACES:
        found.places.add(said)


def _place(picture: Picture) -> str:
    """Where an image was taken: the deployment's name and its coordinates, as far as they are known."""
    about = picture.deployment
    name = shortened(about.get("locationName") or identity(about))
    return ", ".join(part for part in (name, place(*picture.coordinates)) if part)


def _made(found: Survey, stages: dict[str, Mapping]) -> None:
    for stage, note in stages.items():
        _until(found, moment(note.get("at")))
        step = Step(**vars(made(note)), stage=stage, recipe=str(note.get("recipe") or ""))
        if note.get("outcome") == "done" and (step in found.made or len(found.made) < MADE):
            found.made[step] += 1


def _until(found: Survey, at: datetime | None) -> None:
    if at is not None and at.tzinfo and (found.until is None or at > found.until):
        found.until = at
