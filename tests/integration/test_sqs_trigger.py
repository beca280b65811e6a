"""The trigger `sqs` on moto's emulator: wrappings are opened, messages deleted, what nobody can read is kept."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.engine import until
from tests.integration.hints import Heard, bridge_event, s3_event
from tests.integration.loopback import Handler, Server
from tests.integration.queues import Aws, emulated
from trapline.errors import ConfigError
from trapline.events.dialects import read
from triggers import sqs
from triggers.sqs import open_trigger

KEY = "incoming/st 7/n+1/å%41.jpg"
FORM = "incoming/st+7/n%2B1/%C3%A5%2541.jpg"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture(scope="module", name="aws")
def _aws() -> Iterator[Aws]:
    with emulated() as made:
        yield made


@pytest.fixture(name="url")
def _url(aws: Aws, request: pytest.FixtureRequest) -> str:
    return aws.queue(f"q{abs(hash(request.node.nodeid))}")


@contextmanager
def receiving(**options: Any) -> Iterator[Heard]:
    heard = Heard()
    trigger = open_trigger(heard.context("http://127.0.0.1:1"), **options)
    trigger.start()
    try:
        yield heard
    finally:
        trigger.stop()


def wrapped(aws: Aws, url: str, how: str) -> None:
    if how == "EventBridge":
        aws.send(url, [bridge_event(KEY)])
    elif how == "directly":
        aws.send(url, [s3_event(FORM)])
    else:
        aws.publish(url, s3_event(FORM), raw=how == "SNS, raw")


@pytest.mark.parametrize("how", ["directly", "SNS", "SNS, raw", "EventBridge"])
def test_a_key_comes_through_every_wrapping_as_it_was(aws: Aws, url: str, how: str) -> None:
    wrapped(aws, url, how)
    with receiving(queue=url, wait=1) as heard:
        until(lambda: KEY in heard.keys and aws.left(url) == 0)
    assert {event.kind for event in heard.events} == {"created"}
    assert heard.aside == []


def test_messages_that_nobody_can_read_are_kept_aside_and_deleted(aws: Aws, url: str) -> None:
    aws.send(url, ["no json", '{"some": "thing"}', s3_event(FORM), "[" * 2000])
    with receiving(queue=url, wait=1) as heard:
        until(lambda: aws.left(url) == 0)
    assert heard.keys == [KEY]
    assert sorted(message[:7] for message, _, _ in heard.aside) == [b"[[[[[[[", b"no json", b'{"some"']


def test_a_message_over_which_the_trigger_fails_costs_itself(
    aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def failing(body: str) -> Any:
        if body == "odd":
            raise RuntimeError("unforeseen")
        return read(body)

    monkeypatch.setattr(sqs, "read", failing)
    aws.send(url, ["odd", s3_event(FORM)])
    with receiving(queue=url, wait=1) as heard:
        until(lambda: aws.left(url) == 0 and heard.keys)
    assert [message for message, _, _ in heard.aside] == [b"odd"]
    assert caplog.text.count("RuntimeError: unforeseen") == 1


def test_an_error_that_nobody_foresaw_is_told_and_the_next_request_made(
    aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqs, "PAUSES", (0.05, 0.2))
    receive, broken = sqs.Queue.receive, ["first", "second"]

    def failing(queue: sqs.Queue, wait: int) -> Any:
        if wait and broken:
            raise RuntimeError(broken.pop())
        return receive(queue, wait)

    monkeypatch.setattr(sqs.Queue, "receive", failing)
    with receiving(queue=url, wait=1) as heard:
        until(lambda: not broken)
        aws.send(url, [s3_event(FORM)])
        until(lambda: heard.keys and heard.sweeps)
    assert caplog.text.count("Traceback") == 2


def test_what_is_no_news_is_deleted_without_a_word(aws: Aws, url: str, caplog: pytest.LogCaptureFixture) -> None:
    test = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "traps"})
    elsewhere = s3_event("incoming/x.jpg", bucket="others")
    tag = s3_event("incoming/a.jpg", "ObjectTagging:Put")
    aws.send(url, [test, elsewhere, elsewhere, tag, s3_event("detections/a.json")])
    with receiving(queue=url, wait=1) as heard:
        until(lambda: aws.left(url) == 0)
    assert (heard.events, heard.aside) == ([], [])
    assert caplog.text.count("sqs.other_bucket") == 1


def test_a_fifo_queue_is_read_in_order(aws: Aws) -> None:
    url = aws.queue("in-order.fifo", FifoQueue="true")
    keys = [f"incoming/a/b/{number:03}.jpg" for number in range(40)]
    aws.send(url, [s3_event(key) for key in keys], MessageGroupId="traps")
    with receiving(queue="in-order.fifo", endpoint=aws.endpoint, wait=1) as heard:
        until(lambda: aws.left(url) == 0)
    assert heard.keys == keys


@pytest.mark.slow
@pytest.mark.timeout(240)  # the emulator counts its whole queue for every message
def test_a_burst_that_came_while_nobody_received_is_read_afterwards(aws: Aws, url: str) -> None:
    keys = [f"incoming/a/b/{number}.jpg" for number in range(1000)]
    aws.send(url, [s3_event(key) for key in keys])
    begun = time.monotonic()
    with receiving(queue=url) as heard:
        until(lambda: aws.left(url) == 0, 200, lambda: len(heard.events))
    print(f"\n{len(keys) / (time.monotonic() - begun):.0f} messages/s from the emulator")
    assert set(heard.keys) == set(keys)


def test_stopping_does_not_wait_for_a_message(aws: Aws, url: str) -> None:
    with receiving(queue=url, wait=20):
        time.sleep(0.3)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2


@pytest.mark.slow
def test_an_outage_is_told_once_and_followed_by_a_sweep(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sqs, "PAUSES", (0.05, 0.2))
    with emulated() as first:
        url, port = first.queue("outage"), int(first.endpoint.rpartition(":")[2])
    with receiving(queue=url, wait=1) as heard:
        time.sleep(3)
        assert heard.sweeps == []
        with emulated(port) as again:
            again.send(again.queue("outage"), [s3_event("incoming/a.jpg")])
            until(lambda: heard.keys == ["incoming/a.jpg"] and heard.sweeps)
            until(lambda: again.left(url) == 0)
    assert caplog.text.count("event=sqs.failing") <= 2  # it may come back without its queue for a moment
    assert caplog.text.count("event=sqs.working") == 1


class _Busy(Handler):
    """Answers what the test says, one after the other; then that there is nothing."""

    answers: list[tuple[int, dict[str, Any]]] = []  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        action = self.headers["x-amz-target"].rpartition(".")[2]
        self.asked.append(action)
        status, body = self.answers.pop(0) if self.answers else (200, {})
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def answering(*answers: tuple[int, dict[str, Any]]) -> Server:
    return Server(type("_Answering", (_Busy,), {"answers": list(answers), "asked": []}))


def message(number: int) -> dict[str, str]:
    return {"MessageId": str(number), "ReceiptHandle": f"r{number}", "Body": s3_event(f"incoming/{number}.jpg")}


def asked(server: Server) -> list[str]:
    handler: Any = server.http.RequestHandlerClass
    return list(handler.asked)


def test_messages_that_could_not_be_deleted_are_deleted_again() -> None:
    failed = {"Successful": [], "Failed": [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]}
    with answering((200, {"Messages": [message(1)]}), (200, failed)) as server:
        url = f"http://{server.host}/1/q"
        with receiving(queue=url, receivers=1):
            until(lambda: asked(server).count("DeleteMessageBatch") == 2)
            time.sleep(0.5)
    assert asked(server).count("DeleteMessageBatch") == 2


def test_what_may_be_read_and_not_deleted_is_said_so() -> None:
    denied = {"__type": "com.amazonaws.sqs#AccessDeniedException", "message": "no"}
    with answering((200, {"Messages": [message(1)]}), (400, denied)) as server:
        said = refusal(queue=f"http://{server.host}/1/q")
    assert "cannot be deleted. These credentials may not" in said and "sqs:DeleteMessage" in said


def test_too_many_requests_are_waited_for_without_a_sweep(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sqs, "PAUSES", (0.05, 0.2))
    busy = (400, {"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"})
    with answering(*[busy] * 7) as server, receiving(queue=f"http://{server.host}/1/q", receivers=1) as heard:
        until(lambda: "event=sqs.working" in caplog.text)
    assert caplog.text.count("event=sqs.failing") == 1
    assert heard.sweeps == []


def refusal(**options: Any) -> str:
    with pytest.raises(ConfigError) as told:
        open_trigger(Heard().context("http://127.0.0.1:1"), **options).start()
    text = str(told.value)
    assert "\n" not in text and told.value.remedy
    return text


def test_what_is_wrong_with_the_queue_is_said_at_start(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "There is no such queue" in refusal(queue="nowhere", endpoint=aws.endpoint)
    assert "There is no such queue" in refusal(queue=f"{aws.endpoint}/123456789012/nowhere")
    assert "Set `region:`" in refusal(queue="traps")
    assert "There is no profile 'nobody'" in refusal(queue="traps", region="eu-west-1", profile="nobody")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    assert "There are no credentials" in refusal(queue="traps", endpoint=aws.endpoint)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDeniedException", "Allow them sqs:GetQueueUrl, sqs:ReceiveMessage and sqs:DeleteMessage."),
        ("InvalidClientTokenId", "There are no credentials that it knows"),
        ("KmsAccessDenied", "Allow these credentials kms:Decrypt."),
    ],
)
def test_what_may_not_be_read_is_said_with_what_to_allow(code: str, said: str) -> None:
    with answering(*[(400, {"__type": f"com.amazonaws.sqs#{code}", "message": "no"})] * 3) as server:
        assert said in refusal(queue=f"http://{server.host}/1/q")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "triggers.sqs.queue names no queue"),
        ({"queue": "traps", "wait": 21}, "triggers.sqs.wait is 21"),
        ({"queue": "traps", "wait": "20"}, "triggers.sqs.wait is '20'"),
        ({"queue": "traps", "receivers": 0}, "triggers.sqs.receivers is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    assert said in refusal(**options)


def test_the_embedded_store_has_no_queue() -> None:
    with pytest.raises(ConfigError, match="needs an outside store"):
        open_trigger(Heard().context(None), queue="traps")


def _region_of(queue: str) -> str | None:
    find: Callable[[str], str | None] = sqs._region
    return find(queue)


def test_a_region_is_read_from_an_address() -> None:
    assert _region_of("https://sqs.eu-west-1.amazonaws.com/1/q") == "eu-west-1"
    assert _region_of("https://vpce-1a.sqs.eu-north-1.vpce.amazonaws.com/1/q") == "eu-north-1"
    assert _region_of("https://eu-west-2.queue.amazonaws.com/1/q") == "eu-west-2"
    assert _region_of("arn:aws:sqs:us-west-2:123456789012:traps") == "us-west-2"
    assert _region_of("http://localhost:9324/1/q") is None
