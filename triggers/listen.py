"""Hints from a store that streams its events to whoever asks for them: MinIO's ListenBucketNotification.

Whatever happened while nobody listened is lost: the bucket is looked over once all connections are made again.
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from trapline.errors import ConfigError, EventUnknown, EventUnreadable, TraplineError
from trapline.events import TriggerContext
from trapline.events.dialects import LARGEST, read
from trapline.events.outage import Gaps, Outage, pause
from trapline.store.keys_boto import Keys
from trapline.store.open import settings_from
from trapline.store.s3 import S3Settings

# New content, or none any more. `s3:ObjectCreated:*` would tell of tags, retention and legal holds, too.
EVENTS = (
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
)
CONNECT = 3  # seconds to connect
PAUSES = (0.5, 60.0)  # seconds before another connection: the first pause, the longest
REFUSALS = 3  # answers in a row, as of a store without the API, after which it is taken for one; a proxy may be down
ABSENT = 600.0  # seconds until such a store is asked again
LASTING = 10.0  # seconds after which a connection was a good one: the next pause is the first again
JOIN = 1.0  # seconds that `stop` waits for its threads

_CHUNK = 1 << 16
_ABSENT = frozenset(("NotImplemented", "MethodNotAllowed"))
_UNSIGNED = "SignatureDoesNotMatch"  # Ceph says so with good keys, too: it sees one of several `events=`
_DENIALS = {
    "AccessDenied": "Allow these credentials s3:ListenBucketNotification in the bucket.",
    "InvalidAccessKeyId": "Check AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY.",
    "InvalidToken": "Renew AWS_SESSION_TOKEN.",
    "ExpiredToken": "Renew AWS_SESSION_TOKEN.",
    "NoSuchBucket": "Create the bucket, or set --bucket.",
    "SSLError": "Set AWS_CA_BUNDLE to the certificate authority's PEM file.",
}

_NO_API = (
    "event=listen.no_api store=%s why=%s: it does not tell of objects this way, only the sweep finds them; "
    "it is asked again every %d minutes. "
    "Set `sweeps: {open: PT10S, names: PT10S}` and leave `listen` out of `triggers:`."
)

log = logging.getLogger("trapline.triggers.listen")


class NoSuchApi(Exception):
    """The store takes the request for something else, or refuses to know it."""


class ConnectionEnded(Exception):
    """A stream's other end closed it."""


def open_trigger(context: TriggerContext, silence: object = 30) -> ListenTrigger:
    """The trigger of a pipeline in an outside store. Raises `ConfigError` where the bucket is the embedded one."""
    if context.embedded or context.endpoint is None:
        raise ConfigError(
            "The trigger `listen` needs an outside store that is MinIO: the embedded one has no such API.",
            remedy="Set --endpoint or AWS_ENDPOINT_URL to the store, or use `folder`.",
        )
    if not isinstance(silence, int | float) or not 1 <= silence <= 3600:
        raise ConfigError(
            f"pipeline.yaml: triggers.listen.silence is {silence!r}.", remedy="Set it to seconds, from 1 to 3600."
        )
    settings = settings_from(context.bucket, endpoint=context.endpoint)
    _client(settings, _Pool(settings, silence, lambda stream: None))  # what is wrong with the address is said now
    return ListenTrigger(context, settings, silence)


