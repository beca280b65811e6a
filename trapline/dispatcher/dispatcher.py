"""The dispatcher's loop: what is due for which job, one thing of a kind at a time.

The work itself is in this package's other modules; each is handed the dispatcher's `World`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from trapline.dispatcher import (
    charting,
    effects,
    gathering,
    intake,
    news,
    notifying,
    opening,
    reading,
    requests,
    telling,
    tidying,
)
from trapline.dispatcher.desk import Desk
from trapline.dispatcher.epoch import Epoch
from trapline.dispatcher.inflight import InflightBook
from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, StoreError, SurroundingsError
from trapline.events import ObjectEvent
from trapline.ledger import closing
from trapline.ledger.states import Job
from trapline.records import Outcome, Ticket

log = logging.getLogger("trapline.dispatcher")

FORGET_AFTER = 1.0  # seconds a finished job stays in memory
REQUESTS_EVERY = 5.0  # seconds
LONGEST_PAUSE = 30.0  # seconds between tries against a store that does not answer
INBOX = 200_000  # events held that are not looked up yet
STEPPING_BACK = 15.0  # seconds: more than an engine that is overtaken takes to see it, and to end what it began
LONGEST_OF = {"gather": 120.0, "tidy": 120.0}  # … of what leaves files behind at every try


class Dispatcher:
    """Runs a pipeline against a store until it is cancelled. One per bucket and pipeline."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ready = asyncio.Event()  # set when the first look at the bucket has begun
        self._wake = asyncio.Event()
        self._inbox: intake.Inbox = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._tickets: dict[asyncio.Task[None], None] = {}  # in the order in which they were handed out
        self._fetching = 0
        self._imaging = 0
        self._due: dict[str, float] = {}  # what is done regularly → when next
        self._again: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._inflight = InflightBook(world)
        self._epoch = Epoch(world)
        self._overtaken: SurroundingsError | None = None
        world.busy_with = lambda job, but: any(name == job and kind != but for name, kind in self._running)

    def notice(self, event: ObjectEvent) -> None:
        """A trigger saw something. Call it on the loop's thread."""
        slot = intake.slot_of(event, self.world.layout)
        if len(self._inbox) >= INBOX and slot not in self._inbox:
            self.look_over()  # a sweep finds what is left out
            return
        self._inbox[slot] = event
        self._wake.set()

    def look_over(self) -> None:
        """Events may have been lost: look the whole bucket over now. Call it on the loop's thread."""
        self.world.wanted["full"] = True
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled. What is under way when that happens is found again in the bucket."""
        await opening.engine_record(self.world)
        await self._epoch.take()
        self.world.gathers_from = 0.0 if self.world.alone else self.world.now() + STEPPING_BACK
        self.world.in_charge = self._in_charge
        await self.world.executor.start()
        await self._inflight.recall()
        self._schedule()
        self.ready.set()
        log.info("event=engine.ready workers=%d", self.world.executor.workers)
        try:
            while self._overtaken is None:
                pause = self._turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):  # `wait_for` may swallow a cancellation in Python 3.11
                        await self._wake.wait()
                self._wake.clear()
            raise self._overtaken
        finally:
            await self._stop()

    async def stop_cleanly(self) -> None:
        """Called after `run` ended in good order: nothing counts as an unclean stop."""
        await self._inflight.clean()

    async def _stop(self) -> None:
        tasks = [*self._running.values(), *self._tickets]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.world.executor.close()

    # -- one turn of the loop

    def _schedule(self) -> None:
        now = self.world.now()
        self._due = {"full": now, "names": now + self.world.names_every, "requests": now}

    def _turn(self) -> float:
        """Start everything that is due. Returns the seconds until something is due by itself."""
        now = self.world.now()
        if self._inbox:
            self._start("", "intake", self._take_in)
        self._regular(now)
        wake = list(self._due.values())
        try:
            self._hand_out(now)
        except Exception:
            log.exception("event=engine.error doing=hand_out")
            wake.append(now + 1.0)
        for name in list(self.world.ledger.jobs):
            wake += self._consider_safely(name, now)
        self._inflight.note()
        if self._inflight.due(now):
            self._start("", "inflight", self._inflight.write)
        # What is due already and was not started waits for something that will wake the loop when it ends.
        return max(0.001, min((at for at in wake if at > now), default=now + 60.0) - now)

    def _regular(self, now: float) -> None:
        world = self.world
        jobs: dict[str, tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = {
            "full": (world.full_every, lambda: charting.full(world)),
            "names": (world.names_every, lambda: charting.names(world)),
            "requests": (REQUESTS_EVERY, self._ask),
        }
        for name, (every, work) in jobs.items():
            if world.wanted.pop(name, False):
                self._due[name] = now
            if self._due[name] <= now and self._start("", name, work):
                self._due[name] = now + every

    def _hand_out(self, now: float) -> None:
        world = self.world
        while self._imaging < world.executor.slots:
            ticket = world.ledger.take(world.executor.workers, now)
            if ticket is None:
                break
            self._imaging += 1
            self._send(ticket, fetching=False)
        effects.queue(world, world.ledger.graves)
        world.ledger.graves = []
        while self._fetching < 2 and (ticket := world.ledger.take_fetch(now)) is not None:
            self._fetching += 1
            self._send(ticket, fetching=True)

    def _send(self, ticket: Ticket, *, fetching: bool) -> None:
        task = asyncio.create_task(self._run_ticket(ticket, fetching))
        self._tickets[task] = None
        task.add_done_callback(lambda task: self._tickets.pop(task, None))

    async def _run_ticket(self, ticket: Ticket, fetching: bool) -> None:
        outcome = Outcome(ticket=ticket.id)  # nothing ran: its images are owed as before
        try:
            await self._inflight.before(ticket)
            outcome = await self.world.executor.run(ticket)
        except Exception as error:
            log.exception("event=ticket.not_run ticket=%s error=%s", ticket.id, error)
            await asyncio.sleep(1.0)
        finally:
            self._fetching -= 1 if fetching else 0
            self._imaging -= 0 if fetching else 1
        self._came_back(ticket, outcome)

    def _came_back(self, ticket: Ticket, outcome: Outcome) -> None:
        world = self.world
        if outcome.recipe_refused:
            opening.pin_anew(world, ticket, outcome.recipe_refused)
        for item in outcome.items:
            if item.result == "failed":
                log.info(
                    "event=task.failed stage=%s key=%r code=%s message=%r",
                    ticket.stage,
                    item.rel,
                    item.code,
                    item.message,
                )
        effects.queue(world, world.ledger.finish(outcome, world.now()))
        self._wake.set()

    # -- one job

    def _consider_safely(self, name: str, now: float) -> list[float]:
        """One job's trouble must not stop the others: it rests, then it is looked at anew."""
        desk = self.world.desk(name)
        if desk.rests_until > now:
            return [desk.rests_until]
        try:
            return self._consider(name, now)
        except Exception:
            log.exception("event=engine.error job=%s", name)
            desk.rests_until = now + LONGEST_PAUSE
            return [desk.rests_until]

    def _consider(self, name: str, now: float) -> list[float]:
        """Start what is due for a job. Returns when things will be due by themselves."""
        world = self.world
        job, desk = world.ledger.jobs[name], world.desk(name)
        if not desk.opened:
            self._start(name, "open", lambda: opening.open_job(world, name))
            return list(desk.again.values())
        wake = [now + 60.0]
        if world.effects.get(name):
            self._start(name, "effects", lambda: effects.carry_out(world, name))
        self._look(name, job, desk, now, wake)
        if job.charted_at is not None and not job.problem:
            self._read(name, job)
            self._close(name, job, desk, now, wake)
        if job.charted_at is not None or job.problem:
            self._tell(name, job, desk, now, wake)
        self._status(name, job, desk, now, wake)
        self._forget(name, job, desk, now, wake)
        due = world.ledger.due(name)
        return [*wake, *([due] if due is not None else []), *desk.again.values()]

    def _look(self, name: str, job: Job, desk: Desk, now: float, wake: list[float]) -> None:
        # A job that is closed is only here until its client was told, which may take a day.
        every = self.world.names_every if job.closed and not job.busy else self.world.open_every
        overdue = job.charted_at is not None and now - job.charted_at >= every
        overflown = job.overflow and not job.busy and job.charted_at is not None and now - job.charted_at >= 5.0
        if desk.chart_wanted or overdue or overflown:
            self._start(name, "chart", lambda: charting.chart(self.world, name))
        elif job.charted_at is not None:
            wake.append(job.charted_at + every)

    def _read(self, name: str, job: Job) -> None:
        if job.to_read:
            self._start(name, "read", lambda: reading.read(self.world, name))
        if job.to_hash:
            self._start(name, "hash", lambda: reading.hash_bytes(self.world, name))

    def _close(self, name: str, job: Job, desk: Desk, now: float, wake: list[float]) -> None:
        world = self.world
        if job.deadline_at is not None and not job.closed and not job.deadline_passed:
            if now >= job.deadline_at:
                opening.deadline(world, name)
            wake.append(job.deadline_at)
        if job.deadline_passed:
            effects.queue(world, world.ledger.overdue(name))
        if now < world.gathers_from:
            wake.append(world.gathers_from)
            return
        if desk.untidy and (name, "gather") not in self._running:
            self._start(name, "tidy", lambda: tidying.tidy(world, name))
        if (name, "tidy") in self._running:
            return
        if job.closed or job.gathering or job.cancelled:
            return
        refresh, settle = world.refresh, world.pipeline.settle(name)
        if not world.ledger.may_close(name, now, refresh, settle):
            wake.append(closing.closes_at(job, now, refresh, settle) or now + 60.0)
            self._refresh(name, job, desk, now, wake)
            return
        if job.charted_at is not None and job.closing_since is not None and job.charted_at < job.closing_since:
            desk.chart_wanted = True
            self._start(name, "chart", lambda: charting.chart(world, name))
        elif job.empties and not job.busy:
            effects.queue(world, world.ledger.empties(name))
        elif closing.gatherable(job) and not desk.effects and desk.gather_at <= now:
            self._start(name, "gather", lambda: gathering.final(world, name))

    def _refresh(self, name: str, job: Job, desk: Desk, now: float, wake: list[float]) -> None:
        """Provisional results while the job is open, less often as it grows."""
        world = self.world
        if gathering.still_holds(world, name):
            self._start(name, "gather", lambda: gathering.final(world, name))
        if job.unsettled or gathering.unchanged(world, name):
            return
        due = max(
            job.compiled_at + world.refresh + len(job.images) / 500, job.last_arrival + world.refresh, desk.live_at
        )
        if due <= now and not world.refresh_off:
            self._start(name, "gather", lambda: gathering.live(world, name))
        wake.append(max(due, now + 0.5))

    def _tell(self, name: str, job: Job, desk: Desk, now: float, wake: list[float]) -> None:
        for message in notifying.owed(self.world, job):
            due = desk.notify_at.get(message.name, 0.0)
            if due <= now:
                self._start(name, f"notify {message.name}", partial(notifying.notify, self.world, message))
            else:
                wake.append(due)
        self._news(name, job, now, wake)

    def _news(self, name: str, job: Job, now: float, wake: list[float]) -> None:
        """What is told of an open job. Where others are being told it waits: the next turn looks again."""
        told = news.due(self.world, job, now)
        if told is None or (name, "news") in self._running:
            return
        event, due = told
        if due <= now and not news.busy(self.world):
            self._start(name, "news", partial(news.tell, self.world, name, event))
        wake.append(max(due, now + 1.0))

    def _status(self, name: str, job: Job, desk: Desk, now: float, wake: list[float]) -> None:
        due = telling.due(self.world, name, now)
        if due is None:
            return
        if due <= now:
            self._start(name, "status", lambda: telling.write(self.world, name))
        else:
            wake.append(due)

    def _forget(self, name: str, job: Job, desk: Desk, now: float, wake: list[float]) -> None:
        """A finished job is noted as seen and leaves memory."""
        if not gathering.finished(self.world, name) or any(key[0] == name for key in self._running):
            desk.finished_at = None
            return
        desk.finished_at = desk.finished_at or now
        if desk.finished_at + FORGET_AFTER > now:
            wake.append(desk.finished_at + FORGET_AFTER)
        elif desk.chart_seq != job.seq:
            desk.chart_wanted = True
            self._start(name, "chart", lambda: charting.chart(self.world, name))
        else:
            self._start(name, "seen", lambda: gathering.seen_and_forgotten(self.world, name))

    # -- one thing of a kind at a time

    async def _ask(self) -> None:
        """Look for requests, and whether another engine took over."""
        if await self._in_charge():
            await requests.answer(self.world)

    async def _in_charge(self) -> bool:
        """Whether no other engine took over; if one did, this one stops."""
        try:
            await self._epoch.check()
        except SurroundingsError as error:
            self._overtaken = error
            self._wake.set()
        return self._overtaken is None

    async def _take_in(self) -> None:
        """Those that could not be looked up yet stay."""
        taken, self._inbox = self._inbox, {}
        try:
            await intake.take_in(self.world, taken)
        finally:
            self._inbox = {**taken, **self._inbox}

    def _start(self, job: str, kind: str, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Start a piece of work unless the same is under way or waits after a failure."""
        key = (job, kind)
        again = self.world.desk(job).again if job else self._again
        if key in self._running or again.get(kind, 0.0) > self.world.now():
            return False
        again.pop(kind, None)
        task = asyncio.create_task(self._guard(job, kind, work))
        self._running[key] = task
        return True

    async def _guard(self, job: str, kind: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
            self._clear_failures(job, kind)
        except (StoreError, SurroundingsError, KeyUnusable) as error:
            self._try_later(job, kind, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("event=engine.error job=%s doing=%s", job, kind)
            self._try_later(job, kind, error)
        finally:
            self._running.pop((job, kind), None)
            self._wake.set()

    def _clear_failures(self, job: str, kind: str) -> None:
        failures = self.world.desk(job).failures if job and job in self.world.ledger.jobs else self._failures
        failures.pop(kind, None)

    def _try_later(self, job: str, kind: str, error: Exception) -> None:
        desk = self.world.desk(job) if job else None
        failures = desk.failures if desk else self._failures
        failures[kind] = failures.get(kind, 0) + 1
        pause = min(LONGEST_OF.get(kind, LONGEST_PAUSE), 0.5 * 2 ** min(failures[kind], 10))
        (desk.again if desk else self._again)[kind] = self.world.now() + pause
        log.warning("event=engine.retry job=%s doing=%s in=%.1f error=%s", job, kind, pause, error)
        if kind in self._due:
            self._due[kind] = self.world.now() + pause
