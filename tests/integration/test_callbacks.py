"""A client that fails, hangs, resets or redirects before it answers: it is told at least once, and nobody else is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine import Engine, engine, night, project, until
from tests.integration.receiver import HANG, Client

TOKEN = "token-of-the-client"
WAYS = ("500", "hang", "reset", "302", "307", "503", "drip", "garbage", "short", "busy", "404")

pytestmark = pytest.mark.slow


def told_by(folder: Path, *hosts: str, timeout: float = 1, retry: int = 12) -> Path:
    """A project that may call these hosts, for some seconds each, and tries again soon."""
    delivery = {"backoffDelay": "PT0.3S", "backoffPolicy": "linear", "timeout": "PT10S", "retry": retry}
    return project(folder, notify={"parameters": {"allow": list(hosts), "timeout": timeout}, "delivery": delivery})


def submit(served: Engine, job: str, host: str, *images: int, scheme: str = "http") -> None:
    for number in images:
        served.put(f"incoming/{job}/{number}.jpg", night(number))
    listed = [{"id": f"{number}", "url": f"incoming/{job}/{number}.jpg"} for number in images]
    callback = {"callbackUrl": f"{scheme}://{host}/told?secret=of-the-query", "callbackToken": TOKEN}
    served.put(f"jobs/{job}.json", json.dumps({"sourceImages": listed, "callback": callback}).encode())


def receipt(served: Engine, job: str) -> Any:
    (name,) = served.receipts(job)
    return served.json(f"receipts/{job}/{name}")


def leaks(served: Engine) -> list[str]:
    """Where a token, or the query of a callback's address, stands though it should not."""
    places = [path for path in served.data.rglob("*") if path.is_file() and served.root / "jobs" not in path.parents]
    words = (TOKEN.encode(), b"of-the-query")
    found = [str(path) for path in places if any(word in path.read_bytes() for word in words)]
    return found + ["stderr"] * any(word.decode() in served.said() for word in words)


def test_a_client_that_fails_in_every_way_is_told_in_the_end_and_the_job_is_none_the_worse(tmp_path: Path) -> None:
    with Client() as inside, Client(*WAYS) as client:
        client.moved_to = f"http://127.0.0.1:{inside.port}/secrets"
        ways = list(client.ways)
        with engine(told_by(tmp_path / "traps", client.host), tmp_path / "data") as served:
            submit(served, "ecos/j1", client.host, 2, 3)
            until(lambda: len(client.calls) > 2, 30, lambda: (client.calls, served.said()))
            status = served.status("ecos/j1")
            assert (status["state"], status["closed"], status["told"]) == ("SUCCEEDED", True, "")
            assert served.receipts("ecos/j1") == []  # nobody has been told yet
            until(lambda: len(client.calls) > len(ways), 60, lambda: (client.told(), served.said()))
            summary = served.closed("ecos/j1")
            assert client.told() == [*ways, "200"]
            assert len(set(client.ids())) == 1
            assert {json.loads(body)["data"]["revision"] for _, _, body in client.calls} == {summary["revision"]}
            told = receipt(served, "ecos/j1")
            assert (told["outcome"], told["attempts"], told["webhook_id"]) == ("told", len(ways) + 1, client.ids()[0])
            assert inside.calls == []
            assert not served.keys("failed/") and served.status("ecos/j1")["state"] == "SUCCEEDED"
            time.sleep(2)
            assert len(client.calls) == len(ways) + 1  # told, and left alone
        assert leaks(served) == []


def test_an_engine_killed_while_it_tells_tells_again_with_the_same_id(tmp_path: Path) -> None:
    with Client("hang", "200") as client:
        served = Engine(told_by(tmp_path / "traps", client.host), tmp_path / "data").start()
        try:
            submit(served, "ecos/j1", client.host, 2)
            until(lambda: client.calls, 30, served.said)
            served.kill()
            served.start()
            served.closed("ecos/j1")
            assert client.told() == ["hang", "200"] and len(set(client.ids())) == 1
            submit(served, "ecos/j1", client.host, 2, 4)
            served.closed("ecos/j1", 2)
            assert len(client.calls) == 3 and len(set(client.ids())) == 2  # another revision is another message
            assert served.stop() == 0 and leaks(served) == []
        finally:
            served.end()


def test_a_client_that_never_answers_costs_a_dead_letter_and_is_told_when_that_is_deleted(tmp_path: Path) -> None:
    with Client(*["500"] * 3) as client:
        with engine(told_by(tmp_path / "traps", client.host, retry=2), tmp_path / "data") as served:
            submit(served, "ecos/j1", client.host, 2)
            (letter,) = until(lambda: served.keys("failed/notify/ecos/j1/"), 30, served.said)
            failure = served.json(letter)
            assert (failure["code"], failure["attempts"]) == ("callback_failed", 3) and failure["remedy"]
            assert served.status("ecos/j1")["state"] == "SUCCEEDED" and served.receipts("ecos/j1") == []
            until(lambda: served.status("ecos/j1")["told"] == "dead letter", 5)
            said = " ".join(served.trapline("status", "ecos/j1").split())
            assert f"callback_failed: {failure['meaning']} {failure['message']} {failure['remedy']}" in said
            served.delete(letter)
            served.closed("ecos/j1")
            assert len(client.calls) == 4 and len(set(client.ids())) == 1
            assert receipt(served, "ecos/j1")["outcome"] == "told"
        assert leaks(served) == []


def test_a_client_that_hangs_does_not_hold_up_another_jobs_client(tmp_path: Path) -> None:
    with Client(*["hang"] * 9) as slow, Client() as quick:
        made = told_by(tmp_path / "traps", slow.host, quick.host, timeout=HANG)
        with engine(made, tmp_path / "data") as served:
            submit(served, "slow/j1", slow.host, 2)
            until(lambda: slow.calls, 30, served.said)
            submit(served, "quick/j1", quick.host, 2)
            until(lambda: quick.calls, 6, lambda: (slow.calls, served.said()))
            assert served.receipts("slow/j1") == []


@pytest.mark.parametrize(("way", "calls"), [("410", 1), ("401", 1), ("400", 1)])
def test_a_client_that_refuses_for_good_is_not_called_again(tmp_path: Path, way: str, calls: int) -> None:
    with Client(*[way] * 9) as client, engine(told_by(tmp_path / "traps", client.host), tmp_path / "data") as served:
        submit(served, "ecos/j1", client.host, 2)
        (letter,) = until(lambda: served.keys("failed/notify/ecos/j1/"), 30, served.said)
        assert served.json(letter)["code"] == "callback_failed" and f"answered {way}" in served.json(letter)["message"]
        time.sleep(1)
        assert len(client.calls) == calls and leaks(served) == []


def test_a_client_whose_certificate_nobody_trusts_is_sent_nothing(tmp_path: Path) -> None:
    with Client().secured(tmp_path) as client:
        made = told_by(tmp_path / "traps", client.host, retry=1)
        with engine(made, tmp_path / "data") as served:
            submit(served, "ecos/j1", client.host, 2, scheme="https")
            (letter,) = until(lambda: served.keys("failed/notify/ecos/j1/"), 30, served.said)
            assert "certificate" in served.json(letter)["message"].lower()
            assert client.calls == [] and leaks(served) == []
