"""Hints from a queue of SQS, in which a bucket's events lie: put there by S3 itself, by SNS or by EventBridge.

A message is deleted once its events were handed over: the bucket is the truth, and the sweep its reader.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from trapline.errors import ConfigError, EventUnknown, EventUnreadable, StoreUnavailable, TraplineError
from trapline.events import TriggerContext
from trapline.events.dialects import read
from trapline.events.outage import Outage, pause
from trapline.events.told import StoreEvent
from trapline.store.keys_boto import keys_wrong
from trapline.store.open import checked_bundle

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import DeleteMessageBatchRequestEntryTypeDef, MessageTypeDef

BATCH = 10  # messages a request takes at most, SQS's own limit
LONGEST_WAIT = 20  # seconds that SQS lets a request wait for a message
MOST_RECEIVERS = 16
CONNECT = 3  # seconds to connect
ANSWER = 5  # seconds an answer may take, beyond the wait that was asked for
PAUSES = (1.0, 60.0)  # seconds between two tries while the queue fails: the first, the longest
DELETE_AGAIN = (0.0, 0.2, 1.0)  # seconds before each try to delete a batch
EMPTY = 1.0  # seconds that a request takes at least, with its pause, when there was nothing
JOIN = 1.0  # seconds that `stop` waits; a request that still waits for messages is left behind

_FAILURES = (BotoCoreError, ClientError, ResponseParserError, OSError)  # the last from reading a file of keys

_BUSY = frozenset(("Throttling", "ThrottlingException", "RequestThrottled", "TooManyRequestsException", "OverLimit"))
_ACTIONS = "sqs:GetQueueUrl, sqs:ReceiveMessage and sqs:DeleteMessage"
# What boto3 or the service says, by its code or its error's name → what it means, and the remedy.
_DENIALS = {
    r"QueueDoesNotExist|.*NonExistentQueue|InvalidAddress": ("There is no such queue", "Mend `queue:` or `region:`."),
    "NoRegionError": ("It has no region", "Set `region:` of triggers.sqs, or AWS_REGION."),
    "AccessDenied.*|AuthorizationError|403": ("These credentials may not", f"Allow them {_ACTIONS}."),
    "Kms.*": ("It is encrypted with a key that may not be used", "Allow these credentials kms:Decrypt."),
    r"(Expired|RequestExpired)\w*": (
        "Its session token has expired",
        "Renew it where it comes from: in the credentials file, or in AWS_SESSION_TOKEN, and start again.",
    ),
    r"\w*Credential\w*|ProfileNotFound|.*(Token|Signature).*|UnrecognizedClient.*|InvalidAccessKeyId": (
        "There are no credentials that it knows",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `profile:` where the store has other keys.",
    ),
    "SSLError": ("Its certificate is not trusted", "Set AWS_CA_BUNDLE to the certificate authority's PEM file."),
}
_ARN = re.compile(r"arn:[\w-]+:sqs:(?P<region>[\w-]+):(?P<owner>\w+):(?P<name>[\w.-]+)")
_HOST = re.compile(r"(?:^|\.)sqs\.([a-z0-9-]+)\.|^([a-z0-9-]+)\.queue\.")

log = logging.getLogger("trapline.triggers.sqs")


def open_trigger(
    context: TriggerContext,
    queue: str | None = None,
    region: str | None = None,
    wait: int = LONGEST_WAIT,
    endpoint: str | None = None,
    profile: str | None = None,
    receivers: int = 2,
) -> SqsTrigger:
    """The trigger of a pipeline whose bucket tells a queue. Raises `ConfigError` where an option is wrong."""
    if context.embedded:
        raise ConfigError(
            "The trigger `sqs` needs an outside store: no queue is told what arrives in the embedded one.",
            remedy="Set --endpoint or AWS_ENDPOINT_URL to the store, or use `folder`.",
        )
    if not queue or not isinstance(queue, str):
        raise ConfigError(_option("queue", "names no queue"), remedy="Set it to the queue's name, URL or ARN.")
    _check("wait", wait, 0, LONGEST_WAIT)
    _check("receivers", receivers, 1, MOST_RECEIVERS)
    return SqsTrigger(context, Queue(queue, region, endpoint, profile), wait, receivers)


def _option(name: str, wrong: str) -> str:
    return f"pipeline.yaml: triggers.sqs.{name} {wrong}."


def _check(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(_option(name, f"is {value!r}"), remedy=f"Set it to a whole number from {least} to {most}.")


class SqsTrigger:
    """Receives from a queue in some threads. An outage, or any error, costs time, and a sweep afterwards."""

    def __init__(self, context: TriggerContext, queue: Queue, wait: int = LONGEST_WAIT, receivers: int = 2) -> None:
        self._context = context
        self._queue = queue
        self._wait = wait
        self._stopping = threading.Event()
        self._outage = Outage("sqs", queue.name)
        self._strange: set[str] = set()  # buckets of others that the queue tells of
        self._threads = [
            threading.Thread(target=self._receive, name=f"sqs-{number}", daemon=True) for number in range(receivers)
        ]

    def start(self) -> None:
        """Raises `ConfigError` where there is no such queue, or it may not be read. An outage is waited for."""
        try:
            self._round(0)
        except _FAILURES as error:
            wrong = _wrong(error, self._queue.name)
            if wrong is not None:
                raise wrong from error
            self._failed(self._threads[0].name, error)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns soon. Messages of a request that is still under way come again, to whoever asks next."""
        self._stopping.set()
        end = time.monotonic() + JOIN
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _receive(self) -> None:
        me, tries = threading.current_thread().name, 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                some = self._round(0 if tries else self._wait)
            except Exception as error:  # whatever it was, the next request may be answered
                if not isinstance(error, _FAILURES):
                    log.exception("event=sqs.error queue=%s", self._queue.name)
                self._failed(me, error)
                self._stopping.wait(pause(tries, *PAUSES))
                tries += 1
                continue
            tries = 0
            if self._outage.answered(me):
                self._context.sweep()
            if not some:
                self._stopping.wait(begun + EMPTY - time.monotonic())

    def _failed(self, thread: str, error: Exception) -> None:
        wrong = _wrong(error, self._queue.name)
        if wrong is not None:
            with suppress(TraplineError):
                self._queue.open_again()
        why = wrong or f"It did not answer ({_code(error)})."
        self._outage.failed(thread, str(why), lost=_code(error) not in _BUSY)

    def _round(self, wait: int) -> bool:
        """One request's messages, handed over and deleted. Whether there were any."""
        messages = self._queue.receive(wait)
        if self._stopping.is_set():
            return False
        for message in messages:
            self._hand_over(message.get("Body", ""))
        self._queue.delete(messages)
        return bool(messages)

    def _hand_over(self, body: str) -> None:
        try:
            told = read(body)
        except (EventUnknown, EventUnreadable) as error:
            self._put_aside(body, str(error))
            return
        except Exception as error:  # unforeseen: without this the message would come again, for ever
            log.exception("event=sqs.unreadable queue=%s", self._queue.name)
            self._put_aside(body, f"It could not be read: {type(error).__name__}.")
            return
        if told.unread:
            self._put_aside(body, told.unread[0])
        for event in told.events:
            if self._is_ours(event):
                self._notice(event)

    def _put_aside(self, body: str, why: str) -> None:
        self._context.quarantine(body.encode(errors="replace"), why, "sqs")

    def _is_ours(self, event: StoreEvent) -> bool:
        if event.bucket in ("", self._context.bucket):
            return True
        if event.bucket not in self._strange and len(self._strange) < BATCH:
            self._strange.add(event.bucket)
            log.warning("event=sqs.other_bucket queue=%s bucket=%r: ignored", self._queue.name, event.bucket)
        return False

    def _notice(self, event: StoreEvent) -> None:
        for hint in event.hints("sqs"):
            if hint.key.startswith(self._context.prefixes):
                self._context.notice(hint)


