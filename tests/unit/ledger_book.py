"""A ledger with a time, and short words for what happens to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from trapline.keys import Layout
from trapline.ledger.arrivals import Chart
from trapline.ledger.ledger import Ledger
from trapline.ledger.states import NAMES, Failed, Found, Graph, Image, Job
from trapline.ledger.tasks import Bury, Effect
from trapline.records import ItemOutcome, Outcome, Pin, Received, Source, Ticket

JOB = "st7/n1"
STAGES = ("fetch", "detect", "classify")
SHA, OTHER_SHA = "ab" * 32, "cd" * 32
SETTLE, REFRESH = 1800.0, 5.0


class Policy:
    """Batches of four, three tries, a second between them."""

    def batch(self, stage: str, function: str) -> int:
        return 4

    def attempts(self, stage: str, function: str) -> int:
        return 3

    def timeout(self, stage: str, function: str) -> float:
        return 60.0

    def station(self, job: str) -> dict[str, Any]:
        return {"of": job}

    def backoff(self, stage: str, function: str, attempt: int) -> float:
        return float(attempt)


def pins(**recipes: str) -> dict[str, Pin]:
    return {name: Pin(stage=name, recipe=recipes.get(name, f"{name}-1"), function=name) for name in STAGES}


def found(outcome: str = "done", stage: str = "classify", **more: Any) -> Found:
    """A record or dead letter that is fresh unless told otherwise."""
    failure = Failed(stage, "function_error", "it failed", "mend it") if outcome == "failed" else None
    whole = {"recipe": f"{stage}-1", "etag": "e1", "size": 5, "sha256": SHA, **more}
    return Found(stage=stage, outcome=outcome, failure=failure, **whole)


@dataclass
class Book:
    """A ledger, a time, and short words for what happens."""

    ledger: Ledger
    now: float = 0.0
    taken: list[Ticket] = field(default_factory=list)

    def job(self, name: str = JOB) -> Job:
        return self.ledger.jobs[name]

    def image(self, name: str = "a.jpg") -> Image:
        return self.job().images[f"{JOB}/{name}"]

    def states(self, name: str = "a.jpg") -> list[str]:
        """What each stage says of an image, `fetch` left out."""
        return [NAMES[state] for state in self.image(name).states[1:]]

    def open(self, name: str = JOB, priority: int = 0) -> None:
        self.ledger.job(name, self.now).priority = priority
        self.ledger.pinned(name, pins())
        self.chart(name=name)

    def chart(self, *images: str, name: str = JOB, **more: Any) -> None:
        """A whole look at a job in which these images stand as they are known."""
        job = self.ledger.jobs[name]
        known = {rel: (image.etag, image.size) for rel, image in job.images.items() if image.etag}
        stand = {f"{name}/{n}": known.get(f"{name}/{n}", ("e1", 5)) for n in images}
        seen = Chart(begun=self.now, begun_seq=job.seq, images=stand, **more)
        self.ledger.chart(name, seen, Received(trigger="sweep"))

    def arrive(self, *names: str, etag: str = "e1", size: int = 5, job: str = JOB) -> None:
        for name in names:
            self.ledger.arrived(f"{job}/{name}", etag, size, Received(trigger="folder"), self.now)

    def read(self, name: str, *there: Found) -> list[Effect]:
        """Read one image's records, if the ledger asks for that."""
        rel = f"{JOB}/{name}"
        asked = dict(self.ledger.reads(JOB, 1000))
        assert rel in asked, f"nobody asked to read {name}"
        return self.ledger.read(JOB, rel, asked[rel], list(there))

    def take(self, parallel: int = 1) -> list[str]:
        """The next ticket, as `stage name name …`; empty when there is none."""
        ticket = self.ledger.take(parallel, self.now)
        if ticket is None:
            return []
        self.taken.append(ticket)
        return [ticket.stage, *(item.rel.rpartition("/")[2] for item in ticket.items)]

    def finish(self, result: str = "done", ticket: Ticket | None = None, **more: Any) -> list[Effect]:
        """The same outcome for each item of the last ticket."""
        ticket = ticket or self.taken[-1]
        source = more.pop("source", None)
        items = [
            ItemOutcome.model_validate(
                {
                    "rel": item.rel,
                    "result": result,
                    "source": source or Source(key=item.key, etag=item.etag, size=item.size, sha256=SHA),
                    **more,
                }
            )
            for item in ticket.items
        ]
        return self.ledger.finish(Outcome(ticket=ticket.id, items=tuple(items)), self.now)

    def die(self, code: str = "worker_died") -> list[Effect]:
        return self.ledger.finish(Outcome(ticket=self.taken[-1].id, died=code), self.now)

    def bury(self, effects: Iterable[Effect]) -> list[str]:
        """Write dead letters; their codes."""
        graves = [effect for effect in effects if isinstance(effect, Bury)]
        for grave in graves:
            self.ledger.buried(grave)
        return [grave.code for grave in graves]

    def through(self) -> None:
        """Run everything that is owed, with success."""
        while self.take():
            self.finish()

    def may_close(self) -> bool:
        return self.ledger.may_close(JOB, self.now, REFRESH, SETTLE)


def new_book(tracked: int = 1000, *, fetch: bool = True) -> Book:
    graph = Graph(names=STAGES, parents=((), (0,), (1,)), fetch=0, last=2)
    layout = Layout(records={"detect": "detections/", "classify": "classifications/"})
    return Book(Ledger(graph, layout, Policy(), run="run", tracked=tracked))
