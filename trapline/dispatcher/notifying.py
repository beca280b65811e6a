"""Telling the client of each final revision, and the receipts."""

from __future__ import annotations

import hashlib
import logging

from trapline.dispatcher import opening, refusals
from trapline.dispatcher.world import World
from trapline.errors import CODES
from trapline.pipeline.load import Stage
from trapline.records import (
    DeadLetter,
    Item,
    ItemOutcome,
    LastFinal,
    NotifyOrder,
    Outcome,
    Receipt,
    Ticket,
    load,
)

log = logging.getLogger("trapline.dispatcher")


async def notify(world: World, name: str, final: LastFinal) -> None:
    """Tell of one revision; its receipt, or its dead letter, ends it."""
    job = world.ledger.jobs[name]
    stage = world.pipeline.of_kind("notify")
    if stage is None:
        job.untold = []
        return
    if (letter := world.desk(name).notify_letters.get(f"{final.n}")) is not None:
        await _give_up(world, name, final, letter)
        return
    revision = final.revision.removeprefix("r")
    got = (await refusals.gets(world, [world.layout.receipt(name, revision)]))[0]
    if got is not None:
        receipt = load(Receipt, got.data)
        _done(world, name, final, receipt.outcome if receipt else "told")
        return
    ticket = _ticket(world, stage, name, final, revision)
    outcome = await world.executor.run(ticket)
    item = outcome.setup or (outcome.items[0] if outcome.items else None)
    if item is not None and item.result == "done":
        await _receipt(world, name, final, ticket.notify, outcome)
    elif item is not None or outcome.died or outcome.recipe_refused:
        await _failed(world, stage, name, final, outcome, item)
    else:
        world.desk(name).notify_at[f"{final.n}"] = world.now() + 1.0


def _ticket(world: World, stage: Stage, name: str, final: LastFinal, revision: str) -> Ticket:
    job = world.ledger.jobs[name]
    told = hashlib.sha256(f"{name}\n{final.n}\n{final.seal}".encode()).hexdigest()[:32]
    order = NotifyOrder(
        revision=revision,
        summary=world.layout.result(name, f"{final.revision}/summary.json"),
        webhook_id=f"msg_{told}",
        overtaken=final.n < job.finals[-1].n,
    )
    pin = job.pins[stage.name]
    limit = stage.delivery(pin.function).timeout.total_seconds()
    tries = world.desk(name).notify_tries.get(f"{final.n}", 0)
    item = Item(rel=f"{name}/{revision}", attempt=tries + 1)
    return Ticket(
        id=f"n{world.rng.getrandbits(48):012x}",
        stage=stage.name,
        job=name,
        pin=pin,
        items=(item,),
        limit_seconds=limit,
        notify=order,
    )


async def _receipt(world: World, name: str, final: LastFinal, order: NotifyOrder | None, outcome: Outcome) -> None:
    revision = final.revision.removeprefix("r")
    tries = world.desk(name).notify_tries.get(f"{final.n}", 0)
    told = str(outcome.body.get("outcome"))
    detail = outcome.body.get("detail")
    receipt = Receipt(
        job=name,
        revision=revision,
        outcome=told,
        webhook_id=order.webhook_id if order and told == "told" else "",
        attempts=tries + 1,
        detail=detail if isinstance(detail, dict) else {},
        at=world.clock.wall(),
    )
    # Where the receipt is refused the client was told all the same: once more after a restart, not again and again.
    await refusals.put(world, world.layout.receipt(name, revision), receipt.dump())
    stage = world.pipeline.of_kind("notify")
    if stage is not None and tries:
        await world.store.delete([world.layout.dead_letter(stage.name, f"{name}/{revision}")])
    _done(world, name, final, told)


def _done(world: World, name: str, final: LastFinal, told: str) -> None:
    job, desk = world.ledger.jobs[name], world.desk(name)
    job.untold = [other for other in job.untold if other.n != final.n]
    if job.finals and final.n == job.finals[-1].n:
        job.told = told
    desk.notify_tries.pop(f"{final.n}", None)
    desk.notify_letters.pop(f"{final.n}", None)
    desk.status_seq = -1


async def _failed(
    world: World, stage: Stage, name: str, final: LastFinal, outcome: Outcome, item: ItemOutcome | None
) -> None:
    job, desk, policy = world.ledger.jobs[name], world.desk(name), world.ledger.policy
    key, function = f"{final.n}", job.pins[stage.name].function
    if outcome.recipe_refused:
        await opening.repin_stage(world, name, stage.name)
    tries = desk.notify_tries[key] = desk.notify_tries.get(key, 0) + 1
    if (item is None or item.retry is not False) and tries < policy.attempts(stage.name, function):
        wait = (
            item.after if item is not None and item.after is not None else policy.backoff(stage.name, function, tries)
        )
        desk.notify_at[key] = world.now() + wait
        log.info(
            "event=notify.retry job=%s revision=%s in=%.0f code=%s",
            name,
            final.revision,
            wait,
            item.code if item else outcome.died,
        )
        return
    code = item.code if item and item.code in CODES else outcome.died or "callback_failed"
    letter = DeadLetter(
        stage=stage.name,
        job=name,
        recipe=job.pins[stage.name].recipe,
        code=code,
        message=item.message if item and item.message else CODES[code].meaning,
        remedy=CODES[code].remedy,
        attempts=tries,
        at=world.clock.wall(),
    )
    desk.notify_letters[key] = letter
    await _give_up(world, name, final, letter)


async def _give_up(world: World, name: str, final: LastFinal, letter: DeadLetter) -> None:
    """Write the dead letter. Where that fails it is written later, and the client is not called again for it."""
    key = world.layout.dead_letter(letter.stage, f"{name}/{final.revision.removeprefix('r')}")
    await world.store.put(key, letter.dump())
    _done(world, name, final, "dead letter")
