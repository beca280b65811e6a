"""The body that Antenna's pipeline-controller expects: the revision's file `antenna.json`, sent as it is."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from functions.notify.item import Item
from functions.notify.message import facts

FILE = "antenna.json"
_CHUNK = 1 << 18  # bytes


@dataclass(frozen=True)
class Body:
    """What is posted: read anew each time it is asked for, so that no message has to fit into memory."""

    size: int
    chunks: Callable[[], Iterator[bytes]]

    def signature(self, secret: bytes, before: str) -> str:
        """Standard Webhooks' signature of a body in pieces. `before` is `id.timestamp.`."""
        total = hmac.new(secret, before.encode(), hashlib.sha256)
        for chunk in self.chunks():
            total.update(chunk)
        return "v1," + b64encode(total.digest()).decode()


def body(item: Item, most: int) -> Body:
    """The file, or, where it is larger than `most` bytes or not there, what says so and where the results are."""
    if item.event == "failed":
        return _instead(item, item.news["message"], item.news)
    size = {file.name: file.size for file in item.summary.files}.get(FILE) if item.summary else None
    if size is None:
        return _instead(item, f"This revision has no {FILE}.")
    if size > most:
        return _instead(item, f"{FILE} has {size} bytes, more than the {most} that are posted: read it by its link.")
    return Body(size, lambda: _pieces(item.open(FILE)))


def _instead(item: Item, why: str, news: dict[str, Any] | None = None) -> Body:
    """No `data`: who reads that alone must not take it for a job without results."""
    told = facts(item.summary) if item.summary else news or {}
    text = json.dumps({**item.client, **told, "message": why, "links": item.links}, ensure_ascii=False).encode()
    return Body(len(text), lambda: iter((text,)))


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
