"""Senders that never finish what they begin, over real sockets: they are ended, and nobody else waits for them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.integration.engine import until
from tests.integration.test_webhook import EVENT, Posted, post
from trapline.inbound import patience, server

START = b"POST /events HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD", 1.0)
    monkeypatch.setattr(patience, "BODY", 3.0)
    monkeypatch.setattr(patience, "LOOK", 0.1)
    monkeypatch.setattr(server, "SLOWEST", 1.0)


@pytest.fixture
def posted() -> Iterator[Posted]:
    posted = Posted()
    yield posted
    posted.trigger.stop()


def link(posted: Posted, begin: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", posted.port), 10)
    made.sendall(begin)
    return made


def trickle(one: socket.socket, drop: bytes = b"a") -> float:
    """Sends a byte ten times a second until the other side ends it; after how many seconds."""
    began = time.monotonic()
    one.settimeout(0.1)
    while time.monotonic() - began < 10:
        with suppress(TimeoutError):
            try:
                one.sendall(drop)
                if not one.recv(1000):
                    break
            except ConnectionError:
                break
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),  # it says nothing at all
        (START, b"X-A: b\r\n"),  # headers without an end
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + START, b"X"),  # after a whole request
        (START + b"Content-Length: 900\r\n\r\n", b"a"),  # a body, byte by byte
        (START + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", b"a"),  # after it was answered 404
    ],
)
def test_a_sender_that_does_not_get_done_is_ended(posted: Posted, begin: bytes, drop: bytes) -> None:
    with link(posted, begin) as slow:
        assert trickle(slow, drop) < 5
    assert posted.noticed == []


def test_a_body_that_takes_too_long_is_answered_so(posted: Posted) -> None:
    with link(posted, START + b"Content-Length: 900\r\n\r\n{") as slow:
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_a_sender_that_is_slow_but_gets_done_is_heard(posted: Posted) -> None:
    whole = START + b"Content-Length: %d\r\n\r\n" % len(EVENT) + EVENT
    with link(posted) as slow:
        for start in range(0, len(whole), 20):
            slow.sendall(whole[start : start + 20])
            time.sleep(0.05)
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert len(posted.noticed) == 1


def test_an_idle_connection_is_kept_after_a_request(posted: Posted) -> None:
    connection = posted.connection()
    assert post(connection) == 200
    kept = connection.sock
    time.sleep(2.5)
    assert post(connection) == 200
    assert connection.sock is kept
    connection.close()


@pytest.mark.parametrize("begin", [b"", START, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_hundreds_of_slow_senders_keep_nobody_out(
    posted: Posted, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(patience, "HEAD", 60.0)  # their number alone ends them
    monkeypatch.setattr(patience, "GRACE", 0.2)
    with ExitStack() as stack:
        waits = []
        for number in range(700):
            stack.enter_context(link(posted, begin))
            if number % 50 == 0:
                time.sleep(0.25)
                began = time.monotonic()
                assert post(posted.connection()) == 200
                waits.append(time.monotonic() - began)
        assert max(waits) < 1
        assert posted.trigger.inbound.connections() <= patience.CONNECTIONS + patience.CONNECTIONS // patience.MORE


def test_hundreds_that_come_at_once_are_all_heard(posted: Posted) -> None:
    """As a store's connections do when it comes back."""
    with ExitStack() as stack:
        links = [stack.enter_context(link(posted)) for _ in range(400)]
        for one in links:
            one.sendall(START + b"Content-Length: %d\r\n\r\n" % len(EVENT) + EVENT)
        assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in links)
    assert len(posted.noticed) == 400
    until(lambda: posted.trigger.inbound.connections() == 0)


FEW_FILES = """
import os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from tests.integration.test_webhook import Posted, post
posted = Posted()
print(posted.port, flush=True)
most, until = 0, time.monotonic() + 3
while time.monotonic() < until:
    most = max(most, len(os.listdir("/proc/self/fd")))
print(most, post(posted.connection()), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_silent_connections_leave_the_engine_files_to_open_however_many_come_at_once() -> None:
    words = [sys.executable, "-c", FEW_FILES]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server,
        ExitStack() as held,
    ):
        assert server.stdout and server.stderr
        port = int(server.stdout.readline())
        for _ in range(400):
            held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        most, status = map(int, server.stdout.readline().split())
        assert (most < 240, status) == (True, 200)
        assert server.stderr.read() == ""
