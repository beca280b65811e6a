"""Jobs in memory for `compile`, and the files that it writes of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, BinaryIO

from functions.compile.handler import Compile
from trapline.errors import Permanent
from trapline.records import DeadLetter, ImageRecord, ModelRef, ProducedBy, RollEntry, Source, StageNote

_FOLDER = TemporaryDirectory(prefix="trapline-test-")  # of every item's scratch; gone when the tests end
SHA = "ab" * 32
FORMULAS = [f"{lead}{sign}cmd|x!A1" for lead in ("", " ", "\n", "\u00a0") for sign in "=+-@"] + ["\tx", "\rx", "＝1+1"]


@dataclass(frozen=True)
class Member:
    entry: RollEntry
    record: ImageRecord | None = None
    dead_letter: DeadLetter | None = None


@dataclass
class Item:
    """A job in memory, with the files that compile writes."""

    members: list[Member]
    job: str = "st7/2026-11-20"
    revision: str = "r1-0a1b2c3d"
    final: bool = True
    manifest: dict[str, Any] | None = None
    station: dict[str, Any] = field(default_factory=dict)
    not_received: tuple[str, ...] = ()
    not_received_count: int = 0  # unless there are names
    unusable: dict[str, str] = field(default_factory=dict)
    unusable_count: int = 0
    parameters: dict[str, Any] = field(default_factory=lambda: {"outputs": ["csv"]})
    scratch: Path = field(default_factory=lambda: Path(mkdtemp(dir=_FOLDER.name)))
    review: bytes | None = None
    review_problem: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.not_received_count = self.not_received_count or len(self.not_received)

    def roll(self) -> Iterator[Member]:
        return iter(self.members)

    def unchanged(self, name: str) -> Callable[[RollEntry], dict[str, Any] | None]:
        return lambda entry: None

    @contextmanager
    def open(self, name: str, content_type: str = "application/octet-stream") -> Iterator[BinaryIO]:
        buffer = io.BytesIO()
        yield buffer
        self.files[name], self.types[name] = buffer.getvalue(), content_type

    def read(self, name: str) -> BinaryIO:
        return io.BytesIO(self.files[name])

    def image(self, key: str, sha256: str = "") -> Any:
        raise Permanent(f"{key} is not there.", code="source_missing")

    def card(self, name: str, version: str) -> dict[str, Any]:
        return {}

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files["results.jsonl"].splitlines()]

    @property
    def rows(self) -> list[dict[str, str]]:
        return self.table("observations.csv")

    def table(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.files[name].decode(), newline="")))


def compiled(*members: Member, **job: Any) -> tuple[Item, dict[str, Any]]:
    function, item = Compile(), Item(list(members), **job)
    function.setup(None)
    (body,) = function.handle([item])
    return item, body


def note(function: str, outcome: Any = "done", model: str = "") -> StageNote:
    made = ProducedBy(
        function=function, version="1.2.0", model=ModelRef(name=model, version="7", sha256=SHA) if model else None
    )
    return StageNote(outcome=outcome, recipe="c0ffee", produced_by=made)


def done(rel: str = "st7/2026-11-20/a.jpg", known: dict[str, Any] | None = None, **entry: Any) -> Member:
    stages = {"detect": note("detect", model="finder"), "classify": note("classify", model="namer")}
    record = ImageRecord(
        stage="classify",
        source=Source(key=f"incoming/{rel}", etag="e1", size=10, sha256=SHA),
        recipe="c0ffee",
        produced_by=stages["classify"].produced_by,
        stages=stages,
        known={"image": {"width": 40, "height": 30}, "detections": []} if known is None else known,
    )
    return Member(RollEntry(rel=rel, state=entry.pop("state", "done"), **entry), record)


def failed(rel: str, code: str = "image_truncated") -> Member:
    letter = DeadLetter(
        stage="detect",
        job="st7/2026-11-20",
        source=Source(key=f"incoming/{rel}"),
        code=code,
        message="cut",
        remedy="again",
    )
    return Member(RollEntry(rel=rel, state="failed", stage="detect", code=code), None, letter)


def moth(**fields: Any) -> dict[str, Any]:
    kinds = [{"label": "Noctua pronuba", "score": 0.9}, {"label": "Xestia", "score": 0.05}]
    found = {"id": "d1", "box": [1.5, 2, 30, 20.25], "label": "insect", "confidence": 0.8, "classifications": kinds}
    return {**found, **fields}


def with_detections(
    *found: dict[str, Any], rel: str = "a.jpg", id: str = "", event_id: str = "", **image: Any
) -> Member:
    known = {"image": {"width": 40, "height": 30, **image}, "detections": list(found)}
    return done(rel, known, id=id, event_id=event_id)


def blocked(rel: str, code: str = "timeout") -> Member:
    return Member(RollEntry(rel=rel, state="blocked", stage="detect", code=code))


_AT = "2026-10-25T02:30:00+02:00"
NORTH = {"deploymentID": "north", "locationName": 'Øst, "the" wood', "latitude": 56, "longitude": 10.5}
SOUTH = {"deploymentID": "south", "latitude": -33.9, "longitude": 18.4, "timezone": "Africa/Johannesburg"}
PROJECT = {
    "title": "Nattflygare – 蛾",
    "samplingDesign": "opportunistic",
    "captureMethod": ["timeLapse"],
    "individualAnimals": False,
    "observationLevel": ["media", "event"],
    "contributors": [{"title": "Åsa Öberg", "role": "contact"}],
}
STATION = {"latitude": 55.6, "longitude": 12.5, "timezone": "Europe/Copenhagen"}


def rotated(rel: str) -> Member:
    """A portrait picture that the camera stored lying down: its size and boxes are as displayed."""
    return with_detections(
        moth(box=[0, 0, 30, 40]), moth(id="d2", box=[29.5, 39, 31, 42]), rel=rel, width=30, height=40
    )


def _crowd() -> Member:
    boxes = ([n % 40, n % 30, n % 40 + 1, n % 30 + 1] for n in range(700))
    return with_detections(
        *(moth(id=f"d{n:04}", box=box) for n, box in enumerate(boxes)), captured_at=_AT, rel="crowd.jpg"
    )


def _late() -> Member:
    early, letter = with_detections(moth(), captured_at=_AT), failed("a.jpg", "timeout")
    return Member(letter.entry, early.record, letter.dead_letter)


def _careless() -> Member:
    odd: list[Any] = [
        moth(box=None),
        moth(box=[5, 5, 5, 5]),
        moth(box=[-10, -10, 900, 900]),
        moth(box=[20, 20, 1, 1], confidence=1, score=None),
        moth(confidence=float("nan"), label=None, classifications=[{"label": "\ud800", "score": 7}, {"score": "x"}, 3]),
        moth(box=[-1e308, 0, 1e308, 10**400], confidence=10**400, classifications=[{"label": "x", "score": 1e308}]),
        moth(id=None, label="  ", confidence=None, classifications=[]),
        {"label": {"a": 1}, "classifications": "none"},
        {},
    ]
    return done(
        "careless.jpg", {"image": {"width": 40, "height": 30, "captured_at": _AT}, "detections": [*odd, None, 7]}
    )


JOBS: dict[str, dict[str, Any]] = {  # a name → what `Item` is made with; hostile, each in its own way
    "nothing": {"members": []},
    "failures": {"members": [failed("a.jpg"), blocked("b.jpg"), failed("c.tif", "=1+1"), _late()]},
    "empty": {"members": [with_detections(rel=f"{n}.jpg", captured_at=_AT) for n in range(3)]},
    "rotated": {"members": [rotated("r.jpg"), with_detections(moth(), rel="s.jpg", captured_at=_AT)]},
    "names": {
        "members": [
            with_detections(
                moth(label=text),
                moth(id="d2", classifications=[{"label": text, "score": 0.5}]),
                rel=rel,
                captured_at=_AT,
            )
            for rel, text in [
                *((f"{text}{n}.jpg", text) for n, text in enumerate(FORMULAS)),
                *(
                    ("蛾/Ærø 'ü' \"q\", 100 % #1.jpg", "Ænigma «é»"),
                    ("a\nb\r\n;\x00c.jpg", "x\ny\x00"),
                    ("..a..b.jpg", "NA"),
                ),
                *(("~x.jpg", "nan"), ("\u2028.jpg", "<script>"), ("clip.tif", "human"), ("a  b.jpg", " ")),
            ]
        ],
        "job": "=st/7",
        "station": {"latitude": 0, "longitude": -180, "timezone": "Nowhere/Else"},
    },
    "crowd": {"members": [_crowd(), done("z.jpg")]},
    "unnamed": {
        "members": [with_detections(moth(classifications=[]), moth(id="d2", classifications=None), captured_at=_AT)]
    },
    "timeless": {
        "members": [with_detections(moth(), rel="a.jpg"), with_detections(moth(), rel="b.jpg", captured_at="?")]
    },
    "naive": {
        "members": [with_detections(moth(), captured_at="2026-10-25T02:30:00")],
        "station": {"latitude": 1, "longitude": 2},
    },
    "careless": {
        "members": [
            _careless(),
            done("n.jpg", {}),
            done("m.jpg", {"image": 3, "detections": [moth()]}),
            done(
                "o.jpg",
                {
                    "image": {"width": 10**400, "height": 1e308, "captured_at": 5},
                    "detections": [moth(box=[0, 0, 1e308, 1e308])],
                },
            ),
        ]
    },
    "calendar": {
        "members": [
            with_detections(moth(), rel=f"{n}.jpg", captured_at=at)
            for n, at in enumerate(
                ["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999-00:00"]
            )
        ],
        "manifest": {"deployment": {"deploymentStart": "1850-06-01T00:00:00", "cameraHeight": "high", "habitat": "NA"}},
    },
    "odd deployment": {
        "members": [with_detections(moth(), id="1", captured_at="2026-10-25T02:30:00")],
        "manifest": {
            "deployment": {"timezone": ["x"], "latitude": "north", "cameraTilt": 1e300, "deploymentEnd": {}},
            "deployments": {"a": 1},
            "sourceImages": [{"id": "1", "url": "https://me:pw@h.example.org/a%20b.jpg?X-Amz-Signature=abc&x=1"}],
        },
    },
    "two deployments": {
        "members": [
            with_detections(
                moth(),
                rel=f"{n}.jpg",
                id=str(n),
                event_id="" if n % 3 else f"=E{n}",
                captured_at=f"2026-10-25T0{n}:30:00Z",
            )
            for n in range(1, 7)
        ],
        "manifest": {
            "projectId": "ecos",
            "jobId": "ea12ac70",
            "deployments": [NORTH, SOUTH],
            "sourceImages": [
                {"id": str(n), "url": f"https://images.example.org/{n}.jpg", "deploymentID": ("north", "south")[n % 2]}
                for n in range(1, 7)
            ],
        },
        "station": {"timezone": "Europe/Copenhagen"},
    },
}


_REVIEW = """file,detection_id,x1,y1,x2,y2,label,reviewer
a.jpg,d1,,,,,Xestia,=Åsa
a.jpg,d2,,,,,blank,
a.jpg,,1,1,9,9,Human,
b.jpg,d1,,,,,blank,Åsa
"""
JOBS["reviewed"] = {
    "members": [
        with_detections(moth(), moth(id="d2", box=[0, 0, 4, 4]), captured_at=_AT),
        with_detections(moth(), rel="b.jpg", captured_at=_AT),
    ],
    "review": _REVIEW.encode(),
}


def hostile(name: str, *outputs: str, **parameters: Any) -> tuple[Item, dict[str, Any]]:
    """One of the hostile jobs, compiled."""
    job = {"station": STATION, **JOBS[name]}
    return compiled(*job.pop("members"), parameters={"outputs": list(outputs), "project": PROJECT, **parameters}, **job)


class Endless(Item):
    """A large job whose members are made as they are read, and whose files lie in `scratch`. Every label is another."""

    count = 0

    def roll(self) -> Iterator[Member]:
        for n in range(self.count):
            at = _NOON + timedelta(seconds=40 * n)
            found = [moth(id=f"d{part}", classifications=[{"label": f"L{n}.{part}", "score": 1}]) for part in range(3)]
            yield with_detections(*found, rel=f"{n:06}.jpg", captured_at=at.isoformat())

    @contextmanager
    def open(self, name: str, content_type: str = "") -> Iterator[Any]:
        with (self.scratch / name).open("wb") as stream:
            yield stream

    def read(self, name: str) -> BinaryIO:
        return (self.scratch / name).open("rb")


_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def endless(count: int, scratch: Path, *outputs: str, gap: str = "PT60S") -> dict[str, Any]:
    """Compile a job of so many images; the summary's body."""
    chosen = {"outputs": list(outputs), "project": PROJECT, "events": {"gap": gap}}
    item = Endless([], scratch=scratch, station=STATION, parameters=chosen)
    item.count = count
    (body,) = Compile().handle([item])
    assert "left_out" not in body
    return body
