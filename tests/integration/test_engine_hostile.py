"""Files that cameras, cards and attackers leave in a folder: each costs itself alone, and says why."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.hostile import building, names
from tests.hostile.building import deep_png, saved
from tests.hostile.corpus import DONE, EMPTY, MIB, corpus
from tests.integration.engine import Engine, engine, night, project, resident, until
from trapline.errors import CODES
from trapline.pipeline.load import load_pipeline

JOB = "st7/hostile"
LIMIT = 400 * MIB  # of a worker's memory over all of these: a fifth of what the pipeline allows it
FILES = {file.name: file.fate for file in corpus()}
NAMES = names.names()
FATES = {**FILES, **{name: fate for name, fate in NAMES.items() if fate == DONE}}  # what has a line in the results
FAILED = {name: fate for name, fate in FILES.items() if fate != DONE}
TOLD = ("empty.jpg", "text.jpg", "cut-30.jpg", "large.png", "scans.jpg", "format-eps.jpg")
TURNED = {  # how the plain picture lies in a file whose EXIF orientation says the key
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
EQUAL = (
    "cmyk.jpg",
    "deep.png",
    "animated.webp",
    "progressive.jpg",
    "several.mpo",
    "several.jpg",
    *(f"turned-{n}.jpg" for n in TURNED),
)
PLAUSIBLE = ("palette.gif", "one-bit.tif")  # what they cannot hold of a picture cannot be found on it


def plain() -> Image.Image:
    return Image.open(io.BytesIO(night(4))).convert("RGB")


@functools.cache
def readable() -> dict[str, bytes]:
    image, other = plain(), Image.new("RGB", (1600, 1200), "white")
    return {
        "plain.jpg": saved(image, "JPEG", quality=95),
        "cmyk.jpg": saved(image.convert("CMYK"), "JPEG", quality=95),
        "deep.png": deep_png(image),
        "animated.webp": saved(image, "WEBP", save_all=True, append_images=[other], quality=95, duration=100),
        "progressive.jpg": saved(image, "JPEG", quality=95, progressive=True),
        "several.mpo": saved(image, "MPO", save_all=True, append_images=[other], quality=95),
        "several.jpg": saved(image, "MPO", save_all=True, append_images=[other], quality=95),
        "palette.gif": saved(image.quantize(256), "GIF"),
        "one-bit.tif": saved(image.convert("1"), "TIFF"),
        **{f"turned-{n}.jpg": turned(image, n) for n in TURNED},
    }


def turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image.transpose(TURNED[orientation]), "JPEG", quality=95, exif=exif)


@dataclass
class Night:
    """What became of all of them in one job."""

    engine: Engine
    summary: dict[str, Any]
    lines: dict[str, dict[str, Any]]
    largest: int  # bytes of the largest worker's memory, at any time
    before_closing: set[str]  # images with a dead letter while the job was open
    workers: tuple[set[int], set[int]]  # who ran at the beginning and at the end
    project: tuple[dict[str, bytes], dict[str, bytes]]  # the project's files before and after


@pytest.fixture(scope="module", name="ran")
def _ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("hostile")
    made = project(folder / "traps", {"settle": "PT1H", "refresh": "PT1S"})
    files = _contents(made)
    with engine(made, folder / "data") as served:
        workers = set(served.workers())
        with watched(served) as sizes:
            served.upload(JOB, {**readable(), **{file.name: file.data for file in corpus()}}, done=None)
            _drop_names(served)
            before = until(lambda: _all_but_empty(served), 60, lambda: served.status(JOB).get("images"))
            served.put(f"incoming/{JOB}/_DONE")
            summary = served.closed(JOB, seconds=60)
        still = set(served.workers())
        yield Night(served, summary, served.lines(JOB), max(sizes), before, (workers, still), (files, _contents(made)))


def _drop_names(served: Engine) -> None:
    """A good picture under every name, copied into the folder: over S3 half of them cannot even be said."""
    for name in NAMES:
        path = served.incoming / JOB / name
        os.makedirs(path.parent, exist_ok=True)
        path.write_bytes(building.plain("JPEG"))


def _all_but_empty(served: Engine) -> set[str]:
    keys = served.keys(f"failed/detect/{JOB}/")
    found = {key.removeprefix(f"failed/detect/{JOB}/").removesuffix(".json") for key in keys}
    images = served.status(JOB).get("images", {})
    return found if images.get("open", 99) <= 2 and images.get("total") == len(FATES) + len(readable()) else set()


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file of a project, what Python keeps beside its sources left out."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


class watched:
    """The workers' largest size, looked at a hundred times a second."""

    def __init__(self, engine: Engine) -> None:
        self._look: Callable[[], int] = lambda: resident(engine.workers())
        self._sizes, self._ended = [0], threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> list[int]:
        self._thread.start()
        return self._sizes

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self._sizes.append(self._look())


