"""What the webhook trigger answers, whom it lets in, and what it hands on."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from trapline.errors import ConfigError
from trapline.events import ObjectEvent, TriggerContext
from triggers.webhook import WebhookTrigger, open_trigger

EVENTS = Path(__file__).resolve().parents[1] / "events"
NIGHT = "incoming/st7/n1/"
BODY = json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"traps/{NIGHT}a.jpg"}).encode()
NOTICED = [ObjectEvent(f"{NIGHT}a.jpg", "created", "webhook")]


class Hook:
    """A trigger with its options, what it noticed and what it put aside; messages come without a socket."""

    def __init__(self, bucket: str = "traps", /, **options: Any) -> None:
        self.noticed: list[ObjectEvent] = []
        self.aside: list[tuple[bytes, str, str]] = []
        context = TriggerContext(
            bucket=bucket,
            folder=None,
            prefixes=("incoming/", "jobs/", "in/"),
            notice=self.noticed.append,
            closed=lambda key: None,
            quarantine=lambda *told: self.aside.append(told),
        )
        self.trigger: WebhookTrigger = open_trigger(context, **options)

    def send(self, content: Any = BODY, *, method: str = "POST", path: str = "/events", **more: Any) -> httpx.Response:
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.trigger.inbound.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://hook") as client:
                return await client.request(method, path, content=content, **more)

        return asyncio.run(sent())


@pytest.fixture
def hook() -> Hook:
    return Hook()


def golden(name: str) -> bytes:
    return (EVENTS / f"{name}.json").read_bytes()


# -- what is handed on


@pytest.mark.parametrize(
    ("name", "bucket", "keys"),
    [
        ("ceph-put", "ev-false", ["in/plain.txt"]),
        ("ceph-multipart-complete", "ev-false", ["in/multi.bin"]),
        ("written-minio-webhook", "traps", [f"{NIGHT}moth ü a+b.jpg"]),
        ("written-versitygw", "traps", [f"{NIGHT}a+b.jpg", f"{NIGHT}a b.jpg"]),
        ("written-seaweedfs", "traps", [f"{NIGHT}a+b%20c.jpg"]),
        ("written-eventbridge-created", "traps", [f"{NIGHT}a+b.jpg", f"{NIGHT}a b.jpg"]),
        ("written-cloudevent-structured", "traps", [f"{NIGHT}moth (ü) a+b.jpg"]),
        ("written-cloudevent-batch", "traps", [f"{NIGHT}a.jpg", f"{NIGHT}b c.jpg"]),
        ("written-aws-batch", "traps", [f"{NIGHT}a.jpg", f"{NIGHT}b.jpg", f"{NIGHT}c.jpg"]),
        ("written-aws-test", "traps", []),
        ("written-minio-tagging", "traps", []),
    ],
)
def test_what_each_store_posts_is_handed_on(name: str, bucket: str, keys: list[str]) -> None:
    hook = Hook(bucket)
    assert hook.send(golden(name)).status_code == 200
    assert [hint.key for hint in hook.noticed] == keys
    assert hook.aside == []


def test_a_cloud_event_in_binary_mode_is_read_from_its_headers(hook: Hook) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "com.amazonaws.s3.ObjectCreated:Put",
        "ce-source": "ceph:s3.default.traps",
        "ce-subject": f"{NIGHT}m%C3%B6th.jpg",
    }
    assert hook.send(b"", headers=headers).status_code == 200
    assert f"{NIGHT}möth.jpg" in [hint.key for hint in hook.noticed]


def test_a_raw_delivery_of_a_topic_is_read_like_the_stores_own_message(hook: Hook) -> None:
    headers = {"x-amz-sns-rawdelivery": "true", "content-type": "text/plain; charset=UTF-8"}
    assert hook.send(golden("written-aws-put"), headers=headers).status_code == 200
    assert [hint.key for hint in hook.noticed] == [f"{NIGHT}moth (ü) a+b.jpg"]


def test_what_is_about_another_bucket_or_prefix_is_answered_and_ignored(hook: Hook) -> None:
    for key in ("other/incoming/a.jpg", "traps/results/a.json", "traps/status/st7/n1.json"):
        assert hook.send(json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": key})).status_code == 200
    assert (hook.noticed, hook.aside) == ([], [])


def test_json_that_is_no_known_event_is_put_aside_and_accepted(hook: Hook) -> None:
    assert hook.send(b'{"parcel": 7}').status_code == 200
    ((message, why, trigger),) = hook.aside
    assert (message, trigger) == (b'{"parcel": 7}', "webhook")
    assert "no event that is known" in why


def test_what_of_a_message_can_be_read_is_handed_on_and_the_whole_put_aside(hook: Hook) -> None:
    record = {"eventSource": "ceph:s3", "eventName": "ObjectCreated:Put"}
    good = {**record, "s3": {"bucket": {"name": "traps"}, "object": {"key": f"{NIGHT}a.jpg"}}}
    assert hook.send(json.dumps({"Records": [good, {}]})).status_code == 200
    assert hook.noticed == NOTICED
    assert "part 1" in hook.aside[0][1]


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xd8\xff", b"{"])
def test_what_is_not_json_is_refused_and_not_kept(hook: Hook, body: bytes) -> None:
    assert hook.send(body).status_code == 400
    assert (hook.noticed, hook.aside) == ([], [])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused_whether_or_not_its_length_is_told(chunked: bool) -> None:
    hook = Hook(max_body="1 KiB")

    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 500

    assert hook.send(chunks() if chunked else b" " * 1025).status_code == 413
    assert hook.send(BODY + b" " * (1024 - len(BODY))).status_code == 200


def test_other_paths_and_methods_are_told_apart(hook: Hook) -> None:
    assert hook.send(path="/").status_code == 404
    assert hook.send(method="GET").status_code == 405
    assert hook.send(method="GET").headers["allow"] == "POST"
    assert hook.send(method="GET", path="/health").status_code == 200


def test_messages_to_another_path_are_told_in_the_log_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    hook = Hook()
    for _ in range(9):
        assert hook.send(path="/" + "x%0A" * 200).status_code == 404
    lines = [record.getMessage() for record in caplog.records if "inbound.not_found" in record.getMessage()]
    assert len(lines) == 4
    assert all("posted to /events" in line and "\n" not in line and len(line) < 500 for line in lines)


# -- who is let in


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Options that name secrets: the token `t0ken`, the user `ceph` with `pass:word`, the key `k3y`."""
    (tmp_path / "token").write_text("t0ken\n")
    monkeypatch.setenv("HOOK_USER", "ceph:pass:word")
    monkeypatch.setenv("HOOK_KEY", "k3y")
    return {"token": f"file:{tmp_path / 'token'}", "basic": "env:HOOK_USER", "hmac": "env:HOOK_KEY"}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        *(("Bearer t0ken", 200), ("t0ken", 200), ("bearer  t0ken", 200), (basic("ceph:pass:word"), 200)),
        *(("Bearer t0keN", 401), ("", 401), ("Bearer", 401), ("Bearer ", 401), ("Basic t0ken", 401)),
        *((basic("ceph:"), 401), (basic("ceph:pass:word2"), 401), ("Basic !", 401), ("Basic", 401)),
        *((basic(""), 401), ("Bearer ceph:pass:word", 401)),
    ],
)
def test_a_sender_shows_the_token_or_the_user(secrets: dict[str, str], authorization: str, status: int) -> None:
    hook = Hook(token=secrets["token"], basic=secrets["basic"])
    answer = hook.send(headers={"authorization": authorization})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert hook.noticed == (NOTICED if status == 200 else [])


