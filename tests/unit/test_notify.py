"""What a job's client is told, signed how, and what becomes of a client that does not listen."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
from standardwebhooks.webhooks import Webhook

from functions.notify.handler import Notify
from trapline.errors import Failure, Permanent, Temporary
from trapline.records import Callback, FileRef, Summary, codes_in_words

OWN = "whsec_" + base64.b64encode(b"the pipeline's own secret").decode()
CLIENTS = "whsec_" + base64.b64encode(b"what the client chose itself").decode()
SUMMARY = Summary(
    job="ecos/ea12",
    state="PARTIAL",
    final=True,
    revision="r3-0a1b2c3d",
    folder="results/ecos/ea12/r3-0a1b2c3d/",
    images={"total": 6, "failed": 1},
    failures_by_code={"image_truncated": 1},
    results={"detections": 9, "labels": {"蛾": 9}},
    client={"projectId": "ecos", "jobId": "ea12"},
    at=datetime(2026, 11, 20, 22, 30, tzinfo=UTC),
)


class Receiver(BaseHTTPRequestHandler):
    """A client: what it answers is in the path, what it got is kept."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))  # type: ignore[attr-defined]
        answer = self.path.strip("/").partition("?")[0]
        if answer == "hang":
            time.sleep(1)
        self.send_response(int(answer) if answer.isdigit() else 200)
        self.send_header("Location", "/200")
        self.send_header("Retry-After", "9")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


