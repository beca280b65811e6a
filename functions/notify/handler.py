"""`notify`: tells a job's client, by one signed POST, that a revision of its results is there."""

from __future__ import annotations

import binascii
import json
import re
from datetime import UTC, datetime
from typing import Any, Protocol

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from trapline import outbound
from trapline.errors import Failure, Permanent
from trapline.records import Callback, Summary

Result = dict[str, Any]

_SECRET_PREFIX = "whsec_"
_HEADER_SAFE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class Context(Protocol):
    """What the runtime hands to `setup`."""

    parameters: dict[str, Any]


class Item(Protocol):
    """What the runtime hands over for one revision."""

    job: str
    summary: Summary  # of that revision
    callback: Callback | None  # whom to tell
    webhook_id: str  # the same at every attempt, so that the client can drop repeats
    overtaken: bool  # a newer revision is there: its own message will do
    links: dict[str, str]  # file name → s3:// URI
    secret: str  # the pipeline's own `whsec_…`, or empty


class Notify:
    """POSTs a Standard Webhooks message; any 2xx is success."""

    def setup(self, context: Context) -> None:
        chosen = context.parameters
        self._web = outbound.Outbound(outbound.CALLBACK, allow=chosen["allow"], timeout=chosen["timeout"], redirects=0)

    def handle(self, items: list[Item]) -> list[Result | Failure]:
        return [self._outcome(item) for item in items]

    def _outcome(self, item: Item) -> Result | Failure:
        if item.overtaken:
            return {"outcome": "overtaken", "detail": {}}
        if item.callback is None:
            return {"outcome": "nobody", "detail": {}}
        try:
            return self._tell(item, item.callback)
        except Failure as failure:
            return failure

    def _tell(self, item: Item, callback: Callback) -> Result:
        now = datetime.now(UTC)
        body = json.dumps(message(item, now), ensure_ascii=False, separators=(",", ":"))
        answer = self._web.post(callback.callbackUrl, body.encode(), _headers(item, callback.callbackToken, body, now))
        return {"outcome": "told", "detail": {"status": answer.status}}


def message(item: Item, now: datetime) -> dict[str, Any]:
    """What the client is sent. The same at every attempt, once the summary says when it was made."""
    summary = item.summary
    return {
        "type": "trapline.job.failed" if summary.state == "FAILED" else "trapline.job.completed",
        "timestamp": (summary.at or now).isoformat(),
        "data": {
            "job": item.job,
            "state": summary.state,
            "revision": summary.revision,
            "images": summary.images,
            "failures_by_code": summary.failures_by_code,
            "results": summary.results,
            "client": summary.client,
            "links": item.links,
        },
    }


def _headers(item: Item, token: str, body: str, now: datetime) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "webhook-id": item.webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    signs = token.startswith(_SECRET_PREFIX)
    secret = token if signs else item.secret
    if secret:
        headers["webhook-signature"] = _signature(
            secret, "callbackToken" if signs else "webhook secret", item, body, now
        )
    if token and not signs:
        headers["Authorization"] = _authorization(token)
    return headers


def _signature(secret: str, name: str, item: Item, body: str, now: datetime) -> str:
    try:
        return Webhook(secret).sign(item.webhook_id, now, body)
    except (binascii.Error, ValueError, EmptyWebhookSecretError):
        raise Permanent(
            f"The {name} cannot sign: after {_SECRET_PREFIX!r} it is not base64.",
            code="callback_failed",
            remedy=f"Give {_SECRET_PREFIX!r} and 24 to 64 bytes in base64.",
        ) from None


def _authorization(token: str) -> str:
    """The token as Antenna's pipeline-controller sends it: raw."""
    if not _HEADER_SAFE.fullmatch(token):
        raise Permanent(
            "The callbackToken cannot be sent as a header.",
            code="callback_failed",
            remedy="Use printable ASCII characters, without spaces around them.",
        )
    return token
