"""Every dialect's messages: which events they hold, and that no message can do harm."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.errors import EventUnknown, EventUnreadable
from trapline.events import ObjectEvent
from trapline.events.dialects import DEEPEST, KINDS, LARGEST, UNREAD_NAMED, read
from trapline.events.told import FORM, FORM_OR_RAW, RAW, RAW_OR_FORM, StoreEvent, Told, keys_of

EVENTS = Path(__file__).resolve().parents[1] / "events"
NIGHT = "incoming/st7/n1/"
MOTH = f"{NIGHT}moth ü a+b.jpg"
PAREN = f"{NIGHT}moth (ü) a+b.jpg"

# payload → (kind, bucket, keys, the likeliest first), an event each
GOLDEN: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {
    "ceph-delete": [("removed", "ev-false", ("in/with space.txt",))],
    "ceph-multipart-complete": [("created", "ev-false", ("in/multi.bin",))],
    "ceph-put-by-mc-key-with-space": [("created", "mcbucket", ("in/a b.txt",))],
    "ceph-put-unicode-key": [("created", "ev-false", ("in/unié-日本.txt",))],
    "ceph-put-plus-and-percent": [("created", "cebucket", ("in/möth a+b%20.jpg",))],
    "ceph-put": [("created", "ev-false", ("in/plain.txt",))],
    "ceph-16-copy": [("created", "traps", (f"{NIGHT}copy of moth ü a+b%20.jpg",))],
    "ceph-16-delete-missing": [("removed", "traps", (f"{NIGHT}never.jpg",))],
    "ceph-16-delete-objects": [("removed", "traps", (f"{NIGHT}moth ü a+b%20.jpg",))],
    "ceph-16-form-post": [("created", "traps", (f"{NIGHT}by form ü+.jpg",))],
    "ceph-16-multipart-by-aws": [("created", "traps", (f"{NIGHT}aws big one+ü.jpg",))],
    "ceph-16-multipart-by-mc": [("created", "traps", (f"{NIGHT}mc big one+ü.jpg",))],
    "ceph-16-put-cloudevents-ignored": [("created", "traps", (f"{NIGHT}moth ü a+b%20.jpg",))],
    "ceph-16-put-empty-segment": [("created", "traps", (f"{NIGHT}/a.jpg",))],
    "ceph-16-put-persistent": [("created", "traps", (f"{NIGHT}moth ü a+b%20.jpg",))],
    "ceph-16-versioned-delete": [("removed", "versioned", (f"{NIGHT}a+b.jpg",))],
    "ceph-16-versioned-delete-marker": [("removed", "versioned", (f"{NIGHT}a+b.jpg",))],
    "ceph-16-versioned-put": [("created", "versioned", (f"{NIGHT}a+b.jpg",))],
    "written-ceph-18": [("created", "traps", (f"{NIGHT}a+b.jpg",))],
    "written-aws-put": [("created", "traps", (PAREN,))],
    "written-aws-batch": [
        ("created", "traps", (f"{NIGHT}a.jpg",)),
        ("created", "traps", (f"{NIGHT}b.jpg",)),
        ("removed", "traps", (f"{NIGHT}c.jpg",)),
    ],
    "written-aws-test": [],
    "written-sns": [("created", "traps", (PAREN,))],
    "written-sqs-of-sns": [("created", "traps", (PAREN,))] * 2,
    "written-lambda-sns": [("created", "traps", (PAREN,))],
    "written-eventbridge-created": [("created", "traps", (f"{NIGHT}a+b.jpg", f"{NIGHT}a b.jpg"))],
    "written-eventbridge-deleted": [("removed", "traps", (f"{NIGHT}moth (ü).jpg",))],
    "written-eventbridge-tags": [],
    "written-minio-webhook": [("created", "traps", (MOTH,))],
    "written-minio-listen": [("created", "traps", (f"{NIGHT}a+b%20c.jpg",))],
    "written-minio-tagging": [],
    "written-minio-bare": [("removed", "traps", (f"{NIGHT}a b.jpg",))],
    "written-rustfs": [("created", "traps", (MOTH, quote_plus(MOTH)))],
    "written-rustfs-snake": [("created", "traps", (MOTH, quote_plus(MOTH)))],
    "written-rustfs-wrapped": [("removed", "traps", (f"{NIGHT}a.jpg", quote_plus(f"{NIGHT}a.jpg")))],
    "written-versitygw-delete-objects": [("removed", "traps", (f"{NIGHT}a b.jpg",))],
    "written-versitygw-list": [("created", "traps", (f"{NIGHT}a+b.jpg", f"{NIGHT}a b.jpg"))],
    "written-versitygw": [("created", "traps", (f"{NIGHT}a+b.jpg", f"{NIGHT}a b.jpg"))],
    "written-seaweedfs": [("created", "traps", (f"{NIGHT}a+b%20c.jpg",))],
    "written-seaweedfs-rename": [
        ("removed", "traps", (f"{NIGHT}a.jpg",)),
        ("created", "traps", (f"{NIGHT}b.jpg",)),
    ],
    "written-seaweedfs-moved": [
        ("removed", "traps", ("uploads/a.part",)),
        ("created", "traps", (f"{NIGHT}a b.jpg",)),
    ],
    "written-seaweedfs-elsewhere": [],
    "written-cloudevent-structured": [("created", "traps", (PAREN,))],
    "written-cloudevent-without-data": [("removed", "traps", (f"{NIGHT}a+b.jpg",))],
    "written-cloudevent-batch": [
        ("created", "traps", (f"{NIGHT}a.jpg",)),
        ("created", "traps", (f"{NIGHT}b c.jpg",)),
    ],
    "written-knative-source": [("created", "", (f"{NIGHT}a.jpg",))],
}
UNKNOWN = {"written-sns-confirmation"}


def golden(name: str) -> bytes:
    return (EVENTS / f"{name}.json").read_bytes()


def rows(told: Told) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(event.kind, event.bucket, event.keys) for event in told.events]


def record(key: Any, source: str = "ceph:s3", name: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {"eventSource": source, "eventName": name, "s3": {"bucket": {"name": "traps"}, "object": {"key": key}}}


def of_records(*records: Any) -> Told:
    return read(json.dumps({"Records": records}))


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_payload_says_what_happened_to_which_object(name: str) -> None:
    told = read(golden(name))
    assert rows(told) == GOLDEN[name]
    assert told.unread == ()


def test_every_payload_that_is_kept_is_tested() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == GOLDEN.keys() | UNKNOWN


def test_a_topic_that_asks_for_confirmation_is_told_with_the_remedy() -> None:
    with pytest.raises(EventUnknown, match=r"asks whether this address subscribed.*SubscribeURL"):
        read(golden("written-sns-confirmation"))


# -- names


@pytest.mark.parametrize("prefix", ["", "s3:"])
@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_means_new_content_or_none_any_more_is_told_in_either_spelling(name: str, prefix: str) -> None:
    (event,) = of_records(record("a.jpg", name=prefix + name)).events
    assert (event.kind, event.name) == (KINDS[name], prefix + name)


@pytest.mark.parametrize(
    "name",
    [
        *("ObjectCreated:PutTagging", "ObjectCreated:DeleteTagging", "ObjectCreated:PutRetention"),
        *("ObjectCreated:PutLegalHold", "ObjectRemoved:NoOP", "ObjectRestore:Completed", "ObjectTagging:Put"),
        *("ObjectAcl:Put", "ObjectAccessed:Get", "Replication:OperationFailedReplication", "LifecycleTransition"),
        *("ReducedRedundancyLostObject", "IntelligentTiering", "ObjectCreated", "TestEvent", "x"),
    ],
)
def test_what_changes_no_content_is_ignored(name: str) -> None:
    assert of_records(record("a.jpg", name=f"s3:{name}")) == Told()


# -- keys


@pytest.mark.parametrize(
    ("text", "readings", "keys"),
    [
        ("a+b%20c", RAW, ("a+b%20c",)),
        ("a+b%20c", FORM, ("a b c",)),
        ("a+b", FORM_OR_RAW, ("a b", "a+b")),
        ("a+b", RAW_OR_FORM, ("a+b", "a b")),
        ("plain.jpg", FORM_OR_RAW, ("plain.jpg",)),
        ("100%.jpg", FORM, ("100%.jpg",)),
        ("%zz", FORM, ("%zz",)),
        ("%ff", FORM, ("%ff",)),
        ("a b+c", FORM, ("a b+c",)),
        ("ü+a", FORM, ("ü+a",)),
        ("", FORM_OR_RAW, ()),
        ("a\ud800", RAW, ()),
    ],
)
def test_text_that_no_form_encoder_writes_is_the_key_itself(text: str, readings: Any, keys: tuple[str, ...]) -> None:
    assert keys_of(text, readings) == keys


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(keys, st.sampled_from(("ceph:s3", "aws:s3", "minio:s3", "rustfs:s3", "other:s3")))
def test_the_true_key_is_among_those_told_however_a_store_of_unknown_habits_encodes_it(key: str, source: str) -> None:
    raws = {"ceph:s3": [key], "aws:s3": [quote_plus(key), quote_plus(key, safe="/")]}
    for text in raws.get(source, [quote_plus(key), key] if source == "other:s3" else [quote_plus(key)]):
        (event,) = of_records(record(text, source)).events
        assert key in event.keys


@given(keys)
def test_minios_own_line_settles_how_a_key_is_meant(key: str) -> None:
    body = {"EventName": "s3:ObjectCreated:Put", "Key": f"traps/{key}"}
    for text in (quote_plus(key), key):
        body["Records"] = [record(text, "minio:s3", "s3:ObjectCreated:Put")]  # type: ignore[assignment]
        (event,) = read(json.dumps(body)).events
        assert key in event.keys
        assert event.keys == (key,) or key not in (quote_plus(key), unquote_plus(key))


@given(keys)
def test_a_subject_in_a_header_is_read_percent_encoded_or_as_it_is(key: str) -> None:
    headers = {"Ce-Type": "com.amazonaws.s3.ObjectCreated:Put", "ce-source": "ceph:s3.default.traps"}
    for text in (quote(key), quote(key, safe="/+")):
        (event,) = read(b"\xff\xd8\xff", {**headers, "CE-Subject": text}).events
        assert key in event.keys
        assert (event.kind, event.bucket) == ("created", "traps")


def test_in_binary_mode_the_body_says_more_than_the_headers() -> None:
    headers = {"ce-type": "com.amazonaws.ObjectCreated:Put", "ce-source": "ceph:s3..ev-false", "ce-subject": "in/x"}
    assert rows(read(golden("ceph-put"), headers)) == GOLDEN["ceph-put"]
    assert rows(read(b"x" * (LARGEST + 1), headers)) == [("created", "ev-false", ("in/x",))]


def test_each_key_that_may_be_meant_is_a_hint() -> None:
    event = StoreEvent(("a+b.jpg", "a b.jpg"), "created", "traps")
    assert event.hints("webhook") == (
        ObjectEvent("a+b.jpg", "created", "webhook"),
        ObjectEvent("a b.jpg", "created", "webhook"),
    )


# -- what cannot be read


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\xfd", b"{", b"incoming/a.jpg", b"[" * 100_000, b"9" * 10_000])
def test_what_is_not_json_is_told_as_such(body: bytes) -> None:
    with pytest.raises(EventUnreadable, match="is not JSON"):
        read(body)


def test_a_message_that_is_too_large_is_not_parsed() -> None:
    with pytest.raises(EventUnreadable, match=f"at most {LARGEST}"):
        read(b" " * (LARGEST + 1))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (7, "is a number"),
        ("x", "is a text"),
        (None, "is null"),
        ({}, "has the fields: none"),
        ({"a": 1, "b\ud800": 2}, r"has the fields: 'a', 'b\\ud800'"),
        ({"Records": [7]}, "part 0: A record is a number"),
        ({"Records": [{}]}, "no `eventName`"),
        ({"Records": [record("")]}, "names no key"),
        ({"Records": [record(["a"])]}, "names no key"),
        ({"Records": [record("\udc80")]}, "names no key"),
        ({"EventName": "s3:ObjectCreated:Put", "Key": "bucket"}, "names no key"),
        ({"specversion": "1.0", "type": "com.example.parcel"}, "com.example.parcel"),
        ({"specversion": "1.0", "type": "com.amazonaws.s3.ObjectCreated:Put"}, "names no key"),
        ({"Type": "Notification", "TopicArn": "t", "Message": "hello"}, "envelope's message cannot be read"),
        ({"Type": "Notification", "TopicArn": "t"}, "holds no message"),
    ],
)
def test_json_that_is_no_known_event_is_told_with_what_is_wrong(value: Any, why: str) -> None:
    with pytest.raises(EventUnknown, match=why):
        read(json.dumps(value))


def test_a_record_that_cannot_be_read_costs_no_other_its_event() -> None:
    told = of_records(7, record("a.jpg"), {}, record("", name="ObjectTagging:Put"))
    assert [event.keys for event in told.events] == [("a.jpg",)]
    assert told.unread == (
        "part 0: A record is a number; expected a JSON object.",
        "part 2: A record has no `eventName`.",
    )


def test_envelopes_are_opened_up_to_a_depth() -> None:
    def wrapped(times: int) -> str:
        body = golden("ceph-put").decode()
        for _ in range(times):
            body = json.dumps({"Type": "Notification", "TopicArn": "t", "Message": body})
        return body

    assert rows(read(wrapped(4))) == GOLDEN["ceph-put"]
    with pytest.raises(EventUnknown, match=f"more than {DEEPEST} envelopes"):
        read(wrapped(8))


def test_a_huge_batch_is_read_whole_and_what_is_wrong_with_it_is_told_in_few_lines() -> None:
    told = of_records(*[record(f"{n}.jpg") for n in range(8_000)], *[{}] * 8_000)
    assert len(told.events) == 8_000
    assert len(told.unread) == UNREAD_NAMED


# -- whatever comes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = (
    *("Records", "s3", "object", "key", "bucket", "name", "eventName", "event_name", "eventSource", "data", "Key"),
    *("EventName", "Type", "TopicArn", "Message", "specversion", "type", "subject", "source", "detail", "detail-type"),
    *("event_type", "body", "Sns", "data_base64", "Event", "configurationId"),
)
WORDS = (
    *("s3:ObjectCreated:Put", "ObjectRemoved:Delete", "aws:s3", "minio:s3", "ceph:s3", "aws.s3", "Object Created"),
    *("Notification", "com.amazonaws.s3.ObjectCreated:Put", "com.amazon.s3.objectcreated", "create", "1.0"),
    *("s3:TestEvent", "/buckets/b/k+%20", "b/k+%20", "a%2Fb+c", "", "\ud800", "%ff", "/", "-global"),
)  # fmt: skip
likely = st.recursive(
    st.sampled_from(WORDS) | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)


def texts(value: Any) -> Iterator[str]:
    """Every text in a message, those in its envelopes too."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from texts(part)
    if isinstance(value, str):
        yield value
        for inner in opened(value):
            yield from texts(inner)


