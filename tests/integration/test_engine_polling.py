"""What clients read over S3 while the engine writes it."""

from __future__ import annotations

import json
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

from tests.integration.engine import NIGHT, Engine, until


def test_what_a_client_polls_is_whole_and_at_most_two_seconds_old(served: Engine) -> None:
    job = "poll/night"
    polls = [
        Poll(served, f"status/{job}.json"),
        Poll(served, f"status/{job}.txt"),
        Poll(served, f"results/{job}/summary.json"),
    ]
    for poll in polls:
        poll.start()
    images = [path.read_bytes() for path in sorted(NIGHT.rglob("*.JPG")) if path.stem not in ("IMG_0027", "IMG_0028")]
    for part in range(3):  # with a pause after each, so that there are provisional results
        served.upload(job, {f"{n}.jpg": images[n % len(images)] for n in range(20 * part, 20 * part + 20)}, done=None)
        until(lambda: served.summary(job).get("images", {}).get("done") == 20 * part + 20)  # noqa: B023
    served.put(f"incoming/{job}/_DONE")
    served.closed(job)
    time.sleep(0.5)
    for poll in polls:
        poll.stop()
    for poll in polls:
        assert not poll.wrong and poll.versions > 3, (poll.key, poll.wrong[:5], poll.versions)
        assert poll.asked / poll.seconds > 20
        assert poll.behind < 2, (poll.key, poll.behind)


class Poll(threading.Thread):
    """Reads one object over S3 fifty times a second and notes whatever is wrong with it."""

    def __init__(self, served: Engine, key: str) -> None:
        super().__init__(daemon=True)
        self.key, self.wrong = key, list[str]()
        self.asked = self.versions = 0
        self.behind = self.seconds = 0.0
        self._s3, self._bucket, self._path = served.s3, served.bucket, served.root / key
        self._ended = threading.Event()
        self._last: bytes | None = None
        self._differs_since: float | None = None

    def run(self) -> None:
        began = time.monotonic()
        while not self._ended.is_set():
            at = time.monotonic()
            self._look()
            self.asked += 1
            time.sleep(max(0.0, 0.02 - (time.monotonic() - at)))
        self.seconds = time.monotonic() - began

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> None:
        try:
            truth = self._path.read_bytes()
        except FileNotFoundError:
            truth = None
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self.key)
            data = answer["Body"].read()
        except self._s3.exceptions.NoSuchKey:
            data = None
        except (BotoCoreError, ClientError) as error:
            self.wrong.append(repr(error))
            return
        self._judge(truth, data)

    def _judge(self, truth: bytes | None, data: bytes | None) -> None:
        if data is None and self._last is not None:
            self.wrong.append("gone")
        if data is not None:
            self._check(data)
            self.versions += data != self._last
            self._last = data
        if truth is None or data == truth or data == self._now():
            self._differs_since = None
            return
        self._differs_since = self._differs_since or time.monotonic()
        self.behind = max(self.behind, time.monotonic() - self._differs_since)

    def _now(self) -> bytes:
        return self._path.read_bytes()

    def _check(self, data: bytes) -> None:
        try:
            if self.key.endswith(".json"):
                json.loads(data)
            elif not data.endswith(b"\n") or len(data) > 200 or data.count(b"\n") != 1:
                self.wrong.append(f"torn: {data!r}")
        except ValueError:
            self.wrong.append(f"torn: {data[-80:]!r} of {len(data)}")
