"""Compiling a job: rolls, revisions, summaries. Their copies are `tidying`'s."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

from trapline import __version__
from trapline.dispatcher import charting, control_record, effects, opening, refusals, telling
from trapline.dispatcher.summaries import MOST_NAMED, Compiled, named, summary_of
from trapline.dispatcher.tidying import REVISION
from trapline.dispatcher.world import World
from trapline.errors import CODES, StoreUnavailable
from trapline.ledger import closing, marks
from trapline.ledger.states import FAILED, Failed, Job
from trapline.ledger.tasks import REFUSALS
from trapline.pipeline.load import Stage
from trapline.pipeline.recipe import digest
from trapline.records import (
    DeadLetter,
    FileRef,
    GatherOrder,
    Item,
    ItemOutcome,
    LastFinal,
    Outcome,
    Pin,
    Previous,
    Seen,
    Summary,
    Ticket,
    load,
)
from trapline.runtime.jobs import MEMBERS, roll_lines

log = logging.getLogger("trapline.dispatcher")

LIVE_PAUSE = 60.0  # seconds after provisional results could not be compiled


def seal_of(world: World, name: str) -> str:
    """The seal of what `compile` would be handed now."""
    job = world.ledger.jobs[name]
    return closing.seal(world.ledger.graph, job, *_settings(world, job))


def _live(world: World, job: Job, lines: bytes) -> str:
    """The name of provisional results: another where `compile` is handed anything else."""
    handed = hashlib.sha256(lines + closing.beside_roll(job, *_settings(world, job)))
    return f"live-{handed.hexdigest()[:8]}"


def _settings(world: World, job: Job) -> tuple[str, str, str]:
    """Digests of the manifest and of the station's block, and the recipe of `compile`."""
    gather = world.pipeline.of_kind("gather")
    manifest = digest(opening.without_delivery(job.manifest)) if job.manifest else ""
    return manifest, digest(world.pipeline.station(job.name)), job.pins[gather.name].recipe if gather else ""


def unchanged(world: World, name: str) -> bool:
    """Whether provisional results would say nothing new."""
    job = world.ledger.jobs[name]
    return job.compiled_seq == job.seq or not job.images


def still_holds(world: World, name: str) -> bool:
    """Whether everything is settled again as the last final revision has it: the job is closed, then."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    open_still = job.busy or job.overflow or desk.effects or job.empties
    if open_still or not job.seal or desk.sealed_seq == job.seq:
        return False
    desk.sealed_seq = job.seq
    return seal_of(world, name) == job.seal


def finished(world: World, name: str) -> bool:
    """Whether nothing is left to do for a job and everything about it is written."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    looking = job.unsettled or job.overflow or desk.chart_wanted or desk.untidy
    owed = job.busy or job.gathering or job.untold or job.untold_people
    idle = not (looking or owed or desk.effects or world.effects.get(name))
    return idle and (job.closed or _never_was(job)) and desk.opened and telling.up_to_date(world, name)


def _never_was(job: Job) -> bool:
    """Whether there is nothing to compile: what final results name and is gone leaves them by another revision."""
    return not (job.images or job.listed or job.finals)


async def final(world: World, name: str) -> None:
    """Compile the closed job; an unchanged seal makes no new revision."""
    job = world.ledger.jobs[name]
    gather = world.pipeline.of_kind("gather")
    began, answers = job.seq, _answers(job)
    if gather is None or _never_was(job):
        await _close(world, name, began, answers)
        return
    await charting.finals(world, job)  # an answer may have been lost: the bucket knows what is named
    same = seal_of(world, name) == job.seal and not await _exhumed(world, gather, job)
    if same and await _close_again(world, name, began, answers):
        return
    n = await _next_number(world, name)
    await _compile(world, gather, name, n)


def _answers(job: Job) -> str:
    """The `_DONE` that results made now would answer."""
    return job.done.etag if job.done else job.answered


async def live(world: World, name: str) -> None:
    """Compile provisional results of an open job."""
    gather = world.pipeline.of_kind("gather")
    if gather is not None:
        await _compile(world, gather, name, None)


async def _exhumed(world: World, gather: Stage, job: Job) -> bool:
    """Whether the last compile failed for good and its dead letter was deleted: that is a retry."""
    return job.dead_gather and not any(await world.store.heads([world.layout.dead_letter(gather.name, job.name)]))


