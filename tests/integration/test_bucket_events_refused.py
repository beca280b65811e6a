"""`trapline bucket-events` where a store refuses: answers as AWS, Garage, SeaweedFS and forgetful stores word them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.engine import project
from tests.integration.loopback import Handler, Server
from trapline.cli.bucket_events import remove, setup, show, target_of
from trapline.cli.place import Place, find_place
from trapline.errors import ConfigError, StoreDenied

RULES = (
    "<NotificationConfiguration><QueueConfiguration><Id>theirs</Id><Queue>arn:aws:sqs:eu-west-1:1:theirs</Queue>"
    "<Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>"
)
QUEUE = target_of(None, None, "arn:minio:sqs::OURS:webhook", verify=True, cloudevents=False)
HOOK = target_of("http://127.0.0.1:9/", None, None, verify=True, cloudevents=False)


def refusal(code: str, message: str = "") -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


class Store:
    """What a store answers, and the writes that it saw."""

    def __init__(self) -> None:
        self.get, self.put, self.post = (200, RULES), (200, ""), (405, refusal("MethodNotAllowed"))
        self.written: list[bytes] = []

    def handler(self) -> type[Handler]:
        store = self

        class Answers(Handler):
            def do_GET(self) -> None:
                self.answer(*store.get)

            def do_PUT(self) -> None:
                store.written.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(*store.put)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(*store.post)

            def answer(self, status: int, body: str) -> None:
                assert urlsplit(self.path).path in ("/traps", "/")
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

        return Answers


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def place(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Server(store.handler()) as server:
        made = project(tmp_path / "traps")
        yield find_place(made, None, "traps", f"http://127.0.0.1:{server.port}")


def test_an_overlap_is_told_with_the_rule_that_is_in_the_way(store: Store, place: Place) -> None:
    said = "Configurations overlap. Configurations on the same bucket cannot share a common event type."
    store.put = (400, refusal("InvalidArgument", said))
    with pytest.raises(ConfigError) as told:
        setup(place, QUEUE, dry_run=False, as_json=True)
    told_of = "The rule theirs tells arn:aws:sqs:eu-west-1:1:theirs of the same events"
    assert told_of in str(told.value)
    assert "trapline-moth-traps-incoming would under 'incoming/'" in str(told.value)


def test_a_target_that_the_store_does_not_know_is_told(store: Store, place: Place) -> None:
    store.put = (400, refusal("InvalidArgument", "A specified destination ARN does not exist or is not well-formed."))
    with pytest.raises(ConfigError, match=r"does not exist.*Check the ARN"):
        setup(place, QUEUE, dry_run=False, as_json=True)


def test_a_permission_that_lacks_is_named(store: Store, place: Place) -> None:
    store.put = (403, refusal("AccessDenied"))
    with pytest.raises(StoreDenied, match="They need s3:GetBucketNotification and s3:PutBucketNotification"):
        setup(place, QUEUE, dry_run=False, as_json=True)


@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "NotImplemented")]
)
def test_a_store_without_the_api_is_told_by_its_steps(
    store: Store, place: Place, capsys: pytest.CaptureFixture[str], status: int, code: str
) -> None:
    store.get = (status, refusal(code))
    assert [setup(place, HOOK, dry_run=False, as_json=True), show(place, as_json=True)] == [1, 1]
    assert remove(place, dry_run=False, as_json=True) == 1
    assert [json.loads(line)["store"] for line in capsys.readouterr().out.splitlines()] == [None] * 3
    assert store.written == []


TOPIC = (
    "<CreateTopicResponse><CreateTopicResult><TopicArn>arn:aws:sns:us-east-1:1:made</TopicArn></CreateTopicResult>"
    "</CreateTopicResponse>"
)


@pytest.mark.parametrize(
    "answer", [(200, TOPIC), (405, refusal("MethodNotAllowed")), (400, ""), (200, "<html><p>Hello"), (200, "<a></a>")]
)
def test_a_store_that_makes_no_topics_is_told_by_its_steps_with_the_address(
    store: Store, place: Place, capsys: pytest.CaptureFixture[str], answer: tuple[int, str]
) -> None:
    store.post = answer
    assert setup(place, HOOK, dry_run=False, as_json=False) == 1
    said = capsys.readouterr()
    assert "has no API for" in said.err
    assert "MINIO_NOTIFY_WEBHOOK_ENDPOINT_TRAPLINE=http://127.0.0.1:9/events" in said.out
    assert store.written == []


def test_rules_that_a_store_takes_and_forgets_are_told(
    store: Store, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup(place, QUEUE, dry_run=False, as_json=True) == 1
    assert "did not keep them" in json.loads(capsys.readouterr().out)["why"]
    (sent,) = store.written
    assert b"<Id>theirs</Id>" in sent and sent.count(b"arn:minio:sqs::OURS:webhook") == 5
