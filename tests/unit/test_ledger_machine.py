"""The ledger against a naive bucket, in whatever order things happen and are told."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.ledger_book import JOB
from tests.unit.ledger_world import CONTENTS, GRAPH, RELS, STAGES, WISHES, Bytes, World, Written
from trapline.ledger.states import OWED, PASSED, RUNNING

rels = st.sampled_from(RELS)
wishes = st.lists(st.sampled_from(WISHES), min_size=4, max_size=4)


class LedgerMachine(RuleBasedStateMachine):
    """Clients, workers, restarts, and a dispatcher whose errands are cut in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.lenient = True

    @initialize(rel=rels, content=st.integers(0, len(CONTENTS) - 1), looked=st.booleans())
    def begin(self, rel: str, content: int, looked: bool) -> None:
        self.world.put(rel, content)
        if looked:
            self.world.look_at_once()

    # -- clients and operators

    @rule(rel=rels, content=st.integers(0, len(CONTENTS) - 1), told=st.sampled_from(("at once", "late", "never")))
    def put(self, rel: str, content: int, told: str) -> None:
        self.world.put(rel, content)
        if told != "never":
            self.world.look_up(rel)
        if told == "at once":
            self.world.tell_all()

    @rule(rel=rels, told=st.booleans())
    def remove(self, rel: str, told: bool) -> None:
        self.world.bucket.images.pop(rel, None)
        if told:
            self.world.look_up(rel)

    @rule(rel=rels, stage=st.sampled_from(STAGES), told=st.booleans())
    def delete_a_dead_letter(self, rel: str, stage: str, told: bool) -> None:
        if self.world.bucket.dead[stage].pop(rel, None) is not None:
            self.world.spoiled.add(rel)
        if told:
            self.world.ledger.exhumed(JOB, stage, rel)

    @rule(
        what=st.sampled_from(("nothing", "pin", "kill", "cancel", "resume", "delete")),
        rel=rels,
        number=st.integers(0, 3),
    )
    def something_rare(self, what: str, rel: str, number: int) -> None:
        world = self.world
        if what == "pin":
            world.pin(STAGES[number % 2], number // 2)
        elif what == "kill" and number == 3:
            world.restart()
        elif what == "delete" and number == 3:
            world.delete_records(rel)
        elif what in ("cancel", "resume"):
            world.bucket.cancelled = what == "cancel"

    # -- work, whole and in pieces

    @rule(wish=wishes)
    def run_what_is_owed(self, wish: list[str]) -> None:
        self.world.run_all(wish)

    @rule(parallel=st.integers(1, 3))
    def take(self, parallel: int) -> None:
        self.world.take(parallel)

    @precondition(lambda self: self.world.out)
    @rule(which=st.integers(0, 3), wish=wishes, how=st.sampled_from(("read", "commit", "report", "report", "die")))
    def go_on(self, which: int, wish: list[str], how: str) -> None:
        out = self.world.out[which % len(self.world.out)]
        if how == "report":
            self.world.report(out)
        elif out.report is None and (how != "read" or out.read is None):
            self.world.work(out) if how == "read" else self.world.commit(out, wish, died=how == "die")

    # -- errands, whole and in pieces

    @rule(which=st.integers(0, 6), often=st.integers(1, 3))
    def an_errand(self, which: int, often: int) -> None:
        for _ in range(often):
            self.world.errand(which)

    @rule(steps=st.integers(1, 5))
    def look(self, steps: int) -> None:
        for _ in range(steps):
            self.world.look()

    @rule(wish=wishes, seconds=st.sampled_from((1.0, 10.0, 4000.0)), run=st.booleans())
    def a_calm_moment(self, wish: list[str], seconds: float, run: bool) -> None:
        self.world.now += seconds
        self.world.look_at_once()
        self.world.read_all()
        if run:
            self.world.run_all(wish)
        self.world.close()

    # -- what holds at every moment

    @invariant()
    def counts_agree_with_states(self) -> None:
        job = self.world.job
        for stage, row in enumerate(job.counts):
            assert row == [sum(image.states[stage] == state for image in job.images.values()) for state in range(8)]

    @invariant()
    def no_task_is_out_twice(self) -> None:
        world = self.world
        out = Counter(
            (held.stage, rel)
            for held in world.ledger.held.values()
            for rel, epoch in held.rels.items()
            if rel in world.job.images and world.job.images[rel].epoch == epoch
        )
        assert not out or max(out.values()) == 1

    @invariant()
    def nothing_is_owed_before_its_parents_have_passed(self) -> None:
        for image in self.world.job.images.values():
            for stage, state in enumerate(image.states):
                if state in (OWED, RUNNING):
                    assert all(image.states[parent] in PASSED for parent in GRAPH.parents[stage])

    @invariant()
    def what_is_called_done_or_failed_stands_in_the_bucket(self) -> None:
        world = self.world
        for rel, image, stage, stands in world.believed():
            recipe = world.job.pins[GRAPH.names[stage]].recipe
            known = (image.etag, image.sha256)
            fits = stands is not None and stands.recipe == recipe and (
                stands.of.etag == known[0] or stands.of.sha == known[1]
            )  # fmt: skip
            assert fits or rel in world.spoiled, (rel, GRAPH.names[stage], stands)

    def teardown(self) -> None:
        """Once things calm down, every image is where the bucket alone says it is."""
        self.world.settle()
        self.counts_agree_with_states()
        for rel in RELS:
            assert self.world.said(rel) == self.world.expected(rel), rel
            for stage, letters in self.world.bucket.dead.items():
                if (
                    rel in self.world.job.images
                    and self.world.job.images[rel].states[GRAPH.names.index(stage)] in PASSED
                ):
                    assert rel not in letters


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=300, stateful_step_count=40, deadline=None, derandomize=True)