async def _close_again(world: World, name: str, began: int, answers: str) -> bool:
    """Nothing changed since the last final revision: the summary names it (again). False: it cannot be read."""
    job, desk, layout = world.ledger.jobs[name], world.desk(name), world.layout
    revision = job.finals[-1].revision
    got = (await world.store.gets([layout.result(name, f"{revision}/summary.json")]))[0]
    summary = load(Summary, got.data) if got else None
    if summary is None:
        return False
    if desk.summary is None or desk.summary.revision != revision:
        summary = summary.model_copy(update={"done_answered": answers, "finals": tuple(job.finals)})
        await world.store.put(layout.summary(name), summary.dump())
        desk.summary = summary
    desk.untidy = True
    await _close(world, name, began, answers)
    return True


async def _close(world: World, name: str, began: int, answers: str) -> None:
    """The job is closed, unless it moved on since `began` (its seq then)."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    job.answered = answers
    update = {"answered": answers, "seal": job.seal, "deadline_passed": job.deadline_passed}
    if job.seq == began:
        job.closed = job.as_closed = True
        update |= {"closed_listing": desk.listing, "quiet_seconds": 0.0}
    if desk.control is not None:
        await control_record.save(world, name, update)


async def _next_number(world: World, name: str) -> int:
    """More than every number in folders, summary and receipts."""
    job = world.ledger.jobs[name]
    level = await world.store.level(world.layout.result(name))
    numbers = [int(m[1]) for f in level.folders if (m := REVISION.match(f.rstrip("/").rpartition("/")[2]))]
    receipts = await world.store.level(world.layout.receipt(name, "").removesuffix(".json"))
    numbers += [int(head) for e in receipts.entries if (head := e.key.rpartition("/")[2].partition("-")[0]).isdecimal()]
    return max([world.desk(name).refused_n, *numbers, *(f.n for f in job.finals)]) + 1


# -- one compile


async def _compile(world: World, gather: Stage, name: str, n: int | None) -> None:
    """Compile the final revision `n`, or (None) provisional results."""
    job = world.ledger.jobs[name]
    job.gathering = True
    try:
        await _compile_once(world, gather, name, n)
    finally:
        job.gathering = False


async def _compile_once(world: World, gather: Stage, name: str, n: int | None) -> None:
    job, desk, start = world.ledger.jobs[name], world.desk(name), world.now()
    # Roll, seal and seq are of one moment: nothing is awaited between them.
    began, entries = job.seq, list(closing.roll(world.ledger.graph, job))
    as_final = _numbered(world, job, n) if n is not None else None
    if as_final and (not closing.gatherable(job) or any(entry.state == "pending" for entry in entries)):
        return
    lines = roll_lines(entries)
    revision = as_final.revision if as_final else _live(world, job, lines)
    job.compiled_at = world.now()
    if as_final is None and desk.summary is not None and desk.summary.revision == revision:
        job.compiled_seq = began
        return
    ticket = _ticket(world, gather, job, revision, as_final, len(entries))
    outcome = await _run(world, ticket, lines, as_final)
    job.compiled_at = world.now()
    if not _succeeded(outcome):
        await _failed(world, gather, name, outcome, as_final, began)
    elif await _overtaken(world, job, began, as_final):
        job.compiled_seq = 0
        job.closing_since = None  # it is looked at anew before it closes
    else:
        job.dead_gather = job.dead_gather and as_final is None
        roll = _roll_file(ticket, lines)
        await _publish(world, name, Compiled(revision, as_final, entries, outcome, roll), began)
        took = world.now() - start
        log.info("event=job.compiled job=%r revision=%s images=%d seconds=%.3f", name, revision, len(entries), took)


def _numbered(world: World, job: Job, n: int) -> LastFinal:
    seal, people = seal_of(world, job.name), bool(world.pipeline.spec.notify.to)
    updates = any(final.updates or not final.failed for final in job.finals)
    return LastFinal(n=n, seal=seal, revision=f"r{n}-{seal[:8]}", updates=updates, people=people)


async def _run(world: World, ticket: Ticket, lines: bytes, as_final: LastFinal | None) -> Outcome:
    roll = ticket.gather.roll if ticket.gather else ""
    if not await refusals.put(world, roll, lines, "application/x-ndjson"):
        if as_final:
            world.desk(ticket.job).refused_n = as_final.n
        raise StoreUnavailable(f"The store refuses {roll}.", remedy="It is tried under another number.")
    desk = world.desk(ticket.job)
    desk.compiling = ticket.id
    try:
        outcome = await world.executor.run(ticket)
    finally:
        desk.compiling = ""
    if not _succeeded(outcome):
        await world.store.delete([roll])
    return outcome


def _roll_file(ticket: Ticket, lines: bytes) -> FileRef:
    digest = hashlib.sha256(lines).hexdigest()
    key = ticket.gather.roll if ticket.gather else ""
    return FileRef(name=MEMBERS, key=key, size=len(lines), sha256=digest, content_type="application/x-ndjson")


def _ticket(world: World, gather: Stage, job: Job, revision: str, as_final: LastFinal | None, members: int) -> Ticket:
    ticket = f"g{world.rng.getrandbits(48):012x}"
    missing = closing.not_received(job) if as_final else []
    order = GatherOrder(
        revision=revision,
        final=as_final is not None,
        roll=world.layout.result(job.name, f"{revision}/{MEMBERS}"),
        members=members,
        manifest=opening.without_tokens(job.manifest) if job.manifest else None,
        not_received=named(missing),
        not_received_count=len(missing),
        unusable=dict(list(telling.unusable(world, job).items())[:MOST_NAMED]),
        unusable_count=len(job.unusable),
        previous=_previous(world, gather, job),
        finals=tuple(final.revision for final in reversed(job.finals)) if as_final else (),
        **_review(world, job),
    )
    pin: Pin = job.pins[gather.name]
    limit = gather.delivery(pin.function).timeout.total_seconds()
    item = Item(rel=job.name)
    station = world.pipeline.station(job.name)
    return Ticket(
        id=ticket,
        stage=gather.name,
        job=job.name,
        pin=pin,
        items=(item,),
        limit_seconds=limit,
        station=station,
        gather=order,
    )


def _review(world: World, job: Job) -> dict[str, str]:
    if job.review is None:
        return {}
    if job.review.problem:
        return {"review_problem": job.review.problem}
    return {"review": world.layout.review(job.name), "review_sha256": job.review.sha256}


def _previous(world: World, gather: Stage, job: Job) -> Previous | None:
    """The newest revision, where this release made it with the function and parameters that are used now."""
    newest = world.desk(job.name).summary
    if newest is None or newest.members is None or newest.release != __version__:
        return None
    pin = newest.pins.get(gather.name)
    same = pin is not None and pin.recipe == job.pins[gather.name].recipe
    return Previous(members=newest.members, files=newest.files) if same else None


def _succeeded(outcome: Outcome) -> bool:
    return bool(outcome.items) and outcome.items[0].result == "done"


async def _overtaken(world: World, job: Job, began: int, as_final: LastFinal | None) -> bool:
    """Whether the job moved on while it was compiled: then nothing is published."""
    if job.cancelled or any(await refusals.heads(world, world.layout.markers(job.name, "_CANCEL"))):
        return True
    if as_final is not None and job.seq != began:
        return True
    return not await world.in_charge()


async def _failed(
    world: World, gather: Stage, name: str, outcome: Outcome, as_final: LastFinal | None, began: int
) -> None:
    """A compile that published nothing: read what differed, try again later, or a dead letter."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    item = outcome.setup or (outcome.items[0] if outcome.items else None)
    if outcome.recipe_refused:
        opening.pin_anew(world, _bare(gather, job), outcome.recipe_refused)
        return
    if item is not None and item.result == "refused":
        _doubt(world, job, item)
        desk.gather_at = world.now() + 1.0
        return
    if item is None and not outcome.died:
        desk.gather_at = world.now() + 5.0
        return
    if as_final is None:
        desk.live_at = world.now() + LIVE_PAUSE
        return
    desk.gather_tries += 1
    if outcome.died and desk.gather_tries > 1:
        _without_review(job, outcome.died)
    if item is not None and item.code in ("compile_failed", "store_refused"):
        desk.refused_n = max(desk.refused_n, as_final.n)  # perhaps what has this number in its name is refused
    delivery = world.ledger.policy
    function = job.pins[gather.name].function
    tries = delivery.attempts(gather.name, function)
    if item is not None and item.code == "store_refused":
        tries = max(tries, REFUSALS)
    if (item is None or item.retry is not False) and desk.gather_tries < tries:
        desk.gather_at = world.now() + delivery.backoff(gather.name, function, desk.gather_tries)
        return
    code = outcome.died or (item.code if item else "") or "compile_failed"
    await _give_up(world, gather, name, code, item, as_final, began)


