"""A whole engine on an outside store that tells it of uploads: by a POST, long before a sweep would find them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine import Engine, night, project, until
from tests.integration.test_outages import Remote, remote

TOKEN = "hook-t0ken"
JOB = "st7/told"


@pytest.fixture(scope="module")
def told_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample project with sweeps so rare that events alone can tell of an upload."""
    made = project(tmp_path_factory.mktemp("hook") / "traps")
    path = made / "pipeline.yaml"
    text = path.read_text().replace("triggers:\n- folder\n", "")
    options = '{port: 0, token: "env:HOOK_TOKEN"}'
    path.write_text(f"{text}triggers: [{{webhook: {options}}}]\nsweeps: {{open: PT1H, names: PT1H, full: PT6H}}\n")
    return made


@pytest.fixture
def served(told_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setenv("HOOK_TOKEN", TOKEN)
    with remote(told_project, tmp_path) as made:
        yield made


def post(served: Engine, message: Any, token: str = TOKEN) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(served.told["triggers"]["webhook"], json.dumps(message).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def event(key: str, name: str = "s3:ObjectCreated:Put") -> dict[str, str]:
    return {"EventName": name, "Key": f"traps/{key}"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_upload_that_the_store_tells_of_is_worked_on_at_once(served: Remote) -> None:
    for number in (1, 2):
        served.put(f"incoming/{JOB}/{number}.jpg", night(number))
        assert post(served, event(f"incoming/{JOB}/{number}.jpg")) == 200
    served.put(f"incoming/{JOB}/_DONE")
    assert post(served, event(f"incoming/{JOB}/_DONE")) == 200
    served.closed(JOB)
    assert set(served.lines(JOB)) == {"1.jpg", "2.jpg"}
    assert post(served, event("incoming/x.jpg"), token="wrong") == 401
    assert post(served, {"parcel": 7}) == 200
    (kept,) = until(lambda: served.keys("quarantine/"))
    assert served.json(kept)["trigger"] == "webhook"
    assert TOKEN not in served.said()
    assert served.stop() == 0
