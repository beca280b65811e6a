"""A naive world around a ledger: a bucket of plain dicts, workers, and the errands of a dispatcher, step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.unit.ledger_book import JOB, Policy
from trapline.keys import Layout
from trapline.ledger import marks
from trapline.ledger.arrivals import Chart
from trapline.ledger.closing import roll
from trapline.ledger.ledger import Ledger
from trapline.ledger.states import EMPTY_SHA256, FAILED, PASSED, RUNNING, Failed, Found, Graph, Image, Job
from trapline.ledger.tasks import Bury, Effect, Unbury
from trapline.records import Item, ItemOutcome, Outcome, Pin, Received, Source, Ticket

GRAPH = Graph(names=("fetch", "detect", "classify"), parents=((), (0,), (1,)), fetch=0, last=2)
STAGES = ("detect", "classify")
LAYOUT = Layout(records={stage: f"{stage}/" for stage in STAGES})
RELS = tuple(f"{JOB}/{name}" for name in ("a.jpg", "b.jpg"))
# What an image may hold: nothing, or one of three contents, two of them of one size.
CONTENTS = ((0, EMPTY_SHA256), (5, "a" * 64), (5, "b" * 64), (7, "c" * 64))
WISHES = ("done", "done", "done", "skipped", "permanent", "temporary", "unknown", "unknown but written", "late")


@dataclass(frozen=True)
class Bytes:
    """An image as it lies in the bucket."""

    etag: str
    size: int
    sha: str


@dataclass(frozen=True)
class Written:
    """A record or a dead letter: what it is of, and what it says."""

    recipe: str
    of: Bytes
    outcome: str

    def fresh(self, image: Bytes | None, recipe: str) -> bool:
        """Where the image is gone, what there is of it counts."""
        return image is None or (self.recipe == recipe and (self.of.etag == image.etag or self.of.sha == image.sha))


@dataclass
class Bucket:
    images: dict[str, Bytes] = field(default_factory=dict)
    records: dict[str, dict[str, Written]] = field(default_factory=lambda: {stage: {} for stage in STAGES})
    dead: dict[str, dict[str, Written]] = field(default_factory=lambda: {stage: {} for stage in GRAPH.names})
    cancelled: bool = False


@dataclass
class Out:
    """A ticket in a worker's hands: what it has read, what it will report."""

    ticket: Ticket
    read: dict[str, Bytes | None] | None = None
    report: Outcome | None = None