def test_every_file_is_accounted_for_once_with_its_own_fate(ran: Night) -> None:
    found = {name: (line.get("failure") or {}).get("code", DONE) for name, line in ran.lines.items()}
    assert found == {**dict.fromkeys(readable(), DONE), **FATES}
    assert ran.summary["state"] == "PARTIAL"
    codes = Counter(FAILED.values()) + Counter(fate for fate in NAMES.values() if fate in CODES)
    assert ran.summary["failures_by_code"] == dict(codes)


@pytest.mark.parametrize("name", TOLD)
def test_a_failure_is_named_with_its_remedy_wherever_somebody_looks(ran: Night, name: str) -> None:
    told = [*ran.summary["failures"], *ran.engine.status(JOB)["failed"]]
    about = [one for one in told if one["rel"] == f"{JOB}/{name}"]
    assert about
    assert all(one["code"] == FAILED[name] and one["message"] and one["remedy"] for one in about), about
    said = " ".join(ran.engine.trapline("explain", f"incoming/{JOB}/{name}").split())
    assert FAILED[name] in said and " ".join(about[0]["remedy"].split()) in said
    letter = ran.engine.json(f"failed/detect/{JOB}/{name}.json")
    assert letter["code"] == FAILED[name] and letter["remedy"] == about[0]["remedy"]


def test_a_file_without_bytes_fails_only_once_the_job_closes(ran: Night) -> None:
    assert ran.before_closing == {name for name, fate in FAILED.items() if fate != EMPTY}


def test_no_worker_dies_or_grows_near_its_limit(ran: Night) -> None:
    assert ran.workers[0] <= ran.workers[1]
    assert "Traceback" not in ran.engine.said() and "worker.replaced" not in ran.engine.said()
    limits = [stage.function.resources.memory or 0 for stage in load_pipeline(ran.engine.project).stages.values()]
    assert 0 < ran.largest < LIMIT < max(limits)


@pytest.mark.parametrize("name", EQUAL)
def test_what_a_file_is_made_of_changes_nothing_on_it(ran: Night, name: str) -> None:
    line, wanted = ran.lines[name], ran.lines["plain.jpg"]
    assert (line["image"]["width"], line["image"]["height"]) == (1600, 1200)
    assert amiss(wanted["detections"], line["detections"]) <= 1, (name, len(line["detections"]))
    assert line["source"]["sha256"] == hashlib.sha256(readable()[name]).hexdigest()


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_a_picture_with_few_colours_is_read_too(ran: Night, name: str) -> None:
    assert (ran.lines[name]["image"]["width"], ran.lines[name]["image"]["height"]) == (1600, 1200)
    assert len(ran.lines[name]["detections"]) <= 3 * len(ran.lines["plain.jpg"]["detections"])


def table(data: bytes | None) -> list[list[str]]:
    return list(csv.reader(io.StringIO((data or b"").decode(), newline=""), strict=True))


def test_the_table_has_a_row_for_every_image_and_no_formula_in_it(ran: Night) -> None:
    head, *rows = table(ran.engine.get(f"results/{JOB}/observations.csv"))
    assert {row[head.index("file")] for row in rows} == {f"{JOB}/{name}" for name in ran.lines}
    _check_table(head, rows)


