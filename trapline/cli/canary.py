"""An object with a nasty key, put into the bucket to see which trigger tells the engine of it, and how soon."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from trapline.errors import NotFound, TraplineError
from trapline.keys import Layout
from trapline.store.base import Store

NAME = "é+ü %41 #&'~.txt"  # what stores' events encode each in its own way
_EVERY = 0.1  # seconds between two looks
_MORE = 1.0  # seconds that other triggers have once one has told


@dataclass(frozen=True)
class Heard:
    """One trigger's word."""

    trigger: str
    key: str
    intact: bool  # the key came as it was put; another reading of it may have been told beside it
    seconds: float  # from the upload until the engine said so


@dataclass
class Released:
    """What came of one canary."""

    heard: list[Heard] = field(default_factory=list)
    left: dict[str, TraplineError] = field(default_factory=dict)  # the keys that could not be taken away, and why


def release(store: Store, layout: Layout, seconds: float) -> Released:
    """Put a canary, wait for the engine's word, take everything away again. Raises what the store raises."""
    nonce, came = secrets.token_hex(8), Released()
    key, answer = layout.canary(nonce, NAME), layout.canary_heard(nonce)
    try:
        store.put(key, b"trapline doctor", content_type="text/plain")
        came.heard = _listen(store, key, answer, seconds)
    finally:
        for one in (key, answer):
            try:
                store.delete(one)
            except NotFound:
                pass
            except TraplineError as error:
                came.left[one] = error
    return came


def _listen(store: Store, key: str, answer: str, seconds: float) -> list[Heard]:
    begun, found = time.monotonic(), dict[tuple[str, str], Heard]()
    until = begun + seconds
    while (now := time.monotonic()) < until:
        for one in _said(store, answer):
            who = str(one.get("trigger")), str(one.get("key"))
            if who not in found:
                found[who] = Heard(*who, who[1] == key and bool(one.get("there")), round(now - begun, 2))
                until = min(until, now + _MORE)
        time.sleep(_EVERY)
    return list(found.values())


def _said(store: Store, answer: str) -> list[dict[str, Any]]:
    try:
        told = json.loads(store.get(answer).data)["heard"]
    except (NotFound, ValueError, KeyError, TypeError):
        return []
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
