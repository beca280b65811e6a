"""A client that misbehaves in every way there is, over HTTP or TLS: what it does next is in a list."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path

from tests.integration.loopback import Handler, Server

HANG = 8.0  # seconds in which one that hangs says nothing
SLOW = 0.3  # seconds between two bytes


class Client(Server):
    """Answers each call in the next way, and 200 when there are no more ways.

    A way is a status, or `hang`, `reset`, `drip` (a byte now and then), `garbage` (no HTTP), `busy` (429, with
    Retry-After: 1), `short` (an answer that is cut).
    """

    def __init__(self, *ways: str) -> None:
        self.ways = list(ways)
        self.moved_to = ""  # where a redirect leads
        self.calls: list[tuple[str, dict[str, str], bytes]] = []  # (way, headers, body)
        self.at: list[float] = []
        client = self

        class Receiver(Handler):
            def do_POST(self) -> None:
                way = client.ways.pop(0) if client.ways else "200"
                headers = {name.lower(): value for name, value in self.headers.items()}
                client.at.append(time.monotonic())
                client.calls.append((way, headers, self.rfile.read(int(self.headers["Content-Length"]))))
                client.answer(self, way)

            do_GET = do_POST

        super().__init__(Receiver)
        self.http.daemon_threads = True

    def secured(self, folder: Path) -> Client:
        """Over TLS, with a certificate that nobody trusts."""
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        made = ["openssl", "req", *words, "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(made, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        return self

    def answer(self, handler: Handler, way: str) -> None:
        odd = {"hang": _hang, "reset": _reset, "drip": _drip, "garbage": _garbage, "short": _short}
        if way in odd:
            odd[way](handler)
            return
        handler.send_response(429 if way == "busy" else int(way))
        if way.startswith("3"):
            handler.send_header("Location", self.moved_to)
        if way == "busy":
            handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers, _ in self.calls]

    def told(self) -> list[str]:
        """The ways of the calls so far."""
        return [way for way, _, _ in self.calls]


def _hang(handler: Handler) -> None:
    time.sleep(HANG)


def _reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def _drip(handler: Handler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: " + b"x" * 1000:
        try:
            handler.wfile.write(bytes((byte,)))
        except OSError:
            return
        time.sleep(SLOW)


def _garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x16\x03\x01 what are you talking about\n\n")
    handler.close_connection = True


def _short(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 20")
    handler.close_connection = True