class Queue:
    """What is asked of a queue. Every call may raise what boto3 raises."""

    def __init__(self, name: str, region: str | None, endpoint: str | None, profile: str | None) -> None:
        self.name = name
        self._open = partial(_client, name, region, endpoint, profile)
        self._client = self._open()
        self._url = name if "://" in name else ""
        self._lock = threading.Lock()

    @property
    def region(self) -> str:
        return self._client.meta.region_name

    def open_again(self) -> None:
        """With keys that were written anew meanwhile."""
        self._client = self._open()

    def receive(self, wait: int) -> Sequence[MessageTypeDef]:
        answer = self._client.receive_message(QueueUrl=self._address(), MaxNumberOfMessages=BATCH, WaitTimeSeconds=wait)
        return answer.get("Messages", [])

    def delete(self, messages: Sequence[MessageTypeDef]) -> None:
        """Those that cannot be deleted come again: a repeated hint costs nothing."""
        left = {str(number): message.get("ReceiptHandle", "") for number, message in enumerate(messages)}
        for seconds in DELETE_AGAIN:
            if not left:
                return
            time.sleep(seconds)
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": number, "ReceiptHandle": handle} for number, handle in left.items()
            ]
            answer = self._client.delete_message_batch(QueueUrl=self._address(), Entries=entries)
            left = {one["Id"]: left[one["Id"]] for one in answer.get("Failed", ()) if not one.get("SenderFault")}
        if left:
            log.warning("event=sqs.not_deleted queue=%s messages=%d: they come again", self.name, len(left))

    def _address(self) -> str:
        with self._lock:
            if not self._url:
                arn = _ARN.fullmatch(self.name)
                owner = {"QueueOwnerAWSAccountId": arn["owner"]} if arn else {}
                answer = self._client.get_queue_url(QueueName=arn["name"] if arn else self.name, **owner)
                self._url = answer["QueueUrl"]
            return self._url


