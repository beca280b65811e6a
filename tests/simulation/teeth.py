"""Deliberate bugs. Each is put into the engine while worlds are played, and has to be caught."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from tests.simulation.plan import draw
from tests.simulation.story import Broken
from tests.simulation.world import play
from trapline import sweep
from trapline.dispatcher import charting, effects, epoch, gathering, notifying, opening, tidying
from trapline.ledger import arrivals, closing, ledger, marks, states, tasks
from trapline.pipeline import recipe
from trapline.records import DeadLetter, ImageRecord, load
from trapline.runtime import images, jobs, rolls


@dataclass(frozen=True)
class Bug:
    """A way to be wrong."""

    about: str
    where: Any  # the module or class
    name: str  # of the function in it
    wrong: Callable[[Any], Any]  # the right function → the wrong one
    seed: int = -1  # a world that catches it
    promise: str = ""  # … by this

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """Have the bug for a while."""
        with patch.object(self.where, self.name, self.wrong(getattr(self.where, self.name))):
            yield


def hunt(name: str, first: int, count: int) -> tuple[int | None, str, int]:
    """Play seeds with a bug until one catches it: (its seed or None, the promise, how many were played)."""
    for played, seed in enumerate(range(first, first + count), 1):
        promise = caught(name, seed)
        if promise and not _fails(seed):
            return seed, promise, played
    return None, "", count


def caught(name: str, seed: int) -> str:
    """The promise that a world finds broken when the engine has a bug; empty when it finds none."""
    with BUGS[name].put_in():
        try:
            play(draw(seed))
        except Broken as broken:
            return broken.promise
    return ""


def _fails(seed: int) -> bool:
    """Whether a world fails without any deliberate bug."""
    try:
        play(draw(seed))
    except Broken:
        return True
    return False


# -- what is wrong


def _trust_time(right: Any) -> Any:
    known: dict[str, Any] = {}

    def wrong(chart: Any, rel: str, entry: Any, layout: Any, limits: Any) -> None:
        before = known.get(rel)
        if before is not None and entry.modified <= before.modified:
            entry = replace(entry, etag=before.etag, size=before.size)
        known[rel] = entry
        right(chart, rel, entry, layout, limits)

    return wrong


def _no_ancestors(right: Any) -> Any:
    return lambda value: right(value[:6] if isinstance(value, list) and len(value) == 7 else value)


def _late_commit(right: Any) -> Any:
    return lambda self, ticket, task, until: right(self, ticket, task, float("inf"))


def _late_publish(right: Any) -> Any:
    return lambda self, ticket, *others: right(self, ticket.model_copy(update={"limit_seconds": 1e12}), *others)


def _no_sweep(right: Any) -> Any:
    def wrong(self: Any, name: str, now: float, refresh: float, settle: float) -> bool:
        holds = bool(right(self, name, now, refresh, settle))
        if holds:
            self.jobs[name].closing_since = -1.0
        return holds

    return wrong


def _etag_in_seal(right: Any) -> Any:
    def wrong(graph: Any, job: Any) -> Iterator[tuple[str, ...]]:
        yield from right(graph, job)
        yield from ((image.etag,) for image in job.images.values())

    return wrong


def _clients_alone(right: Any) -> Any:
    return lambda world, job: [message for message in right(world, job) if message.to == "client"]


def _dead_letters_in_seal(right: Any) -> Any:
    def wrong(world: Any, name: str) -> str:
        listing = world.desk(name).whole.split("+")
        return str(recipe.digest([right(world, name), listing[1:2]]))

    return wrong


async def _nothing(*_: Any) -> None:
    await asyncio.sleep(0)


def _each_pays(right: Any) -> Any:
    def wrong(graph: Any, policy: Any, job: Any, held: Any, code: str, now: float) -> list[Any]:
        made = []
        for rel, number in held.rels.items():
            one = type(held)(held.job, held.stage, {rel: number}, held.since)
            made += right(graph, policy, job, one, code, now)
        return made

    return wrong


def _no_unbury(right: Any) -> Any:
    async def wrong(world: Any, effect: Any) -> None:
        if isinstance(effect, tasks.Bury):
            await right(world, effect)

    return wrong


def _closed_is_closed(right: Any) -> Any:
    def wrong(graph: Any, job: Any, *given: Any) -> None:
        if not job.closed:
            right(graph, job, *given)

    return wrong


def _size_is_enough(right: Any) -> Any:
    def wrong(graph: Any, job: Any, image: Any, etag: str) -> None:
        image.etag = etag

    return wrong


def _no_bound(right: Any) -> Any:
    return lambda *given: right(*given[:-1], 10**9)


def _believe_the_roll(right: Any) -> Any:
    def wrong(self: Any, entry: Any) -> ImageRecord | DeadLetter | None:
        place = self._layout
        if entry.state in ("done", "skipped"):
            return load(ImageRecord, self._bytes(place.record(entry.stage, entry.rel), entry))
        if entry.state == "failed":
            return load(DeadLetter, self._bytes(place.dead_letter(entry.stage, entry.rel), entry))
        return None

    return wrong


def _state_is_enough(right: Any) -> Any:
    return lambda old, new: new.state in ("done", "skipped")


def _recipe_is_enough(right: Any) -> Any:
    return lambda record, recipe, held: record.recipe == recipe


def _seen_is_enough(right: Any) -> Any:
    async def wrong(world: Any, name: str, digest: str, **given: Any) -> None:
        if (await world.store.gets([world.layout.seen(name)]))[0] is None:
            await right(world, name, digest, **given)

    return wrong


def _keep_one(right: Any) -> Any:
    async def wrong(world: Any, name: str, new: Any) -> None:
        await right(world, name, new.model_copy(update={"finals": ()}))

    return wrong


def _count_finals(right: Any) -> Any:
    async def wrong(world: Any, name: str) -> int:
        return len(world.ledger.jobs[name].finals) + 1

    return wrong


def _names_alone(right: Any) -> Any:
    return lambda digest, entry, layout: digest.add("", layout.rel_of_image(entry.key), "")


def _cancel_is_nothing(right: Any) -> Any:
    def wrong(job: Any, seen: Any) -> None:
        seen.cancelled = False
        right(job, seen)

    return wrong


def _as_if_new(right: Any) -> Any:
    return lambda *_: False


def _asleep(right: Any) -> Any:
    return lambda job, now: None


def _first_try(right: Any) -> Any:
    return lambda image, stage: False


def _overwritten_is_known(right: Any) -> Any:
    def wrong(graph: Any, job: Any, rel: str, etag: str, *given: Any) -> None:
        image = job.images.get(rel)
        if image is not None and image.etag:
            image.etag = etag
            return
        right(graph, job, rel, etag, *given)

    return wrong


def _as_if_alike(right: Any) -> Any:
    return lambda graph, image, stage, found: True


def _nothing_missing(right: Any) -> Any:
    return lambda self, image, stage: ()


class _FilesLast:
    """A store that takes the files of a record after it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.waiting: list[tuple[str, bytes]] = []

    def put(self, key: str, data: bytes, **how: Any) -> Any:
        if key.startswith("files/"):
            self.waiting.append((key, data))
            return None
        return self._store.put(key, data, **how)


