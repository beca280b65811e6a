"""Whole jobs whose clients and people are told, over the embedded store; and no secret of anybody anywhere."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from standardwebhooks.webhooks import Webhook

from tests.integration.engine import PROGRAM, Engine, engine, environment, night, project, until
from tests.integration.receiver import Client
from tests.integration.test_any_store import swept
from trapline.embedded.rclone import Rclone

pytestmark = pytest.mark.slow

PLANTED = {
    "a callback's token": "planted-callback-token",
    "a secret that signs": "whsec_" + base64.b64encode(b"planted secret of the client").decode(),
    "the pipeline's own secret": "whsec_" + base64.b64encode(b"planted secret of ours").decode(),
    "a callback's query": "planted-callback-query",
    "a password in pipeline.yaml": "planted-password-written",
    "a password from the environment": "planted-password-environment",
    "the store's secret key": "planted-aws-secret-access-key",
    "a session's token": "planted-aws-session-token",
}
QUERY = PLANTED["a callback's query"]
ENVIRONMENT = {
    "TRAPLINE_WEBHOOK_SECRET": PLANTED["the pipeline's own secret"],
    "PEOPLE_PASSWORD": PLANTED["a password from the environment"],
    "AWS_ACCESS_KEY_ID": "planted-aws-access-key",
    "AWS_SECRET_ACCESS_KEY": PLANTED["the store's secret key"],
    "AWS_SESSION_TOKEN": PLANTED["a session's token"],
}


def told_by(folder: Path, clients: Client, people: Client, **notify: Any) -> Path:
    """A project that may call these clients, tells these people, and gives up soon."""
    delivery = {"backoffDelay": "PT0.3S", "backoffPolicy": "linear", "timeout": "PT20S", "retry": 2}
    made = project(folder, notify={"parameters": {"allow": [clients.host], "timeout": 2}, "delivery": delivery})
    written = f"json://me:{PLANTED['a password in pipeline.yaml']}@{people.host}/written"
    named = f"json://me:${{PEOPLE_PASSWORD}}@{people.host}/named"
    path = made / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**spec, "notify": {"to": [written, named], **notify}}))
    return made


def submit(served: Engine, job: str, client: Client, **callback: Any) -> None:
    """A job of two images, one of which is none."""
    served.put(f"incoming/{job}/2.jpg", night(2))
    served.put(f"incoming/{job}/bad.jpg", b"this is no image")
    listed = [{"id": name, "url": f"incoming/{job}/{name}.jpg"} for name in ("2", "bad")]
    url = f"http://{client.host}/told?key={QUERY}"
    told = {"callbackUrl": url, "callbackToken": PLANTED["a callback's token"], **callback}
    served.put(f"jobs/{job}.json", json.dumps({"sourceImages": listed, "callback": told}).encode())


@contextmanager
def embedded(made: Path, room: Path) -> Iterator[Engine]:
    with engine(made, room / "data", **ENVIRONMENT) as served:
        yield served


@contextmanager
def outside(made: Path, room: Path) -> Iterator[Engine]:
    """An engine on a store of others, with keys of its own."""
    store = Rclone(room / "outside", port=0)
    store.bucket("traps").root.mkdir(parents=True, exist_ok=True)
    store.start()
    keys = store.endpoint.credentials
    more = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("AWS_")}
    try:
        with swept(made, room, store.endpoint.url, keys.access_key, keys.secret_key, **more) as served:
            yield served
    finally:
        store.stop()


def found(served: Engine, words: list[bytes]) -> list[str]:
    """Where a word stands: in any object but the manifests, in any file that is not the owner's own, in the log."""
    places = [served.data, served.data.parent / "outside"]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    files = [path for path in files if path.name not in ("webhook-secret", "credentials.json")]
    files = [path for path in files if not re.search(r"/buckets/\w+/jobs/", str(path))]
    assert [path for path in files if "receipts" in path.parts]
    at = [str(path) for path in files if any(word in path.read_bytes() for word in words)]
    return at + ["the log"] * any(word in served.said().encode() for word in words)


def parts(secret: str) -> list[bytes]:
    """A secret as it is, and as it would stand in a URL or a header."""
    plain = secret.removeprefix("whsec_").encode()
    return [plain, base64.b64encode(plain).rstrip(b"=")]


