"""Manifests, fetched images and callbacks, against engines that really run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.integration.engine import Engine, count_of, engine, insects, night, project
from tests.integration.loopback import Handler, Server

SECRET = "whsec_" + "c2VjcmV0LW9mLWEtdGVzdC1vbmx5LWhlcmU="


class Web(Server):
    """Images to fetch, and a callback that keeps what it is told."""

    def __init__(self, images: dict[str, bytes]) -> None:
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.asked: list[str] = []
        web = self

        class Receiver(Handler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                data = images.get(self.path)
                self.send_response(200 if data else 404)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                web.told.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

        super().__init__(Receiver)


def test_a_manifest_fetches_from_everywhere_and_its_client_is_told_with_a_signature(tmp_path: Path) -> None:
    with Web({"/a.jpg": night(2), "/b c.jpg?x=1": night(3)}) as there:
        made = project(
            tmp_path / "traps",
            fetch={"parameters": {"allow": [there.host], "buckets": ["pool"]}},
            notify={"parameters": {"allow": [there.host]}},
        )
        (tmp_path / "data" / "buckets" / "pool").mkdir(parents=True)
        with engine(made, tmp_path / "data", TRAPLINE_WEBHOOK_SECRET=SECRET) as served:
            served.s3.put_object(Bucket="pool", Key="shots/x y.jpg", Body=night(4))
            served.put("incoming/ecos/j1/here.jpg", night(5))
            served.put("incoming/ecos/j1/extra.jpg", night(5))
            served.put("jobs/ecos/j1.json", json.dumps(_manifest(there.host)).encode())
            summary = served.closed("ecos/j1")
            _check_manifests_results(served, summary)
            _check_callback(there, summary)
            served.put("jobs/ecos/j1.json", json.dumps(_manifest(there.host)).encode())  # the same again
            time.sleep(4)
            assert len(there.told) == 1 and served.summary("ecos/j1") == summary
            _check_no_token_leaks(served)


def _manifest(host: str) -> dict[str, Any]:
    urls = {
        "web": f"http://{host}/a.jpg",
        "web 2": f"http://{host}/b%20c.jpg?x=1",
        "dead": f"http://{host}/dead.jpg",
        "refused": "http://127.0.0.1:9/a.jpg",
        "pool": "s3://pool/shots/x y.jpg",
        "secret": "s3://secret/a.jpg",
        "here": "incoming/ecos/j1/here.jpg",
        "gone": "incoming/ecos/j1/gone.jpg",
    }
    return {
        "projectId": "ecos",
        "jobId": "j1",
        "unknownField": {"kept": True},
        "sourceImages": [{"id": ident, "url": url, "eventId": "7"} for ident, url in urls.items()],
        "deployment": {"locationName": "meadow", "latitude": 55.6, "longitude": 12.5},
        "callback": {"callbackUrl": f"http://{host}/told", "callbackToken": "token-of-the-client"},
    }


def _check_manifests_results(served: Engine, summary: dict[str, Any]) -> None:
    lines = {line.get("id"): line for line in served.lines("ecos/j1").values()}
    assert {ident: count_of(line) for ident, line in lines.items()} == {
        "web": insects(2),
        "web 2": "fetch_not_found",  # asked for as `/b%20c.jpg`, which is not there
        "dead": "fetch_not_found",
        "refused": "fetch_refused",
        "pool": insects(4),
        "secret": "fetch_refused",
        "here": insects(5),
        "gone": "source_missing",
    }
    assert summary["state"] == "PARTIAL" and summary["images"]["extra"] == 1 and summary["images"]["total"] == 8
    assert summary["client"]["jobId"] == "j1"


def _check_callback(there: Web, summary: dict[str, Any]) -> None:
    ((headers, body),) = there.told
    assert headers["authorization"] == "token-of-the-client"
    Webhook(SECRET).verify(body, headers)
    told = json.loads(body)
    assert told["data"]["job"] == "ecos/j1" and told["data"]["revision"] == summary["revision"]


def _check_no_token_leaks(served: Engine) -> None:
    for path in served.root.rglob("*"):
        if path.is_file() and path.relative_to(served.root).parts[0] != "jobs":
            assert b"token-of-the-client" not in path.read_bytes(), path
    assert "token-of-the-client" not in served.said()


@pytest.mark.slow
def test_a_client_that_answers_late_is_told_until_it_answers(tmp_path: Path) -> None:
    with Web({}) as there:
        made = project(
            tmp_path / "traps", notify={"parameters": {"allow": [there.host]}, "delivery": {"backoffDelay": "PT1S"}}
        )
        callback = {"callbackUrl": f"http://{there.host}/told", "callbackToken": SECRET}
        with engine(made, tmp_path / "data") as served:
            there.http.RequestHandlerClass.do_POST = _busy_twice(there)  # type: ignore[attr-defined]
            served.put("incoming/ecos/j2/a.jpg", night(2))
            listed = [{"id": "a", "url": "incoming/ecos/j2/a.jpg"}]
            served.put("jobs/ecos/j2.json", json.dumps({"sourceImages": listed, "callback": callback}).encode())
            served.closed("ecos/j2")
        assert len(there.told) == 3 and len({headers["webhook-id"] for headers, _ in there.told}) == 1
        headers, body = there.told[-1]
        assert "authorization" not in headers and Webhook(SECRET).verify(body, headers)


def _busy_twice(there: Web) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        there.told.append(({name.lower(): value for name, value in handler.headers.items()}, body))
        handler.send_response(200 if len(there.told) > 2 else 503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_two_manifests_over_the_same_images_with_other_parameters_each_keep_their_own(served: Engine) -> None:
    served.upload("pool/p", {f"{n}.jpg": night(n) for n in (3, 4, 5)}, done=None)
    for name, threshold in (("low", 0.1), ("high", 0.95)):
        stages = [
            {"stage": "OBJECT_DETECTION", "parameters": {"threshold": threshold}},
            {"stage": "CLASSIFICATION", "parameters": {"top_k": 2}},
        ]
        listed = [{"id": f"{n}", "url": f"incoming/pool/p/{n}.jpg"} for n in (3, 4, 5)]
        manifest = {"sourceImages": listed, "pipelineConfig": {"stages": stages}}
        served.put(f"jobs/params/{name}.json", json.dumps(manifest).encode())
    low, high = served.closed("params/low"), served.closed("params/high")
    assert low["state"] == high["state"] == "SUCCEEDED"
    amounts = [sum(len(line["detections"]) for line in served.lines(f"params/{n}").values()) for n in ("low", "high")]
    assert amounts[0] >= 35 > amounts[1]
    time.sleep(3)  # neither undoes the other's
    assert (served.summary("params/low"), served.summary("params/high")) == (low, high)
