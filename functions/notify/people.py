"""Telling people by mail, chat and the like: Apprise. Its addresses are passwords, and what it logs may hold them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from functions.notify import words
from functions.notify.item import Item
from trapline.errors import Permanent, Temporary

_LOUD = ("apprise", "requests", "urllib3", "smtplib")  # loggers that repeat addresses
_STATUS = re.compile(r"\berror=(\d{3})\b")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}(?=://)")


def tell(item: Item) -> dict[str, Any]:
    """Tell everybody who was not told yet; `item.reached` says who was. Raises `Temporary` or `Permanent`."""
    if not item.people:
        return {"outcome": "nobody", "detail": {}}
    title, text = words.title(item), words.text(item)
    wrong = {place: why for place, address in item.people.items() if (why := _told(item, place, address, title, text))}
    if not wrong:
        return {"outcome": "told", "detail": {"people": len(item.people)}}
    kind = Permanent if all(why == _UNKNOWN for why in wrong.values()) else Temporary
    lines = (f"notify.to {place + 1} ({_scheme(item.people[place])}) {why}" for place, why in wrong.items())
    raise kind("; ".join(lines) + ".", code="notice_failed")


_UNKNOWN = "is no address that Apprise can use"


def _told(item: Item, place: int, address: str, title: str, text: str) -> str:
    """Tell one. Returns why that failed, without any part of the address; empty when it did not."""
    import apprise  # noqa: PLC0415 - it takes longer to import than all else here, and few jobs need it

    with _overheard() as said:
        target = apprise.Apprise.instantiate(address, suppress_exceptions=True)
        if target is None:
            return _UNKNOWN
        item.sent.append({"to": f"{_scheme(address)}://…", "title": title, "body": text})
        try:
            taken = target.notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT)
        except Exception as error:  # noqa: BLE001 - a service's plugin may raise anything, its address in the words
            return f"failed with {type(error).__name__}"
    if taken:
        item.reached.append(place)
        return ""
    answered = next((found[1] for line in said if (found := _STATUS.search(line))), "")
    return f"answered {answered}" if answered else "did not take the message"


def _scheme(address: str) -> str:
    """What kind of address: all of it that may be shown."""
    found = _SCHEME.match(address)
    return found[0] if found else "unknown"


class _Ear(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What the libraries log inside the block, kept from every log."""
    said: list[str] = []
    ear, loggers = _Ear(said), [logging.getLogger(name) for name in _LOUD]
    before = [(logger.propagate, logger.handlers) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [ear]
    try:
        yield said
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers
