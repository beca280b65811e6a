"""A store under load: posts events as MinIO does, over connections that are kept, and prints how it went.

`python -m tests.integration.posting PORT [--events N] [--senders N] [--rate N] [--token T]`, with `--rate` a second.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import time
from urllib.parse import quote_plus


def body(number: int) -> bytes:
    """An upload as MinIO tells of it, about a kilobyte."""
    key = f"incoming/st7/night/DCIM/{number // 1000}/moth {number:06}.jpg"
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventTime": "2026-11-20T18:03:05.081Z",
        "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": "station"},
        "requestParameters": {"principalId": "station", "region": "", "sourceIPAddress": "192.0.2.7"},
        "responseElements": {"x-amz-id-2": "d" * 64, "x-amz-request-id": "17", "x-minio-origin-endpoint": "http://m"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {"name": "traps", "ownerIdentity": {"principalId": "x"}, "arn": "arn:aws:s3:::traps"},
            "object": {
                "key": quote_plus(key),
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "contentType": "image/jpeg",
                "userMetadata": {"content-type": "image/jpeg"},
                "sequencer": f"{number:016X}",
            },
        },
        "source": {"host": "192.0.2.7", "port": "", "userAgent": "MinIO (linux; amd64) minio-go/v7.0.90 mc"},
    }
    return json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"traps/{key}", "Records": [record]}).encode()


class Sender:
    """One connection: an event at a time."""

    def __init__(self, port: int, token: str) -> None:
        self.link = socket.create_connection(("127.0.0.1", port))
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.extra = f"Authorization: Bearer {token}\r\n" if token else ""
        self.since = 0.0

    def send(self, data: bytes, since: float) -> None:
        head = f"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{self.extra}"
        self.since = since
        self.link.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    def status(self) -> int:
        """The answer, read whole: head and body may come one after the other."""
        head, _, body = self.link.recv(4096).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self.link.recv(4096)
        return int(head.split(b" ", 2)[1])


def load(port: int, events: int, senders: int, rate: float, token: str) -> dict[str, float]:
    """Post so many events; with a rate, a wait counts from when an event was due."""
    bodies = [body(number) for number in range(events)]
    waits: list[float] = []
    refused = 0
    selector = selectors.DefaultSelector()
    idle = [Sender(port, token) for _ in range(senders)]
    for sender in idle:
        selector.register(sender.link, selectors.EVENT_READ, sender)
    began = time.perf_counter()
    sent = 0
    while len(waits) < events:
        now = time.perf_counter()
        while idle and sent < events and (not rate or began + sent / rate <= now):
            idle.pop().send(bodies[sent], began + sent / rate if rate else time.perf_counter())
            sent += 1
        for key, _ in selector.select(0.0005 if rate and sent < events else 10):
            refused += key.data.status() != 200
            waits.append(time.perf_counter() - key.data.since)
            idle.append(key.data)
    took = time.perf_counter() - began
    waits.sort()
    shown = {f"p{part}": waits[int(len(waits) * part / 100)] for part in (50, 99)}
    return {"events": events, "refused": refused, "seconds": took, "rate": events / took, **shown, "worst": waits[-1]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--senders", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--token", default="")
    given = parser.parse_args()
    print(json.dumps(load(given.port, given.events, given.senders, given.rate, given.token)))