@pytest.mark.parametrize("which", ["token", "basic"])
def test_a_credential_that_is_not_set_opens_nothing(secrets: dict[str, str], which: str) -> None:
    hook = Hook(**{which: secrets[which]})
    for authorization in ("", "Bearer", "Bearer ", "Basic", "Basic ", basic("")):
        assert hook.send(headers={"authorization": authorization}).status_code == 401
    other = {"token": basic("ceph:pass:word"), "basic": "Bearer t0ken"}[which]
    assert hook.send(headers={"authorization": other}).status_code == 401


def test_a_token_may_be_told_in_the_form_in_which_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, sent in (("Bearer x", "Bearer x"), ("Bearer x", "x"), ("Token x", "Token x")):
        monkeypatch.setenv("HOOK", told)
        assert Hook(token="env:HOOK").send(headers={"authorization": sent}).status_code == 200


def test_a_key_asks_for_a_signature_of_the_body(secrets: dict[str, str]) -> None:
    hook = Hook(hmac=secrets["hmac"])
    right = "sha256=" + hmac.new(b"k3y", BODY, "sha256").hexdigest()
    assert hook.send(headers={"X-Hub-Signature-256": right}).status_code == 200
    assert hook.send(BODY + b" ", headers={"X-Hub-Signature-256": right}).status_code == 401
    assert hook.send(headers={"X-Hub-Signature-256": right[7:]}).status_code == 401
    assert hook.send().status_code == 401
    assert hook.noticed == NOTICED


def test_health_asks_for_no_credentials(secrets: dict[str, str]) -> None:
    assert Hook(**secrets).send(method="GET", path="/health").status_code == 200


# -- options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": "hunter2"}, "token: a secret does not stand in pipeline.yaml"),
        ({"basic": "me:hunter2"}, "basic: a secret does not stand in pipeline.yaml"),
        ({"hmac": 7}, "hmac: a secret does not stand in pipeline.yaml"),
        ({"token": "file:hunter2"}, "file:/PATH"),
        ({"token": "env:HOOK_NOT_SET"}, "env:HOOK_NOT_SET is empty"),
        ({"token": "file:/nowhere/token"}, "/nowhere/token cannot be read: No such file"),
        ({"basic": "env:HOOK_ONE_WORD"}, "expected user:password"),
        ({"host": "0.0.0.0"}, "on 0.0.0.0, anybody could post events.*Name a `token`"),
        ({"host": "::"}, "anybody could post"),
        ({"host": "store.example.org"}, "anybody could post"),
        ({"host": ""}, "host: '' is no address"),
        ({"port": "9910"}, "port: '9910' is no port"),
        ({"port": 70000}, "port: 70000 is no port"),
        ({"port": True}, "port: True is no port"),
        ({"path": "events"}, "path: 'events' is no path"),
        ({"path": "/health"}, "is no path for events"),
        ({"max_body": "5 MiB"}, "max_body: '5 MiB' is not between"),
        ({"max_body": "much"}, "max_body: 'much'"),
        ({"topics": "arn:aws:sns:x"}, "topics: expected the ARNs"),
        ({"topics": ["traps"]}, "topics: expected the ARNs"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_ONE_WORD", "hunter2")
    with pytest.raises(ConfigError, match=said) as error:
        Hook(**options)
    assert "hunter2" not in str(error.value)


def test_with_credentials_any_address_may_be_listened_on(secrets: dict[str, str]) -> None:
    for option, where in secrets.items():
        assert "9910/hooks" in Hook(host="0.0.0.0", path="/hooks", **{option: where}).trigger.describe()


def test_the_address_to_give_to_a_store_is_told() -> None:
    assert Hook().trigger.describe() == "http://127.0.0.1:9910/events"
    assert Hook(host="::1", port=8080).trigger.describe() == "http://[::1]:8080/events"
