"""The output `report`: `report.html`, one page that a person opens from the bucket. It asks no network for anything.

Its numbers are counted over the whole job; its pictures are a sample of it, so that neither its size nor the memory
that it takes grows with the job.
"""

from __future__ import annotations

from functions.compile.outputs.report.album import picture_album
from functions.compile.outputs.report.page import pieces
from functions.compile.outputs.report.survey import look_over
from functions.compile.results import Open, Results


def write(results: Results, open: Open) -> list[str]:
    """Write `report.html`."""
    found = look_over(results)
    with picture_album(results, found) as album, open("report.html", content_type="text/html; charset=utf-8") as stream:
        for piece in pieces(results, found, album):
            stream.write(piece.encode("utf-8", "backslashreplace"))
    return []
