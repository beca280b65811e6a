"""Inbound HTTP for triggers: a server in a thread of its own, bounded bodies, credentials compared in constant time.

What a message means, and what it is answered, is its taker's business. TLS is a proxy's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import ipaddress
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import uvicorn

from trapline.errors import SurroundingsError
from trapline.inbound.patience import Connection, Patience, most_connections

HEALTH = "/health"
SIGNATURE = "x-hub-signature-256"
SLOWEST = 30.0  # seconds a body may take
IDLE = 75  # seconds a connection is kept: longer than stores keep theirs, so that no event meets a closed one
QUEUE = 1024  # connections that wait with the system until they are taken
AT_ONCE = 16  # that are taken in one turn of the loop: each has a file open before `Patience` hears of it
SHOWN = 100  # characters of a path that somebody asked for
STOP = 5.0  # seconds what is under way may take at the end

log = logging.getLogger(__name__)

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """A message that was let in, whole."""

    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered."""

    status: int
    text: str = ""  # one line, for whoever reads the sender's log
    headers: tuple[tuple[bytes, bytes], ...] = ()


Taker = Callable[[Request], Awaitable[Answer]]

_OK = Answer(200, "ok")
_NOT_FOUND = Answer(404, "nothing is here")
_METHOD = Answer(405, "events are sent with POST", ((b"allow", b"POST"),))
_DENIED = Answer(401, "credentials are missing or wrong", ((b"www-authenticate", b'Basic realm="trapline"'),))
_UNSIGNED = Answer(401, "X-Hub-Signature-256 is missing or wrong")
_SLOW = Answer(408, f"the body took longer than {SLOWEST:g} s", ((b"connection", b"close"),))


@dataclass(frozen=True)
class Credentials:
    """What a sender must show: the token, or user and password, as far as set; where a key is set, a signature too."""

    token: str = field(default="", repr=False)
    basic: str = field(default="", repr=False)  # user:password
    key: str = field(default="", repr=False)  # of an HMAC-SHA256 over the body, in `X-Hub-Signature-256`

    def __bool__(self) -> bool:
        return bool(self.token or self.basic or self.key)

    def admit(self, authorization: str) -> bool:
        """Whether an `Authorization` header will do. A token may come with `Bearer` before it or without."""
        if not (self.token or self.basic):
            return True
        scheme, _, rest = authorization.strip().partition(" ")
        by_token = _same(_bare(authorization), _bare(self.token)) and bool(self.token)
        by_basic = scheme.lower() == "basic" and bool(self.basic) and _same(_decoded(rest), self.basic)
        return by_token or by_basic

    def signed(self, signature: str, body: bytes) -> bool:
        """Whether a body's signature, `sha256=<hex>`, is right; always where no key is set."""
        if not self.key:
            return True
        return _same(signature.strip().lower(), "sha256=" + hmac.new(self.key.encode(), body, sha256).hexdigest())


