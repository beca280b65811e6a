"""Which envelopes of SNS are believed, and which addresses in them are called."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.unit.test_webhook import NIGHT, NOTICED, Hook, golden
from trapline.errors import Temporary
from trapline.inbound import Request
from trapline.outbound import Answer, Outbound

TOPIC = "arn:aws:sns:eu-north-1:123456789012:traps"
HOST = "https://sns.eu-north-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0.pem"
CONFIRM = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=T"
EVENT = json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"traps/{NIGHT}a.jpg"})


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def certificate(owner: Any, days: int = 1) -> bytes:
    """A certificate for a key, valid until `days` from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(owner.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
    return made.sign(owner, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def message(kind: str = "Notification", version: str = "2", **changed: str) -> dict[str, str]:
    """An envelope as SNS sends it, signed over the fields that its documentation names."""
    told = {"Type": kind, "MessageId": "m-1", "TopicArn": TOPIC, "Timestamp": "2026-11-20T18:03:05.321Z"}
    if kind == "Notification":
        told |= {"Subject": "Amazon S3 Notification", "Message": EVENT}
        names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    else:
        told |= {"Message": "You have chosen to subscribe.", "Token": "T", "SubscribeURL": CONFIRM}
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    told |= {name: text for name, text in changed.items() if name in names}
    signed = "".join(f"{name}\n{told[name]}\n" for name in names if told[name] != "-").encode()
    told = {name: text for name, text in told.items() if text != "-"}
    hashed = {"1": hashes.SHA1(), "2": hashes.SHA256()}[version]
    signature = base64.b64encode(key().sign(signed, padding.PKCS1v15(), hashed)).decode()
    return {**told, "SignatureVersion": version, "Signature": signature, "SigningCertURL": CERTIFICATE, **{
        name: text for name, text in changed.items() if name not in names
    }}  # fmt: skip


class Web:
    """What SNS answers, in place of the internet."""

    def __init__(self, pem: bytes | None = None) -> None:
        self.pem = certificate(key()) if pem is None else pem
        self.asked: list[str] = []

    def get(self, _: Outbound, url: str) -> Answer:
        self.asked.append(url)
        if not self.pem:
            raise Temporary("It did not answer.", code="fetch_failed")
        return Answer(200, self.pem if url == CERTIFICATE else b"<ConfirmSubscriptionResponse/>")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    web = Web()
    monkeypatch.setattr(Outbound, "get", lambda outbound, url: web.get(outbound, url))
    return web


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_signed_notification_is_handed_on_and_the_certificate_read_once(web: Web, version: str) -> None:
    hook = Hook(topics=[TOPIC])
    assert hook.send(json.dumps(message(version=version))).status_code == 200
    assert hook.send(json.dumps(message(version=version, Subject="-"))).status_code == 200
    assert hook.noticed == NOTICED * 2
    assert web.asked == [CERTIFICATE]


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_subscription_to_a_named_topic_is_confirmed(web: Web, version: str) -> None:
    hook = Hook(topics=[TOPIC])
    assert hook.send(json.dumps(message("SubscriptionConfirmation", version))).text == "confirmed"
    assert web.asked == [CERTIFICATE, CONFIRM]
    assert (hook.noticed, hook.aside) == ([], [])


def test_without_named_topics_a_subscription_is_put_aside_for_a_person(web: Web) -> None:
    hook = Hook()
    assert hook.send(json.dumps(message("SubscriptionConfirmation"))).status_code == 200
    assert web.asked == [CERTIFICATE]
    assert "SubscribeURL" in hook.aside[0][1]


def test_another_topic_is_refused_before_anything_is_fetched(web: Web) -> None:
    hook = Hook(topics=[TOPIC])
    for kind in ("Notification", "SubscriptionConfirmation"):
        assert hook.send(json.dumps(message(kind, TopicArn=TOPIC + "2"))).status_code == 403
    assert (hook.noticed, hook.aside, web.asked) == ([], [], [])


FORGED = {
    "a changed message": {**message(), "Message": EVENT.replace("a.jpg", "b.jpg")},
    "a changed topic": {**message(), "TopicArn": TOPIC + "2"},
    "another kind": {**message("SubscriptionConfirmation"), "Type": "UnsubscribeConfirmation"},
    "a changed address": {**message("SubscriptionConfirmation"), "SubscribeURL": CONFIRM + "x"},
    "a version of the other": {**message(version="1"), "SignatureVersion": "2"},
    "no version that is known": message(SignatureVersion="3"),
    "a signature that is none": message(Signature="EXAMPLE!"),
    "no signature": {name: text for name, text in message().items() if name != "Signature"},
    "no certificate": {name: text for name, text in message().items() if name != "SigningCertURL"},
}


@pytest.mark.parametrize("case", sorted(FORGED))
def test_what_was_not_signed_so_is_refused_and_calls_nothing_but_the_certificate(web: Web, case: str) -> None:
    hook = Hook()
    assert hook.send(json.dumps(FORGED[case])).status_code == 403
    assert (hook.noticed, hook.aside) == ([], [])
    assert set(web.asked) <= {CERTIFICATE}


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-north-1.amazonaws.com/x.pem",
        "https://sns.eu-north-1.amazonaws.com.example.org/x.pem",
        "https://example.org/sns.eu-north-1.amazonaws.com/x.pem",
        "https://sns.eu-north-1.amazonaws.com@example.org/x.pem",
        "https://example.org#sns.eu-north-1.amazonaws.com/x.pem",
        "https://example.org\\@sns.eu-north-1.amazonaws.com/x.pem",
        "https://sns.eu-north-1.amazonaws.com:8443/x.pem",
        "https://somebodys-bucket.s3.amazonaws.com/x.pem",
        "https://sns.somebodys-bucket.s3.amazonaws.com/x.pem",
        "https://sns.eu.example.org/.amazonaws.com",
        "https://amazonaws.com/x.pem",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x.pem",
        "https://[",
        "file:///etc/passwd",
        "//sns.eu-north-1.amazonaws.com/x.pem",
        " https://sns.eu-north-1.amazonaws.com/x.pem",
        "https://sns.eu-north-1.amazonaws.com/x.pem\n",
        "https://ѕns.eu-north-1.amazonaws.com/x.pem",
    ],
)
def test_only_snss_own_addresses_are_called(web: Web, url: str) -> None:
    hook = Hook(topics=[TOPIC])
    assert hook.send(json.dumps(message(SigningCertURL=url))).status_code == 403
    assert web.asked == []
    assert hook.send(json.dumps(message("SubscriptionConfirmation", SubscribeURL=url))).status_code == 403
    assert web.asked == [CERTIFICATE]
    assert hook.noticed == []