def _client(queue: str, region: str | None, endpoint: str | None, profile: str | None) -> SQSClient:
    config = Config(
        connect_timeout=CONNECT,
        read_timeout=LONGEST_WAIT + ANSWER,
        retries={"total_max_attempts": 3, "mode": "standard"},
        max_pool_connections=MOST_RECEIVERS,
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # AWS_ENDPOINT_URL is the store's
    )
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        checked_bundle(Path(bundle), "AWS_CA_BUNDLE")
    address = urlsplit(queue)
    own = f"{address.scheme}://{address.netloc}" if address.netloc else os.environ.get("AWS_ENDPOINT_URL_SQS")
    try:
        session = boto3.session.Session(profile_name=profile)
        usual = os.environ.get("AWS_REGION") or session.region_name or ("us-east-1" if endpoint or own else None)
        return session.client(
            "sqs", region_name=region or _region(queue) or usual, endpoint_url=endpoint or own, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise _wrong(error, queue) or ConfigError(
            f"The queue {queue} cannot be addressed: {error}.", remedy="Mend `endpoint:` or `region:`."
        ) from error


def _region(queue: str) -> str | None:
    """The one that a URL or an ARN names."""
    if arn := _ARN.fullmatch(queue):
        return arn["region"]
    host = _HOST.search(urlsplit(queue).hostname or "")
    return (host[1] or host[2]) if host else None


# -- what went wrong


def _wrong(error: Exception, queue: str) -> TraplineError | None:
    """What a person has to mend; None for what may pass."""
    if wrong := keys_wrong(error, f"the queue {queue}"):
        return None if isinstance(wrong, StoreUnavailable) else wrong
    code = _code(error)
    for codes, (meaning, remedy) in _DENIALS.items():
        if re.fullmatch(codes, code):
            return ConfigError(f"{_failing(error, queue)}. {meaning} ({code}).", remedy=remedy)
    return None


def _failing(error: Exception, queue: str) -> str:
    """What cannot be done with a queue."""
    deleting = isinstance(error, ClientError) and error.operation_name.startswith("DeleteMessage")
    return f"Messages of the queue {queue} cannot be deleted" if deleting else f"The queue {queue} cannot be read"


def _code(error: Exception) -> str:
    """The service's word for an error; where it did not answer, the name of what happened."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__
