"""What the runtime hands to `notify`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from trapline.records import Callback, Summary


class Context(Protocol):
    """What `setup` is given."""

    parameters: dict[str, Any]


class Item(Protocol):
    """One message."""

    job: str
    event: str  # opened, progress, completed, updated; failed: a manifest that was refused; or test
    to: str  # client, or people: those that pipeline.yaml names
    summary: Summary | None  # of the revision; None: there is none to tell of
    news: dict[str, Any]  # what there is to say of an open job; or `message`: why the manifest was refused
    callback: Callback | None  # the client to tell; None for people
    form: str  # of the body about a revision: standard, or antenna
    client: dict[str, Any]  # jobId and pipelineRequestId
    webhook_id: str  # the same at every attempt, so that the client can drop repeats
    overtaken: bool  # a newer revision is there: its own message will do
    brief: bool  # news, or the first of several tries: whoever does not answer soon is left
    links: dict[str, str]  # file name → s3:// or presigned https:// address
    people: dict[int, str]  # place in `notify.to` → Apprise URL, of those not told yet
    secret: str  # the pipeline's own `whsec_…`, or empty
    reached: list[int]  # places of people who were told
    sent: list[dict[str, Any]]  # what was sent, secrets masked

    @property
    def open(self) -> Callable[[str], BinaryIO]:
        """A file of the revision; raises `KeyError` where it has none of that name."""