def opened(text: str) -> Iterator[Any]:
    for data in (text, _base64(text)):
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict | list):
            yield value


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def derivable(value: Any) -> set[str]:
    """Every key that a message may be about: a text as it is or decoded, whole or after the bucket's name."""
    found: set[str] = set()
    plain = set(texts(value))
    for text in plain | {f"{folder}/{name}" for folder in plain if folder.startswith("/buckets/") for name in plain}:
        tails = {text, text.partition("/")[2], text.removeprefix("/buckets/").partition("/")[2]}
        found |= tails | {unquote_plus(tail) for tail in tails} | {unquote(tail) for tail in tails}
    return found


def check(body: bytes | str, value: Any, headers: dict[str, str] | None = None) -> None:
    """Reading raises nothing but what it says, and every key told stands in the message."""
    try:
        told = read(body, headers)
    except (EventUnknown, EventUnreadable) as error:
        assert str(error).isprintable()
        return
    for event in told.events:
        assert event.keys and "" not in event.keys
        assert set(event.keys) <= derivable([value, list((headers or {}).values())])
        assert "".join(event.keys).encode()
        assert event.kind in ("created", "removed")


@settings(max_examples=300, deadline=None)
@given(json_values | likely)
def test_any_json_makes_events_from_its_own_texts_or_the_declared_error(value: Any) -> None:
    check(json.dumps(value), value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_make_events_or_the_declared_error(body: bytes | str) -> None:
    check(body, None)


@settings(max_examples=200, deadline=None)
@given(
    likely | st.binary(max_size=30),
    st.dictionaries(st.sampled_from(("ce-type", "Ce-Subject", "CE-SOURCE", "host")), st.sampled_from(WORDS) | keys),
)
def test_any_headers_make_events_or_the_declared_error(value: Any, headers: dict[str, str]) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value)
    check(body, None if isinstance(value, bytes) else value, headers)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a message."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from places(part, (*path, name))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The message with something else in one place; `...` takes that away."""
    if not path:
        return None if new is ... else new
    first, *rest = path
    if rest or new is not ...:
        part = changed(value[first], tuple(rest), new)
        if isinstance(value, dict):
            return {**value, first: part}
        return [*value[:first], part, *value[first + 1 :]]
    return (
        {name: part for name, part in value.items() if name != first}
        if isinstance(value, dict)
        else value[:first] + value[first + 1 :]
    )


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_change_to_a_real_message_makes_events_from_its_own_texts_or_the_declared_error(
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(sorted(GOLDEN)))
    value = json.loads(golden(name))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(value))))
        value = changed(value, path, data.draw(st.just(...) | likely))
    check(json.dumps(value), value)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(GOLDEN)), st.data())
def test_a_real_message_cut_or_garbled_makes_the_declared_error_or_its_own_events(
    name: str, data: st.DataObject
) -> None:
    body = bytearray(golden(name))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=3))
    try:
        value = json.loads(bytes(body))
    except ValueError:
        value = None
    check(bytes(body), value)


@pytest.mark.parametrize(
    "name", ["Records", "data", "detail", "detail-type", "source", "Key", "EventName", "subject", "key", "s3"]
)
def test_depth_inside_a_field_is_no_trouble(name: str) -> None:
    deep: Any = "x"
    for _ in range(400):
        deep = {name: [deep]}
    for value in (deep, {"Records": [deep]}, {**record("k"), **deep}, {"source": "aws.s3", "detail-type": "x", **deep}):
        check(json.dumps(value), value)