@pytest.mark.parametrize("of", ["another", "an old one", "a curve", "no certificate"])
def test_a_certificate_that_will_not_do_is_not_believed(web: Web, of: str) -> None:
    made: dict[str, Callable[[], bytes]] = {
        "another": lambda: certificate(rsa.generate_private_key(65537, 2048)),
        "an old one": lambda: certificate(key(), days=-1),
        "a curve": lambda: certificate(ec.generate_private_key(ec.SECP256R1())),
        "no certificate": lambda: b"<html>",
    }
    web.pem = made[of]()
    hook = Hook()
    assert hook.send(json.dumps(message())).status_code == 403
    assert hook.noticed == []


def test_while_sns_cannot_be_reached_it_is_asked_to_send_again(web: Web) -> None:
    hook, web.pem = Hook(topics=[TOPIC]), b""
    assert hook.send(json.dumps(message())).status_code == 503
    web.pem = certificate(key())
    assert hook.send(json.dumps(message())).status_code == 200
    assert hook.noticed == NOTICED


def test_names_written_in_escapes_are_no_way_around_the_signature(web: Web) -> None:
    hook = Hook()
    body = json.dumps(FORGED["a changed message"]).replace('"TopicArn"', '"Topic\\u0041rn"')
    assert hook.send(body).status_code == 403
    assert hook.noticed == []