@pytest.mark.parametrize("store", [embedded, outside])
def test_no_secret_is_anywhere_after_jobs_that_were_told_not_told_and_failed(
    tmp_path: Path, store: Callable[[Path, Path], AbstractContextManager[Engine]]
) -> None:
    with Client("500", "200", *["503"] * 99) as client, Client("401", "200", *["500"] * 99) as people:
        made = told_by(tmp_path / "traps", client, people, links="PT1H")
        with store(made, tmp_path) as served:
            submit(served, "ecos/well", client)
            until(lambda: [call for call in client.calls if call[0] == "200"], 40, served.said)
            submit(served, "ecos/ill", client, callbackToken=PLANTED["a secret that signs"], on=["opened", "completed"])
            letters = until(lambda: len(served.keys("failed/notify/ecos/ill/")) == 2, 60, served.said)
            assert letters
            served.trapline("status", "ecos/ill")
            said = served.trapline("notify", "--test", "ecos/well", rc=1) + served.trapline("explain", "bad.jpg", rc=1)
            ways = dict(zip(client.told(), client.calls, strict=False))
            message = json.loads(ways["200"][2])["data"]
            presigned = httpx.get(message["links"]["observations.csv"])
            assert presigned.status_code == 200 and b"bad.jpg" in presigned.content
            signature = message["links"]["observations.csv"].rpartition("X-Amz-Signature=")[2]
            planted = [*PLANTED.values(), signature, served.told["secret_key"]]
            codes = {served.json(key)["code"] for key in served.keys("failed/notify/ecos/ill/")}
            assert codes == {"callback_failed", "notice_failed"}
            assert found(served, [word for secret in planted for word in parts(secret)]) == []
            assert found(served, [b"X-Amz-Signature"]) == []
            assert not [secret for secret in planted if secret in said]
            assert served.status("ecos/ill")["state"] == "PARTIAL"


def test_people_are_told_in_a_paragraph_once_each(tmp_path: Path) -> None:
    with Client() as client, Client("200", "500", "200") as people:
        made = told_by(tmp_path / "traps", client, people, links="PT1H")
        with engine(made, tmp_path / "data", **ENVIRONMENT) as served:
            submit(served, "ecos/j1", client)
            receipts = until(lambda: len(served.receipts("ecos/j1")) == 2, 40, served.said)
            assert receipts and people.told() == ["200", "500", "200"]
            texts = [json.loads(body) for _, _, body in people.calls]
            assert [text["title"] for text in texts] == ["ecos/j1: partial"] * 3
            words = texts[0]["message"]
            assert "1 of 2 images done, 1 failed" in words and "not an image" in words and "\n" not in words
            assert httpx.get(words.rpartition("Results: ")[2]).status_code == 200


def test_a_client_of_the_controllers_form_is_sent_its_token_raw_and_the_file_itself(tmp_path: Path) -> None:
    with Client() as client, Client() as people:
        made = told_by(tmp_path / "traps", client, people)
        with engine(made, tmp_path / "data", **ENVIRONMENT) as served:
            served.put("incoming/ecos/j1/2.jpg", night(2))
            stages = [{"stage": "OBJECT_DETECTION", "stageImplementation": "detect"}, {"stage": "CLASSIFICATION"}]
            manifest = {
                "projectId": "ecos",
                "jobId": "j1",
                "sourceImages": [{"id": "NScx", "url": "incoming/ecos/j1/2.jpg"}],
                "pipelineConfig": {"stages": stages},
                "callback": {"callbackUrl": f"http://{client.host}/", "callbackToken": PLANTED["a callback's token"]},
            }
            served.put("jobs/ecos/j1.json", json.dumps(manifest).encode())
            until(lambda: client.calls, 40, served.said)
            _, headers, body = client.calls[0]
            assert headers["authorization"] == PLANTED["a callback's token"]
            Webhook(PLANTED["the pipeline's own secret"]).verify(body, headers)
            told = json.loads(body)
            assert (told["jobId"], told["pipelineRequestId"]) == ("j1", "ecos/j1")
            summary = served.closed("ecos/j1")
            files = {file["name"]: file["key"] for file in summary["files"]}
            assert body == served.get(files["antenna.json"])
            assert [image["sourceImageId"] for image in told["data"]] == ["NScx"] and told["data"][0]["detections"]


