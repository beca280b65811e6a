"""Manifests that attack a running engine: each is refused or its images are, nobody is called, no token is read."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.manifests import CALLBACKS, REFUSED, TOKEN, manifest, urls
from tests.integration.engine import Engine, engine, night, project, until

DOCUMENTS = {name: case for several in REFUSED.values() for name, case in several.items()}
CALLED = {name: (code, fields) for code, several in CALLBACKS.values() for name, fields in several.items()}
KEYS = {  # where a manifest lies → what its job's status says
    "jobs/attack.json": "is not the name of a job",
    "jobs/attack/deep/er.json": "is not the name of a job",
}
ODD = ("=cmd|' calc'!A1", "<script>", "-rf", "%2e%2e", "ü" * 60, "a b+c#d?e")  # names of jobs


@dataclass
class Trap:
    """A port of this machine at which nobody must ever knock."""

    port: int
    knocks: list[object] = field(default_factory=list)


@contextmanager
def trap() -> Iterator[Trap]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Trap(listening.getsockname()[1])
        threading.Thread(target=_listen, args=(listening, made), daemon=True).start()
        yield made


def _listen(listening: socket.socket, trap: Trap) -> None:
    while True:
        try:
            connection, address = listening.accept()
        except OSError:
            return
        trap.knocks.append(address)
        connection.close()


@dataclass
class Attacked:
    """An engine that was sent all of them, and what it made of them."""

    engine: Engine
    trap: Trap
    aside: dict[str, str]  # the key of what was put aside → why


@pytest.fixture(scope="module", name="attacked")
def _attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("attacked")
    with trap() as there, engine(project(folder / "traps"), folder / "data") as served:
        _prepare(served, folder)
        for name, (body, _) in DOCUMENTS.items():
            served.put(f"jobs/attack/{name}.json", body)
        for key in KEYS:
            served.put(key, manifest())
        for name, (_, fields) in CALLED.items():
            callback = {part: text.replace("{port}", str(there.port)) for part, text in fields.items()}
            served.put(f"jobs/called/{name}.json", manifest(callback=callback))
        for name in ODD:
            served.put(f"jobs/odd/{name}.json", manifest())
        served.put("jobs/attack/all.json", _all_urls(there.port))
        for name in DOCUMENTS:
            settled(served, f"attack/{name}")
        aside = until(lambda: _aside(served, len(DOCUMENTS) + len(KEYS)), 30)
        yield Attacked(served, there, aside)


def _aside(served: Engine, count: int) -> dict[str, str]:
    keys = served.keys("quarantine/keys/")
    found = [served.json(key) for key in keys] if len(keys) >= count else []
    return {one["key"]: one["why"] for one in found}


def _prepare(served: Engine, folder: Path) -> None:
    """A good image, another job with its token, and links that lead out of the bucket."""
    served.put("incoming/attack/pool/a.jpg", night(2))
    served.put(
        "jobs/attack/victim.json", manifest(callback={"callbackUrl": "https://10.0.0.1/", "callbackToken": TOKEN})
    )
    (folder / "secret.jpg").write_bytes(night(3))
    links = served.incoming / "attack" / "links"
    links.mkdir(parents=True)
    (links / "passwd.jpg").symlink_to(folder / "secret.jpg")
    (links / "folder").symlink_to("/etc")
    (links / "own.jpg").symlink_to(served.root / "jobs" / "attack" / "victim.json")
    (served.root / "jobs" / "attack" / "linked.json").symlink_to(folder / "linked.json")
    (folder / "linked.json").write_bytes(manifest())


def _all_urls(port: int) -> bytes:
    listed = [{"id": str(n), "url": url.replace("{port}", str(port))} for n, url in enumerate(urls())]
    return json.dumps({"sourceImages": listed}).encode()


def settled(served: Engine, job: str) -> dict[str, Any]:
    """A job's status once it is final."""

    def look() -> dict[str, Any] | None:
        status = served.status(job)
        return status if status.get("state") in ("FAILED", "PARTIAL", "SUCCEEDED") else None

    return until(look, 60, lambda: (job, served.status(job).get("message"), served.said()[-1500:]))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_manifest_that_cannot_be_used_says_so_and_is_put_aside(attacked: Attacked, name: str) -> None:
    status = settled(attacked.engine, f"attack/{name}")
    assert status["state"] == "FAILED" and DOCUMENTS[name][1] in status["message"]
    assert len(status["message"]) < 1500 and "\n" not in status["message"]
    assert attacked.aside[f"jobs/attack/{name}.json"] == status["message"]


