"""A client that fails, hangs, resets or redirects before it answers: it is told at least once, and nobody else is."""

from __future__ import annotations

import json
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine import Engine, engine, night, project, until
from tests.integration.loopback import Handler, Server

TOKEN = "token-of-the-client"
HANG = 8.0  # seconds in which a client that hangs says nothing

pytestmark = pytest.mark.slow


class Client(Server):
    """Answers each call in the next way, and 200 when there are no more ways."""

    def __init__(self, *ways: str) -> None:
        self.ways = list(ways)
        self.moved_to = ""  # where a redirect leads
        self.calls: list[tuple[str, dict[str, str], bytes]] = []  # (way, headers, body)
        client = self

        class Receiver(Handler):
            def do_POST(self) -> None:
                way = client.ways.pop(0) if client.ways else "200"
                headers = {name.lower(): value for name, value in self.headers.items()}
                client.calls.append((way, headers, self.rfile.read(int(self.headers["Content-Length"]))))
                client.answer(self, way)

            do_GET = do_POST

        super().__init__(Receiver)

    def answer(self, handler: Handler, way: str) -> None:
        if way == "hang":
            time.sleep(HANG)
            return
        if way == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            return
        handler.send_response(int(way))
        if way.startswith("3"):
            handler.send_header("Location", self.moved_to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers, _ in self.calls]


def told_by(folder: Path, *hosts: str, timeout: float = 1, retry: int = 12) -> Path:
    """A project that may call these hosts, for some seconds each, and tries again soon."""
    delivery = {"backoffDelay": "PT0.3S", "backoffPolicy": "linear", "timeout": "PT10S", "retry": retry}
    return project(folder, notify={"parameters": {"allow": list(hosts), "timeout": timeout}, "delivery": delivery})


def submit(served: Engine, job: str, host: str, *images: int) -> None:
    for number in images:
        served.put(f"incoming/{job}/{number}.jpg", night(number))
    listed = [{"id": f"{number}", "url": f"incoming/{job}/{number}.jpg"} for number in images]
    callback = {"callbackUrl": f"http://{host}/told?secret=of-the-query", "callbackToken": TOKEN}
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
    with Client() as inside, Client("500", "hang", "reset", "302", "307", "503") as client:
        client.moved_to = f"http://127.0.0.1:{inside.port}/secrets"
        ways = list(client.ways)
        with engine(told_by(tmp_path / "traps", client.host), tmp_path / "data") as served:
            submit(served, "ecos/j1", client.host, 2, 3)
            until(lambda: len(client.calls) > 2, 30, lambda: (client.calls, served.said()))
            status = served.status("ecos/j1")
            assert (status["state"], status["closed"], status["told"]) == ("SUCCEEDED", True, "")
            assert served.receipts("ecos/j1") == []  # nobody has been told yet
            summary = served.closed("ecos/j1")
            assert [way for way, _, _ in client.calls] == [*ways, "200"]
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
            assert [way for way, _, _ in client.calls] == ["hang", "200"] and len(set(client.ids())) == 1
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
