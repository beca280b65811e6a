"""Outbound HTTP for `fetch` and `notify`: addresses that strangers name are called only where that is safe.

An address must be public or allowed by name; the name is resolved once and the answer is what is connected to;
time, bytes and redirects are bounded. Nothing here knows what an answer is for. Proxies and cookies are not used.
"""

from __future__ import annotations

import email.utils
import functools
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from trapline.errors import ConfigError, Failure, Permanent, Temporary

Resolver = Callable[[str, int], list[str]]  # (host, port) → addresses; raises OSError

Body = bytes | Iterator[bytes]

LONGEST_WAIT = 3600.0  # seconds: what a server may ask for with Retry-After
_ADDRESSES_TRIED = 4
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_BUSY = frozenset((408, 425, 429))
_PLAIN_ENCODINGS = frozenset(("", "identity", "aws-chunked"))  # the last is a label that S3 clients leave behind
_SCHEME_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Codes:
    """The failure codes of one use, and what differs with it."""

    refused: str
    failed: str
    not_found: str
    too_large: str
    passing: frozenset[int] = _BUSY  # 4xx statuses worth another try
    path_shown: bool = True  # False: the path may itself be a secret, as with many webhooks


FETCH = Codes("fetch_refused", "fetch_failed", "fetch_not_found", "fetch_too_large")
CALLBACK = Codes(
    "callback_refused", "callback_failed", "callback_failed", "callback_failed", _BUSY | {404}, path_shown=False
)


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    data: bytes = b""  # empty for `post`: its body is not read
    content_type: str | None = None  # the media type alone, without parameters


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses of a name, by the machine's own resolver."""
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Outbound:
    """Calls addresses that others named. Safe to use from several threads.

    `allow` names hosts (`host` or `host:port`) that may be private and plain http; `timeout` (seconds) bounds one call
    as a whole, redirects included; `max_bytes` bounds an answer's body.
    """

    def __init__(
        self,
        codes: Codes,
        *,
        allow: Iterable[str] = (),
        timeout: float = 60.0,
        max_bytes: int = 200_000_000,
        redirects: int = 5,
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._codes = codes
        self._allowed = _Allowed(allow)
        self._timeout, self._max_bytes, self._redirects = timeout, max_bytes, redirects
        self._clock = _Clock()
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls or _tls(),
            max_connections=None,
            max_keepalive_connections=16,
            keepalive_expiry=5.0,
            network_backend=_Pinned(codes, self._allowed, resolver, self._clock),
        )

    def get(self, url: str) -> Answer:
        """Read an address whole. Raises `Permanent` or `Temporary` with a code of this use's family."""
        self._clock.start(self._timeout)
        target = self._parse(url)
        for _ in range(self._redirects + 1):
            answer = self._call("GET", target, {}, None)
            if isinstance(answer, Answer):
                return answer
            target = self._parse(answer, base=target)
        raise self._permanent(self._codes.failed, target, f"is where more than {self._redirects} redirects lead")

    def post(self, url: str, body: Body, headers: Mapping[str, str], timeout: float | None = None) -> Answer:
        """Send `body`; any 2xx is success, and a redirect is not followed. Raises as `get` does.

        A body that comes in pieces needs its `Content-Length` among the headers. `timeout` (seconds): for this call.
        """
        self._clock.start(self._timeout if timeout is None else timeout)
        target = self._parse(url)
        answer = self._call("POST", target, headers, body)
        if isinstance(answer, Answer):
            return answer
        raise Temporary(
            f"{self._shown(target)} answered with a redirect, which is not followed.", code=self._codes.failed
        )

    def close(self) -> None:
        """Close the connections kept for a next call."""
        self._pool.close()

    # -- one address

    def _parse(self, url: str, base: httpx.URL | None = None) -> httpx.URL:
        try:
            parsed = base.join(url) if base is not None else httpx.URL(url)
        except (httpx.InvalidURL, ValueError, TypeError):
            parsed = httpx.URL()
        if not parsed.scheme:
            raise Permanent("The address is not a URL that can be read.", code=self._codes.refused)
        problem = _problem(url, parsed) or self._scheme_problem(parsed)
        if problem:
            raise self._permanent(self._codes.refused, parsed, problem)
        return parsed

    def _scheme_problem(self, url: httpx.URL) -> str:
        if url.scheme == "https" or (url.scheme == "http" and self._allowed(_host(url), _port(url))):
            return ""
        return "is not an https:// address"

    def _call(self, method: str, url: httpx.URL, headers: Mapping[str, str], body: Body | None) -> Answer | str:
        """One request: the answer, or where a redirect leads."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            with self._pool.stream(method, target, headers=_sent(url, headers), content=body) as response:
                return self._read(method, url, response)
        except httpcore.TimeoutException:
            raise self._temporary(url, f"did not answer fully within {self._clock.seconds:g} s") from None
        except httpcore.NetworkError as error:
            raise self._temporary(url, f"could not be read: {str(error) or 'the connection was cut'}") from None
        except httpcore.RemoteProtocolError:
            raise self._temporary(url, "cut its answer short, or does not speak HTTP") from None
        except (httpcore.LocalProtocolError, UnicodeError):
            raise self._permanent(self._codes.refused, url, "cannot be called with such a URL or header") from None

    def _read(self, method: str, url: httpx.URL, response: httpcore.Response) -> Answer | str:
        headers = _headers(response)
        if response.status in _REDIRECTS and (method == "POST" or headers.get("location")):
            return headers.get("location", "")
        if method == "POST" and 200 <= response.status < 300:
            return Answer(response.status)
        if method != "GET" or response.status not in (200, 203):
            raise self._unsuccessful(url, response.status, headers)
        return Answer(response.status, self._body(url, response, headers), _media_type(headers))

    def _body(self, url: httpx.URL, response: httpcore.Response, headers: Mapping[str, str]) -> bytes:
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in _PLAIN_ENCODINGS:
            raise self._permanent(
                self._codes.failed, url, f"sent {encoding[:40]!r} encoded data that was not asked for"
            )
        declared = headers.get("content-length", "")
        if re.fullmatch(r"[0-9]{1,20}", declared) and int(declared) > self._max_bytes:
            raise self._too_large(url)
        return b"".join(self._chunks(url, response))

    def _chunks(self, url: httpx.URL, response: httpcore.Response) -> Iterator[bytes]:
        read = 0
        for chunk in response.iter_stream():
            read += len(chunk)
            if read > self._max_bytes:
                raise self._too_large(url)
            yield chunk

    # -- failures

    def _unsuccessful(self, url: httpx.URL, status: int, headers: Mapping[str, str]) -> Failure:
        if status >= 500 or status in self._codes.passing:
            return self._temporary(url, f"answered {status}", after=_retry_after(headers.get("retry-after", "")))
        return self._permanent(
            self._codes.not_found if status in (404, 410) else self._codes.failed, url, f"answered {status}"
        )

    def _too_large(self, url: httpx.URL) -> Permanent:
        return self._permanent(self._codes.too_large, url, f"sent more than {self._max_bytes} bytes")

    def _permanent(self, code: str, url: httpx.URL, what: str) -> Permanent:
        return Permanent(f"{self._shown(url)} {what}.", code=code)

    def _temporary(self, url: httpx.URL, what: str, after: float | None = None) -> Temporary:
        return Temporary(f"{self._shown(url)} {what}.", code=self._codes.failed, after=after)

    def _shown(self, url: httpx.URL) -> str:
        """An address as messages show it: no user, password, query or fragment."""
        path = url.raw_path.partition(b"?")[0].decode("ascii") if self._codes.path_shown else "/…"
        return f"{url.scheme}://{url.netloc.decode('ascii')}{path}"[:300]


def shown(url: str) -> str:
    """An address as a person may see it: scheme, host and port alone."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return "…"
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}/…"[:300]