@pytest.mark.parametrize("key", KEYS)
def test_a_manifest_in_the_wrong_place_names_the_shape(attacked: Attacked, key: str) -> None:
    why = attacked.aside[key]
    assert KEYS[key] in why and "<folder1>/<folder2>" in why


@pytest.mark.parametrize("name", ODD)
def test_a_job_may_have_an_odd_name(attacked: Attacked, name: str) -> None:
    assert settled(attacked.engine, f"odd/{name}")["state"] == "SUCCEEDED"


def test_every_address_that_attacks_fails_with_its_code_and_nobody_is_called(attacked: Attacked) -> None:
    status = settled(attacked.engine, "attack/all")
    assert status["state"] == "FAILED" and status["failures"] == dict(Counter(urls().values()))
    letters = [attacked.engine.json(key) for key in attacked.engine.keys("failed/fetch/attack/all/")]
    assert len(letters) == len(urls())
    assert all(letter["attempts"] == 1 and letter["remedy"] for letter in letters)
    assert attacked.trap.knocks == []


@pytest.mark.parametrize("name", CALLED)
def test_a_callback_that_attacks_is_refused_and_costs_the_job_nothing(attacked: Attacked, name: str) -> None:
    code, _ = CALLED[name]
    key = until(lambda: attacked.engine.keys(f"failed/notify/called/{name}/"), 60, attacked.engine.said)[0]
    letter = attacked.engine.json(key)
    assert letter["code"] == code and letter["remedy"]
    assert attacked.engine.status(f"called/{name}")["state"] == "SUCCEEDED"
    assert attacked.trap.knocks == []


def test_no_link_is_followed_and_no_token_leaves_its_manifest(attacked: Attacked) -> None:
    settled(attacked.engine, "attack/all")
    assert attacked.engine.status("attack/linked") == {}
    for path in attacked.engine.root.rglob("*"):
        part = path.relative_to(attacked.engine.root).parts
        if (
            path.is_file()
            and not path.is_symlink()
            and part[0] != "jobs"
            and part[:3] != ("incoming", "attack", "links")
        ):
            data = path.read_bytes()
            assert TOKEN.encode() not in data and data != night(3), path
    assert TOKEN not in attacked.engine.said()


def test_the_engine_and_its_workers_came_through(attacked: Attacked) -> None:
    attacked.engine.upload("st7/after", {"good.jpg": night(2)})
    assert attacked.engine.closed("st7/after")["state"] == "SUCCEEDED"
    assert "Traceback" not in attacked.engine.said() and "worker.replaced" not in attacked.engine.said()


@pytest.mark.slow
def test_ten_thousand_private_addresses_in_one_manifest_hold_nobody_up(attacked: Attacked) -> None:
    served = attacked.engine
    listed = [{"id": str(n), "url": f"https://10.0.{n // 250}.{n % 250}:{1024 + n}/a.jpg"} for n in range(10_000)]
    served.put("jobs/attack/many.json", json.dumps({"sourceImages": listed}).encode())
    served.upload("st7/beside", {"good.jpg": night(2)})
    assert served.closed("st7/beside", seconds=30)["state"] == "SUCCEEDED"
    until(
        lambda: served.status("attack/many").get("state") == "FAILED",
        110,
        lambda: served.status("attack/many")["images"],
    )
    assert served.status("attack/many")["failures"] == {"fetch_refused": 10_000}
