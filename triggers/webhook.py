"""Hints that stores post: S3's events in every dialect, SNS and EventBridge included, CloudEvents of every mode.

JSON that is no known event is put aside and answered 200, for a store repeats what is refused; all else is refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trapline.errors import ConfigError, EventForged, EventUnknown, EventUnreadable, Failure
from trapline.events import TriggerContext
from trapline.events.dialects import LARGEST, read
from trapline.events.sns import CONFIRMATION, NOTIFICATION, Message, message_in
from trapline.events.told import Told
from trapline.inbound import HEALTH, Address, Answer, Credentials, Inbound, Request, is_loopback
from trapline.outbound import FETCH, Outbound

NAME = "webhook"
PORT = 9910
SMALLEST = 1024  # bytes that a message may have at least
CERTIFICATES = 16  # kept; SNS has one a region
ASKING = 4  # messages of SNS for which something is fetched at a time
PATIENCE = 5.0  # seconds SNS may take to hand out a certificate or to confirm

_WHERE = f"pipeline.yaml: triggers.{NAME}"
_SIZE = re.compile(r"(\d{1,9})\s*(B|KiB|MiB)?")
_UNITS = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20}

_UNSIGNED = Answer(
    403, "SNS did not sign this; without `token`, `basic` or `hmac` beside `topics`, nothing else is taken"
)

log = logging.getLogger(__name__)


class WebhookTrigger:
    """Takes in what stores post, and hands on what is about this bucket."""

    def __init__(
        self, context: TriggerContext, credentials: Credentials, address: Address, topics: Sequence[str], sns: Sns
    ) -> None:
        self._context = context
        self._topics = frozenset(topics)
        self._signed_alone = bool(topics) and not credentials
        self._sns = sns
        self.inbound = Inbound(self.take, credentials, address)

    def start(self) -> None:
        self.inbound.start()

    def stop(self) -> None:
        self.inbound.stop()
        self._sns.close()

    def describe(self) -> str:
        """The address to give to the store."""
        return self.inbound.url

    async def take(self, request: Request) -> Answer:
        """What a message is answered; its events are handed on by then."""
        message = message_in(request.body)
        if message is not None:
            return await self._of_sns(message, request.body)
        if self._signed_alone:
            return _UNSIGNED
        return self._take(request.body, request.headers)

    def _take(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            return self._answered(read(body, headers, posted=True), body)
        except EventUnreadable as error:
            return Answer(400, error.message)
        except EventUnknown as error:
            return self._put_aside(body, str(error))
        except EventForged as error:
            return _forged(error)

    def _answered(self, told: Told, body: bytes) -> Answer:
        if told.unread:
            self._context.quarantine(body, " ".join(told.unread), NAME)
        return Answer(200, f"{self._tell(told)} noticed")

    def _put_aside(self, body: bytes, why: str) -> Answer:
        log.warning("event=webhook.unknown why=%s", why)
        self._context.quarantine(body, why, NAME)
        return Answer(200, "put aside: no event that is known")

    def _tell(self, told: Told) -> int:
        """Hand on what is about this bucket and worth telling about; how many events that were."""
        ours = [event for event in told.events if event.bucket in ("", self._context.bucket)]
        hints = [hint for event in ours for hint in event.hints(NAME) if hint.key.startswith(self._context.prefixes)]
        for hint in hints:
            self._context.notice(hint)
        return len(hints)

    # -- SNS

    async def _of_sns(self, message: Message, body: bytes) -> Answer:
        """The answer to an envelope of SNS. Of what is in it only the fields are read that SNS signed."""
        if self._topics and message.topic not in self._topics:
            return Answer(403, "this topic is not among `topics`")
        try:
            await self._sns.check(message)
            if message.kind == NOTIFICATION:
                return self._answered(read(message.text, posted=True), body)
            return await self._subscribed(message, body)
        except EventForged as error:
            return _forged(error)
        except (EventUnknown, EventUnreadable) as error:
            return self._put_aside(body, str(error))
        except Failure as error:
            log.warning("event=webhook.sns_unreachable why=%s", error.message)
            return Answer(503, "SNS cannot be reached; try again", ((b"retry-after", b"5"),))

    async def _subscribed(self, message: Message, body: bytes) -> Answer:
        if message.kind != CONFIRMATION:
            log.warning("event=webhook.unsubscribed topic=%s", message.topic)
            return Answer(200, "noted")
        if not self._topics:
            return self._put_aside(
                body,
                f"The topic {message.topic!r} asks whether this address subscribed to it. "
                "Name it in topics:, or open its `SubscribeURL`; nothing is told before.",
            )
        await self._sns.confirm(message)
        log.info("event=webhook.subscribed topic=%s", message.topic)
        return Answer(200, "confirmed")


def _forged(error: EventForged) -> Answer:
    log.warning("event=webhook.forged why=%s", error.message)
    return Answer(403, error.message)


class Sns:
    """Asks SNS itself, and nobody else: for its certificates, and to confirm a subscription."""

    def __init__(self, web: Outbound | None = None) -> None:
        self._web = web or Outbound(FETCH, timeout=PATIENCE, max_bytes=2**16, redirects=0)
        self._certificates: dict[str, bytes] = {}
        self._room = asyncio.Semaphore(ASKING)

    def close(self) -> None:
        self._web.close()

    async def check(self, message: Message) -> None:
        """Raises `EventForged` unless SNS signed this, `Failure` where that cannot be told now."""
        url = message.certificate_url
        if url not in self._certificates:
            certificate = await self._get(url)
            if len(self._certificates) >= CERTIFICATES:
                self._certificates.clear()
            self._certificates[url] = certificate
        message.check(self._certificates[url], datetime.now(UTC))

    async def confirm(self, message: Message) -> None:
        """Say that this address subscribed."""
        await self._get(message.subscribe_url)

    async def _get(self, url: str) -> bytes:
        async with self._room:
            return (await asyncio.to_thread(self._web.get, url)).data


# -- options


def open_trigger(
    context: TriggerContext,
    port: int = PORT,
    host: str = "127.0.0.1",
    path: str = "/events",
    token: str = "",
    basic: str = "",
    hmac: str = "",
    max_body: int | str = "4 MiB",
    topics: Sequence[str] = (),
) -> WebhookTrigger:
    """The trigger with the options of pipeline.yaml. Raises `ConfigError`, which names the option."""
    credentials = Credentials(_secret("token", token), _user(_secret("basic", basic)), _secret("hmac", hmac))
    _check_address(port, host, path)
    if not is_loopback(host) and not credentials:
        raise ConfigError(
            f"{_WHERE}: on {host}, anybody could post events.",
            remedy="Name a `token`, `basic` or `hmac`, or leave `host` out: 127.0.0.1.",
        )
    address = Address(host, port, path, _size(max_body))
    return WebhookTrigger(context, credentials, address, _topics(topics), Sns())


def _check_address(port: object, host: object, path: object) -> None:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise ConfigError(f"{_WHERE}.port: {port!r} is no port.", remedy=f"Write a number, such as {PORT}.")
    if not isinstance(host, str) or not host:
        raise ConfigError(f"{_WHERE}.host: {host!r} is no address.", remedy="Write for example 127.0.0.1.")
    if not isinstance(path, str) or not path.startswith("/") or path == HEALTH:
        raise ConfigError(f"{_WHERE}.path: {path!r} is no path for events.", remedy="Write for example /events.")


def _topics(topics: object) -> tuple[str, ...]:
    if not isinstance(topics, list | tuple) or not all(isinstance(t, str) and t.startswith("arn:") for t in topics):
        raise ConfigError(f"{_WHERE}.topics: expected the ARNs of topics.", remedy="Write them as a list: [arn:aws:…].")
    return tuple(topics)


def _size(value: int | str) -> int:
    """Bytes, from a number or a text such as `512 KiB`."""
    found = _SIZE.fullmatch(str(value).strip())
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    if not SMALLEST <= size <= LARGEST:
        raise ConfigError(
            f"{_WHERE}.max_body: {value!r} is not between 1 KiB and 4 MiB.", remedy="Write for example 1 MiB."
        )
    return size


def _secret(option: str, where: object) -> str:
    """A secret, from the variable or the file that an option names; empty where it names none."""
    if where in ("", None):
        return ""
    kind, _, name = where.partition(":") if isinstance(where, str) else ("", "", "")
    if kind == "env" and name:
        secret = os.environ.get(name, "")
    elif kind == "file" and os.path.isabs(name):
        secret = _read(option, Path(name))
    else:  # not shown: it may be the secret itself
        raise ConfigError(
            f"{_WHERE}.{option}: a secret does not stand in pipeline.yaml.",
            remedy="Write env:NAME or file:/PATH, where it is to be read.",
        )
    if not secret.strip():
        raise ConfigError(f"{_WHERE}.{option}: {where} is empty.", remedy="Set it before the engine starts.")
    return secret.strip()


def _read(option: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{_WHERE}.{option}: {path} cannot be read: {why}.", remedy="Make it readable.") from None


def _user(basic: str) -> str:
    if basic and not re.fullmatch(r"[^:]+:.+", basic):
        raise ConfigError(f"{_WHERE}.basic: expected user:password there.", remedy="Put a colon between the two.")
    return basic
