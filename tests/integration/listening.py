"""A stand-in for MinIO's listen API: lines of JSON in chunks, spaces between them. It checks keys by name only."""

from __future__ import annotations

import json
import queue
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.integration.loopback import Handler, Server

KEEP_ALIVE = 0.05  # seconds; MinIO's are half a second apart
CUT, SILENCE = object(), object()


def line(key: str, name: str = "s3:ObjectCreated:Put") -> bytes:
    """An event as MinIO streams it: its key is not encoded."""
    stored = {"bucket": {"name": "traps"}, "object": {"key": key, "size": 3}}
    record = {"eventSource": "minio:s3", "eventName": name, "s3": stored}
    return json.dumps({"EventName": name, "Key": f"traps/{key}", "Records": [record]}, ensure_ascii=False).encode()


@dataclass
class Listening:
    """The store. `say` reaches whoever listens to the prefix, now or next; `refuse` answers instead of listening."""

    refuse: tuple[int, str, bytes] | None = None
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    waiting: dict[str, queue.Queue[Any]] = field(default_factory=dict)
    newest: dict[str, object] = field(default_factory=dict)  # the connection that listens to a prefix now

    def __post_init__(self) -> None:
        self._server = Server(type("_Bound", (_Listen,), {"store": self}))

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for some in list(self.waiting.values()):
            some.put(CUT)
        self._server.__exit__(*error)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def say(self, what: Any, prefix: str = "incoming/") -> None:
        self.to(prefix).put(what)

    def to(self, prefix: str) -> queue.Queue[Any]:
        return self.waiting.setdefault(prefix, queue.Queue())


class _Listen(Handler):
    protocol_version = "HTTP/1.1"
    store: Listening

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.store.asked.append(query)
        self.store.signed.append(self.headers.get("authorization", ""))
        if self.store.refuse is not None:
            self._answer(*self.store.refuse)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._stream(query["prefix"][0])

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, prefix: str) -> None:
        pause, waiting = KEEP_ALIVE, self.store.to(prefix)
        self.store.newest[prefix] = self
        self.close_connection = True
        while True:
            try:
                what = waiting.get(timeout=pause)
            except queue.Empty:
                what = b" "
            if self.store.newest[prefix] is not self:  # a socket may take what its reader has left already
                if what != b" ":
                    waiting.put(what)
                return
            if what is CUT:
                return
            if what is SILENCE:
                pause = 60
                continue
            try:
                self._chunk(what)
            except OSError:
                if what != b" ":
                    waiting.put(what)
                return

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