def test_the_list_of_what_was_received_names_each_once_and_holds_no_formula(ran: Night) -> None:
    head, *rows = table(ran.engine.get(f"status/{JOB}.received.csv"))
    _check_table(head, rows)
    fates = Counter(row[3] if row[3] in ("done", "ignored") else row[4] for row in rows)
    expected = Counter([*dict.fromkeys(readable(), DONE).values(), *FILES.values(), *NAMES.values()])
    assert fates == expected
    told = Counter(row[0].removeprefix("'") for row in rows if row[4] != "key_unusable")
    assert set(told.values()) == {1}
    usable = {name for name, fate in NAMES.items() if fate != names.UNUSABLE}
    assert usable <= set(told)


def _check_table(head: list[str], rows: list[list[str]]) -> None:
    assert {len(row) for row in rows} == {len(head)}
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.lstrip()[:1] in tuple("=+@") or cell[:1] in ("\t", "\r", "-")]


def test_a_name_that_cannot_be_used_is_put_aside_with_the_reason(ran: Night) -> None:
    aside = [ran.engine.json(key) for key in ran.engine.keys("quarantine/keys/")]
    assert len(aside) == list(NAMES.values()).count(names.UNUSABLE)
    assert all(one["job"] == JOB and one["why"] for one in aside)
    told = [one for one in ran.engine.summary(JOB)["failures"] if one["code"] == "key_unusable"]
    assert sorted(one["message"] for one in told) == sorted(one["why"] for one in aside)


def test_the_one_line_status_stays_one_line(ran: Night) -> None:
    line = ran.engine.get(f"status/{JOB}.txt") or b""
    assert line.count(b"\n") == 1 and len(line) <= 200 and line.decode().rstrip("\n").isprintable()


def test_nothing_is_written_elsewhere_and_nothing_is_left_behind(ran: Night) -> None:
    assert ran.project[0] == ran.project[1]
    assert {path.name for path in ran.engine.data.parent.iterdir()} <= {"traps", "data", "data.log"}
    assert {path.name for path in (ran.engine.data / "buckets").iterdir()} == {ran.engine.bucket}
    assert not [path for path in (ran.engine.data / "engine" / "scratch").rglob("*") if path.is_file()]
    for ran_by_a_shell in ("ran", "ghostscript-ran"):
        assert not Path(ran_by_a_shell).exists()


def test_the_engine_still_takes_new_images(ran: Night) -> None:
    ran.engine.upload("st7/after", {"good.jpg": night(2)})
    assert ran.engine.closed("st7/after")["state"] == "SUCCEEDED"


@pytest.mark.slow
def test_a_night_of_the_largest_pictures_that_are_read_kills_no_worker(tmp_path: Path) -> None:
    side, images = 10_000, dict[str, bytes]()
    for mode in ("RGB", "RGBA", "L"):
        data = saved(Image.new(mode, (side, side)), "PNG", compress_level=1)
        images |= {f"{mode}-{n}.png": data for n in range(4)}
    images |= {f"{n}.webp": saved(Image.new("RGBA", (7_000, 7_000), (9, n, 9, 99)), "WEBP") for n in range(2)}
    with engine(project(tmp_path / "traps"), tmp_path / "data") as served:
        with watched(served) as sizes:
            served.upload("st7/large", images)
            summary = served.closed("st7/large", seconds=100)
        assert summary["state"] == "SUCCEEDED" and summary["images"]["done"] == len(images)
        assert "worker.replaced" not in served.said() and max(sizes) < 1600 * MIB


def amiss(wanted: list[dict[str, Any]], there: list[dict[str, Any]]) -> int:
    """Detections of either list without one of the same name in the other that lies within a few pixels."""
    return sum(not any(_alike(a, b) for b in there) for a in wanted) + abs(len(wanted) - len(there))


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(abs(a - b) <= 6 for a, b in zip(one["box"], other["box"], strict=True))
