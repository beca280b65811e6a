"""Every hostile file against the decoder alone: its fate, and what it costs."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.hostile import foreign
from tests.hostile.building import saved
from tests.hostile.corpus import DONE, FORMATS, MIB, File, corpus
from trapline.errors import CODES, Permanent
from trapline.images import Image
from trapline.keys import Layout
from trapline.records import Item, Pin, Ticket
from trapline.runtime.images import ImageStage
from trapline.store.memory import MemoryStore

SECONDS = 5.0  # for one small file, on a slow machine
LEAST = 80  # files


def fate(data: bytes) -> str:
    """What becomes of a file that a function reads in every way there is."""
    image = Image(data)
    try:
        image.pixels(max_side=640)
        assert image.captured_at is None or "T" in image.captured_at
        assert image.full().shape == (image.height, image.width, 3)
        return DONE
    except Permanent as failure:
        assert failure.remedy and failure.message.isprintable() and len(failure.message) < 300
        return failure.code


def peak() -> int:
    """The most memory that this process has occupied since it was last forgotten."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def forget_peak() -> int:
    """Begin to measure anew; the memory occupied now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks about damaged EXIF
@pytest.mark.parametrize("file", corpus(), ids=lambda file: file.name)
def test_a_hostile_file_has_its_fate_within_time_and_memory(file: File) -> None:
    before, begun = forget_peak(), time.process_time()
    assert fate(file.data) == file.fate
    assert time.process_time() - begun < SECONDS
    assert peak() - before < 100 * MIB


def test_there_are_many_of_every_kind() -> None:
    assert len(corpus()) >= LEAST
    assert {file.fate for file in corpus()} == {
        DONE,
        *(code for code in CODES if code.startswith("image_")),
        "empty_file",
    }


def test_every_format_that_pillow_reads_is_among_them() -> None:
    Pillow.init()
    assert {*foreign.files(), *FORMATS} - {"MPO"} == set(Pillow.OPEN)


def test_ghostscript_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(subprocess, "Popen", called)
    assert fate(foreign.POSTSCRIPT) == "image_unreadable"
    assert fate(saved(Pillow.new("RGB", (9, 9)), "EPS")) == "image_unreadable"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "mode", "side"),
    [
        *(("PNG", mode, 10_000) for mode in ("RGB", "RGBA", "LA", "P", "I;16")),
        *(("TIFF", mode, 10_000) for mode in ("RGBA", "F", "I", "CMYK")),
        *(("JPEG", mode, 10_000) for mode in ("L", "RGB", "CMYK")),
        *(("WEBP", mode, 7_071) for mode in ("RGB", "RGBA")),
        *(("GIF", "P", 10_000), ("BMP", "RGB", 10_000)),
    ],
)
def test_the_largest_picture_of_any_kind_takes_a_bounded_amount_of_memory(form: str, mode: str, side: int) -> None:
    more: dict[str, Any] = {"TIFF": {"compression": "tiff_deflate"}, "WEBP": {"lossless": True, "method": 0}}
    data = saved(Pillow.new(mode, (side, side)), form, **more.get(form, {}))
    before = forget_peak()
    assert fate(data) == DONE
    assert peak() - before < 1200 * MIB


def test_a_batch_of_huge_pictures_keeps_no_more_pixels_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trapline.images.image.KEPT", 30 * MIB)
    data = saved(Pillow.new("RGB", (1500, 1500), "navy"), "PNG", compress_level=1)
    before, batch = forget_peak(), [Image(data) for _ in range(40)]
    for image in batch:
        assert image.full().nbytes > 6 * MIB
    assert peak() - before < 100 * MIB
    assert np.array_equal(batch[0].full(), batch[-1].full())


class Greedy:
    """A function that runs out of memory over one image of its batch."""

    def handle(self, items: list[Any]) -> list[dict[str, Any]]:
        if any(item.data == b"huge" for item in items):
            raise MemoryError
        return [{"seen": True} for _ in items]


def test_an_image_that_needs_too_much_memory_costs_itself_and_not_its_batch() -> None:
    store, layout = MemoryStore(), Layout(records={"detect": "detections/"})
    items = []
    for name, data in {"a": b"small", "b": b"huge", "c": b"small"}.items():
        entry = store.put(f"incoming/st7/n1/{name}.jpg", data)
        items.append(Item(rel=f"st7/n1/{name}.jpg", key=entry.key, etag=entry.etag))
    pin = Pin(stage="detect", recipe="r")
    ticket = Ticket(id="t", stage="detect", job="st7/n1", pin=pin, items=tuple(items), limit_seconds=60)
    outcomes = ImageStage(store, layout, 1000, time.monotonic, 1000, "detect").run(ticket, Greedy)
    assert [(one.result, one.code) for one in outcomes] == [("done", ""), ("failed", "out_of_memory"), ("done", "")]
