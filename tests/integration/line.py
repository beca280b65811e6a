"""A line between two programs of this machine that a test can cut, or hold, and mend: a port that leads to another."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from typing import Self


class Line:
    """Stands from the start."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.open = set[socket.socket]()
        self.flows = threading.Event()
        self.flows.set()
        self.server = self._stands(0)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def hold(self) -> None:
        """Whoever calls is let in and hears nothing, as where a program hangs; what was said arrives in the end."""
        self.flows.clear()

    def cut(self) -> None:
        """Whoever calls is refused, as where nobody listens; calls are broken off."""
        self.server.shutdown()
        self.server.server_close()
        for link in list(self.open):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        if self.flows.is_set():
            self.server = self._stands(self.port)
        self.flows.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.cut()

    def _stands(self, port: int) -> socketserver.ThreadingTCPServer:
        line = self

        class Call(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                line.carry(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        server = Server(("127.0.0.1", port), Call)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def carry(self, caller: socket.socket) -> None:
        """Both ways, until one of the two hangs up."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.to)) as called:
            self.open |= {caller, called}
            threading.Thread(target=_pour, args=(called, caller, self.flows), daemon=True).start()
            _pour(caller, called, self.flows)
            self.open -= {caller, called}


def _pour(source: socket.socket, target: socket.socket, flows: threading.Event) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            flows.wait()
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