def _record_first(right: Any) -> Any:
    def wrong(self: Any, ticket: Any, task: Any, until: float) -> Any:
        store, self._store = self._store, _FilesLast(self._store)
        try:
            return right(self, ticket, task, until)
        finally:
            self._store, last = store, self._store
            for key, data in last.waiting:
                store.put(key, data)

    return wrong


def _only_these(right: Any) -> Any:
    def wrong(job: Any, image: Any, stages: Any) -> None:
        image.epoch += 1
        for stage in stages:
            marks.put(job, image, stage, states.UNKNOWN)
        job.to_read[image.rel] = None

    return wrong


BUGS = {
    "joined_once_for_all": Bug(
        "a join is not made again when what was missing is there",
        arrivals,
        "_same_inputs",
        _as_if_alike,
        seed=450,
        promise="what is missing has failed",
    ),
    "joined_without_telling": Bug(
        "nobody knows what a join went on without",
        states.Graph,
        "missing",
        _nothing_missing,
        seed=3,
        promise="every job closes",
    ),
    "files_after_the_record": Bug(
        "a record is written before the files that it names",
        images.ImageStage,
        "_commit",
        _record_first,
        seed=3,
        promise="what a record names was written before it",
    ),
    "one_doubt_one_stage": Bug(
        "an outcome that counts no more is waited for",
        marks,
        "doubt",
        _only_these,
        seed=167,
        promise="every job closes",
    ),
    "trust_time": Bug(
        "a file that is not newer is the same", sweep, "_image", _trust_time, seed=7, promise="every job closes"
    ),
    "recipe_without_ancestors": Bug(
        "a recipe leaves out what it builds on",
        recipe,
        "digest",
        _no_ancestors,
        seed=72,
        promise="a revision's images are made with its pins",
    ),
    "hung_worker_publishes": Bug(
        "a worker writes after its time",
        images.ImageStage,
        "_commit",
        _late_commit,
        seed=70,
        promise="a mirrored bucket runs and tells nothing again",
    ),
    "hung_compile_publishes": Bug(
        "a compile writes after its time",
        jobs.JobStages,
        "_gather_item",
        _late_publish,
        seed=161,
        promise="nothing is left over in the end",
    ),
    "close_without_sweep": Bug(
        "a job closes by what was heard",
        ledger.Ledger,
        "may_close",
        _no_sweep,
        seed=895,
        promise="a final revision is of all that was there",
    ),
    "etags_in_the_seal": Bug(
        "a seal depends on the store",
        closing,
        "_sealed",
        _etag_in_seal,
        seed=0,
        promise="an unchanged job makes no new revision",
    ),
    "dead_letters_in_the_seal": Bug(
        "a seal counts dead letters",
        gathering,
        "seal_of",
        _dead_letters_in_seal,
        seed=0,
        promise="an unchanged job makes no new revision",
    ),
    "forget_the_untold": Bug(
        "a restart does not look for receipts",
        charting,
        "_receipts",
        lambda right: _nothing,
        seed=0,
        promise="a status says whether the client was told",
    ),
    "nobody_tells_people": Bug(
        "only clients are told",
        notifying,
        "owed",
        _clients_alone,
        seed=3,
        promise="every final revision has one receipt",
    ),
    "every_crash_counts": Bug(
        "a worker's death counts for each of its tasks",
        tasks,
        "died",
        _each_pays,
        seed=2,
        promise="a good image is not lost",
    ),
    "dead_letters_stay": Bug(
        "what passes keeps its dead letter",
        effects,
        "_carry_out",
        _no_unbury,
        seed=12,
        promise="what is done has no dead letter",
    ),
    "late_images_are_late": Bug(
        "a closed job takes nothing in",
        arrivals,
        "arrived",
        _closed_is_closed,
        seed=181,
        promise="every image is accounted for exactly once",
    ),
    "size_is_identity": Bug(
        "the same size means the same bytes",
        arrivals,
        "_look_closer",
        _size_is_enough,
        seed=300,
        promise="nobody wipes a card too early",
    ),
    "memory_without_bound": Bug(
        "everything is held in memory",
        arrivals,
        "arrived",
        _no_bound,
        seed=29,
        promise="the images held of a job are bounded",
    ),
    "compile_believes_the_roll": Bug(
        "compile does not look at what it reads",
        jobs.JobStages,
        "_stored",
        _believe_the_roll,
        seed=87,
        promise="every job closes",
    ),
    "stale_lines": Bug(
        "compile believes what an earlier revision said",
        rolls,
        "unchanged",
        _state_is_enough,
        seed=7,
        promise="results are those of a whole compile",
    ),
    "parents_of_other_bytes": Bug(
        "a parent's record need not be of the same bytes",
        images,
        "_agrees",
        _recipe_is_enough,
        seed=447,
        promise="a result is of the bytes that are there",
    ),
    "seen_is_enough": Bug(
        "a sweep believes what was noted of a job",
        charting,
        "_open_if_unseen",
        _seen_is_enough,
        seed=28,
        promise="every image is accounted for exactly once",
    ),
    "review_unread": Bug(
        "nobody looks at what people say",
        charting,
        "_review",
        lambda right: _nothing,
        seed=3,
        promise="a review counts in the next revision",
    ),
    "clear_too_much": Bug(
        "earlier revisions are cleared away",
        tidying,
        "_clear",
        _keep_one,
        seed=0,
        promise="a mirrored bucket runs and tells nothing again",
    ),
    "numbers_again": Bug(
        "a revision's number is used again",
        gathering,
        "_next_number",
        _count_finals,
        seed=447,
        promise="a revision's number exceeds all before it",
    ),
    "digest_of_names": Bug(
        "a sweep compares names alone",
        sweep,
        "note_incoming",
        _names_alone,
        seed=195,
        promise="what a `_DONE` says and is not there is told",
    ),
    "cancel_is_nothing": Bug(
        "a job goes on though it is cancelled",
        arrivals,
        "_marks",
        _cancel_is_nothing,
        seed=127,
        promise="a cancelled job publishes nothing",
    ),
    "pin_at_every_look": Bug(
        "a job is pinned anew when it is opened",
        opening,
        "_fit",
        _as_if_new,
        seed=32,
        promise="a running job keeps its recipes",
    ),
    "no_second_try": Bug(
        "what waits for its next try is forgotten", tasks, "wake", _asleep, seed=0, promise="every job closes"
    ),
    "overwritten_is_known": Bug(
        "an overwritten image is not run again",
        arrivals,
        "arrived",
        _overwritten_is_known,
        seed=7,
        promise="nobody wipes a card too early",
    ),
    "refused_for_ever": Bug(
        "a key that is refused is tried for ever",
        tasks,
        "refused_too_often",
        _first_try,
        seed=56,
        promise="every job closes",
    ),
    "two_engines": Bug(
        "an engine does not step back for a later one",
        epoch.Epoch,
        "check",
        lambda right: _nothing,
        seed=45,
        promise="an unchanged job makes no new revision",
    ),
}
