"""A thousand images at once into a real gateway, whose line to the engine is cut while they come."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.ceph.cluster import ACCESS, SECRET, Ceph
from tests.functions.burst.case_burst import HANDED
from tests.integration.engine import Engine, until
from tests.integration.line import Line
from tests.integration.outside import outside

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CASE = Path(__file__).resolve().parents[1] / "functions" / "burst"
JOB = "st 7+ü/2026-11-20"
IMAGES = 1000
NAMES = [f"DCIM/{number // 100}/möth {number:04}+%20.JPG" for number in range(IMAGES)]
FIRST = NAMES[:1]  # with its first event a job is looked through; afterwards an event alone tells of an image
TOLD, CUT, AGAIN = NAMES[1:300], NAMES[300:700], NAMES[700:]  # uploaded before, while the line is cut, after
UNUSABLE = "DCIM//1000.JPG"


class Burst:
    """An engine that as good as never looks, a bucket that tells it of uploads, and a station in a hurry."""

    def __init__(self, served: Engine, gateway: Ceph) -> None:
        self.served, self.s3 = served, gateway.s3

    def upload(self, names: list[str]) -> None:
        """Some of them in parts."""
        with ThreadPoolExecutor(8) as hands:
            list(hands.map(self._put, names))

    def _put(self, name: str) -> None:
        where = {"Bucket": self.served.bucket, "Key": f"incoming/{JOB}/{name}"}
        if not name.endswith("7+%20.JPG"):
            self.s3.put_object(**where, Body=name.encode())  # type: ignore[arg-type]
            return
        upload = {**where, "UploadId": self.s3.create_multipart_upload(**where)["UploadId"]}  # type: ignore[arg-type]
        etag = self.s3.upload_part(**upload, PartNumber=1, Body=name.encode())["ETag"]  # type: ignore[arg-type]
        parts = {"Parts": [{"ETag": etag, "PartNumber": 1}]}
        self.s3.complete_multipart_upload(**upload, MultipartUpload=parts)  # type: ignore[arg-type]

    def counted(self) -> set[str]:
        """The images whose record stands in the bucket."""
        before = f"counts/{JOB}/"
        return {key.removeprefix(before).removesuffix(".json") for key in self.served.keys(before)}

    def all_counted(self, names: list[str], seconds: float) -> None:
        until(lambda: self.counted() >= set(names), seconds, lambda: (len(self.counted()), self.served.said()[-2000:]))


@dataclass(frozen=True)
class Way:
    """How the bucket tells, how its line fails, and who tells then of what was uploaded meanwhile."""

    topic: str
    fails: Callable[[Line], None]
    by: frozenset[str]
    sweeps: str = "PT1H"


WAYS = {
    "kept and delivered": Way("persistent", Line.hold, frozenset({"webhook"})),
    # 16.2 may stop delivering, until its restart, when it was refused: docs/reference/stores.md
    "kept, delivered or not": Way("persistent", Line.cut, frozenset({"webhook", "sweep"}), "PT10S"),
    "told once": Way("fleeting", Line.cut, frozenset({"sweep"})),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def served(gateway: Ceph, way: Way, tmp_path: Path) -> Iterator[Engine]:
    """No other topic has the name of this one's: what became of an earlier one of that name is not known."""
    bucket = f"burst-{len(gateway.s3.list_buckets()['Buckets'])}"
    gateway.s3.create_bucket(Bucket=bucket)
    traps, sweeps = shutil.copytree(CASE, tmp_path / "traps"), {"open": way.sweeps, "names": way.sweeps}
    where = {"endpoint": gateway.endpoint, "access": ACCESS, "secret": SECRET}
    with outside(traps, tmp_path, {"sweeps": sweeps}, **where, TRAPLINE_BUCKET=bucket) as made:
        yield made


@pytest.fixture
def line(served: Engine, gateway: Ceph, way: Way) -> Iterator[Line]:
    """From the gateway to the engine."""
    address = urlsplit(served.told["triggers"]["webhook"])
    with Line(int(address.port or 0)) as line:
        url = address._replace(netloc=f"127.0.0.1:{line.port}").geturl()
        target = ["--url", url]
        if way.topic == "fleeting":
            made = gateway.sns.create_topic(Name=way.topic, Attributes={"push-endpoint": url})
            target = ["--topic", made["TopicArn"]]
        served.trapline("bucket-events", "setup", *target)
        yield line
        served.trapline("bucket-events", "remove")


def test_of_a_thousand_images_in_a_burst_none_is_missed_and_none_is_handed_over_twice(
    served: Engine, gateway: Ceph, line: Line, way: Way
) -> None:
    burst = Burst(served, gateway)
    burst.upload(FIRST)
    burst.all_counted(FIRST, 90)
    begun = time.monotonic()
    burst.upload(TOLD)
    way.fails(line)
    burst.upload(CUT)
    line.mend()
    burst.upload([*AGAIN, UNUSABLE])
    print(f"\nuploaded in {time.monotonic() - begun:.1f} s")
    if way.by == {"webhook"}:
        burst.all_counted(NAMES, 90)
    if way.by == {"sweep"}:
        burst.all_counted([*TOLD, *AGAIN], 60)
        assert burst.counted().isdisjoint(CUT)
    print(f"told of after {time.monotonic() - begun:.1f} s")

    served.put(f"incoming/{JOB}/_DONE")  # before a job closes, a sweep finds what no event told of
    until(lambda: served.status(JOB).get("closed"), 60, lambda: (served.status(JOB), served.said()[-2000:]))
    print(f"closed after {time.monotonic() - begun:.1f} s")
    lines = served.lines(JOB)
    assert lines.keys() == set(NAMES)
    assert Counter(line["state"] for line in lines.values()) == {"done": IMAGES}
    told = Counter(lines[name]["trigger"] for name in CUT)
    print(f"what was uploaded meanwhile was told by {dict(told)}")
    assert told.keys() <= way.by
    assert served.status(JOB)["failures"] == {"key_unusable": 1}
    handed = Counter((served.project / HANDED).read_text().splitlines())
    assert handed == Counter(f"{JOB}/{name}" for name in NAMES)