def test_a_test_message_says_what_was_sent_and_answered_and_changes_nothing(tmp_path: Path) -> None:
    with Client() as client, Client() as people:
        made = told_by(tmp_path / "traps", client, people)
        with engine(made, tmp_path / "data", **ENVIRONMENT) as served:
            submit(served, "ecos/j1", client)
            until(lambda: len(served.receipts("ecos/j1")) == 2, 40, served.said)
            served.closed("ecos/j1")
            before = {key: served.get(key) for key in served.keys("receipts/") + served.keys("jobs/")}
            number = len(client.calls)
            said = json.loads(served.trapline("notify", "--test", "ecos/j1", "--json"))
            assert said["told"] and [one["to"] for one in said["messages"]] == ["client", "notify.to 1", "notify.to 2"]
            assert said["messages"][0]["sent"]["headers"]["Authorization"] == "…"
            _, headers, body = client.calls[number]
            Webhook(PLANTED["the pipeline's own secret"]).verify(body, headers)
            assert json.loads(body)["type"] == "trapline.test" and headers["webhook-id"].startswith("msg_test_")
            assert before == {key: served.get(key) for key in served.keys("receipts/") + served.keys("jobs/")}
            client.ways[:] = ["410"]
            shown = served.trapline("notify", "--test", "ecos/j1", rc=1)
            assert "answered 410" in shown and "planted" not in shown
            client.ways[:] = ["200"]
            people.ways[:] = ["410"]
            failed = json.loads(served.trapline("notify", "--test", "ecos/j1", "--json", rc=1))["messages"]
            assert [one["told"] for one in failed] == [True, False, True]
            assert "notify.to" in failed[1]["remedy"] and "--test" not in failed[1]["remedy"]
            people.ways[:] = ["200"]
            del served.env["PEOPLE_PASSWORD"]
            lacks = json.loads(served.trapline("notify", "--test", "ecos/j1", "--json", rc=1))["messages"]
            assert [one["told"] for one in lacks] == [True, True, False] and "${PEOPLE_PASSWORD}" in lacks[2]["answer"]
            shown = served.trapline("notify", "--test", "ecos/j1", rc=1)
            assert "client" in shown and "answered 200" in shown and "${PEOPLE_PASSWORD} is not in" in shown


def test_a_developer_sees_what_comes_and_whether_it_is_signed_rightly(tmp_path: Path) -> None:
    with Client() as client, Client() as people:
        made = told_by(tmp_path / "traps", client, people)
        with engine(made, tmp_path / "data", **ENVIRONMENT) as served:
            submit(served, "ecos/j1", client)
            served.closed("ecos/j1")
            listening = subprocess.Popen(
                [*PROGRAM, "notify", "--listen", "0", "--json", "--project", str(made), "--data", str(served.data)],
                env=served.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                assert listening.stdout and listening.stderr
                address = listening.stderr.readline().split()[2]
                _, got, body = client.calls[0]
                headers = {name: value for name, value in got.items() if name.startswith("webhook-")}
                for sent in (body, body, body + b" "):
                    assert httpx.post(address, content=sent, headers=headers).status_code == 200
                told = [json.loads(listening.stdout.readline()) for _ in range(3)]
            finally:
                listening.terminate()
                listening.wait(10)
            assert [one["signature"].partition(":")[0] for one in told] == ["right", "right", "wrong"]
            assert [one["again"] for one in told] == [False, True, True]
            assert told[0]["message"]["type"] == "trapline.job.completed" and "planted" not in str(told)


def test_a_variable_that_is_missing_stops_the_start_by_its_name(tmp_path: Path) -> None:
    with Client() as client, Client() as people:
        made = told_by(tmp_path / "traps", client, people)
        served = Engine(made, tmp_path / "data", env=environment())
        said = served.trapline("up", rc=2)
        assert "${PEOPLE_PASSWORD} is not in the environment" in said and "planted" not in said
