"""`fetch` against a server that serves, fails and attacks, on loopback."""

from __future__ import annotations

import email.utils
import gzip
import logging
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from functions.fetch.handler import Fetch
from trapline.errors import Failure, NotFound, Permanent, StoreDenied, StoreUnavailable, Temporary
from trapline.outbound import FETCH, LONGEST_WAIT, Outbound

JPEG = b"\xff\xd8\xff" + bytes(range(256)) * 40
MAX_BYTES = 200_000
Send = Callable[[bytes], None]


# -- a server


def reply(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def drip(send: Send, data: bytes) -> None:
    for byte in data * 1000:
        send(bytes([byte]))
        time.sleep(0.02)


def flood(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(2000):
        send(b"10000\r\n" + bytes(65536) + b"\r\n")


def slow_body(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drip(send, b"x")


def slow_chunk_size(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    drip(send, b"x")


def nap(send: Send) -> None:
    time.sleep(0.3)
    send(reply(200, JPEG))


BOMB = gzip.compress(bytes(50_000_000))
REPLIES: dict[str, bytes] = {
    "/a.jpg": reply(200, JPEG, "Content-Type: image/jpeg; charset=binary", "Set-Cookie: session=1"),
    "/page": reply(200, b"<script>", "Content-Type: text/html"),
    "/drawing": reply(200, b"<svg>", "Content-Type: image/svg+xml"),
    "/empty": reply(200),
    "/unsized": b"HTTP/1.0 200 OK\r\n\r\n" + JPEG,
    "/labelled": reply(200, JPEG, "Content-Encoding: aws-chunked"),
    "/early": b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(200, JPEG),
    "/missing": reply(404),
    "/gone": reply(410),
    "/denied": reply(403),
    "/unchanged": reply(304),
    "/nothing": reply(204),
    "/part": reply(206, JPEG),
    "/error": reply(500),
    "/busy": reply(429, b"", "Retry-After: 7"),
    "/dated": reply(503, b"", f"Retry-After: {email.utils.formatdate(time.time() + 3000, usegmt=True)}"),
    "/never": reply(503, b"", "Retry-After: 99999999999999999999"),
    "/whenever": reply(503, b"", "Retry-After: soon"),
    "/hop": reply(302, b"", "Location: /a.jpg?token=hunter2"),
    "/loop": reply(302, b"", "Location: /loop"),
    "/to-private": reply(302, b"", "Location: http://10.0.0.1/latest"),
    "/to-private-tls": reply(302, b"", "Location: https://169.254.169.254/latest"),
    "/to-other-port": reply(302, b"", "Location: http://127.0.0.1:1/"),
    "/to-other-name": reply(302, b"", "Location: //localhost/"),
    "/to-file": reply(302, b"", "Location: file:///etc/passwd"),
    "/to-user": reply(302, b"", "Location: http://user:hunter2@127.0.0.1/"),
    "/to-garbage": reply(302, b"", "Location: http://[::1"),
    "/announced": reply(200, b"x", length=10**12),
    "/short": reply(200, JPEG, length=len(JPEG) + 1),
    "/long": reply(200, JPEG + b"more", length=len(JPEG)),
    "/bomb": reply(200, BOMB, "Content-Encoding: gzip"),
    "/garbage": b"SSH-2.0-OpenSSH_9.6\r\n",
    "/silent": b"",
    "/headers": b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 50_000,
}
ACTIONS: dict[str, Callable[[Send], None]] = {
    "/flood": flood,
    "/slow-headers": lambda send: drip(send, b"HTTP/1.1 200 OK\r\nX: "),
    "/slow-body": slow_body,
    "/slow-chunk-size": slow_chunk_size,
    "/hang": lambda send: time.sleep(2),
    "/nap": nap,
}


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            while lines := self._request():
                self.server.requests.append(lines)  # type: ignore[attr-defined]
                path = lines[0].split()[1].partition("?")[0]
                if path == "/reset":
                    self._reset()
                if path in ACTIONS:
                    ACTIONS[path](self._send)
                self._send(REPLIES.get(path, b""))
                if not lines[0].startswith("GET /a.jpg"):
                    return
        except OSError:
            return

    def _request(self) -> list[str]:
        lines = []
        while (line := self.rfile.readline().decode().strip()) != "":
            lines.append(line)
        return lines

    def _send(self, data: bytes) -> None:
        self.request.sendall(data)
        self.server.sent += len(data)  # type: ignore[attr-defined]

    def _reset(self) -> None:
        self._send(reply(200, JPEG, length=len(JPEG) * 2))
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    tls: ssl.SSLContext | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[list[str]] = []
        self.sent = 0
        self.port = int(self.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


# -- the function


@dataclass
class Item:
    """One listed image, and the buckets that may be read for it."""

    url: str
    rel: str = "ecos/ea12/x.jpg"
    key: str = "incoming/ecos/ea12/x.jpg"
    own_bucket: str = "traps"
    objects: dict[tuple[str | None, str], bytes | Exception] = field(default_factory=dict)

    def read_object(self, bucket: str | None, key: str, max_bytes: int) -> bytes:
        found = self.objects.get((bucket, key), NotFound(key))
        if isinstance(found, Exception):
            raise found
        return found


def fetching(server: Server, **parameters: Any) -> Fetch:
    function = Fetch()
    chosen = {"allow": [f"127.0.0.1:{server.port}"], "buckets": [], "max_bytes": MAX_BYTES, "timeout": 5.0}
    function.setup(SimpleNamespace(parameters=chosen | parameters))
    return function


def fetched(server: Server, path: str, **parameters: Any) -> dict[str, Any]:
    (result,) = fetching(server, **parameters).handle([Item(server.url + path)])
    assert isinstance(result, dict), result
    return result


def failure(server: Server, path: str, **parameters: Any) -> Failure:
    (result,) = fetching(server, **parameters).handle([Item(server.url + path)])
    assert isinstance(result, Failure)
    return result


# -- what is served


def test_an_image_comes_whole_with_its_type(server: Server) -> None:
    assert fetched(server, "/a.jpg") == {"data": JPEG, "content_type": "image/jpeg"}


def test_the_server_is_asked_for_plain_bytes_under_its_own_name(server: Server) -> None:
    fetched(server, "/a.jpg?size=full&name=a%20b")
    (request,) = server.requests
    assert request[0] == "GET /a.jpg?size=full&name=a%20b HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in request
    assert "Accept-Encoding: identity" in request


@pytest.mark.parametrize("path", ["/unsized", "/labelled", "/early", "/long", "/nap", "/hop"])
def test_an_image_comes_whole_from_odd_servers_too(server: Server, path: str) -> None:
    assert fetched(server, path)["data"] == JPEG


def test_no_bytes_are_an_answer_too(server: Server) -> None:
    assert fetched(server, "/empty")["data"] == b""


@pytest.mark.parametrize("path", ["/page", "/drawing"])
def test_a_type_that_a_browser_would_run_is_not_passed_on(server: Server, path: str) -> None:
    assert fetched(server, path)["content_type"] is None


def test_no_cookie_goes_from_one_image_to_the_next(server: Server) -> None:
    function = fetching(server)
    function.handle([Item(f"{server.url}/a.jpg")])
    function.handle([Item(f"{server.url}/a.jpg")])
    assert len(server.requests) == 2
    assert not [line for request in server.requests for line in request if line.lower().startswith("cookie")]


def test_a_proxy_of_the_surroundings_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetched(server, "/a.jpg")["data"] == JPEG


# -- what fails


@pytest.mark.parametrize(
    ("path", "kind", "code"),
    [
        ("/missing", Permanent, "fetch_not_found"),
        ("/gone", Permanent, "fetch_not_found"),
        ("/denied", Permanent, "fetch_failed"),
        ("/unchanged", Permanent, "fetch_failed"),
        ("/nothing", Permanent, "fetch_failed"),
        ("/part", Permanent, "fetch_failed"),
        ("/bomb", Permanent, "fetch_failed"),
        ("/loop", Permanent, "fetch_failed"),
        ("/announced", Permanent, "fetch_too_large"),
        ("/flood", Permanent, "fetch_too_large"),
        ("/error", Temporary, "fetch_failed"),
        ("/short", Temporary, "fetch_failed"),
        ("/reset", Temporary, "fetch_failed"),
        ("/garbage", Temporary, "fetch_failed"),
        ("/silent", Temporary, "fetch_failed"),
        ("/headers", Temporary, "fetch_failed"),
        ("/to-private", Permanent, "fetch_refused"),
        ("/to-private-tls", Permanent, "fetch_refused"),
        ("/to-other-port", Permanent, "fetch_refused"),
        ("/to-other-name", Permanent, "fetch_refused"),
        ("/to-file", Permanent, "fetch_refused"),
        ("/to-user", Permanent, "fetch_refused"),
        ("/to-garbage", Permanent, "fetch_refused"),
    ],
)
def test_a_bad_answer_is_one_clear_failure(server: Server, path: str, kind: type[Failure], code: str) -> None:
    failed = failure(server, f"{path}?token=hunter2")
    assert (type(failed), failed.code) == (kind, code)
    assert "hunter2" not in str(failed)


def test_a_connection_that_nobody_takes_is_tried_again(server: Server) -> None:
    server.server_close()
    failed = failure(server, "/a.jpg")
    assert (type(failed), failed.code) == (Temporary, "fetch_failed")


@pytest.mark.parametrize(
    ("path", "low", "high"),
    [("/busy", 7, 7), ("/dated", 600, 3000), ("/never", LONGEST_WAIT, LONGEST_WAIT), ("/error", None, None)],
)
def test_a_busy_server_says_when_to_come_again_within_bounds(
    server: Server, path: str, low: float | None, high: float | None
) -> None:
    after = failure(server, path).after
    assert after == low or (after is not None and low is not None and high is not None and low <= after <= high)


def test_a_wait_that_cannot_be_read_is_left_to_the_stages_policy(server: Server) -> None:
    assert failure(server, "/whenever").after is None


@pytest.mark.parametrize("path", ["/slow-headers", "/slow-body", "/slow-chunk-size", "/hang"])
def test_a_slow_server_holds_nobody_longer_than_the_timeout(server: Server, path: str) -> None:
    begun = time.monotonic()
    failed = failure(server, path, timeout=0.4)
    assert time.monotonic() - begun < 1.5
    assert (type(failed), failed.code) == (Temporary, "fetch_failed")


def test_reading_stops_at_the_limit(server: Server) -> None:
    failure(server, "/flood")
    time.sleep(0.1)
    assert server.sent < 30_000_000  # of 131 MB: what the sockets' buffers took


def test_a_redirect_is_followed_five_times_and_no_more(server: Server) -> None:
    failure(server, "/loop")
    assert len(server.requests) == 6


def test_neither_logs_nor_failures_show_what_is_secret_in_an_address(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = str(failure(server, "/error?X-Amz-Signature=hunter2"))
    assert f"{server.url}/error answered 500." in shown
    assert "hunter2" not in caplog.text


# -- a batch


def test_one_that_fails_costs_one_and_the_order_is_kept(server: Server) -> None:
    paths = ["/a.jpg", "/missing", "/a.jpg", "/to-private", "/reset", "/a.jpg"]
    results = fetching(server).handle([Item(server.url + path) for path in paths])
    codes = [result.code if isinstance(result, Failure) else len(result["data"]) for result in results]
    assert codes == [len(JPEG), "fetch_not_found", len(JPEG), "fetch_refused", "fetch_failed", len(JPEG)]


def test_a_batch_is_fetched_at_once(server: Server) -> None:
    begun = time.monotonic()
    results = fetching(server).handle([Item(f"{server.url}/nap") for _ in range(8)])
    assert time.monotonic() - begun < 1.5
    assert [result["data"] for result in results if isinstance(result, dict)] == [JPEG] * 8


def test_an_error_of_the_store_library_costs_one_image(server: Server) -> None:
    odd = Item("incoming/x.jpg", objects={(None, "incoming/x.jpg"): RuntimeError("secret")})
    first, second = fetching(server).handle([odd, Item(f"{server.url}/a.jpg")])
    assert isinstance(first, Failure) and first.retry is None and "secret" not in str(first)
    assert isinstance(second, dict)


# -- buckets


OBJECTS: dict[tuple[str | None, str], bytes | Exception] = {
    (None, "incoming/card 1/ä#?%41.jpg"): b"own",
    (None, "jobs/ecos/1.json"): b"token",
    ("archive", "2025/a.jpg"): b"other",
    ("archive", "closed.jpg"): StoreDenied("no"),
    ("archive", "away.jpg"): StoreUnavailable("away"),
    ("archive", "large.jpg"): Permanent("large", code="fetch_too_large"),
}


def read(server: Server, url: str, key: str = "incoming/ecos/ea12/x.jpg") -> dict[str, Any] | Failure:
    (result,) = fetching(server, buckets=["archive"]).handle([Item(url, key=key, objects=OBJECTS)])
    return result


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("incoming/card 1/ä#?%41.jpg", b"own"),
        ("s3://traps/incoming/card 1/ä#?%41.jpg", b"own"),
        ("s3://archive/2025/a.jpg", b"other"),
    ],
)
def test_an_object_is_read_by_its_key_as_it_is_written(server: Server, url: str, data: bytes) -> None:
    assert read(server, url) == {"data": data, "content_type": None}


@pytest.mark.parametrize(
    "url",
    [
        *(
            "jobs/ecos/1.json",
            "s3://traps/jobs/ecos/1.json",
            "s3://TRAPS/jobs/ecos/1.json",
            "/incoming/a.jpg",
            "incoming/",
        ),
        *(
            "incoming/../jobs/ecos/1.json",
            "s3://traps/incoming/../jobs/ecos/1.json",
            "s3://archive/../traps/jobs/x.json",
        ),
        *(
            "s3://other/a.jpg",
            "s3://archive",
            "s3://archive/",
            "s3://",
            "s3:///a",
            "incoming/a\x00.jpg",
            "incoming//a.jpg",
        ),
        *("S3://traps/jobs/ecos/1.json", "results/a.csv", "../a", "", "s3://Archive/2025/a.jpg"),
    ],
)
def test_a_key_that_is_not_the_manifests_to_read_is_refused(server: Server, url: str) -> None:
    result = read(server, url)
    assert isinstance(result, Permanent) and result.code == "fetch_refused"


def test_incoming_images_are_where_the_pipeline_says(server: Server) -> None:
    key = "traps/in/ecos/ea12/x.jpg"
    assert isinstance(read(server, "incoming/card 1/ä#?%41.jpg", key), Permanent)
    assert isinstance(read(server, "incoming/card 1/ä#?%41.jpg"), dict)


@pytest.mark.parametrize(
    ("url", "kind", "code"),
    [
        ("incoming/absent.jpg", Permanent, "fetch_not_found"),
        ("s3://archive/absent.jpg", Permanent, "fetch_not_found"),
        ("s3://archive/closed.jpg", Permanent, "fetch_refused"),
        ("s3://archive/away.jpg", Temporary, "fetch_failed"),
        ("s3://archive/large.jpg", Permanent, "fetch_too_large"),
    ],
)
def test_what_a_store_answers_becomes_a_code_of_fetch(server: Server, url: str, kind: type[Failure], code: str) -> None:
    result = read(server, url)
    assert isinstance(result, kind) and result.code == code


# -- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for images.example alone, with its key, in one file."""
    path = tmp_path / "images.example.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=images.example"
    )
    names = ["-addext", "subjectAltName=DNS:images.example", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def tls_server(server: Server, certificate: Path) -> Server:
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate)
    return server


def trusting(certificate: Path, resolved: list[str]) -> Outbound:
    def resolver(host: str, port: int) -> list[str]:
        resolved.append(host)
        return ["127.0.0.1"]

    tls = ssl.create_default_context(cafile=str(certificate))
    return Outbound(FETCH, allow=["images.example", "other.example"], timeout=5, resolver=resolver, tls=tls)


def test_the_name_is_resolved_once_and_stays_the_name_for_tls_and_host(tls_server: Server, certificate: Path) -> None:
    resolved: list[str] = []
    answer = trusting(certificate, resolved).get(f"https://images.example:{tls_server.port}/a.jpg")
    assert (answer.data, resolved) == (JPEG, ["images.example"])
    assert f"Host: images.example:{tls_server.port}" in tls_server.requests[0]


def test_a_certificate_for_another_name_is_not_accepted(tls_server: Server, certificate: Path) -> None:
    with pytest.raises(Temporary, match=r"CERTIFICATE_VERIFY_FAILED"):
        trusting(certificate, []).get(f"https://other.example:{tls_server.port}/a.jpg")
    assert tls_server.requests == []


def test_a_handshake_that_hangs_ends_with_the_timeout(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        with pytest.raises(Temporary):
            Outbound(FETCH, allow=["127.0.0.1"], timeout=0.3).get(f"https://127.0.0.1:{mute.getsockname()[1]}/")
        assert time.monotonic() - begun < 1.5
