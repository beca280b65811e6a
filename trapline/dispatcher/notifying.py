"""Telling the client, and those that pipeline.yaml names, of final revisions and refused manifests; the receipts."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from trapline.dispatcher import control_record, opening, refusals
from trapline.dispatcher.desk import Rejected
from trapline.dispatcher.receivers import address_of
from trapline.dispatcher.world import World
from trapline.errors import CODES
from trapline.ledger.states import Job
from trapline.pipeline.load import Stage
from trapline.pipeline.notices import mark
from trapline.pipeline.recipe import lone_pin
from trapline.records import (
    USUAL,
    Audience,
    DeadLetter,
    Event,
    Item,
    ItemOutcome,
    LastFinal,
    NotifyOrder,
    Outcome,
    Pin,
    Receipt,
    Ticket,
    Told,
    load,
)

log = logging.getLogger("trapline.dispatcher")

_FAILED = {"client": "callback_failed", "people": "notice_failed"}
_UNWANTED: dict[str, Any] = {"outcome": "unwanted"}
_TOLD: dict[str, Any] = {"outcome": "told"}


@dataclass(frozen=True)
class Message:
    """One final revision, or a manifest that was refused, for one audience."""

    job: str
    about: LastFinal | Rejected
    to: Audience

    @property
    def revision(self) -> str:
        if isinstance(self.about, Rejected):
            return f"refused-{self.about.sha256[:8]}"
        return self.about.revision.removeprefix("r")

    @property
    def name(self) -> str:
        """What its receipt and its dead letter are called, and what the desk knows it by."""
        return self.revision if self.to == "client" else f"{self.revision}.{self.to}"

    @property
    def event(self) -> Told:
        if isinstance(self.about, Rejected):
            return "failed"
        return "updated" if self.about.updates else "completed"


def owed(world: World, job: Job) -> list[Message]:
    """What there still is to tell, oldest first. Of a job whose manifest is refused: that, and nothing else."""
    if job.problem:
        return _rejection(world, job)
    both: dict[Audience, list[LastFinal]] = {"client": job.untold, "people": job.untold_people}
    return [Message(job.name, final, to) for to, finals in both.items() for final in finals]


def _rejection(world: World, job: Job) -> list[Message]:
    desk, told = world.desk(job.name), world.pipeline.tells("news")
    audiences: tuple[Audience, ...] = ("client", *(("people",) if world.pipeline.spec.notify.to else ()))
    if desk.rejected is None or not told:
        return []
    return [Message(job.name, desk.rejected, to) for to in audiences if to not in desk.rejected_told]


def wishes(world: World, job: Job, to: Audience) -> tuple[Event, ...]:
    """The events that an audience wants to be told of."""
    if to == "people":
        return world.pipeline.spec.notify.on
    callback = job.manifest.callback if job.manifest else None
    return callback.on if callback else USUAL


async def notify(world: World, message: Message) -> None:
    """Tell of one revision; its receipt, or its dead letter, ends it."""
    job, desk = world.ledger.jobs[message.job], world.desk(message.job)
    stage = world.pipeline.of_kind("notify")
    if stage is None:
        job.untold, job.untold_people = [], []
        return
    if (letter := desk.notify_letters.get(message.name)) is not None:
        await _give_up(world, message, letter)
        return
    keys = [world.layout.receipt(message.job, message.name)]
    if isinstance(message.about, Rejected):  # no look over the bucket tells whether that was given up
        keys.append(world.layout.dead_letter(stage.name, f"{message.job}/{message.name}"))
    got, *given_up = await refusals.gets(world, keys)
    if got is not None or any(given_up):
        receipt = load(Receipt, got.data) if got else None
        _done(world, message, receipt.outcome if receipt else "told")
        return
    if not _wanted(world, job, message):
        await _receipt(world, message, "", _UNWANTED)
        return
    if message.to == "people" and len(_reached(world, message)) == len(world.pipeline.spec.notify.to) > 0:
        await _receipt(world, message, "", _TOLD)  # those who could not be told are named no more
        return
    address = _address(job, message)
    async with world.receivers.turn(address):
        ticket = _ticket(world, stage, message, address)
        outcome = await world.executor.run(ticket)
        item = outcome.setup or (outcome.items[0] if outcome.items else None)
        if item is not None:
            world.receivers.note(address, told=item.result == "done")
    if item is not None and item.result == "done":
        await _receipt(world, message, ticket.notify.webhook_id if ticket.notify else "", outcome.body)
    elif item is not None or outcome.died or outcome.recipe_refused:
        await _failed(world, stage, message, outcome, item)
    else:
        desk.notify_at[message.name] = world.now() + 1.0


def _wanted(world: World, job: Job, message: Message) -> bool:
    wished = wishes(world, job, message.to)
    if isinstance(message.about, Rejected):  # what a client wants of its own is in the manifest: the worker reads it
        return message.to == "client" or any(event in wished for event in USUAL)
    return message.event in wished


def _address(job: Job, message: Message) -> str:
    """Whom it is told; empty where that is not known here."""
    callback = job.manifest.callback if job.manifest else None
    ours = message.to == "client" and not isinstance(message.about, Rejected)
    return address_of(callback.callbackUrl) if ours and callback else ""


def _ticket(world: World, stage: Stage, message: Message, address: str) -> Ticket:
    attempt = world.desk(message.job).notify_tries.get(message.name, 0) + 1
    item = Item(rel=f"{message.job}/{message.name}", attempt=attempt)
    pin = _pin(world, stage, message.job)
    more = world.ledger.policy.attempts(stage.name, pin.function) > 1
    brief = attempt == 1 and more and not world.receivers.failing(address)
    order = _order(world, message).model_copy(update={"brief": brief})
    return ticket_of(world, stage, message.job, item, order)


def _order(world: World, message: Message) -> NotifyOrder:
    about, reached = message.about, _reached(world, message)
    if isinstance(about, Rejected):
        return NotifyOrder(
            to=message.to,
            event=message.event,
            news={"state": "FAILED", "message": about.why, "images": {}, "failures_by_code": {}, "codes": {}},
            manifest=about.sha256,
            webhook_id=webhook_id(message.job, "refused", about.sha256),
            reached=reached,
        )
    return NotifyOrder(
        to=message.to,
        event=message.event,
        revision=message.revision,
        summary=world.layout.result(message.job, f"{about.revision}/summary.json"),
        webhook_id=webhook_id(message.job, f"{about.n}", about.seal),
        overtaken=_overtaken(world, message, about),
        reached=reached,
    )


def webhook_id(*parts: str) -> str:
    """The same for the same message, so that a client can drop repeats."""
    return f"msg_{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}"


def ticket_of(world: World, stage: Stage, name: str, item: Item, order: NotifyOrder) -> Ticket:
    """The ticket by which something is told of a job."""
    pin = _pin(world, stage, name)
    return Ticket(
        id=f"n{world.rng.getrandbits(48):012x}",
        stage=stage.name,
        job=name,
        pin=pin,
        items=(item,),
        limit_seconds=stage.delivery(pin.function).timeout.total_seconds(),
        notify=order,
    )


def _pin(world: World, stage: Stage, name: str) -> Pin:
    """A job whose manifest is refused has none of its own."""
    return world.ledger.jobs[name].pins.get(stage.name) or lone_pin(stage)


def _overtaken(world: World, message: Message, final: LastFinal) -> bool:
    """Whether a newer revision is there that the same audience will be told of."""
    job = world.ledger.jobs[message.job]
    newest = job.finals[-1]
    if final.n >= newest.n or Message(job.name, newest, message.to).event not in wishes(world, job, message.to):
        return False
    return message.to == "client" or newest.people


async def _receipt(world: World, message: Message, webhook: str, body: dict[str, Any]) -> None:
    tries = world.desk(message.job).notify_tries.get(message.name, 0)
    told, detail = str(body.get("outcome")), body.get("detail")
    receipt = Receipt(
        job=message.job,
        revision=message.revision,
        outcome=told,
        webhook_id=webhook if told == "told" else "",
        attempts=tries + 1,
        detail=detail if isinstance(detail, dict) else {},
        at=world.clock.wall(),
    )
    # Where the receipt is refused it was told all the same: once more after a restart, not again and again.
    await refusals.put(world, world.layout.receipt(message.job, message.name), receipt.dump())
    stage = world.pipeline.of_kind("notify")
    if stage is not None and tries:
        await world.store.delete([world.layout.dead_letter(stage.name, f"{message.job}/{message.name}")])
    await _forget_reached(world, message)
    _done(world, message, told)


def _done(world: World, message: Message, told: str) -> None:
    job, desk, final = world.ledger.jobs[message.job], world.desk(message.job), message.about
    desk.notify_tries.pop(message.name, None)
    desk.notify_letters.pop(message.name, None)
    if isinstance(final, Rejected):
        desk.rejected_told.add(message.to)
        return
    if message.to == "people":
        job.untold_people = [other for other in job.untold_people if other.n != final.n]
    else:
        job.untold = [other for other in job.untold if other.n != final.n]
        if job.finals and final.n == job.finals[-1].n:
            job.told = told
    desk.status_seq = -1


async def _failed(world: World, stage: Stage, message: Message, outcome: Outcome, item: ItemOutcome | None) -> None:
    desk, policy, key = world.desk(message.job), world.ledger.policy, message.name
    pin = _pin(world, stage, message.job)
    if outcome.recipe_refused and stage.name in world.ledger.jobs[message.job].pins:
        await opening.repin_stage(world, message.job, stage.name)
    await _keep_reached(world, message, outcome)
    tries = desk.notify_tries[key] = desk.notify_tries.get(key, 0) + 1
    if (item is None or item.retry is not False) and tries < policy.attempts(stage.name, pin.function):
        # Who says `Retry-After` is not called sooner; nor is the day that the tries take made shorter by it.
        asked = item.after if item is not None and item.after is not None else 0.0
        wait = max(asked, policy.backoff(stage.name, pin.function, tries))
        desk.notify_at[key] = world.now() + wait
        log.info(
            "event=notify.retry job=%s revision=%s to=%s in=%.0f code=%s",
            message.job,
            message.revision,
            message.to,
            wait,
            item.code if item else outcome.died,
        )
        return
    code = item.code if item and item.code in CODES else outcome.died or _FAILED[message.to]
    letter = DeadLetter(
        stage=stage.name,
        job=message.job,
        recipe=pin.recipe,
        code=code,
        message=item.message if item and item.message else CODES[code].meaning,
        remedy=item.remedy if item and item.code == code else "",
        attempts=tries,
        at=world.clock.wall(),
    )
    desk.notify_letters[key] = letter
    await _give_up(world, message, letter)


def _reached(world: World, message: Message) -> tuple[int, ...]:
    """Places in `notify.to` of those whom this message has reached, whatever places they had then."""
    control = world.desk(message.job).control
    marks = control.reached.get(message.name, ()) if control else ()
    return tuple(
        place for place, address in enumerate(world.pipeline.spec.notify.to) if marks and mark(address) in marks
    )


async def _keep_reached(world: World, message: Message, outcome: Outcome) -> None:
    """Write down who was told though others were not: no restart and no deleted dead letter tells them again."""
    control, to = world.desk(message.job).control, world.pipeline.spec.notify.to
    told, places = dict(control.reached) if control else {}, outcome.body.get("reached")
    marks = {mark(to[place]) for place in places if place in range(len(to))} if isinstance(places, list) else set()
    if marks - set(told.get(message.name, ())):
        told[message.name] = tuple(sorted(marks.union(told.get(message.name, ()))))
        await control_record.save(world, message.job, {"reached": told})


async def _forget_reached(world: World, message: Message) -> None:
    control = world.desk(message.job).control
    if control and message.name in control.reached:
        told = {name: marks for name, marks in control.reached.items() if name != message.name}
        await control_record.save(world, message.job, {"reached": told})


async def _give_up(world: World, message: Message, letter: DeadLetter) -> None:
    """Write the dead letter. Where that fails it is written later, and nobody is called again for it."""
    key = world.layout.dead_letter(letter.stage, f"{message.job}/{message.name}")
    await world.store.put(key, letter.dump())
    _done(world, message, "dead letter")
