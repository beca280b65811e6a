"""Presigned addresses, tried: the embedded endpoint lets their holder read one object for a while, and no more."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from trapline.embedded import signing
from trapline.embedded.rclone import Rclone
from trapline.errors import StoreUnavailable
from trapline.store.s3 import S3Settings, S3Store

KEY = "results/st7/2026-11-20/r1-0a1b2c3d/a b+ü#%.csv"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Rclone]:
    """An endpoint with one object, written down as an engine does it."""
    rclone = Rclone(tmp_path, port=0)
    rclone.start()
    try:
        path = rclone.bucket("traps").root / KEY
        path.parent.mkdir(parents=True)
        path.write_text("hello")
        (tmp_path / "engine" / "serving.json").write_text(json.dumps({"endpoint": rclone.endpoint.url}))
        yield rclone
    finally:
        rclone.stop()


def test_who_holds_it_reads_that_object_until_it_ends(served: Rclone) -> None:
    url = signing.client(served.data, "traps").sign(KEY, 2)
    assert httpx.get(url).text == "hello"
    assert httpx.get(url.replace("r1-0a1b2c3d", "r2-0a1b2c3d")).status_code == 403
    assert httpx.get(url.replace("Expires=2", "Expires=9000")).status_code == 403
    assert httpx.put(url, content=b"x").status_code == 403
    assert httpx.get(url.partition("?")[0]).status_code >= 400
    time.sleep(3)
    assert httpx.get(url).status_code >= 400


def test_keys_of_a_profile_sign_as_well(served: Rclone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, file = served.endpoint.credentials, tmp_path / "aws"
    file.write_text(f"[mine]\naws_access_key_id={keys.access_key}\naws_secret_access_key={keys.secret_key}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    store = S3Store(S3Settings("traps", endpoint=served.endpoint.url, profile="mine"))
    assert httpx.get(store.sign(KEY, 60)).text == "hello"


def test_where_no_engine_serves_nothing_is_signed(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No engine serves"):
        signing.client(tmp_path, "traps")
