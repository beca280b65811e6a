"""The pictures that a compile looks at are those that its records are about."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import pytest
from PIL import Image as Pillow

from functions.compile.handler import Compile
from trapline.pipeline.load import load_pipeline
from trapline.records import GatherOrder, ImageRecord, Item, Pin, ProducedBy, RollEntry, Source, StageNote, Ticket
from trapline.runtime.jobs import JobStages, roll_lines
from trapline.store.memory import MemoryStore

JOB, REL = "st7/2026-11-20", "st7/2026-11-20/a.jpg"
LAYOUT = load_pipeline(Path(__file__).parents[2]).layout
PIN = Pin(stage="compile", recipe="p", function="compile", version="1", parameters={"outputs": ["report"]})
KNOWN = {
    "image": {"width": 64, "height": 48, "captured_at": "2026-11-20T22:00:00+01:00"},
    "detections": [{"id": "d1", "box": [4, 4, 40, 40], "label": "insect", "confidence": 0.8}],
}


def photo(colour: str) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (64, 48), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def report(recorded: bytes, there: bytes) -> str:
    """The page of one image that was recorded with some bytes, and has these now."""
    store, made = MemoryStore(), ProducedBy(function="detect", version="1")
    source = Source(key=LAYOUT.image(REL), size=len(recorded), sha256=hashlib.sha256(recorded).hexdigest())
    record = ImageRecord(
        stage="classify",
        job=JOB,
        source=source,
        recipe="r",
        produced_by=made,
        stages={"detect": StageNote(recipe="r", produced_by=made)},
        known=KNOWN,
    )
    store.put(LAYOUT.image(REL), there)
    store.put(LAYOUT.record("classify", REL), record.dump())
    store.put("roll", roll_lines([RollEntry(REL, "done", "classify", "r", sha256=source.sha256)]))
    order = GatherOrder(revision="r1-0a1b2c3d", final=True, roll="roll", members=1)
    ticket = Ticket(id="g1", stage="compile", job=JOB, pin=PIN, items=(Item(rel=JOB),), limit_seconds=60.0)
    outcome = JobStages(store, LAYOUT, "traps", lambda name: store, time.monotonic).gather(ticket, order, Compile())
    (page,) = (file for file in outcome.files if file.name == "report.html")
    return store.get(page.key).data.decode()


@pytest.mark.parametrize(("there", "shown"), [("tan", 1), ("navy", 0)])
def test_boxes_are_drawn_over_the_bytes_that_they_were_found_in_and_no_others(there: str, shown: int) -> None:
    page = report(photo("tan"), photo(there))
    assert page.count('class="frame"') == shown
    assert ("has changed since" in page) == (not shown)