class ListenTrigger:
    """One connection for each prefix, made again with growing pauses, whatever ends it.

    That a store has no such API is said once; it is asked again now and then.
    """

    def __init__(self, context: TriggerContext, settings: S3Settings, silence: float) -> None:
        self._context = context
        self._settings = settings
        self._silence = silence
        self._stopping = threading.Event()
        self._outage = Outage("listen", settings.place)
        self._gaps = Gaps(context.prefixes)
        self._try_now = {prefix: threading.Event() for prefix in context.prefixes}
        self._lock = threading.Lock()
        self._said_absent = False
        self._absent: set[str] = set()  # prefixes of which the store does not tell
        self._streams: dict[str, _Stream] = {}
        self._threads = [
            threading.Thread(target=self._listen, args=(prefix,), name=f"listen-{prefix}", daemon=True)
            for prefix in context.prefixes
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake(self._try_now)
        for stream in list(self._streams.values()):
            stream.shut()
        end = time.monotonic() + JOIN
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _listen(self, prefix: str) -> None:
        client = _client(self._settings, _Pool(self._settings, self._silence, lambda s: self._opened(prefix, s)))
        tries = refusals = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            absent = self._hear_or_say(client, prefix)
            refusals = refusals + 1 if absent is not None else 0
            if absent is not None and refusals >= REFUSALS:
                self._lacking(prefix, absent)
            tries = 0 if time.monotonic() - begun > LASTING else tries + 1
            self._try_now[prefix].wait(ABSENT if refusals >= REFUSALS else pause(tries, *PAUSES))
            self._try_now[prefix].clear()

    def _hear_or_say(self, client: Minio, prefix: str) -> NoSuchApi | None:
        """One connection, and what ended it said. Returns the error where the store seems to have no such API."""
        absent = None
        try:
            self._hear(client, prefix)
        except NoSuchApi as error:
            absent = error
        except Exception as error:  # whatever it was, the next connection may be a good one
            if self._stopping.is_set():
                return None
            if not isinstance(error, HTTPError | MinioException | TraplineError | ConnectionEnded):
                log.exception("event=listen.error prefix=%s", prefix)
            self._outage.failed(prefix, _why(error))
        self._look_over(due=self._gaps.failed(prefix))
        return absent

    def _hear(self, client: Minio, prefix: str) -> None:
        """Tells of what one connection brings, until it ends."""
        try:
            with client.listen_bucket_notification(self._context.bucket, prefix, events=EVENTS) as events:
                for event in events:
                    self._tell(json.dumps(event).encode())
        except S3Error as error:
            if error.code in _ABSENT or (error.code == _UNSIGNED and client.bucket_exists(self._context.bucket)):
                raise NoSuchApi(error.code) from error
            raise
        except ValueError as error:  # the client knows that AWS has none
            raise NoSuchApi(str(error)) from error

    def _opened(self, prefix: str, stream: _Stream) -> None:
        stream.on_broken = self._tell
        self._streams[prefix] = stream
        if self._stopping.is_set():
            stream.shut()
            return
        if prefix in self._absent:
            self._absent.discard(prefix)
            log.info("event=listen.working source=%s prefix=%s", self._settings.place, prefix)
        self._outage.answered(prefix)
        self._look_over(due=self._gaps.opened(prefix))
        self._wake(self._gaps.deaf() - self._absent)  # the store is back: the bucket is looked over when all have tried

    def _look_over(self, *, due: bool) -> None:
        if due:
            self._context.sweep()

    def _wake(self, prefixes: Iterable[str]) -> None:
        for prefix in prefixes:
            self._try_now[prefix].set()

    def _tell(self, line: bytes) -> None:
        try:
            told = read(line)
        except (EventUnknown, EventUnreadable) as error:
            self._context.quarantine(line, str(error), "listen")
            return
        if told.unread:
            self._context.quarantine(line, told.unread[0], "listen")
        for event in told.events:
            for hint in event.hints("listen"):
                if hint.key.startswith(self._context.prefixes):
                    self._context.notice(hint)

    def _lacking(self, prefix: str, error: NoSuchApi) -> None:
        self._absent.add(prefix)
        with self._lock:
            if not self._said_absent and not self._stopping.is_set():
                log.warning(_NO_API, self._settings.endpoint, error, ABSENT // 60)
                self._said_absent = True


class _Stream:
    """What the client reads events from: whole lines that hold some, however slowly they come."""

    closed = False

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.on_broken: Callable[[bytes], None] = lambda line: None
        self._response = response
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def readline(self) -> bytes:
        """Raises at the end: the client would connect again by itself, at once, and tell nobody of the gap."""
        while True:
            while self._lines:
                line = self._lines.popleft().strip()
                if line and self._holds_events(line):
                    return line
            self._read()

    def close(self) -> None:
        self._response.close()

    def release_conn(self) -> None:
        self._response.release_conn()

    def shut(self) -> None:
        """Ends a read that is under way in another thread."""
        with suppress(OSError, RuntimeError, ValueError):
            self._response.shutdown()

    def _read(self) -> None:
        data = self._response.read1(_CHUNK)
        if not data:
            raise ConnectionEnded
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest.lstrip()  # spaces keep the connection alive
        self._lines.extend(lines)
        if self._rest.startswith(b"<"):
            raise NoSuchApi("it answered with XML")
        if len(self._rest) > LARGEST:
            raise ConnectionEnded

    def _holds_events(self, line: bytes) -> bool:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, dict) and "Records" in told:
            return bool(told["Records"])  # none: the store says that it is there
        self.on_broken(line)
        return False


class _Pool(urllib3.PoolManager):
    """The client's connections. An answer that is no stream of events is told from one."""

    def __init__(self, settings: S3Settings, silence: float, opened: Callable[[_Stream], None]) -> None:
        timeout = urllib3.Timeout(connect=CONNECT, read=silence)
        super().__init__(timeout=timeout, retries=False, ssl_context=_ssl_context(settings))
        self._opened = opened

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        response = super().urlopen(method, url, *args, **options)
        if "events=" not in url:
            return response
        kind = response.headers.get("content-type", "")
        if response.status in (405, 501) or (response.status == 200 and "xml" in kind):
            response.close()
            raise NoSuchApi(f"it answered {response.status} {kind}".strip())
        if response.status != 200:
            return response
        stream = _Stream(response)
        self._opened(stream)
        return cast(urllib3.BaseHTTPResponse, stream)


class _Credentials(Provider):
    """Those that the store is opened with, renewed when they run out: of a profile, a role, a web identity."""

    def __init__(self, settings: S3Settings) -> None:
        self._keys = Keys(settings)

    def retrieve(self) -> Credentials:
        found = self._keys()
        return Credentials(found["access_key_id"], found["secret_access_key"], found.get("token"))


def _client(settings: S3Settings, pool: _Pool) -> Minio:
    address = urlsplit(settings.endpoint or "")
    try:
        return Minio(
            address.netloc + address.path.rstrip("/"),
            settings.access_key,
            settings.secret_key,
            settings.session_token,
            secure=address.scheme == "https",
            region=settings.region,
            http_client=pool,
            credentials=None if settings.access_key else _Credentials(settings),
        )
    except ValueError as error:
        raise ConfigError(
            f"The trigger `listen` cannot use the endpoint {settings.endpoint}: {error}.",
            remedy="Set AWS_ENDPOINT_URL to http(s)://host[:port].",
        ) from error


def _ssl_context(settings: S3Settings) -> ssl.SSLContext | None:
    if not settings.ca_bundle:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(settings.ca_bundle)
    return context


def _why(error: Exception) -> str:
    if isinstance(error, TraplineError):
        return str(error)
    code = str(error.code) if isinstance(error, S3Error) else type(error).__name__
    return f"{code}. {_DENIALS.get(code, '')}".strip()
