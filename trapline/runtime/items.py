"""What a function's handler sees: its context and its items. Function authors import these for their type hints."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from trapline.errors import ConfigError, Permanent
from trapline.records import Callback, DeadLetter, FileRef, ImageRecord, RollEntry, Summary
from trapline.runtime.rolls import Line, nothing

if TYPE_CHECKING:
    from trapline.images import Image
    from trapline.models import Model

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass
class Context:
    """What `setup` is given, once per worker and recipe."""

    function: str
    parameters: dict[str, Any]  # resolved, defaults included
    recipe: str
    model: Model | None = None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("trapline.function"))


@dataclass(frozen=True)
class ItemFile:
    """A file that is stored before the record that names it."""

    ref: FileRef
    data: bytes = field(repr=False)


@dataclass
class ImageItem:
    """One image of a per-image stage."""

    rel: str  # the path under `incoming/`
    key: str  # the whole key
    job: str
    parameters: dict[str, Any]
    station: dict[str, Any]  # latitude, longitude, timezone, …: what pipeline.yaml says
    data: bytes  # the file as it is
    image: Image  # decoded on demand; raises `Permanent` when it cannot be read
    record: dict[str, Any] | None  # what earlier stages know: `image`, `detections`, …
    detections: list[dict[str, Any]]  # those to look at: all known ones, or those that `when` matches
    records: dict[str, dict[str, Any] | None] = field(default_factory=dict)  # of a join: stage → what it knows
    missing: tuple[str, ...] = ()  # of a join: the stages that failed; theirs are None in `records`
    place: Callable[[str], str] = field(default=str, repr=False)  # a file's name → its key
    files: dict[str, ItemFile] = field(default_factory=dict, repr=False)  # by name

    def write(self, name: str, data: bytes, content_type: str = "application/octet-stream") -> dict[str, Any]:
        """Have a file stored beside the record. Put what this returns, {key, size, sha256, content_type}, into it.

        Raises `Permanent` (`function_output`) where the name is not one, or was written before.
        """
        if not FILE_NAME.fullmatch(name) or name in self.files:
            why = "was written already" if name in self.files else "is not a name such as `d0001.jpg`"
            raise Permanent(f"item.write: {name!r} {why}.", code="function_output")
        data = bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        ref = FileRef(name=name, key=self.place(name), size=len(data), sha256=sha256, content_type=content_type)
        self.files[name] = ItemFile(ref, data)
        return ref.model_dump(exclude={"name"})


class OpenImage(Protocol):
    """An image of the job by its key, decoded on demand.

    Raises `Permanent` where it cannot be read, or where a `sha256` is given and its bytes are others by now.
    """

    def __call__(self, key: str, sha256: str = "") -> Image: ...


@dataclass
class FetchItem:
    """One image of a manifest that has to be brought into the bucket."""

    rel: str
    key: str  # where it will be stored
    job: str
    url: str
    own_bucket: str
    parameters: dict[str, Any]
    read_object: Callable[[str | None, str, int], bytes]  # (bucket or None for the own one, key, most bytes)


@dataclass
class Member:
    """One member of a job. What is stored about it is read when it is first asked for."""

    entry: RollEntry
    stored: Callable[[RollEntry], ImageRecord | DeadLetter | None] = field(repr=False)

    @property
    def record(self) -> ImageRecord | None:
        """The deepest record there is."""
        return self._stored if isinstance(self._stored, ImageRecord) else None

    @property
    def dead_letter(self) -> DeadLetter | None:
        """Why it failed, or what blocks it."""
        return self._stored if isinstance(self._stored, DeadLetter) else None

    @cached_property
    def _stored(self) -> ImageRecord | DeadLetter | None:
        return self.stored(self.entry)


def _no_card(name: str, version: str) -> dict[str, Any]:
    return {}


@dataclass
class GatherItem:
    """A whole job, for a `gather: job` function."""

    job: str
    revision: str  # the folder's name
    final: bool
    manifest: dict[str, Any] | None  # without tokens
    station: dict[str, Any]
    not_received: tuple[str, ...]  # names in `_DONE` that never came, at most 1,000
    parameters: dict[str, Any]
    scratch: Path  # a folder for this compile alone; gone when it ends
    image: OpenImage
    roll: Callable[[], Iterator[Member]]  # sorted by rel
    publish: Callable[[str, Path, str], FileRef]
    card: Callable[[str, str], dict[str, Any]] = _no_card  # what a model's card says, by name and version; else empty
    review: bytes | None = field(default=None, repr=False)  # the table in which a person says what is on the images
    review_problem: str = ""  # why there is one and it is not handed over
    not_received_count: int = 0  # how many never came; where `_DONE` holds a count they have no names
    unusable: dict[str, str] = field(default_factory=dict)  # paths that cannot be keys, and why; at most 1,000
    unusable_count: int = 0  # how many there are
    files: list[FileRef] = field(default_factory=list)
    earlier: Callable[[str], Line] = field(default=lambda name: nothing, repr=False)

    def unchanged(self, name: str) -> Line:
        """What a file that holds a JSON object a member, `rel` in each, said of members when it was made last.

        Returns a function of a member's entry, to be asked in the roll's order. It answers None where the member has
        to be read: its image, its state or what it was made with is another, the function or its parameters are, or
        there is no earlier revision. What is the revision's, the station's, the manifest's or the roll's own (`kept`,
        `id`) is to be said anew.
        """
        return self.earlier(name)

    @contextmanager
    def open(self, name: str, content_type: str = "application/octet-stream") -> Iterator[BinaryIO]:
        """Write one file of the revision; it is stored whole when the block ends without an error."""
        if "/" in name or name in ("", ".", "..", "summary.json", "members.jsonl"):
            raise ValueError(f"{name!r} is not a name for a result file")
        path = self._written(name)
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as stream:
            yield stream
        self.files.append(self.publish(name, path, content_type))

    def read(self, name: str) -> BinaryIO:
        """A file that this compile has written, from its beginning."""
        return self._written(name).open("rb")

    def _written(self, name: str) -> Path:
        return self.scratch / "written" / name


@dataclass
class NotifyItem:
    """One message: of a final revision, of a job that is still open, of a manifest that was refused, or a test."""

    job: str
    event: str  # opened, progress, completed, updated; failed: a manifest that was refused; or test
    to: str  # client, or people: those that pipeline.yaml names
    summary: Summary | None  # of the revision; None: there is none to tell of
    news: dict[str, Any]  # what there is to say of an open job; or `message`: why the manifest was refused
    callback: Callback | None = field(repr=False)  # None for people; its address may hold a secret, too
    form: str  # of the body about a revision: standard, or antenna
    client: dict[str, Any]  # jobId and pipelineRequestId, as the pipeline-controller's form has them
    webhook_id: str
    overtaken: bool
    brief: bool  # news, or the first of several tries: whoever does not answer soon is left
    links: dict[str, str] = field(repr=False)  # file name → s3:// or presigned https:// address
    people: dict[int, str] = field(repr=False)  # place in `notify.to` → Apprise URL, of those not told yet
    open: Callable[[str], BinaryIO]  # a file of the revision
    lacking: dict[int, ConfigError]  # … → why there is no address, of those whose settings lead to none
    secret: str = field(repr=False)  # Standard Webhooks secret (`whsec_…`), or empty
    parameters: dict[str, Any] = field(default_factory=dict)
    reached: list[int] = field(default_factory=list)  # places of people who were told: noted one by one
    sent: list[dict[str, Any]] = field(default_factory=list, repr=False)  # {to, headers, body}, secrets masked


def sha256_of(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