class World:
    """One job. Every errand may stop half-way while something else happens."""

    def __init__(self) -> None:
        self.bucket = Bucket()
        self.versions = {"detect": 1, "classify": 1}
        self.now = 0.0
        self.etags = 0
        self.lenient = False  # pass over what has a test of its own: reading what stays of a removed image
        self.spoiled: set[str] = set()  # images of which somebody wrote or deleted something behind the ledger's back
        self.untold: set[tuple[str, str]] = set()  # (stage, rel): a record that no outcome told the ledger of
        self.restart()

    def restart(self) -> None:
        """A new engine: whatever ran and whatever was known is gone with the old one."""
        self.ledger = Ledger(GRAPH, LAYOUT, Policy(), run=f"run{self.etags}", tracked=1000)
        self.ledger.job(JOB, self.now)
        self.ledger.pinned(JOB, self.pins())
        self.out: list[Out] = []
        self.effects: deque[Effect] = deque()
        self.burying: Bury | None = None
        self.heads: deque[tuple[str, Bytes | None]] = deque()
        self.reads: deque[tuple[str, int, list[Found]]] = deque()
        self.hashes: deque[tuple[str, Bytes | None]] = deque()
        self.looking: tuple[Chart, list[Callable[[Chart], None]]] | None = None

    @property
    def job(self) -> Job:
        return self.ledger.jobs[JOB]

    def recipe(self, stage: str) -> str:
        """A stage's recipe holds those of the stages that it reads."""
        own = self.versions[stage]
        return f"detect-{own}" if stage == "detect" else f"classify-{own} of {self.recipe('detect')}"

    def pins(self) -> dict[str, Pin]:
        recipes = {stage: self.recipe(stage) for stage in STAGES}
        return {stage: Pin(stage=stage, recipe=recipes.get(stage, "fetch"), function=stage) for stage in GRAPH.names}

    # -- clients

    def put(self, rel: str, content: int) -> None:
        self.etags += 1
        size, sha = CONTENTS[content]
        self.bucket.images[rel] = Bytes(f"e{self.etags}", size, sha)

    def delete_records(self, rel: str) -> None:
        for shelf in (*self.bucket.records.values(), *self.bucket.dead.values()):
            shelf.pop(rel, None)
        self.spoiled.add(rel)

    def pin(self, stage: str, version: int) -> None:
        self.versions[stage] = version
        self.ledger.pinned(JOB, self.pins())

    # -- events: looked up now, told later

    def look_up(self, rel: str) -> None:
        self.heads.append((rel, self.bucket.images.get(rel)))

    def tell(self) -> None:
        rel, there = self.heads.popleft()
        if there != self.bucket.images.get(rel):  # old news may cost a second run
            self.untold |= {(stage, rel) for stage in STAGES}
        if there is None:
            self.ledger.removed(rel, self.now)
        else:
            self.ledger.arrived(rel, there.etag, there.size, Received(trigger="folder"), self.now)

    def tell_all(self) -> None:
        while self.heads:
            self.tell()

    # -- workers

    def take(self, parallel: int) -> None:
        ticket = self.ledger.take(parallel, self.now)
        if ticket is None:
            return
        self.out.append(Out(ticket))
        for item in ticket.items:
            assert not self._wasted(ticket, item), f"{item.rel} is run again though it is done"

    def _wasted(self, ticket: Ticket, item: Item) -> bool:
        """Whether what is to be run stands in the bucket, of these bytes, and the ledger might have known."""
        stands = self.bucket.records[ticket.stage].get(item.rel)
        known = Bytes(item.etag, item.size, item.sha256)
        return bool(stands and stands.fresh(known, ticket.pin.recipe) and (ticket.stage, item.rel) not in self.untold)

    def work(self, out: Out) -> None:
        """The worker reads its images."""
        out.read = {item.rel: self.bucket.images.get(item.rel) for item in out.ticket.items}

    def commit(self, out: Out, wishes: list[str], died: bool) -> None:
        """The worker writes its records; one that dies leaves some of them."""
        if out.read is None:
            self.work(out)
        items = []
        for item, wish in zip(out.ticket.items, wishes, strict=False):
            items.append(self._item(out, item, wish))
        kept = items[: len(items) // 2] if died else items
        for told in kept:
            self._record(out, told)
        ticket = out.ticket.id
        out.report = Outcome(ticket=ticket, died="worker_died") if died else Outcome(ticket=ticket, items=tuple(kept))

    def _item(self, out: Out, item: Item, wish: str) -> ItemOutcome:
        assert out.read is not None
        there = out.read[item.rel]
        if there is None:
            return ItemOutcome(rel=item.rel, result="gone")
        source = Source(key=item.key, etag=there.etag, size=there.size, sha256=there.sha)
        if there.etag != item.etag and there.sha != item.sha256:
            return ItemOutcome(rel=item.rel, result="changed", source=source)
        for stage, recipe in out.ticket.parents.items():
            parent = self.bucket.records[stage].get(item.rel)
            if parent is None or (parent.recipe, parent.of.sha) != (recipe, there.sha):
                return ItemOutcome(rel=item.rel, result="refused", stage=stage, source=source)
        if wish in ("permanent", "temporary"):
            retry = False if wish == "permanent" else None
            return ItemOutcome(rel=item.rel, result="failed", code="function_error", retry=retry, source=source)
        if wish.startswith("unknown"):
            after = 5.0 if wish == "unknown" else None
            return ItemOutcome(rel=item.rel, result="unknown", source=source, after=after)
        return ItemOutcome.model_validate({"rel": item.rel, "result": wish, "source": source})

    def _record(self, out: Out, told: ItemOutcome) -> None:
        written = told.result in ("done", "skipped") or (told.result == "unknown" and told.after is None)
        if not written:
            return
        ticket, source = out.ticket, told.source
        of = Bytes(source.etag, source.size, source.sha256)
        outcome = told.result if told.result == "skipped" else "done"
        self.bucket.records[ticket.stage][told.rel] = Written(ticket.pin.recipe, of, outcome)
        self.untold.add((ticket.stage, told.rel))
        if not self._current(ticket, told.rel):
            self.spoiled.add(told.rel)

    def _current(self, ticket: Ticket, rel: str) -> bool:
        held, image = self.ledger.held.get(ticket.id), self.job.images.get(rel)
        if held is None or image is None:
            return False
        return image.epoch == held.rels.get(rel) and image.states[held.stage] == RUNNING

    def report(self, out: Out) -> None:
        """The outcome reaches the dispatcher."""
        self.out.remove(out)
        for told in out.report.items if out.report else ():
            if told.result in ("done", "skipped") and self._current(out.ticket, told.rel):
                self.untold.discard((out.ticket.stage, told.rel))
        self.effects.extend(self.ledger.finish(out.report or Outcome(ticket=out.ticket.id), self.now))

    # -- dead letters: written first, believed after

    def carry_out(self) -> None:
        if self.burying is not None:
            grave, self.burying = self.burying, None
            self.ledger.buried(grave)
            return
        effect = self.effects.popleft()
        if isinstance(effect, Unbury):
            self.bucket.dead[effect.stage].pop(effect.rel, None)
            return
        image = self.job.images.get(effect.rel)
        if image is None or image.epoch != effect.epoch:
            return
        there = self.bucket.images.get(effect.rel)
        if not image.sha256 and image.size > 0 and there is not None and there.etag == image.etag:
            image.sha256 = there.sha
        of = Bytes(image.etag, image.size, image.sha256)
        self.bucket.dead[effect.stage][effect.rel] = Written(self.recipe_or_fetch(effect.stage), of, effect.code)
        self.burying = effect

    def carry_out_all(self) -> None:
        while self.effects or self.burying:
            self.carry_out()

    def recipe_or_fetch(self, stage: str) -> str:
        return self.job.pins[stage].recipe

    def run_all(self, wishes: list[str]) -> None:
        """What is owed is run to its end, without a break."""
        for _ in range(4):
            before = len(self.out)
            self.take(1)
            for out in self.out[before:]:
                self.commit(out, wishes, died=False)
                self.report(out)
            self.carry_out_all()

    def close(self) -> None:
        """The job is about to close: what has no bytes will not get any."""
        if not self.job.busy:
            self.effects.extend(grave for grave in self.ledger.empties(JOB) if grave not in self.effects)

    # -- reading

    def ask(self, most: int) -> None:
        """Read what the ledger wants read; it is told later."""
        for rel, epoch in self.ledger.reads(JOB, most):
            self.reads.append((rel, epoch, list(self._found(rel))))

    def _found(self, rel: str) -> Iterable[Found]:
        for stage in reversed(GRAPH.names):
            record = self.bucket.records.get(stage, {}).get(rel)
            if record is not None:
                yield _as_found(stage, record, None)
            letter = self.bucket.dead[stage].get(rel)
            if letter is not None:
                yield _as_found(stage, letter, Failed(stage, letter.outcome, "it failed", "mend it"))

    def answer(self) -> None:
        rel, epoch, found = self.reads.popleft()
        with suppress(*([KeyError] if self.lenient and self.is_torn(rel) else [])):
            self.effects.extend(self.ledger.read(JOB, rel, epoch, found))

    def read_all(self) -> None:
        for _ in range(20):
            self.ask(10)
            while self.reads:
                self.answer()
            if not self.job.to_read:
                return
        raise AssertionError("the same is read again and again")

    def fetch_to_hash(self) -> None:
        for rel in list(self.job.to_hash)[:1]:
            self.hashes.append((rel, self.bucket.images.get(rel)))

    def hash(self) -> None:
        rel, there = self.hashes.popleft()
        if there is not None:
            self.ledger.hashed(JOB, rel, there.etag, there.size, there.sha)
            return
        self.job.to_hash.pop(rel, None)
        self.ledger.removed(rel, self.now)

    # -- looking: prefix by prefix, each as it is at its own moment

    def look(self) -> None:
        """One more step of a whole look at the job; the last one tells the ledger."""
        if self.looking is None:
            steps = [self._list_images, *(self._listing(stage) for stage in GRAPH.names)]
            self.looking = Chart(begun=self.now, begun_seq=self.job.seq), steps
            return
        chart, steps = self.looking
        if steps:
            steps.pop(0)(chart)
            return
        self.looking = None
        self._charted(chart)

    def _list_images(self, chart: Chart) -> None:
        chart.images = {rel: (there.etag, there.size) for rel, there in self.bucket.images.items()}
        chart.cancelled = self.bucket.cancelled

    def _listing(self, stage: str) -> Callable[[Chart], None]:
        def listing(chart: Chart) -> None:
            if stage in STAGES:
                chart.records[stage] = set(self.bucket.records[stage])
            chart.dead[stage] = set(self.bucket.dead[stage])

        return listing

    def _charted(self, chart: Chart) -> None:
        before = self.job.cancelled
        known = {rel: self._age(image) for rel, image in self.job.images.items() if image.touched > chart.begun_seq}
        self.ledger.chart(JOB, chart, Received(trigger="sweep"))
        for rel, age in known.items():
            image = self.job.images.get(rel)
            assert image is not None and self._age(image) >= age, f"an old look made {rel} older"
        if self.job.cancelled != before:
            self.ledger.cancelled(JOB, self.job.cancelled)

    def _age(self, image: Image) -> int:
        """How new the bytes are that the ledger knows of."""
        return int(image.etag[1:] or 0)

    def look_at_once(self) -> None:
        self.look()
        while self.looking is not None:
            self.look()

    # -- compiling: a member that is not as the ledger believes becomes unknown

    def compile(self) -> None:
        for entry in list(roll(GRAPH, self.job)):
            stands = self._stands(entry.stage, entry.rel, entry.state)
            fits = stands is not None and (
                (entry.recipe in ("", stands.recipe) and entry.sha256 in ("", stands.of.sha))
                if entry.state != "failed"
                else entry.code == stands.outcome
            )
            if entry.state != "pending" and not fits:
                self._doubt(self.job.images[entry.rel], GRAPH.names.index(entry.stage))

    def _stands(self, stage: str, rel: str, state: str) -> Written | None:
        shelf = self.bucket.dead if state == "failed" else self.bucket.records
        return shelf.get(stage, {}).get(rel)

    def _doubt(self, image: Image, stage: int) -> None:
        if image.states[stage] == FAILED:
            image.graves &= ~(1 << stage)
        marks.doubt(self.job, image, [stage, *GRAPH.below(stage)])

    # -- one errand of many

    def errand(self, which: int) -> None:
        """The next piece of one of the dispatcher's errands, if there is any."""
        errands: tuple[tuple[object, Callable[[], None]], ...] = (
            (self.heads, self.tell),
            (self.effects or self.burying, self.carry_out),
            (self.job.to_read, lambda: self.ask(1)),
            (self.reads, self.answer),
            (self.job.to_hash and not self.hashes, self.fetch_to_hash),
            (self.hashes, self.hash),
            (not self.job.busy and not self.job.to_read, self.compile),
        )
        waits, run = errands[which]
        if waits:
            run()

    # -- calm

    def settle(self) -> None:
        """Everything that waits happens, everything that runs succeeds, until nothing is left to do."""
        self.bucket.cancelled = False
        for _ in range(30):
            for rel in filter(self.is_torn, RELS):
                self.delete_records(rel)
            before = self.job.seq
            self._quiet_round()
            if self.job.seq == before and not (self.job.busy or self.job.to_read or self.job.empties):
                return
        raise AssertionError("the job does not come to rest")

    def _quiet_round(self) -> None:
        self.now += 7200.0
        self.look_at_once()
        self.tell_all()
        for rel in sorted(self.bucket.images):
            self.look_up(rel)
            self.tell()
        self.look_at_once()
        self._errands()
        self.close()
        self._errands()
        if not (self.job.busy or self.job.to_read):
            self.compile()

    def _errands(self) -> None:
        for _ in range(20):
            before = self.job.seq
            self.take(1)
            for out in list(self.out):
                if out.report is None:
                    self.commit(out, ["done"] * 4, died=False)
                self.report(out)
            self.read_all()
            self.carry_out_all()
            if self.hashes or self.job.to_hash:
                self.fetch_to_hash()
                self.hash()
            if self.job.seq == before:
                return

    def expected(self, rel: str) -> tuple[str, ...] | None:
        """What each stage must say of an image in the end; None: it is no member. Reads nothing but the bucket."""
        image = self.bucket.images.get(rel)
        passed = [s for s in STAGES if (r := self.bucket.records[s].get(rel)) and r.fresh(image, self.recipe(s))]
        deep = STAGES.index(passed[-1]) if passed else -1
        dead = [s for s in STAGES[deep + 1 :] if (d := self.bucket.dead[s].get(rel)) and d.fresh(image, self.recipe(s))]
        if image is None and deep < len(STAGES) - 1 and not dead:
            return None
        fails = STAGES.index(dead[0]) if dead else len(STAGES)
        reached = fails if dead else deep + 1
        words = ["passed"] * reached + ["failed"] * bool(dead) + ["blocked"] * (len(STAGES) - reached - bool(dead))
        return tuple(words) if dead or deep == len(STAGES) - 1 else ("unfinished",)

    def is_torn(self, rel: str) -> bool:
        """Whether an image is gone of which both a record and a dead letter stay: which counts, nobody can say."""
        gone = rel not in self.bucket.images
        return gone and all(
            any(rel in on for on in shelf.values()) for shelf in (self.bucket.records, self.bucket.dead)
        )

    def said(self, rel: str) -> tuple[str, ...] | None:
        """What the ledger says of it."""
        image = self.job.images.get(rel)
        if image is None:
            return None
        words = {4: "passed", 5: "passed", FAILED: "failed", 7: "blocked"}
        return tuple(words.get(state, f"state {state}") for state in image.states[1:])

    def believed(self) -> Iterable[tuple[str, Image, int, Written | None]]:
        """What the ledger calls passed or failed of images whose bytes are there, and what stands for it."""
        for rel, image in self.job.images.items():
            passed = [s for s in (1, 2) if image.states[s] in PASSED]
            for stage in [s for s in (1, 2) if image.states[s] == FAILED] + passed[-1:]:
                shelf = self.bucket.dead if image.states[stage] == FAILED else self.bucket.records
                if not image.bytes_gone:
                    yield rel, image, stage, shelf[GRAPH.names[stage]].get(rel)


def _as_found(stage: str, written: Written, failure: Failed | None) -> Found:
    outcome = "failed" if failure else written.outcome
    return Found(stage, written.recipe, written.of.etag, written.of.size, written.of.sha, outcome, failure)