# -- which addresses may be called


class _Allowed:
    """The hosts that an operator allowed by name."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(_allow_entry(entry) for entry in entries)

    def __call__(self, host: str, port: int) -> bool:
        name = host.lower()
        return (name, None) in self._entries or (name, port) in self._entries


_ALLOW_ENTRY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/@:?#\[\]]+)(:(?P<port>\d{1,5}))?")


def _allow_entry(entry: str) -> tuple[str, int | None]:
    match = _ALLOW_ENTRY.fullmatch(f"[{entry}]" if entry.count(":") > 1 and "[" not in entry else entry)
    if match is None:
        raise ConfigError(
            f"{entry!r} in `allow` is not a host.", remedy="Expected `images.example.org` or `10.0.0.5:9000`."
        )
    host = httpx.URL(f"https://{match['host']}").raw_host.decode("ascii").lower()
    return host, int(match["port"]) if match["port"] else None


def _problem(text: str, url: httpx.URL) -> str:
    """What is wrong with the form of an address; empty when nothing is."""
    if url.scheme not in _SCHEME_PORTS:
        return "is not an https:// address"
    if url.userinfo:
        return "carries a user name or password"
    if "\\" in text or not _HOST.fullmatch(_host(url)) or not 0 < _port(url) < 65536:
        return "names no host and port that can be called"
    return ""


_HOST = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _port(url: httpx.URL) -> int:
    return _SCHEME_PORTS.get(url.scheme, 0) if url.port is None else url.port


_NOT_PUBLIC = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's metadata service, on an address that looks public
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # so neither loopback nor mapped, NAT64, private, multicast
_NOT_PUBLIC_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # Teredo and other protocols
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "3fff::/20",
        ),
    )
)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and carries no other address inside it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC)
    return parsed in _GLOBAL_V6 and not any(parsed in network for network in _NOT_PUBLIC_V6)


# -- connections


class _Clock(threading.local):
    """When the call that this thread makes must be over."""

    _deadline = 0.0
    seconds = 0.0  # … and how long it may take in all

    def start(self, seconds: float) -> None:
        self.seconds, self._deadline = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises where none are."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time is over")
        return left


@functools.cache
def _tls() -> ssl.SSLContext:
    """The usual authorities, read once per process."""
    return httpx.create_ssl_context()


class _Pinned(httpcore.NetworkBackend):
    """Connects to what a name resolved to when it was checked; TLS and `Host` keep to the name."""

    def __init__(self, codes: Codes, allowed: _Allowed, resolver: Resolver, clock: _Clock) -> None:
        self._codes, self._allowed, self._resolver, self._clock = codes, allowed, resolver, clock
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)[:_ADDRESSES_TRIED]
        for position, address in enumerate(addresses):
            share = self._clock.left() / (len(addresses) - position)
            try:
                stream = self._plain.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if position == len(addresses) - 1:
                    raise
            else:
                return _Timed(stream, self._clock)
        raise httpcore.ConnectError("the name has no address")

    def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses that may be connected to: all of an allowed host's, else the public ones."""
        found = self._resolve(host, port)
        if self._allowed(host, port):
            return found
        public = [address for address in found if is_public(address)]
        if found and not public:
            raise Permanent(f"{host} is not a public address.", code=self._codes.refused)
        return public

    def _resolve(self, host: str, port: int) -> list[str]:
        """Resolve within the time left; the system's resolver itself knows no limit."""
        answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()
        threading.Thread(target=_resolve_into, args=(answers, self._resolver, host, port), daemon=True).start()
        try:
            answer = answers.get(timeout=self._clock.left())
        except queue.Empty:
            raise httpcore.ConnectTimeout("the name did not resolve in time") from None
        if isinstance(answer, OSError | UnicodeError):
            raise httpcore.ConnectError("the name does not resolve")
        if isinstance(answer, Exception):
            raise answer
        return answer


def _resolve_into(answers: queue.SimpleQueue[list[str] | Exception], resolver: Resolver, host: str, port: int) -> None:
    try:
        answers.put(resolver(host, port))
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that waits
        answers.put(error)


class _Timed(httpcore.NetworkStream):
    """A connection whose every step ends when the call's time does."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream, self._clock = stream, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), 65536):
            self._stream.write(bytes(view[start : start + 65536]), self._clock.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._clock.left()), self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


# -- headers


def _sent(url: httpx.URL, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    own = [(b"Host", url.netloc), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"trapline")]
    return own + [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


def _headers(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in response.headers}


def _media_type(headers: Mapping[str, str]) -> str | None:
    value = headers.get("content-type", "").partition(";")[0].strip().lower()
    return value if re.fullmatch(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", value) else None


def _retry_after(value: str) -> float | None:
    """Seconds, from a count of them or a date; bounded."""
    seconds: float
    if re.fullmatch(r"[0-9]{1,100}", value.strip()):
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError, TypeError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT)
