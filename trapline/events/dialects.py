"""Messages of every dialect → the events in them. Pure: bytes in, `Told` out.

A dialect is recognised by its shape alone, envelopes are opened one after the other. Wire names stay in this file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from trapline.errors import EventForged, EventUnknown, EventUnreadable
from trapline.events.told import FORM, FORM_OR_RAW, RAW, RAW_OR_FORM, Kind, Reading, StoreEvent, Told, keys_of

LARGEST = 4 * 2**20  # bytes of a message; queues take 1 MiB at most
DEEPEST = 6  # envelopes in each other: a batch, a CloudEvent, a queue's, a topic's, a record's
UNREAD_NAMED = 20

# What happened, in the words of S3: new content, or none any more. All else (tags, ACLs, restores, a test) is ignored.
KINDS: dict[str, Kind] = {
    "ObjectCreated:Put": "created",
    "ObjectCreated:Post": "created",
    "ObjectCreated:Copy": "created",
    "ObjectCreated:CompleteMultipartUpload": "created",
    "ObjectSynced:Create": "created",
    "ObjectRemoved:Delete": "removed",
    "ObjectRemoved:DeleteObjects": "removed",  # versitygw, of one object of several
    "ObjectRemoved:DeleteMarkerCreated": "removed",
    "ObjectRemoved:DeletionMarkerCreated": "removed",
    "ObjectRemoved:DeleteAllVersions": "removed",
    "ObjectSynced:Delete": "removed",
    "ObjectSynced:DeletionMarkerCreated": "removed",
    "LifecycleExpiration:Delete": "removed",
    "LifecycleExpiration:DeleteMarkerCreated": "removed",
    "ObjectLifecycle:Expiration:Current": "removed",
    "ObjectLifecycle:Expiration:DeleteMarker": "removed",
}
_EVENT_BRIDGE: dict[str, Kind] = {"Object Created": "created", "Object Deleted": "removed"}
_SEAWEEDFS: dict[str, Kind] = {"create": "created", "update": "created", "delete": "removed", "rename": "removed"}
_CLOUD_EVENTS: dict[str, Kind] = {
    "com.amazon.s3.objectcreated": "created",
    "com.amazon.s3.objectremoved": "removed",
    "dev.knative.connector.event.aws-s3": "created",
    "org.apache.camel.event.aws.s3.getObject": "created",
}
_CLOUD_PREFIXES = ("com.amazonaws.s3.", "com.amazonaws.", "com.amazon.s3.")

# How a store writes keys into its records, by the beginning of `eventSource`; where nobody knows, both readings count.
_READINGS = {"ceph:s3": RAW, "aws.s3.bucket.": RAW, "aws:s3": FORM, "minio:s3": FORM_OR_RAW, "rustfs:s3": FORM_OR_RAW}


def read(body: bytes | str, headers: Mapping[str, str] | None = None, *, posted: bool = False) -> Told:
    """The events in a message. `headers` are those of its HTTP request, for CloudEvents in binary mode.

    `posted`: by a stranger, who cannot vouch for SNS: whoever takes such messages checks what SNS signed, and hands
    over what was inside. Raises `EventUnreadable` where it is too large or not JSON, `EventUnknown` where it is JSON
    and no known event, `EventForged` where it was posted and holds an envelope of SNS, however deep.
    """
    within = _Within(posted)
    attributes = {name.lower()[3:]: text for name, text in (headers or {}).items() if name.lower().startswith("ce-")}
    if "type" in attributes:
        return _binary(attributes, body, within)
    return _told(_parsed(body), within)


@dataclass(frozen=True, slots=True)
class _Within:
    """What a part of a message stands in."""

    posted: bool
    envelopes: int = 0

    def deeper(self) -> _Within:
        return _Within(self.posted, self.envelopes + 1)


def _parsed(body: bytes | str) -> Any:
    if len(body) > LARGEST:
        raise EventUnreadable(f"The message has {len(body)} bytes; at most {LARGEST} are read.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EventUnreadable(f"The message is not JSON: {str(error)[:80]}.") from None


def _told(value: Any, within: _Within) -> Told:
    if within.envelopes > DEEPEST:
        raise EventUnknown(f"The message has more than {DEEPEST} envelopes.")
    if isinstance(value, list):
        return _each(value, lambda part: _told(part, within.deeper()))
    if not isinstance(value, dict):
        raise EventUnknown(f"The message is {_shape(value)}; expected a JSON object.")
    for knows, reads in _DIALECTS:
        if knows(value):
            return reads(value, within)
    fields = ", ".join(repr(name[:30]) for name in sorted(value)[:8])
    raise EventUnknown(f"The message is no event that is known; it has the fields: {fields or 'none'}.")


def _each(parts: Iterable[Any], reads: Callable[[Any], Told]) -> Told:
    """Every part that can be read. Raises only where none can."""
    events: list[StoreEvent] = []
    unread: list[str] = []
    good = 0
    for number, part in enumerate(parts):
        try:
            told = reads(part)
        except EventUnknown as error:
            unread.append(f"part {number}: {error.message}")
            continue
        good += 1
        events += told.events
        unread += told.unread
    if unread and not good:
        raise EventUnknown(unread[0])
    return Told(tuple(events), tuple(unread[:UNREAD_NAMED]))


def _event(texts: Iterable[tuple[str, ...]], kind: Kind, bucket: str, name: str) -> Told:
    keys = tuple(dict.fromkeys(key for some in texts for key in some))
    if not keys:
        raise EventUnknown(f"The event {name[:60]!r} names no key.")
    return Told((StoreEvent(keys, kind, bucket, name),))


# -- S3's own records, of AWS, Ceph, MinIO, RustFS, versitygw


def _records(value: dict[str, Any], within: _Within) -> Told:
    records = value["Records"]
    if not records and _is_bare(value):
        return _bare(value, within)
    plain = _text(value.get("Key")) if len(records) == 1 else ""
    return _each(records, lambda record: _record(record, plain, within))


def _record(record: Any, plain: str, within: _Within) -> Told:
    """One of `Records`. `plain`: MinIO's own `<bucket>/<key>` beside them, which is never encoded."""
    if not isinstance(record, dict):
        raise EventUnknown(f"A record is {_shape(record)}; expected a JSON object.")
    if isinstance(record.get("body"), str):  # a queue's message
        return _told(_inner(record["body"]), within.deeper())
    if isinstance(record.get("Sns"), dict):
        return _told(record["Sns"], within.deeper())
    if isinstance(record.get("data"), dict) and "s3" not in record:  # RustFS has wrapped the record itself
        record = record["data"]
    name = _either(record, "eventName", "event_name")
    if not name:
        raise EventUnknown("A record has no `eventName`.")
    kind = KINDS.get(name.removeprefix("s3:"))
    if kind is None:
        return Told()
    bucket, text = _named(record.get("s3"))
    keys = keys_of(text, _readings(record, name, text))
    _, _, whole = plain.partition("/")
    if whole in keys and _either(record, "eventSource", "event_source").startswith("minio:s3"):
        keys = (whole,)
    return _event([keys], kind, bucket, name)