def _without_review(job: Job, died: str) -> None:
    """A compile that dies again may die of the review: a table costs no job its results."""
    if job.review is not None and not job.review.problem:
        why = f"the compile ended twice while it counted this table ({died}: {CODES[died].meaning})"
        job.review = replace(job.review, sha256="", problem=f"It is left out: {why}")
        job.seq += 1


def _bare(gather: Stage, job: Job) -> Ticket:
    return Ticket(id="", stage=gather.name, job=job.name, pin=job.pins[gather.name], items=(), limit_seconds=0)


def _doubt(world: World, job: Job, item: ItemOutcome) -> None:
    """A record is not what the ledger believes: it is unknown from now on."""
    image, graph = job.images.get(item.rel), world.ledger.graph
    if not item.rel:
        desk = world.desk(job.name)
        desk.chart_wanted = desk.review_doubted = True  # the review is another one by now
    if image is not None and item.stage in graph.names:
        stage = graph.names.index(item.stage)
        graves = world.ledger.refused(job.name, item.rel, stage) if item.code else []
        if graves:
            effects.queue(world, graves)
            return
        if image.states[stage] == FAILED:
            image.forgive(stage)
            if not item.code:
                image.graves &= ~(1 << stage)
                image.attempts = None  # its dead letter was deleted: it is tried anew
        marks.doubt(job, image, [stage, *graph.below(stage)])