# -- what the machine found, each in its shortest form


def failed_anew_and_removed() -> World:
    """An image was done; other bytes came in its place and failed; then it was removed."""
    world = World()
    world.put(RELS[0], 1)
    world.look_at_once()
    world.run_all(["done"])
    world.put(RELS[0], 3)
    world.look_at_once()
    world.read_all()
    world.run_all(["permanent"])
    del world.bucket.images[RELS[0]]
    world.look_at_once()
    return world


def test_what_is_kept_of_a_removed_image_is_the_same_after_a_restart() -> None:
    world = failed_anew_and_removed()
    world.read_all()
    before = world.said(RELS[0])
    world.restart()
    world.look_at_once()
    world.read_all()
    assert world.said(RELS[0]) == before


def test_a_record_written_late_over_a_newer_one_makes_its_image_unknown() -> None:
    world = World()
    world.put(RELS[0], 1)
    world.look_at_once()
    world.take(1)
    (late,) = world.out
    world.work(late)
    world.put(RELS[0], 3)
    world.look_at_once()
    world.read_all()
    world.run_all(["done"])
    assert world.said(RELS[0]) == ("passed", "passed")
    world.commit(late, ["done"], died=False)
    world.report(late)
    assert world.said(RELS[0]) != ("passed", "passed")


def test_the_news_that_an_image_is_gone_changes_nothing_the_second_time() -> None:
    world = World()
    world.put(RELS[0], 1)
    world.look_at_once()
    world.run_all(["done"])
    del world.bucket.images[RELS[0]]
    world.look_at_once()
    seq = world.job.seq
    world.look_up(RELS[0])
    world.tell()
    assert world.job.seq == seq


def test_a_removed_image_with_a_first_record_and_a_dead_letter_of_that_stage_can_be_read() -> None:
    world = World()
    world.bucket.records["detect"][RELS[0]] = Written("detect-1", Bytes("e1", 5, "a" * 64), "done")
    world.bucket.dead["detect"][RELS[0]] = Written("detect-1", Bytes("e2", 0, ""), "empty_file")
    world.look_at_once()
    world.read_all()