@dataclass(frozen=True)
class Address:
    """Where to listen, and for how much."""

    host: str
    port: int  # 0: a free one
    path: str
    max_body: int  # bytes


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Inbound:
    """Takes in what is posted to an address, from `start` to `stop`. `take` runs on the server's own loop."""

    def __init__(self, take: Taker, credentials: Credentials, address: Address) -> None:
        self._take, self._credentials, self._address = take, credentials, address
        self._port = address.port
        self._too_large = Answer(413, f"a message may have {address.max_body} bytes", ((b"connection", b"close"),))
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._refused = {"denied": 0, "not_found": 0}

    @property
    def url(self) -> str:
        """Where senders find it."""
        host = socket.gethostname() if _is_any(self._address.host) else self._address.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}{self._address.path}"

    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections) if self._server is not None else 0

    def start(self) -> None:
        """Listens when it returns. Raises `SurroundingsError` where the port or the address is not to be had."""
        listener = _listener(self._address.host, self._port)
        self._port = listener.getsockname()[1]
        self._server = uvicorn.Server(_settings(self.app))
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="inbound", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Lets requests that are under way end, for a few seconds."""
        server, thread = self._server, self._thread
        if server is not None and thread is not None:
            server.should_exit = True
            thread.join(STOP)

    # -- one request

    async def app(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """The ASGI application that is served."""
        headers = _headers(scope["headers"])
        answer = self._turned_away(scope, headers)
        if answer is None:
            try:
                answer = await self._taken(headers, receive)
            except ConnectionError:
                return  # the sender has gone
        await _say(answer, send)

    def _turned_away(self, scope: _Scope, headers: dict[str, str]) -> Answer | None:
        """The answer to what is clear before the body is read; None where it must be read."""
        if scope["path"] == HEALTH and scope["method"] in ("GET", "HEAD"):
            return _OK
        if scope["path"] != self._address.path:
            return self._refuse("not_found", scope["path"], _NOT_FOUND, f"events are posted to {self._address.path}")
        if scope["method"] != "POST":
            return _METHOD
        if not self._credentials.admit(headers.get("authorization", "")):
            return self._refuse("denied", scope["path"], _DENIED, _DENIED.text)
        declared = headers.get("content-length", "0")
        return self._too_large if not declared.isdigit() or int(declared) > self._address.max_body else None

    async def _taken(self, headers: dict[str, str], receive: _Receive) -> Answer:
        try:
            async with asyncio.timeout(SLOWEST):
                body = await self._body(receive)
        except TimeoutError:
            return _SLOW
        if body is None:
            return self._too_large
        if not self._credentials.signed(headers.get(SIGNATURE, ""), body):
            return self._refuse("denied", self._address.path, _UNSIGNED, _UNSIGNED.text)
        return await self._take(Request(headers, body))

    async def _body(self, receive: _Receive) -> bytes | None:
        """The body; None where it is too large."""
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._address.max_body:
                return None
            more = message.get("more_body", False)
        return b"".join(chunks)

    def _refuse(self, what: str, path: str, answer: Answer, why: str) -> Answer:
        """Told in the log at the first, the second, the fourth, the eighth: a store tries for ever."""
        self._refused[what] += 1
        if (times := self._refused[what]) & (times - 1) == 0:
            log.warning("event=inbound.%s path=%r times=%d why=%r", what, path[:SHOWN], times, why)
        return answer


async def _say(answer: Answer, send: _Send) -> None:
    body = answer.text.encode()
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"text/plain; charset=utf-8"), length, *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): _text(value) for name, value in pairs}


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


# -- credentials


def _same(one: str, other: str) -> bool:
    """In a time that says nothing about either, its length included."""
    return hmac.compare_digest(*(sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (one, other)))


def _bare(token: str) -> str:
    """A token without `Bearer` before it."""
    scheme, _, rest = token.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else token.strip()


def _decoded(text: str) -> str:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(text.strip(), validate=True).decode()
    return ""


# -- the server


def _settings(app: Callable[[_Scope, _Receive, _Send], Awaitable[None]]) -> uvicorn.Config:
    most = most_connections()
    return uvicorn.Config(
        app,
        interface="asgi3",
        loop="asyncio",
        http=type("Watched", (Connection,), {"patience": Patience(most)}),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a store that comes back opens hundreds of connections, and each refused one were a line
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=most,
        backlog=AT_ONCE,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=int(STOP / 2),
    )


class _Listener(socket.socket):
    """Many may wait, whatever asyncio says: its one number is also how many it takes in one turn."""

    def listen(self, backlog: int = QUEUE, /) -> None:
        super().listen(QUEUE)


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = _Listener(family, kind, number)
    except OSError as error:
        raise _unavailable(host, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # its connections too: the dead ones are noticed
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _unavailable(host, port, error) from None
    return listener


def _unavailable(host: str, port: int, error: OSError) -> SurroundingsError:
    return SurroundingsError(
        f"Port {port} of {host} cannot be listened on: {error.strerror or error}.",
        remedy="Name another `port` or `host`, or end what listens there.",
    )


def _is_any(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False