class Client(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.got: list[tuple[dict[str, str], bytes]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is nothing to report."""


@pytest.fixture
def client() -> Iterator[Client]:
    with Client() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


@dataclass
class Item:
    callback: Callback | None
    job: str = "ecos/ea12"
    event: str = "completed"
    to: str = "client"
    summary: Summary | None = SUMMARY
    news: dict[str, Any] = field(default_factory=dict)
    form: str = "standard"
    client: dict[str, Any] = field(default_factory=lambda: {"jobId": "ea12", "pipelineRequestId": "ecos/ea12"})
    webhook_id: str = "msg_5f3c"
    overtaken: bool = False
    brief: bool = False
    links: dict[str, str] = field(
        default_factory=lambda: {"results.jsonl": "s3://traps/results/ecos/ea12/results.jsonl"}
    )
    people: dict[int, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    secret: str = ""
    reached: list[int] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.files[name])


def callback(client: Client, path: str = "200", token: str = "") -> Callback:
    return Callback(callbackUrl=client.url(path), callbackToken=token)


def told(
    item: Item, timeout: float = 5.0, allow: tuple[str, ...] = ("127.0.0.1",), most: int = 100_000
) -> dict[str, Any] | Failure:
    function = Notify()
    chosen = {"allow": list(allow), "timeout": timeout, "first_timeout": 0.3, "max_bytes": most}
    function.setup(SimpleNamespace(parameters=chosen))
    (result,) = function.handle([item])
    return result


def verified(client: Client, secret: str) -> Any:
    headers, body = client.got[-1]
    return Webhook(secret).verify(body, headers)


def test_the_client_is_told_what_became_of_its_job(client: Client) -> None:
    assert told(Item(callback(client), secret=OWN)) == {"outcome": "told", "detail": {"status": 200}}
    message = verified(client, OWN)
    assert (message["type"], message["timestamp"]) == ("trapline.job.completed", "2026-11-20T22:30:00+00:00")
    assert message["data"] == {
        "job": "ecos/ea12",
        "state": "PARTIAL",
        "revision": "r3-0a1b2c3d",
        "images": {"total": 6, "failed": 1},
        "failures_by_code": {"image_truncated": 1},
        "codes": codes_in_words(["image_truncated"]),
        "results": {"detections": 9, "labels": {"蛾": 9}},
        "client": {"projectId": "ecos", "jobId": "ea12"},
        "links": {"results.jsonl": "s3://traps/results/ecos/ea12/results.jsonl"},
    }


def test_a_failed_job_is_told_as_failed(client: Client) -> None:
    told(Item(callback(client), summary=SUMMARY.model_copy(update={"state": "FAILED"})))
    assert json.loads(client.got[0][1])["type"] == "trapline.job.failed"


def test_every_attempt_carries_the_same_id_and_message(client: Client) -> None:
    for _ in range(2):
        told(Item(callback(client), secret=OWN))
    (first, one), (second, other) = client.got
    assert first["webhook-id"] == second["webhook-id"] == "msg_5f3c"
    assert one == other


def test_a_plain_token_is_sent_raw_beside_the_pipelines_own_signature(client: Client) -> None:
    told(Item(callback(client, token="antenna token"), secret=OWN))
    assert client.got[0][0]["Authorization"] == "antenna token"
    verified(client, OWN)


def test_a_signing_token_signs_and_is_never_sent(client: Client) -> None:
    told(Item(callback(client, token=CLIENTS), secret=OWN))
    headers, body = client.got[0]
    verified(client, CLIENTS)
    assert "Authorization" not in headers
    assert CLIENTS not in str(headers) + body.decode()


def test_without_any_secret_the_message_goes_unsigned(client: Client) -> None:
    told(Item(callback(client)))
    headers = client.got[0][0]
    assert headers["webhook-id"] and abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert "webhook-signature" not in headers


def test_a_job_without_a_callback_has_nobody_to_tell() -> None:
    assert told(Item(None)) == {"outcome": "nobody", "detail": {}}


def test_a_revision_that_was_overtaken_is_not_told(client: Client) -> None:
    assert told(Item(callback(client), overtaken=True)) == {"outcome": "overtaken", "detail": {}}
    assert client.got == []


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_success(client: Client, status: int) -> None:
    assert told(Item(callback(client, str(status)))) == {"outcome": "told", "detail": {"status": status}}


@pytest.mark.parametrize("status", [404, 408, 429, 500, 503])
def test_a_client_that_may_come_back_is_told_again_when_it_says(client: Client, status: int) -> None:
    failure = told(Item(callback(client, str(status))))
    assert isinstance(failure, Temporary)
    assert (failure.code, failure.after) == ("callback_failed", 9)
    assert str(status) in failure.message


@pytest.mark.parametrize("status", [400, 401, 403, 410, 422])
def test_a_client_that_refuses_the_message_is_not_asked_again(client: Client, status: int) -> None:
    failure = told(Item(callback(client, str(status))))
    assert isinstance(failure, Permanent) and failure.code == "callback_failed"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_says_so(client: Client, status: int) -> None:
    failure = told(Item(callback(client, str(status))))
    assert isinstance(failure, Temporary) and failure.code == "callback_failed"
    assert "redirect, which is not followed" in failure.message
    assert len(client.got) == 1


def test_a_client_that_hangs_is_left_when_the_time_is_over(client: Client) -> None:
    failure = told(Item(callback(client, "hang")), timeout=0.2)
    assert isinstance(failure, Temporary) and failure.code == "callback_failed"


def test_a_client_that_is_not_there_is_told_later(client: Client) -> None:
    client.server_close()
    failure = told(Item(callback(client)))
    assert isinstance(failure, Temporary) and failure.code == "callback_failed"


@pytest.mark.parametrize(
    "url",
    ["http://example.org/x", "https://127.0.0.1/x", "https://u:p@example.org/", "ftp://x/", "x", "mailto://u:p@x/"],
)
def test_an_address_that_is_not_public_and_https_is_refused(url: str) -> None:
    failure = told(Item(Callback(callbackUrl=url)), allow=())
    assert isinstance(failure, Permanent) and failure.code == "callback_refused"


@pytest.mark.parametrize("form", ["standard", "antenna"])
def test_why_a_manifest_was_refused_is_said_in_either_form(client: Client, form: str) -> None:
    news = {"state": "FAILED", "message": "outputs: no such format."}
    told(Item(callback(client, token=CLIENTS), summary=None, event="failed", form=form, news=news))
    said = verified(client, CLIENTS)
    if form == "standard":
        assert (said["type"], said["data"]) == ("trapline.job.failed", {"job": "ecos/ea12", **news})
    else:
        assert (said["jobId"], said["message"]) == ("ea12", news["message"]) and "data" not in said


@pytest.mark.parametrize("token", ["hunter2\r\nX-Evil: 1", " hunter2", "hunter2\x00", "hünter2"])
def test_a_token_that_cannot_be_used_is_said_without_repeating_it(client: Client, token: str) -> None:
    failure = told(Item(callback(client, token=token)))
    assert isinstance(failure, Permanent) and failure.code == "callback_failed"
    assert "callbackToken" in failure.message and "nter2" not in str(failure)
    assert client.got == []


@pytest.mark.parametrize("path", ["200", "302", "404", "500", "hang"])
@pytest.mark.parametrize("token", [CLIENTS, "hunter2 and more"])
def test_no_credential_is_logged_raised_or_returned(
    client: Client, path: str, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    result = told(Item(callback(client, f"{path}?key=hunter3", token), secret=OWN), timeout=0.5)
    said = f"{result!r} {result} {caplog.text}"
    assert not [secret for secret in (token, OWN, "hunter3") if secret in said]


# -- news, tests and the pipeline-controller's form


@pytest.mark.parametrize("event", ["opened", "progress"])
def test_news_of_an_open_job_say_what_the_status_says(client: Client, event: str) -> None:
    news = {"state": "PROCESSING", "images": {"done": 2, "total": 6}}
    told(Item(callback(client, token=CLIENTS), summary=None, event=event, news=news, form="antenna"))
    assert verified(client, CLIENTS)["type"] == f"trapline.job.{event}"
    assert json.loads(client.got[0][1])["data"] == {"job": "ecos/ea12", **news}


def test_an_update_is_told_as_one(client: Client) -> None:
    told(Item(callback(client), event="updated"))
    assert json.loads(client.got[0][1])["type"] == "trapline.job.updated"


FILE = json.dumps({"jobId": "ea12", "pipelineRequestId": "r-7", "data": [{"sourceImageId": "蛾"}] * 999}).encode()


def antenna(size: int = len(FILE)) -> Summary:
    file = FileRef(name="antenna.json", key="results/antenna.json", size=size, sha256="", content_type="")
    return SUMMARY.model_copy(update={"files": (file,)})


def test_a_client_of_the_controllers_form_gets_the_file_as_it_is(client: Client) -> None:
    item = Item(callback(client, token="raw token"), summary=antenna(), form="antenna", secret=OWN)
    item.files["antenna.json"] = FILE
    assert told(item) == {"outcome": "told", "detail": {"status": 200}}
    headers, body = client.got[0]
    assert body == FILE and headers["Authorization"] == "raw token"
    verified(client, OWN)


@pytest.mark.parametrize("summary", [antenna(100_001), SUMMARY.model_copy(update={"state": "FAILED"})])
def test_without_a_file_that_can_be_posted_the_controller_is_told_where_the_results_are(
    client: Client, summary: Summary
) -> None:
    told(Item(callback(client, token="raw token"), summary=summary, form="antenna"))
    said = json.loads(client.got[0][1])
    assert said["message"] and said["links"] and "data" not in said
    assert (said["jobId"], said["pipelineRequestId"], said["state"]) == ("ea12", "ecos/ea12", summary.state)
    assert said["failures_by_code"] == {"image_truncated": 1}


def test_what_was_sent_is_shown_without_what_is_secret(client: Client) -> None:
    item = Item(callback(client, "200?key=hunter3", "hunter2 and more"), secret=OWN)
    told(item)
    (sent,) = item.sent
    assert sent["headers"]["webhook-id"] == "msg_5f3c" and sent["headers"]["Authorization"] == "…"
    assert not [secret for secret in ("hunter2", "hunter3", OWN) if secret in str(sent)]


def test_a_client_that_hangs_at_the_first_call_is_left_sooner_and_has_its_time_at_the_next(client: Client) -> None:
    began = time.monotonic()
    failure = told(Item(callback(client, "hang"), brief=True))
    assert isinstance(failure, Temporary) and "within 0.3 s" in failure.message
    assert time.monotonic() - began < 0.9
    assert told(Item(callback(client, "hang"))) == {"outcome": "told", "detail": {"status": 200}}


def test_a_large_body_has_its_time_at_the_first_call_too(client: Client) -> None:
    size = 2 * 2**20
    item = Item(callback(client, "hang", token="raw token"), summary=antenna(size), form="antenna", brief=True)
    item.files["antenna.json"] = b" " * size
    assert told(item, most=size) == {"outcome": "told", "detail": {"status": 200}}