UNSIGNED: dict[str, Any] = {
    "in a batch": [FORGED["no signature"]],
    "in a function's batch": {"Records": [{"Sns": FORGED["no signature"]}]},
    "in a queue's message": {"Records": [{"body": json.dumps(FORGED["no signature"])}]},
    "in a CloudEvent": {
        "specversion": "1.0",
        "type": "com.amazonaws.s3.ObjectCreated:Put",
        "source": "arn:aws:s3:::traps",
        "data": {"Records": [{"Sns": FORGED["no signature"]}]},
    },
    "in what somebody published": message(Message=json.dumps(FORGED["no signature"])),
    "with a topic that is no text": {**FORGED["no signature"], "TopicArn": [TOPIC]},
    "signed, and in a batch": [message()],
}


@pytest.mark.parametrize("case", sorted(UNSIGNED))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("binary", [False, True])
def test_an_envelope_that_is_wrapped_is_no_way_around_the_signature(
    web: Web, case: str, encoding: str, binary: bool
) -> None:
    hook = Hook()
    headers = {"ce-type": "com.amazonaws.s3.ObjectCreated:Put", "ce-source": "x"} if binary else {}
    hook.send(json.dumps(UNSIGNED[case]).encode(encoding), headers=headers)
    assert hook.noticed == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "utf-8-sig"])
def test_another_encoding_is_no_way_around_the_signature(web: Web, encoding: str) -> None:
    hook = Hook()
    assert hook.send(json.dumps(FORGED["a changed message"]).encode(encoding)).status_code == 403
    assert hook.noticed == []


def test_what_stands_beside_the_signed_fields_is_not_read(web: Web) -> None:
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "traps"}, "object": {"key": f"{NIGHT}b.jpg"}}}
    hook = Hook()
    assert hook.send(json.dumps({**message(), "Records": [record]})).status_code == 200
    assert hook.noticed == NOTICED


def test_with_topics_and_no_credentials_only_what_sns_signed_is_taken(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "t0ken")
    plain, known = Hook(topics=[TOPIC]), Hook(topics=[TOPIC], token="env:HOOK")
    assert plain.send(EVENT).status_code == 403
    assert plain.send(b"", headers={"ce-type": "com.amazonaws.s3.ObjectCreated:Put"}).status_code == 403
    assert plain.noticed == []
    assert known.send(EVENT, headers={"authorization": "t0ken"}).status_code == 200
    assert known.noticed == NOTICED


@pytest.mark.parametrize("text", ["hello", '{"parcel": 7}'])
def test_what_somebody_published_and_nobody_can_read_is_put_aside_whole(web: Web, text: str) -> None:
    hook = Hook(topics=[TOPIC])
    body = json.dumps(message(Message=text)).encode()
    assert hook.send(body).status_code == 200
    assert hook.aside[0][0] == body


def test_an_end_of_the_subscription_is_noted(web: Web) -> None:
    assert Hook().send(json.dumps(message("UnsubscribeConfirmation"))).status_code == 200
    assert web.asked == [CERTIFICATE]


def test_many_messages_at_once_ask_for_few_things_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, at_once, most = Hook(), 0, 0
    pem = certificate(key())

    async def slow(work: Any, url: str) -> Answer:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return Answer(200, pem)

    async def many() -> None:
        bodies = [message(SigningCertURL=f"{HOST}/{n}.pem") for n in range(40)]
        answers = await asyncio.gather(*(hook.trigger.take(Request({}, json.dumps(b).encode())) for b in bodies))
        assert {answer.status for answer in answers} == {200}

    monkeypatch.setattr(asyncio, "to_thread", slow)
    asyncio.run(many())
    assert most <= 4


def test_payloads_that_are_only_written_are_not_believed(web: Web) -> None:
    hook = Hook()
    for name in ("written-sns", "written-sns-confirmation"):
        assert hook.send(golden(name)).status_code == 403
    assert hook.noticed == []
