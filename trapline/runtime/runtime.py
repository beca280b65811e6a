"""The runtime: a ticket in, an outcome out. One per worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from trapline.errors import CODES, Failure, TraplineError
from trapline.pipeline.load import Pipeline
from trapline.records import ItemOutcome, Outcome, Ticket
from trapline.runtime.cache import ModelCache
from trapline.runtime.functions import Functions, Handler, Models, RecipeRefused
from trapline.runtime.images import STORE_PAUSE, ImageStage, as_failure, passing
from trapline.runtime.jobs import JobStages, as_before
from trapline.runtime.logs import captured
from trapline.runtime.messages import Messages, Sign
from trapline.store.base import Store

log = logging.getLogger("trapline.runtime")

LOG_BYTES = 2**20  # of one ticket


class SetupFailed(Exception):
    """A function could not be set up; the cause says why."""


class Runtime:
    """Runs tickets of one pipeline against one store. `cache` is a local folder for models.

    `models` gives functions their models, if not the store does. `on_ready` is called for each ticket once its
    function is set up: from then on the ticket's time counts. `sign` makes presigned addresses: (key, seconds) → URL.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        store: Store,
        cache: Path,
        *,
        other: Callable[[str], Store],
        clock: Callable[[], float] = time.monotonic,
        cache_bytes: int = 256 * 2**20,
        on_ready: Callable[[], None] = lambda: None,
        models: Models | None = None,
        sign: Sign | None = None,
    ) -> None:
        layout = pipeline.layout
        self._on_ready = on_ready
        self._store = store
        self._pipeline = pipeline
        self._functions = Functions(pipeline, models or ModelCache(store, layout, cache))
        read = {parent for stage in pipeline.stages.values() if stage.kind == "image" for parent in stage.parents}
        leaves = [name for name in pipeline.image_stages if name not in read]
        leaf = leaves[0] if len(leaves) == 1 else ""
        most = pipeline.spec.images.max_pixels
        self._images = ImageStage(store, layout, most, clock, cache_bytes, leaf)
        self._jobs = JobStages(store, layout, pipeline.spec.bucket, other, clock, most)
        self._messages = Messages(store, layout, pipeline.spec.bucket, pipeline.spec.notify, sign)

    def prefetch(self, ticket: Ticket) -> None:
        """Read ahead what a ticket will need."""
        if self._kind(ticket) == "image":
            self._images.prefetch(ticket)

    def run(self, ticket: Ticket) -> Outcome:
        """Run a ticket; never raises for what a function or an image does."""
        with captured() as lines:
            outcome = self._outcome(ticket)
        if lines:
            self._keep_log(ticket, lines)
        return outcome

    def _outcome(self, ticket: Ticket) -> Outcome:
        try:
            return self._run(ticket)
        except RecipeRefused as refused:
            return Outcome(ticket=ticket.id, recipe_refused=str(refused))
        except SetupFailed as failed:
            return _not_set_up(ticket, failed.__cause__)

    def _keep_log(self, ticket: Ticket, lines: list[str]) -> None:
        """What the function logged, as `logs/<job>/<stage>-<ticket>.log`; losing it costs nothing else."""
        key = self._pipeline.layout.log(ticket.job, f"{ticket.stage}-{ticket.id}.log")
        try:
            self._store.put(key, "".join(lines).encode("utf-8", "replace")[:LOG_BYTES], content_type="text/plain")
        except TraplineError as error:
            log.warning("event=log.not_kept key=%r error=%s", key, error)

    def _run(self, ticket: Ticket) -> Outcome:
        kind = self._kind(ticket)
        if kind == "image":
            items = self._images.run(ticket, lambda: self._ready(ticket))
            return Outcome(ticket=ticket.id, items=tuple(items))
        if kind == "fetch":
            return Outcome(ticket=ticket.id, items=tuple(self._jobs.fetch(ticket, self._ready(ticket))))
        if ticket.gather is not None:
            return self._jobs.gather(ticket, ticket.gather, self._ready(ticket))
        if ticket.notify is not None:
            return self._messages.notify(ticket, ticket.notify, self._ready(ticket))
        return Outcome(ticket=ticket.id, recipe_refused="the ticket does not say what to do")

    def _kind(self, ticket: Ticket) -> str:
        stage = self._pipeline.stages.get(ticket.stage)
        if stage is None:
            raise RecipeRefused(f"this project has no stage {ticket.stage!r}")
        return stage.kind

    def _ready(self, ticket: Ticket) -> Handler:
        try:
            handler = self._functions.ready(ticket.pin)
        except RecipeRefused:
            raise
        except Exception as error:
            raise SetupFailed from error
        self._on_ready()
        return handler


def _not_set_up(ticket: Ticket, error: BaseException | None) -> Outcome:
    """No item of the ticket could run. Where only the store is to blame, none loses a try over it."""
    if error is None or not passing(error):
        return Outcome(ticket=ticket.id, setup=_setup_outcome(ticket, error))
    if ticket.gather is not None or ticket.notify is not None:
        return as_before(ticket, error)
    log.warning("event=store.failed stage=%s error=%s", ticket.stage, error)
    return Outcome(ticket=ticket.id, setup=ItemOutcome(rel="", result="unknown", after=STORE_PAUSE))


def _setup_outcome(ticket: Ticket, error: BaseException | None) -> ItemOutcome:
    """Why no item of the ticket could run."""
    if isinstance(error, TraplineError) and not isinstance(error, Failure):
        problem: Failure = Failure(error.message, code="model_unusable", remedy=error.remedy)
    else:
        problem = as_failure(error or RuntimeError("unknown"))
    log.warning("event=function.setup_failed stage=%s function=%s error=%s", ticket.stage, ticket.pin.function, problem)
    code = problem.code if problem.code in CODES else "function_error"
    message = f"The function could not be set up: {problem.message}"
    return ItemOutcome(
        rel="",
        result="failed",
        code=code,
        message=message,
        remedy=problem.remedy,
        retry=problem.retry,
        after=problem.after,
    )