async def _give_up(
    world: World, gather: Stage, name: str, code: str, item: ItemOutcome | None, as_final: LastFinal, began: int
) -> None:
    """`compile` itself is dead: its dead letter, and a FAILED summary, so that the client is told."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    code = code if code in CODES else "compile_failed"
    message = item.message if item and item.message else CODES[code].meaning
    letter = DeadLetter(
        stage=gather.name,
        job=name,
        recipe=job.pins[gather.name].recipe,
        code=code,
        message=message,
        remedy=item.remedy if item and item.code == code else "",
        attempts=desk.gather_tries,
        at=world.clock.wall(),
    )
    await world.store.put(world.layout.dead_letter(gather.name, name), letter.dump())
    desk.gather_tries = 0
    job.dead_gather = True
    entries = list(closing.roll(world.ledger.graph, job))
    failure = Failed(gather.name, code, message, letter.remedy).told("")
    outcome = Outcome(ticket="", body={"failure": failure})
    failed = as_final.model_copy(update={"failed": True})
    await _publish(world, name, Compiled(failed.revision, failed, entries, outcome), began)


# -- publishing


async def _publish(world: World, name: str, compiled: Compiled, began: int) -> None:
    """Write the revision's own summary, then the job's; from that moment the revision is named and never changes."""
    job, desk, layout = world.ledger.jobs[name], world.desk(name), world.layout
    summary = summary_of(world, job, compiled)
    await world.store.put(layout.result(name, f"{summary.revision}/summary.json"), summary.dump())
    if compiled.as_final and job.seq != began:
        return
    data = summary.dump()
    took = await refusals.put(world, layout.summary(name), data)
    if not took:  # the answer may have been lost: what is named is never deleted
        (there,) = await world.store.gets([layout.summary(name)])
        took = there is not None and there.data == data
    if not took:
        await world.store.delete([entry.key async for page in world.store.pages(summary.folder) for entry in page])
        charting.refused(world, name, layout.summary(name))
        return
    desk.summary, desk.untidy, desk.times_refused = summary, True, 0
    job.compiled_seq = began
    if compiled.as_final:
        await _named(world, name, compiled.as_final, summary, began)


async def _named(world: World, name: str, as_final: LastFinal, summary: Summary, began: int) -> None:
    """A final revision is named: its client is to be told, and the job is closed if nothing came meanwhile."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    job.seal, job.finals = as_final.seal, list(summary.finals)
    desk.gather_tries = 0
    if world.pipeline.of_kind("notify"):
        job.untold = [*job.untold, as_final]
        job.untold_people = [*job.untold_people, *([as_final] if as_final.people else [])]
        job.told = ""
    await _close(world, name, began, summary.done_answered)
    if "failure" not in summary.results and world.layout.gather:
        await world.store.delete([world.layout.dead_letter(world.layout.gather, name)])


async def seen_and_forgotten(world: World, name: str) -> None:
    """Note a finished job's digest, so that a sweep knows it from one listing, and let it go from memory."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    if world.pipeline.of_kind("gather") and (job.images or job.finals) and seal_of(world, name) != job.seal:
        charting.reopen(world, name)  # the results are of something else than what is there
        return
    if not job.images and not job.finals and desk.summary is not None:
        await _nothing_there(world, name, desk.summary)
    seen = Seen(job=name, listing=desk.whole, seal=job.seal, finished=True)
    async with desk.saving:
        if not desk.opened:
            return  # it was asked for meanwhile that the job be run again
        await refusals.put(world, world.layout.seen(name), seen.dump())
    # Whoever began meanwhile to look at it still holds what would be forgotten.
    if finished(world, name) and desk.chart_seq == job.seq and not world.busy_with(name, "seen"):
        world.ledger.forget(name)
        world.desks.pop(name, None)


async def _nothing_there(world: World, name: str, provisional: Summary) -> None:
    """All that a job had is gone again, before anything of it was final: its provisional results go too."""
    names = [world.layout.summary(name), *(world.layout.result(name, file.name) for file in provisional.files)]
    folder = [entry.key async for page in world.store.pages(provisional.folder) for entry in page]
    await world.store.delete([*names, *folder])
    world.desk(name).summary = None
