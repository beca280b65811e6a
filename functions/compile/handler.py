"""`compile`: one pass over a job's roll makes `results.jsonl`, and each output is a view of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from functions.compile import jsonl, outputs
from functions.compile.accuracy import Accuracy
from functions.compile.deployments import Deployments
from functions.compile.member import Member, View
from functions.compile.picture import Picture
from functions.compile.results import OpenPixels, Results
from functions.compile.review import Review, read_review
from functions.compile.tally import LABELS, Tally
from trapline.records import RollEntry

LINES = "results.jsonl"


class Item(Protocol):
    """What the runtime hands over for one job."""

    job: str
    revision: str  # the folder's name
    final: bool
    manifest: dict[str, Any] | None  # without tokens
    station: dict[str, Any]
    not_received_count: int  # files that `_DONE` announced and that never came
    not_received: tuple[str, ...]  # … the first that have a name
    unusable: dict[str, str]  # paths that cannot be keys, and why; the first …
    unusable_count: int  # … of so many
    parameters: dict[str, Any]
    review: bytes | None  # the table in which a person says what is on the images
    review_problem: str
    scratch: Path  # a folder for this compile alone

    @property
    def image(self) -> OpenPixels:
        """An image of the job by its key and hash, decoded on demand."""

    @property
    def card(self) -> Callable[[str, str], dict[str, Any]]:
        """What a model's card says, by name and version; empty where it is not there."""

    def roll(self) -> Iterator[Member]:
        """The job's members, sorted by rel."""

    def unchanged(self, name: str) -> Callable[[RollEntry], dict[str, Any] | None]:
        """What a file of the revision before says of a member that is as it was; None: it has to be read."""

    def open(self, name: str, content_type: str = ...) -> AbstractContextManager[BinaryIO]:
        """A new file in the revision's own folder."""

    def read(self, name: str) -> BinaryIO:
        """A file that was written, from its beginning."""


class Compile:
    """Writes `results.jsonl` (lossless), and the formats that `outputs` names."""

    def setup(self, context: object) -> None:
        """Nothing is kept between jobs."""

    def handle(self, items: list[Item]) -> list[dict[str, Any]]:
        return [_compiled(item) for item in items]


def _compiled(item: Item) -> dict[str, Any]:
    wanted = [name for name in _chosen(item) if item.final or name in outputs.PROVISIONAL]
    modules = {name: outputs.output(name) for name in wanted}  # what is not installed is told before anything is read
    with closing(_results(item, _lines(item))) as results:
        for name in sorted(modules, key=outputs.LAST.__contains__):
            if needs := modules[name].write(results, item.open):
                results.left_out[name] = needs
        events = _by_event(results)
    left_out = {"left_out": results.left_out} if results.left_out else {}
    return {**results.summary, "events": events, **left_out}


def _by_event(results: Results) -> dict[str, Any]:
    """How many events there are, and of each label the largest count in one image of an event, added over events."""
    events, labels, last = 0, Counter[str](), ""
    for event, label, most in results.bursts.largest():
        events += event.id != last
        last = event.id
        if label is not None and (label in labels or len(labels) < LABELS):
            labels[label] += most
    return {"count": events, "labels": dict(sorted(labels.items(), key=lambda entry: (-entry[1], entry[0])))}


def _chosen(item: Item) -> list[str]:
    """The formats that are asked for, and the one in which the client is told, where there is one of that name."""
    told_as = ((item.manifest or {}).get("callback") or {}).get("format", "")
    names = [*item.parameters["outputs"], *([told_as] if told_as in outputs.MODULES else [])]
    return list(dict.fromkeys(names))


def _lines(item: Item) -> dict[str, Any]:
    """Write `results.jsonl`; the counts of what is in it."""
    with nullcontext() if item.review is None else read_review(item.review, item.scratch) as review:
        return _written(item, review)


def _written(item: Item, review: Review | None) -> dict[str, Any]:
    deployments, tally, unchanged = Deployments(item.manifest), Tally(), item.unchanged(LINES)
    accuracy = Accuracy()
    with item.open(LINES, content_type="application/x-ndjson") as lines:
        for member in item.roll():
            place, before = deployments.of(member.entry.id), unchanged(member.entry)
            view = View(member, item.revision, item.station, place)
            fields = jsonl.fields(view) if before is None else jsonl.again(before, view)
            if review and (said := review.said(fields["rel"], item.job, fields)):
                fields["review"] = said
            picture = Picture(fields)
            tally.add(picture)
            accuracy.add(picture)
            lines.write(jsonl.line(fields))
    return {**tally.body(item.not_received_count), **_reviewed(item, review, accuracy)}


def _reviewed(item: Item, review: Review | None, accuracy: Accuracy) -> dict[str, Any]:
    if item.review_problem:
        return {"review": {"rows": 0, "problems": [{"line": 0, "why": item.review_problem}], "problem_count": 1}}
    if review is None:
        return {}
    review.ended()
    return {"review": accuracy.body(review)}


def _results(item: Item, summary: dict[str, Any]) -> Results:
    return Results(
        job=item.job,
        revision=item.revision,
        final=item.final,
        lines=lambda: item.read(LINES),
        summary=summary,
        station=item.station,
        deployment=Deployments(item.manifest).of(""),
        not_received=item.not_received,
        unusable=item.unusable,
        unusable_count=item.unusable_count,
        scratch=item.scratch,
        manifest=item.manifest,
        parameters=item.parameters,
        image=item.image,
        card=item.card,
    )
