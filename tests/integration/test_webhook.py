"""The webhook trigger behind a real socket."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.engine import until
from trapline.errors import SurroundingsError
from trapline.events import ObjectEvent, TriggerContext
from triggers.webhook import WebhookTrigger, open_trigger

EVENT = json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": "traps/incoming/st7/n1/a.jpg"}).encode()


class Posted:
    """A trigger that listens on a free port, and what it noticed."""

    def __init__(self, at: int = 0, **options: Any) -> None:
        self.noticed: list[ObjectEvent] = []
        context = TriggerContext("traps", None, ("incoming/",), self.noticed.append, lambda key: None)
        self.trigger: WebhookTrigger = open_trigger(context, port=at, **options)
        self.trigger.start()

    @property
    def port(self) -> int:
        return int(self.trigger.describe().rpartition(":")[2].partition("/")[0])

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)


@pytest.fixture
def posted() -> Iterator[Posted]:
    posted = Posted(max_body="64 KiB")
    yield posted
    posted.trigger.stop()


def post(connection: http.client.HTTPConnection, body: Any = EVENT, **more: Any) -> int:
    connection.request("POST", "/events", body, **more)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_an_event_is_handed_on_before_it_is_answered_and_the_connection_kept(posted: Posted) -> None:
    connection = posted.connection()
    for number in range(1, 4):
        assert post(connection) == 200
        assert len(posted.noticed) == number
    connection.close()


def test_a_body_without_a_length_is_cut_off_at_the_limit(posted: Posted) -> None:
    connection = posted.connection()
    assert post(connection, iter([EVENT[:20], EVENT[20:]]), encode_chunked=True) == 200
    endless = posted.connection()
    endless.putrequest("POST", "/events")
    endless.putheader("Transfer-Encoding", "chunked")
    endless.endheaders()
    sent = 0
    with pytest.raises(OSError):
        while sent < 50 * 2**20:
            endless.send(b"1000\r\n" + b" " * 4096 + b"\r\n")
            sent += 4096
    assert sent < 10 * 2**20
    assert post(connection) == 200
    connection.close()


def test_too_large_a_body_is_answered_before_it_is_sent(posted: Posted) -> None:
    with socket.create_connection(("127.0.0.1", posted.port), 10) as link:
        link.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\nExpect: 100-continue\r\n\r\n")
        assert link.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"HELLO\r\n\r\n", b"POST /events HTTP/1.1\r\n"])
def test_what_is_no_http_harms_nobody(posted: Posted, garbage: bytes) -> None:
    link = socket.create_connection(("127.0.0.1", posted.port), 10)
    link.sendall(garbage)
    connection = posted.connection()
    assert post(connection) == 200
    link.close()
    connection.close()


def test_a_port_that_is_taken_is_said_in_one_line(posted: Posted) -> None:
    context = TriggerContext("traps", None, ("incoming/",), lambda event: None, lambda key: None)
    with pytest.raises(SurroundingsError, match=rf"Port {posted.port} of 127.0.0.1 .* in use.*another `port`"):
        open_trigger(context, port=posted.port).start()


def test_an_address_that_this_machine_has_not_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "x")
    context = TriggerContext("traps", None, ("incoming/",), lambda event: None, lambda key: None)
    with pytest.raises(SurroundingsError, match=r"192\.0\.2\.7 cannot be listened on"):
        open_trigger(context, host="192.0.2.7", token="env:HOOK").start()


def test_it_ends_soon_though_connections_are_open_and_the_port_is_free_again(posted: Posted) -> None:
    idle, half = posted.connection(), posted.connection()
    assert post(idle) == 200
    half.putrequest("POST", "/events")
    half.putheader("Content-Length", "100")
    half.endheaders(b"{")
    time.sleep(0.2)
    began = time.monotonic()
    posted.trigger.stop()
    assert time.monotonic() - began < 4
    until(lambda: "inbound" not in {thread.name for thread in threading.enumerate()})
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", posted.port))


@pytest.mark.slow
def test_of_five_thousand_events_at_once_none_is_refused_and_none_lost() -> None:
    """From a second process; how fast, tells `python -m tests.integration.posting PORT`."""
    posted = Posted()
    try:
        figures = _figures(posted.port)
    finally:
        posted.trigger.stop()
    assert figures["refused"] == 0
    assert len({event.key for event in posted.noticed}) == 5000


def _figures(port: int) -> dict[str, float]:
    words = [sys.executable, "-m", "tests.integration.posting", str(port), "--events", "5000"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@pytest.mark.slow
def test_what_is_posted_while_the_receiver_is_away_is_taken_in_once_it_is_back() -> None:
    """A sender that tries again, as stores with a queue do, has the same port to find."""
    first = Posted()
    port = first.port
    connection = first.connection()
    assert post(connection) == 200
    first.trigger.stop()
    with pytest.raises(OSError):
        post(http.client.HTTPConnection("127.0.0.1", port, timeout=2))
    again = Posted(at=port)
    assert post(again.connection()) == 200
    assert len(again.noticed) == 1
    again.trigger.stop()
