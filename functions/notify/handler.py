"""`notify`: tells a job's client by one signed POST, or the people whom pipeline.yaml names by Apprise."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

from functions.notify import antenna, people
from functions.notify.antenna import Body
from functions.notify.item import Context, Item
from functions.notify.message import message
from trapline import outbound
from trapline.errors import Failure, Permanent
from trapline.records import SECRET_PREFIX, Callback

Result = dict[str, Any]

_HEADER_SAFE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_SHOWN = 4_000  # bytes of a body that a test shows


_LARGE = 1 << 20  # bytes; a larger body takes its time on the way


class Notify:
    """POSTs a Standard Webhooks message, or the pipeline-controller's body; any 2xx is success."""

    def setup(self, context: Context) -> None:
        chosen = context.parameters
        self._web = outbound.Outbound(outbound.CALLBACK, allow=chosen["allow"], timeout=chosen["timeout"], redirects=0)
        self._most: int = chosen["max_bytes"]
        self._brief: float = min(chosen["first_timeout"], chosen["timeout"])

    def handle(self, items: list[Item]) -> list[Result | Failure]:
        return [self._outcome(item) for item in items]

    def _outcome(self, item: Item) -> Result | Failure:
        if item.overtaken:
            return {"outcome": "overtaken", "detail": {}}
        try:
            if item.to == "people":
                return people.tell(item)
            if item.callback is None:
                return {"outcome": "nobody", "detail": {}}
            return self._tell(item, item.callback)
        except Failure as failure:
            return failure

    def _tell(self, item: Item, callback: Callback) -> Result:
        now = datetime.now(UTC)
        ends = item.summary is not None or item.event == "failed"
        body = antenna.body(item, self._most) if ends and item.form == "antenna" else _standard(item, now)
        headers = _headers(item, callback, body, now)
        item.sent.append({"to": outbound.shown(callback.callbackUrl), "headers": _masked(headers), **_start(body)})
        within = self._brief if item.brief and body.size <= _LARGE else None
        answer = self._web.post(callback.callbackUrl, body.chunks(), headers, within)
        return {"outcome": "told", "detail": {"status": answer.status}}


def _standard(item: Item, now: datetime) -> Body:
    text = json.dumps(message(item, now), ensure_ascii=False, separators=(",", ":")).encode()
    return Body(len(text), lambda: iter((text,)))


def _headers(item: Item, callback: Callback, body: Body, now: datetime) -> dict[str, str]:
    stamp = str(int(now.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(body.size),
        "webhook-id": item.webhook_id,
        "webhook-timestamp": stamp,
    }
    secret, name = (callback.callbackToken, "callbackToken") if callback.signs else (item.secret, "webhook secret")
    if secret:
        headers["webhook-signature"] = body.signature(_key(secret, name), f"{item.webhook_id}.{stamp}.")
    if callback.callbackToken and not callback.signs:
        headers["Authorization"] = _authorization(callback.callbackToken)
    return headers


def _key(secret: str, name: str) -> bytes:
    """The bytes of a `whsec_…` secret."""
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX))
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise Permanent(
            f"The {name} cannot sign: after {SECRET_PREFIX!r} it is not base64.",
            code="callback_failed",
            remedy=f"Give {SECRET_PREFIX!r} and 24 to 64 bytes in base64.",
        )
    return key


def _authorization(token: str) -> str:
    """The token as Antenna's pipeline-controller sends it: raw."""
    if not _HEADER_SAFE.fullmatch(token):
        raise Permanent(
            "The callbackToken cannot be sent as a header.",
            code="callback_failed",
            remedy="Use printable ASCII characters, without spaces around them.",
        )
    return token


def _masked(headers: dict[str, str]) -> dict[str, str]:
    """Headers as a person may see them."""
    secret = ("Authorization", "webhook-signature")
    return {name: "…" if name in secret else value for name, value in headers.items()}


def _start(body: Body) -> dict[str, Any]:
    """A body as a test shows it; a large one is not read for that."""
    text = b"".join(body.chunks()).decode() if body.size <= _SHOWN else f"… {body.size} bytes"
    return {"body": text}
