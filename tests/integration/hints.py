"""What a trigger is handed in a test without an engine, and what it told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from trapline.events import ObjectEvent, TriggerContext

PREFIXES = ("incoming/", "jobs/", "failed/", "control/requests/")


@dataclass
class Heard:
    """Everything that a trigger handed over."""

    events: list[ObjectEvent] = field(default_factory=list)
    sweeps: list[bool] = field(default_factory=list)
    aside: list[tuple[bytes, str, str]] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [event.key for event in self.events]

    def context(self, endpoint: str | None, prefixes: tuple[str, ...] = PREFIXES) -> TriggerContext:
        return TriggerContext(
            bucket="traps",
            folder=None,
            prefixes=prefixes,
            notice=self.events.append,
            closed=lambda key: None,
            sweep=lambda: self.sweeps.append(True),
            quarantine=lambda message, why, trigger: self.aside.append((message, why, trigger)),
            endpoint=endpoint,
            embedded=endpoint is None,
        )


def s3_event(key: str, name: str = "ObjectCreated:Put", source: str = "aws:s3", bucket: str = "traps") -> str:
    """A message of S3 about one object, its key as the source would write it."""
    stored = {"bucket": {"name": bucket}, "object": {"key": key, "size": 3}}
    return json.dumps({"Records": [{"eventSource": source, "eventName": name, "s3": stored}]})


def bridge_event(key: str) -> str:
    """The same, as EventBridge words it."""
    detail: dict[str, Any] = {"bucket": {"name": "traps"}, "object": {"key": key}}
    return json.dumps({"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": detail})