def _named(s3: Any) -> tuple[str, str]:
    """The bucket's name and the key's text."""
    bucket, stored = (_mapping(_mapping(s3).get(part)) for part in ("bucket", "object"))
    return _text(bucket.get("name")), _text(stored.get("key"))


def _readings(record: dict[str, Any], name: str, text: str) -> tuple[Reading, ...]:
    source = _either(record, "eventSource", "event_source")
    if source.startswith("aws:s3") and (name.startswith("s3:") or _is_versity(record)):
        return RAW_OR_FORM  # AWS says no `s3:` here: another store in its name
    if source.startswith("minio:s3") and "/" in text:
        return RAW  # its form encoding has no plain slash
    return _readings_of(source)


def _readings_of(source: str) -> tuple[Reading, ...]:
    return next((readings for begin, readings in _READINGS.items() if source.startswith(begin)), FORM_OR_RAW)


def _is_versity(record: dict[str, Any]) -> bool:
    return _text(_mapping(record.get("s3")).get("configurationId")).endswith("-global")


def _is_bare(value: dict[str, Any]) -> bool:
    return isinstance(value.get("EventName"), str) and isinstance(value.get("Key"), str)


def _bare(value: dict[str, Any], within: _Within) -> Told:
    """MinIO's envelope without records."""
    kind = KINDS.get(value["EventName"].removeprefix("s3:"))
    bucket, _, key = value["Key"].partition("/")
    return _event([keys_of(key, RAW)], kind, bucket, value["EventName"]) if kind else Told()


# -- envelopes


def _sns(value: dict[str, Any], within: _Within) -> Told:
    if within.posted:
        raise EventForged("An envelope of SNS stands where its signature cannot be checked.")
    if value["Type"] == "SubscriptionConfirmation":
        raise EventUnknown(
            "A topic asks whether this address subscribed to it.",
            remedy="Open its `SubscribeURL` if that is so; nothing is told before.",
        )
    return _told(_inner(value.get("Message")), within.deeper()) if value["Type"] == "Notification" else Told()


def _inner(text: Any) -> Any:
    """The JSON in a string of an envelope."""
    if not isinstance(text, str):
        raise EventUnknown("An envelope holds no message.")
    try:
        return _parsed(text)
    except EventUnreadable as error:
        raise EventUnknown(f"An envelope's message cannot be read. {error.message}") from None


def _event_bridge(value: dict[str, Any], within: _Within) -> Told:
    name = _text(value["detail-type"])
    kind = _EVENT_BRIDGE.get(name)
    bucket, text = _named(value.get("detail"))
    return _event([keys_of(text, RAW_OR_FORM)], kind, bucket, name) if kind else Told()


