"""The page's tables: kinds, events, failures, what made the records, how to cite it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from functions.compile.bursts import Event
from functions.compile.outputs.report.counted import Counted, kinds
from functions.compile.outputs.report.survey import NAMES, Failed, Kind, Step, Survey
from functions.compile.outputs.report.text import shortened
from functions.compile.picture import Mapping, mapping
from functions.compile.results import Results
from trapline.errors import CODES

KINDS = 200  # rows
LABELS = 12  # named in an event's row, or below an image
COLOURS = 8  # of kinds; all others have one together
PROBLEMS = 10  # lines of a review that could not be used
_CITATION = 2000  # letters


@dataclass(frozen=True)
class KindRow:
    """A row of the table of kinds."""

    name: str
    colour: int
    things: int
    images: int
    added: int  # the largest counts of its events, added up
    at_once: int  # the most in one image
    events: int
    mean: str
    share: float  # percent of the row with the largest sum


def kind_rows(found: Survey) -> list[KindRow]:
    """The kinds, those that were counted most first."""
    ranked = found.ranked[:KINDS]
    most = max((found.counted.added(kind.label) for kind in ranked), default=1) or 1
    return [_kind_row(kind, rank, found.counted, most) for rank, kind in enumerate(ranked)]


def _kind_row(kind: Kind, rank: int, counted: Counted, most: int) -> KindRow:
    added = counted.added(kind.label)
    return KindRow(
        name=named(kind.label),
        colour=min(rank, COLOURS),
        things=kind.things,
        images=kind.images,
        added=added,
        at_once=counted.at_once(kind.label),
        events=counted.events(kind.label),
        mean="" if kind.mean is None else f"{kind.mean:.2f}",
        share=round(100 * added / most, 2),
    )


def named(label: str) -> str:
    """A label as it is shown."""
    return shortened(label) or "(no name)"


def few(labels: Mapping) -> list[tuple[str, int]]:
    """Labels with their counts, the largest first: so many that no single one is left out."""
    ranked = sorted(labels.items(), key=lambda entry: (-entry[1], entry[0]))
    return ranked if len(ranked) <= LABELS + 1 else ranked[:LABELS]


@dataclass(frozen=True)
class EventRow:
    """A row of the table of events."""

    name: str  # within its job; empty where it is its first image's
    place: str
    file: str  # the first image's
    start: datetime | None
    end: datetime | None
    images: int
    counted: int  # the largest counts of its kinds, added up
    kinds: list[tuple[str, int]]
    more: int  # kinds that are not named


def event_rows(counted: Counted, job: str) -> list[EventRow]:
    """The events in which most was counted, by time."""
    return [_event_row(event, job) for event in counted.shown]


def _event_row(event: Event, job: str) -> EventRow:
    counts = kinds(event)
    told = few(counts)
    name, file = short(event.id, job), short(event.file, job)
    return EventRow(
        name="" if name == file else name,
        place="" if f"{event.place}/" in event.id else shortened(event.place),
        file=file,
        start=event.start,
        end=event.end,
        images=event.images,
        counted=sum(counts.values()),
        kinds=[(named(label), count) for label, count in told],
        more=len(counts) - len(told),
    )


@dataclass(frozen=True)
class Trouble:
    """Images that failed for one reason, in the words of the table of codes."""

    code: str
    stage: str
    meaning: str
    remedy: str
    images: int
    names: list[tuple[str, str]]  # name, what was said of that image where it says more


def troubles(found: Survey, results: Results) -> list[Trouble]:
    """The failures, the most frequent first; those of images whose names cannot be keys are on no line."""
    failed = [*found.failed.values(), *_unfit(results)]
    failed.sort(key=lambda one: (-one.images, one.code, one.stage))
    return [_trouble(one, results.job) for one in failed]


def _unfit(results: Results) -> list[Failed]:
    names = list(results.unusable.items())[:NAMES]
    return [Failed("", "key_unusable", "", "", results.unusable_count, names)] if results.unusable_count else []


def _trouble(one: Failed, job: str) -> Trouble:
    code = CODES.get(one.code)
    return Trouble(
        code=shortened(one.code),
        stage=shortened(one.stage),
        meaning=code.meaning if code else shortened(one.message, 400),
        remedy=code.remedy if code else shortened(one.remedy, 400),
        images=one.images,
        names=[(short(rel, job), shortened(message, 300)) for rel, message in one.names],
    )


def short(rel: str, job: str) -> str:
    """An image's name within its job."""
    return shortened(rel.removeprefix(f"{job}/"), 100)


# -- provenance


@dataclass(frozen=True)
class Citation:
    """A model, and how to cite it."""

    name: str
    version: str
    sha256: str
    kind: str
    licence: str
    text: str  # the card's own; empty where it has none


def citations(found: Survey, results: Results) -> list[Citation]:
    """The models that made the records, in the order of the stages."""
    models = {(made.model, made.model_version, made.model_sha256): made for made in found.made if made.model}
    return [_citation(made, results) for made in models.values()]


def made_by(found: Survey) -> list[tuple[Step, int]]:
    """What made the records, in the order of the stages, and how many images each."""
    return list(found.made.items())


def _citation(made: Step, results: Results) -> Citation:
    card = results.card(made.model, made.model_version) if results.card else {}
    said = card if card.get("sha256") == made.model_sha256 else {}
    return Citation(
        name=shortened(made.model),
        version=shortened(made.model_version),
        sha256=shortened(made.model_sha256),
        kind=_text(said, "kind"),
        licence=_text(said, "licence"),
        text=_text(said, "citation"),
    )


def _text(card: Mapping, name: str) -> str:
    found = card.get(name)
    return shortened(" ".join(found.split()), _CITATION) if isinstance(found, str) else ""


def left_out(results: Results) -> list[tuple[str, list[str]]]:
    """The formats that were asked for and not written, and what each needs."""
    return [(name, [shortened(need, 300) for need in needs]) for name, needs in results.left_out.items()]


# -- what people said


@dataclass(frozen=True)
class Agreement:
    """How often people agreed with what was said, of a kind or a model."""

    name: str
    said: int
    right: int
    really: int | None = None  # how many there are of it, as people say

    @property
    def precision(self) -> str:
        return f"{100 * self.right / self.said:.0f} %" if self.said else ""

    @property
    def recall(self) -> str:
        return f"{100 * self.right / self.really:.0f} %" if self.really else ""


def agreements(review: Any, part: str) -> list[Agreement]:
    """Rows of a review, by `labels` or by `models`."""
    rows = mapping(mapping(review).get(part))
    return [
        Agreement(named(name), row.get("said", 0), row.get("right", 0), row.get("is"))
        for name, row in list(rows.items())[:KINDS]
    ]


def problems(review: Any) -> list[tuple[int, str]]:
    """Lines of a review that could not be used, the first of them: number and reason."""
    return [(one["line"], shortened(one["why"], 300)) for one in mapping(review).get("problems", [])[:PROBLEMS]]
