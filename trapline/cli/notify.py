"""`trapline notify --test`: a message now, to all whom a job tells. Nothing in the bucket changes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from trapline.cli import jobs, words
from trapline.cli.place import Place
from trapline.errors import CODES, ConfigError, Failure
from trapline.pipeline.load import Stage
from trapline.pipeline.parameters import resolve_parameters
from trapline.records import NotifyOrder
from trapline.runtime.functions import Handler, handler_class
from trapline.runtime.images import as_failure
from trapline.runtime.items import Context, NotifyItem
from trapline.runtime.messages import WEBHOOK_SECRET, Messages

_WORDS = "This is a test. Nothing happened to the job."
_HERE = "{} A test reads it where the test is run."
_REMEDIES = {  # in place of the codes' own, which are about a message that left a dead letter
    "callback_failed": "Check the client's server, and the manifest's callbackUrl and callbackToken.",
    "notice_failed": "Correct the address in pipeline.yaml's `notify.to`, or what it names, and try again.",
}


def test(place: Place, what: str, *, as_json: bool) -> int:
    """Send it, show what was sent and answered. Returns the exit code: 0 where there is somebody, and all were told."""
    job = jobs.known_job(place, place.store(), what)
    tried = list(_tries(place, job))
    well = bool(tried) and all(one["told"] for one in tried)
    if as_json:
        words.emit({"job": job, "told": well, "messages": tried})
    else:
        _show(job, tried)
    return 0 if well else 1


def _tries(place: Place, job: str) -> Iterator[dict[str, Any]]:
    stage = place.pipeline.of_kind("notify")
    if stage is None:
        raise ConfigError(
            "pipeline.yaml: no stage tells anybody.",
            remedy="Add `notify: {function: notify, from: results/, to: receipts/}`.",
        )
    _own_secret(place)
    parameters = resolve_parameters(stage.function, stage.spec.parameters, f"stages.{stage.name}.parameters")
    handler, spec = _ready(place, stage, parameters), place.pipeline.spec
    messages = Messages(place.store(), place.layout, place.bucket, spec.notify, None)

    def item(order: NotifyOrder) -> NotifyItem:
        return messages.item(job, order, parameters, event="test")

    order = NotifyOrder(webhook_id=f"msg_test_{secrets.token_hex(12)}", news={"message": _WORDS})
    client = item(order)
    if client.callback is not None:
        yield {"to": "client", **_sent(handler, client)}
    if spec.notify.to:
        people = item(order.model_copy(update={"to": "people"}))
        for position, address in people.people.items():
            alone = replace(people, people={position: address}, sent=[], reached=[])
            yield {"to": f"notify.to {position + 1}", **_sent(handler, alone)}
        for position, error in people.lacking.items():
            lacks = {
                "told": False,
                "code": "notice_failed",
                "answer": error.message,
                "remedy": _HERE.format(error.remedy),
            }
            yield {"to": f"notify.to {position + 1}", "sent": None, **lacks}


def _own_secret(place: Place) -> None:
    """What signs where nothing else does, as an engine on this data folder takes it."""
    path = place.data / "engine" / "webhook-secret"
    if place.endpoint is None and not os.environ.get(WEBHOOK_SECRET) and path.is_file():
        os.environ[WEBHOOK_SECRET] = path.read_text().strip()


def _ready(place: Place, stage: Stage, parameters: dict[str, Any]) -> Handler:
    handler = handler_class(stage.function, place.pipeline.folder)()
    setup = getattr(handler, "setup", None)
    if setup is not None:
        setup(Context(function=stage.function.name, parameters=parameters, recipe=""))
    return handler


def _sent(handler: Handler, item: NotifyItem) -> dict[str, Any]:
    """What was sent, secrets masked, and what was answered."""
    try:
        (result,) = handler.handle([item])
    except Exception as error:  # noqa: BLE001 - a function may raise anything
        result = as_failure(error)
    sent = {"sent": item.sent[0] if item.sent else None}
    if isinstance(result, Failure):
        return {**sent, "told": False, "code": result.code, "answer": result.message, "remedy": _remedy(result)}
    answer = (result.get("detail") or {}).get("status")
    return {**sent, "told": True, "answer": f"answered {answer}" if answer else "taken"}


def _remedy(failure: Failure) -> str:
    known = CODES.get(failure.code)
    own = known is None or failure.remedy != known.remedy
    return failure.remedy if own else _REMEDIES.get(failure.code, failure.remedy)


def _show(job: str, tried: list[dict[str, Any]]) -> None:
    out = words.console()
    if not tried:
        words.say(out, f"{words.safe(job)} has nobody to tell: its manifest has no callback, and notify.to is empty.")
    for one in tried:
        sent = one["sent"] or {}
        words.say(out, f"{one['to']}  {words.safe(sent.get('to', ''))}")
        for name, value in sent.get("headers", {}).items():
            words.say(out, f"  {name}: {words.safe(value)}")
        for name in ("title", "body"):
            if sent.get(name):
                words.say(out, f"  {words.safe(sent[name])}")
        words.say(out, f"  {words.safe(one['answer'])}", style="green" if one["told"] else "red")
        if one.get("remedy"):
            words.say(out, f"  {words.safe(one['remedy'])}")