def _seaweedfs(value: dict[str, Any], within: _Within) -> Told:
    """A path of the filer. A renamed file is gone from the path that it names, and new where the message says."""
    name = value["event_type"]
    if name not in _SEAWEEDFS:
        return Told()
    told = _at_path(value["key"], _SEAWEEDFS[name], name)
    moved = _at_path(_moved_to(value), "created", name) if name == "rename" else Told()
    return Told((*told.events, *moved.events))


def _at_path(path: str, kind: Kind, name: str) -> Told:
    """The event at `/buckets/<bucket>/<key>`; none at any other path."""
    parts = path.split("/", 3)
    if len(parts) < 4 or parts[:2] != ["", "buckets"] or not parts[3]:
        return Told()
    return _event([keys_of(parts[3], RAW)], kind, parts[2], name)


def _moved_to(value: dict[str, Any]) -> str:
    said = _mapping(value.get("message") or value.get("message_data"))  # its name differs by release
    folder, name = _text(said.get("new_parent_path")), _text(_mapping(said.get("new_entry")).get("name"))
    return f"{folder}/{name}" if name else ""


# -- CloudEvents


def _cloud_event(value: dict[str, Any], within: _Within) -> Told:
    """Structured mode: the data, where it is an event of S3; or else type, source and subject."""
    data = value.get("data")
    if isinstance(value.get("data_base64"), str):
        data = _unwrapped(value["data_base64"])
    if _has_records(data):
        return _told(data, within.deeper())
    return _by_subject(value, lambda text, readings: [keys_of(text, readings)])


def _binary(attributes: Mapping[str, str], body: bytes | str, within: _Within) -> Told:
    """Binary mode: attributes are headers, the body is the data, which may be the object itself."""
    data = _json_or_none(body) if len(body) <= LARGEST else None
    if _has_records(data):
        return _told(data, within.deeper())
    return _by_subject(attributes, _percent_decoded)


def _percent_decoded(text: str, readings: tuple[Reading, ...]) -> list[tuple[str, ...]]:
    """A header's value is percent-encoded, by senders that mind the binding."""
    plain = unquote(text, errors="surrogateescape")
    return [keys_of(plain, readings), keys_of(text, readings)]


def _by_subject(
    attributes: Mapping[str, Any], keys: Callable[[str, tuple[Reading, ...]], list[tuple[str, ...]]]
) -> Told:
    name, source, subject = (_text(attributes.get(part)) for part in ("type", "source", "subject"))
    kind = _cloud_kind(name)
    return _event(keys(subject, _readings_of(source)), kind, _bucket_of(source), name) if kind else Told()


def _cloud_kind(name: str) -> Kind | None:
    """What happened, by a CloudEvent's type."""
    if name in _CLOUD_EVENTS:
        return _CLOUD_EVENTS[name]
    prefix = next((prefix for prefix in _CLOUD_PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        raise EventUnknown(f"CloudEvents of the type {name[:80]!r} are not known.")
    return KINDS.get(name.removeprefix(prefix).removeprefix("s3:"))


def _bucket_of(source: str) -> str:
    """The bucket in `arn:aws:s3:::<bucket>`, `aws.s3.bucket.<bucket>` or `<event source>.<region>.<bucket>`."""
    for begin in ("arn:aws:s3:::", "aws.s3.bucket."):
        if source.startswith(begin):
            return source.removeprefix(begin)
    return source.split(".", 2)[2] if ":s3." in source and source.count(".") > 1 else ""


def _has_records(data: Any) -> bool:
    return isinstance(data, dict) and (isinstance(data.get("Records"), list) or isinstance(data.get("s3"), dict))


def _unwrapped(text: str) -> Any:
    try:
        return _json_or_none(base64.b64decode(text, validate=True))
    except ValueError:
        return None


def _json_or_none(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


# -- small things


def _either(record: Mapping[str, Any], camel: str, snake: str) -> str:
    """Some builds of RustFS write names with underscores."""
    return _text(record.get(camel)) or _text(record.get(snake))


def _shape(value: Any) -> str:
    """What kind of JSON a value is, in words."""
    kinds = {str: "a text", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_Reads = Callable[[dict[str, Any], _Within], Told]

# How each dialect is known, and what reads it.
_DIALECTS: tuple[tuple[Callable[[dict[str, Any]], bool], _Reads], ...] = (
    (lambda v: isinstance(v.get("specversion"), str) and isinstance(v.get("type"), str), _cloud_event),
    (lambda v: isinstance(v.get("Records"), list), _records),
    (lambda v: v.get("source") == "aws.s3" and "detail-type" in v, _event_bridge),
    (lambda v: isinstance(v.get("Type"), str) and "TopicArn" in v, _sns),
    (lambda v: v.get("Event") == "s3:TestEvent", lambda v, within: Told()),
    (lambda v: isinstance(v.get("event_type"), str) and isinstance(v.get("key"), str), _seaweedfs),
    (_is_bare, _bare),
    (lambda v: isinstance(v.get("s3"), dict), lambda v, within: _record(v, "", within)),
)
