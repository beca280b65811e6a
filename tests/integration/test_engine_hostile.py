"""Files that cameras, cards and attackers leave in a folder: each costs itself alone, and says why."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.engine import Engine, engine, night, project, resident

JOB = "st7/hostile"
SIDE = 20_000
MIB = 2**20
CODES = {
    "truncated.jpg": "image_truncated",
    "text.jpg": "image_unreadable",
    "noise.png": "image_unreadable",
    "empty.jpg": "empty_file",
    "huge.png": "image_too_large",
}
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


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def hostile() -> dict[str, bytes]:
    whole = night(3)
    return {
        "truncated.jpg": whole[: len(whole) // 2],
        "text.jpg": b"This is the shopping list of the ranger.\n" * 50,
        "noise.png": b"\x89PNG\r\n\x1a\n" + np.random.default_rng(1).bytes(50_000),
        "empty.jpg": b"",
        "huge.png": flat_png(SIDE),
    }


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


def flat_png(side: int) -> bytes:
    """A grey picture whose file is small and whose pixels would be 400 MB."""
    pack = zlib.compressobj(9)
    row = bytes(side + 1)
    data = b"".join(pack.compress(row) for _ in range(side)) + pack.flush()
    return png(side, side, 8, 0, data)


def deep_png(image: Image.Image) -> bytes:
    """The picture with 16 bits a channel, which Pillow does not write."""
    pixels = np.asarray(image).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png(image.width, image.height, 16, 2, zlib.compress(rows, 1))


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@dataclass
class Night:
    """What became of all of them in one job."""

    engine: Engine
    summary: dict[str, Any]
    lines: dict[str, dict[str, Any]]
    largest: int  # bytes of the largest worker's memory, at any time
    before_closing: set[str] = field(default_factory=set)  # images with a dead letter while the job was open


@pytest.fixture(scope="module", name="ran")
def _ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("hostile")
    jobs = {"settle": "PT1H", "refresh": "PT1S"}
    with engine(project(folder / "traps", jobs), folder / "data") as made:
        with watched(made) as sizes:
            made.upload(JOB, {**readable(), **hostile()}, done=None)
            time.sleep(5)
            before = {key.rpartition("/")[2].removesuffix(".json") for key in made.keys(f"failed/detect/{JOB}/")}
            made.put(f"incoming/{JOB}/_DONE")
            summary = made.closed(JOB)
        yield Night(made, summary, made.lines(JOB), max(sizes), before)


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


def test_the_job_ends_partial_and_all_but_the_bad_are_complete(ran: Night) -> None:
    assert ran.summary["state"] == "PARTIAL"
    assert {name: line["failure"]["code"] for name, line in ran.lines.items() if line.get("failure")} == CODES
    assert set(ran.lines) == {"plain.jpg", *EQUAL, *PLAUSIBLE, *CODES}
    assert ran.summary["failures_by_code"] == {
        "empty_file": 1,
        "image_too_large": 1,
        "image_truncated": 1,
        "image_unreadable": 2,
    }


@pytest.mark.parametrize("name", CODES)
def test_a_failure_is_named_with_its_remedy_wherever_somebody_looks(ran: Night, name: str) -> None:
    told = [*ran.summary["failures"], *ran.engine.status(JOB)["failed"]]
    about = [one for one in told if one["rel"] == f"{JOB}/{name}"]
    assert len(about) == 2
    assert all(one["code"] == CODES[name] and one["message"] and one["remedy"] for one in about), about
    said = " ".join(ran.engine.trapline("explain", f"incoming/{JOB}/{name}").split())
    assert CODES[name] in said and " ".join(about[0]["remedy"].split()) in said
    letter = ran.engine.json(f"failed/detect/{JOB}/{name}.json")
    assert letter["code"] == CODES[name] and letter["remedy"] == about[0]["remedy"]


def test_a_file_without_bytes_fails_only_once_the_job_closes(ran: Night) -> None:
    assert ran.before_closing == set(CODES) - {"empty.jpg"}


def test_a_huge_picture_in_a_small_file_costs_no_memory(ran: Night) -> None:
    assert len(hostile()["huge.png"]) < 500_000
    assert 0 < ran.largest < 350 * MIB


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


def test_the_table_has_a_row_for_every_image_good_or_bad(ran: Night) -> None:
    data = ran.engine.get(f"results/{JOB}/observations.csv") or b""
    for name in ran.lines:
        assert f"{JOB}/{name},".encode() in data


def test_nothing_is_left_behind_and_nobody_complained(ran: Night) -> None:
    assert "Traceback" not in ran.engine.said() and "worker.replaced" not in ran.engine.said()
    assert not list((Path(ran.engine.data) / "engine" / "scratch").rglob("*.png"))


def amiss(wanted: list[dict[str, Any]], there: list[dict[str, Any]]) -> int:
    """Detections of either list without one of the same name in the other that lies within a few pixels."""
    return sum(not any(_alike(a, b) for b in there) for a in wanted) + abs(len(wanted) - len(there))


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(abs(a - b) <= 6 for a, b in zip(one["box"], other["box"], strict=True))
