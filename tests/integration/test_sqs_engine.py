"""A whole engine on an outside store and a queue: what the queue tells of is at work long before a sweep."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import yaml

from tests.integration.engine import environment, night, project, until
from tests.integration.hints import s3_event
from tests.integration.queues import KEYS, Aws, emulated
from tests.integration.test_outages import Outside, Remote

pytestmark = pytest.mark.slow


@pytest.fixture(name="aws")
def _aws() -> Iterator[Aws]:
    with emulated() as made:
        yield made


@pytest.fixture(name="url")
def _url(aws: Aws, tmp_path: Path) -> str:
    """A queue of this test's own: the emulator still answers the last one's engine, and hides what that would get."""
    return aws.queue(f"traps-{tmp_path.name}"[:80])


@pytest.fixture(name="served")
def _served(aws: Aws, url: str, tmp_path: Path) -> Iterator[Remote]:
    """Sweeps are an hour apart: what comes in time came by the queue. The queue's keys are not the store's."""
    traps = project(tmp_path / "traps", {"settle": "PT1H", "refresh": "PT0.5S"})
    spec = yaml.safe_load((traps / "pipeline.yaml").read_text())
    spec["triggers"] = [{"sqs": {"queue": url.rpartition("/")[2], "endpoint": aws.endpoint, "profile": "queue"}}]
    spec["sweeps"] = {"open": "PT1H", "names": "PT1H"}
    (traps / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    keys = tmp_path / "credentials"
    keys.write_text("[queue]\n" + "".join(f"{name}={KEYS[name]}\n" for name in KEYS if name.startswith("aws")))
    outside = Outside(tmp_path / "outside")
    outside.start()
    made = Remote(traps, tmp_path / "data", environment(**outside.keys(), AWS_SHARED_CREDENTIALS_FILE=str(keys)))
    made.outside = outside
    try:
        made.start()
        own = outside.rclone.endpoint.credentials
        made.told |= {"access_key": own.access_key, "secret_key": own.secret_key}
        yield made
    finally:
        made.end()
        outside.rclone.stop()


def drop(served: Remote, aws: Aws, url: str, job: str, numbers: range) -> None:
    """Upload, and let the queue be told, as S3 would."""
    images = {f"n+{number} é.jpg": night(number) for number in numbers}
    served.upload(job, images)
    keys = [f"incoming/{job}/{name}" for name in (*images, "_DONE")]
    aws.send(url, [s3_event(quote_plus(key)) for key in keys])


def test_images_that_a_queue_tells_of_are_read_at_once(served: Remote, aws: Aws, url: str) -> None:
    time.sleep(3)  # the sweep of the start is over
    drop(served, aws, url, "st7/night", range(1, 5))
    begun = time.monotonic()
    summary = served.closed("st7/night")
    print(f"\n{time.monotonic() - begun:.1f} s from the last event to the receipt")
    assert summary["last_final"]["N"] == 1
    assert len(served.lines("st7/night")) == 4
    until(lambda: aws.left(url) == 0)


def test_what_came_while_the_engine_was_down_waits_in_the_queue(served: Remote, aws: Aws, url: str) -> None:
    served.kill()
    drop(served, aws, url, "st7/later", range(1, 4))
    keys = served.told["access_key"], served.told["secret_key"]
    served.start()
    served.told |= dict(zip(("access_key", "secret_key"), keys, strict=True))
    assert len(served.closed("st7/later") and served.lines("st7/later")) == 3


def test_an_engine_with_a_queue_stops_soon(served: Remote) -> None:
    time.sleep(1)
    begun = time.monotonic()
    served.signal(signal.SIGTERM)
    assert served.wait() == 0
    assert time.monotonic() - begun < 6


def test_poison_is_found_in_the_quarantine(served: Remote, aws: Aws, url: str) -> None:
    aws.send(url, ['{"no": "event"}'])
    (key,) = until(lambda: served.keys("quarantine/"))
    kept = served.json(key)
    assert (kept["trigger"], kept["message"]) == ("sqs", '{"no": "event"}')
    until(lambda: aws.left(url) == 0)


def test_a_queue_that_is_not_there_is_one_line(served: Remote, url: str) -> None:
    served.stop()
    path = served.project / "pipeline.yaml"
    path.write_text(path.read_text().replace(f"queue: {url.rpartition('/')[2]}", "queue: nowhere"))
    said = served.trapline("up", "--port", "0", rc=2)
    assert "The queue nowhere cannot be read. There is no such queue" in said
    assert "Mend `queue:` or `region:`." in said
