"""An event as a store told of it, and which keys its text may stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from trapline.events.trigger import ObjectEvent

Kind = Literal["created", "removed"]
Reading = Literal["raw", "form"]  # the text is the key; the text is the key, form-encoded (`+` is a space)

RAW: tuple[Reading, ...] = ("raw",)
FORM: tuple[Reading, ...] = ("form",)
FORM_OR_RAW: tuple[Reading, ...] = ("form", "raw")
RAW_OR_FORM: tuple[Reading, ...] = ("raw", "form")

_FORM = re.compile(r"(?:[!-$&-~]|%[0-9A-Fa-f]{2})+")  # what a form encoder can write, and stores leave as it is


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """One event of a store. Like every event it is a hint: what it says is looked up in the bucket."""

    keys: tuple[str, ...]  # what it may be about, the likeliest first: the key at which an object exists is meant
    kind: Kind
    bucket: str = ""  # empty where the dialect does not say
    name: str = ""  # the store's own word for what happened

    def hints(self, trigger: str) -> tuple[ObjectEvent, ...]:
        """A hint for each key that may be meant; whoever takes them in looks at which an object exists."""
        return tuple(ObjectEvent(key, self.kind, trigger) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Told:
    """What one message says: its events, and a line for each part that nobody can read."""

    events: tuple[StoreEvent, ...] = ()
    unread: tuple[str, ...] = ()


def keys_of(text: str, readings: tuple[Reading, ...]) -> tuple[str, ...]:
    """The keys that a text may stand for; none where it can be no key at all.

    Text that no form encoder writes (a space, an umlaut, `100%`) is the key itself, whatever the dialect says.
    """
    if not text or not _is_unicode(text):
        return ()
    form = _form_decoded(text)
    if form is None:
        return (text,)
    return tuple(dict.fromkeys({"raw": text, "form": form}[reading] for reading in readings))


def _form_decoded(text: str) -> str | None:
    if not _FORM.fullmatch(text):
        return None
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError:
        return None


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can say and no key can hold."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
