"""The trigger `listen` on a stand-in for MinIO, and on rclone, which has no such API."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.engine import night, project, until
from tests.integration.hints import PREFIXES, Heard
from tests.integration.listening import CUT, SILENCE, Listening, line
from tests.integration.test_outages import remote
from trapline.cli.triggers import trigger_module
from trapline.embedded.rclone import Rclone
from trapline.errors import ConfigError
from trapline.events.dialects import read
from triggers import listen
from triggers.listen import EVENTS, open_trigger

XML = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no</Message></Error>'


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(listen, "PAUSES", (0.02, 0.2))
    caplog.set_level(logging.INFO)


@pytest.fixture(name="store")
def _store() -> Iterator[Listening]:
    with Listening() as made:
        yield made


@contextmanager
def heard_from(endpoint: str, prefixes: tuple[str, ...] = ("incoming/",), **options: Any) -> Iterator[Heard]:
    heard = Heard()
    trigger = open_trigger(heard.context(endpoint, prefixes), **options)
    trigger.start()
    try:
        yield heard
    finally:
        begun = time.monotonic()
        trigger.stop()
        assert time.monotonic() - begun < 2


def refused(store: Listening, status: int, code: bytes) -> None:
    store.refuse = (status, "application/xml", XML % code)


@pytest.mark.parametrize("key", ["a.jpg", "st 7/n+1/å%41.jpg", "a%2Fb+c.jpg", "日本/#?&.jpg"])
def test_a_key_comes_through_as_it_was(store: Listening, key: str) -> None:
    store.say(line(f"incoming/{key}") + b"\n")
    with heard_from(store.endpoint) as heard:
        until(lambda: heard.events)
    assert heard.keys == [f"incoming/{key}"]
    assert store.signed[0].startswith("AWS4-HMAC-SHA256 Credential=testing/")


def test_each_prefix_is_listened_to_for_new_content_and_removals_alone(store: Listening) -> None:
    store.say(line("failed/detect/a.json", "s3:ObjectRemoved:Delete") + b"\n", "failed/")
    with heard_from(store.endpoint, PREFIXES) as heard:
        until(lambda: len(store.asked) == len(PREFIXES) and heard.events)
    assert heard.events[0].kind == "removed"
    assert sorted(query["prefix"][0] for query in store.asked) == sorted(PREFIXES)
    assert all(sorted(query["events"]) == sorted(EVENTS) for query in store.asked)
    assert not [name for name in EVENTS if "*" in name or "Tagging" in name]


def test_a_connection_that_is_cut_in_the_middle_is_made_again_and_the_gap_swept(store: Listening) -> None:
    with heard_from(store.endpoint) as heard:
        store.say(line("incoming/1.jpg") + b"\n")
        until(lambda: heard.events)
        assert len(heard.sweeps) == 1
        store.say(line("incoming/lost.jpg")[:40])
        store.say(CUT)
        until(lambda: len(heard.sweeps) == 2)
        store.say(line("incoming/2.jpg") + b"\n")
        until(lambda: len(heard.events) == 2)
    assert heard.keys == ["incoming/1.jpg", "incoming/2.jpg"]
    assert heard.aside == []


def test_lines_come_whole_however_they_are_cut(store: Listening) -> None:
    told = b"\n".join(line(f"incoming/{number} é.jpg") for number in range(50)) + b"\n"
    for start in range(0, len(told), 97):
        store.say(told[start : start + 97])
    with heard_from(store.endpoint) as heard:
        until(lambda: len(heard.events) == 50)
    assert heard.keys == [f"incoming/{number} é.jpg" for number in range(50)]


def test_broken_lines_are_kept_aside_and_the_next_is_read(store: Listening) -> None:
    store.say(b'{"Records": [{"even\n' + b"[]\n" + b'{"Records": null}\n\n' + b'{"Records": [7]}\n')
    store.say(line("incoming/a.jpg") + b"\n")
    with heard_from(store.endpoint) as heard:
        until(lambda: heard.events)
    assert len(heard.aside) >= 2
    assert len(heard.sweeps) == 1


def test_a_connection_that_fell_silent_is_made_again(store: Listening) -> None:
    store.say(SILENCE)
    with heard_from(store.endpoint, silence=1) as heard:
        until(lambda: len(heard.sweeps) == 2, 10)


def test_an_outage_is_told_once(store: Listening, caplog: pytest.LogCaptureFixture) -> None:
    refused(store, 503, b"SlowDown")
    with heard_from(store.endpoint, PREFIXES) as heard:
        until(lambda: len(store.asked) > 12)
        assert not heard.sweeps
        store.refuse = None
        until(lambda: "event=listen.working" in caplog.text)
        until(lambda: heard.sweeps)
        time.sleep(1)  # longer than the longest pause
        assert len(heard.sweeps) == 1
    assert caplog.text.count("event=listen.failing") == 1


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, b"AccessDenied", "Allow these credentials s3:ListenBucketNotification"),
        (403, b"InvalidAccessKeyId", "Check AWS_ACCESS_KEY_ID."),
        (404, b"NoSuchBucket", "Create the bucket"),
    ],
)
def test_what_is_refused_is_told_with_what_to_do(
    store: Listening, caplog: pytest.LogCaptureFixture, status: int, code: bytes, said: str
) -> None:
    refused(store, status, code)
    with heard_from(store.endpoint, PREFIXES):
        until(lambda: len(store.asked) > 8)
    assert caplog.text.count(said) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (501, "application/xml", XML % b"NotImplemented"),
        (405, "text/plain", b"no"),
        (400, "application/xml", XML % b"NotImplemented"),
        (200, "text/xml; charset=utf-8", b"<ListBucketResult/>"),
        (200, "text/plain", b"<html>"),
        (403, "application/xml", XML % b"SignatureDoesNotMatch"),
    ],
)
def test_a_store_without_the_api_is_said_to_be_one_once(
    store: Listening, caplog: pytest.LogCaptureFixture, answer: tuple[int, str, bytes]
) -> None:
    store.refuse = answer
    with heard_from(store.endpoint, PREFIXES):
        until(lambda: "event=listen.no_api" in caplog.text)
        time.sleep(0.5)
        asked = len(store.asked)
        time.sleep(0.5)
        assert len(store.asked) == asked
    assert caplog.text.count("event=listen.no_api") == 1
    assert "sweeps: {open: PT10S" in caplog.text


@pytest.mark.parametrize("answer", [(405, "text/plain", b"no"), (501, "text/html", b""), (200, "text/xml", b"<html/>")])
def test_a_proxy_that_answers_in_the_stores_place_for_a_while_costs_that_while(
    store: Listening, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str, bytes]
) -> None:
    monkeypatch.setattr(listen, "ABSENT", 0.3)
    store.refuse = answer
    with heard_from(store.endpoint) as heard:
        until(lambda: "event=listen.no_api" in caplog.text)
        asked = len(store.asked)
        until(lambda: len(store.asked) > asked)
        store.refuse = None
        until(lambda: "event=listen.working" in caplog.text)
        store.say(line("incoming/a.jpg") + b"\n")
        until(lambda: heard.events)
    assert len(heard.sweeps) == 1
    assert caplog.text.count("event=listen.no_api") == 1


def test_one_such_answer_is_none(store: Listening, caplog: pytest.LogCaptureFixture) -> None:
    store.refuse = (501, "text/html", b"")
    with heard_from(store.endpoint) as heard:
        until(lambda: store.asked)
        store.refuse = None
        until(lambda: heard.sweeps)
    assert "event=listen.no_api" not in caplog.text


def test_an_error_that_nobody_foresaw_is_told_and_costs_one_connection(
    store: Listening, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ["once"]

    def failing(line: bytes) -> Any:
        if broken:
            raise RuntimeError(broken.pop())
        return read(line)

    monkeypatch.setattr(listen, "read", failing)
    store.say(line("incoming/a.jpg") + b"\n")
    with heard_from(store.endpoint) as heard:
        until(lambda: len(heard.sweeps) == 2)
        store.say(line("incoming/b.jpg") + b"\n")
        until(lambda: heard.events)
    assert heard.keys == ["incoming/b.jpg"]
    assert caplog.text.count("RuntimeError: once") == 1


def test_rclone_has_no_such_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rclone = Rclone(tmp_path / "data", port=0)
    rclone.bucket("traps")
    rclone.start()
    try:
        keys = rclone.endpoint.credentials
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
        with heard_from(rclone.endpoint.url, PREFIXES):
            until(lambda: "event=listen.no_api" in caplog.text)
    finally:
        rclone.stop()


def test_keys_of_a_profile_are_used(store: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "credentials"
    keys.write_text("[field]\naws_access_key_id=of-a-profile\naws_secret_access_key=secret\naws_session_token=token\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_PROFILE", "field")
    with heard_from(store.endpoint):
        until(lambda: store.signed)
    assert "Credential=of-a-profile/" in store.signed[0]


def test_options_and_stores_that_cannot_be_are_refused(store: Listening) -> None:
    with pytest.raises(ConfigError, match="needs an outside store"):
        open_trigger(Heard().context(None))
    with pytest.raises(ConfigError, match=r"triggers\.listen\.silence is 'long'"):
        open_trigger(Heard().context(store.endpoint), silence="long")
    with pytest.raises(ConfigError, match="cannot use the endpoint"):
        open_trigger(Heard().context(f"{store.endpoint}/minio"))


@pytest.mark.parametrize(("trigger", "package", "extra"), [("listen", "minio", "minio"), ("sqs", "boto3", "sqs")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, trigger: str, package: str, extra: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"triggers.{trigger}", raising=False)
    with pytest.raises(ConfigError) as told:
        trigger_module(Path(__file__).resolve().parents[2], trigger)
    assert f"pip install 'trapline[{extra}]'" in told.value.remedy


@pytest.mark.slow
def test_an_engine_on_a_store_without_the_api_leans_on_the_sweep(tmp_path: Path) -> None:
    traps = project(tmp_path / "traps", {"settle": "PT1H", "refresh": "PT0.5S"})
    spec = yaml.safe_load((traps / "pipeline.yaml").read_text())
    spec |= {"triggers": ["listen"], "sweeps": {"open": "PT2S", "names": "PT2S"}}
    (traps / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    with remote(traps, tmp_path / "store") as served:
        served.upload("st7/night", {"a.jpg": night(1)})
        served.closed("st7/night")
        assert served.said().count("event=listen.no_api") == 1
