"""The output `report`: `report.html`, one page that a person opens from the bucket. It asks no network for anything.

Its numbers are counted over the whole job; its pictures are a sample of it, so that neither its size nor the memory
that it takes grows with the job.
"""

from __future__ import annotations

from functions.compile.outputs.report.album import album
from functions.compile.outputs.report.page import pieces
from functions.compile.outputs.report.survey import survey
from functions.compile.results import Open, Results


def write(results: Results, open: Open) -> list[str]:
    """Write `report.html`."""
    found = survey(results)
    with album(results, found) as pictures, open("report.html", content_type="text/html; charset=utf-8") as stream:
        for piece in pieces(results, found, pictures):
            stream.write(piece.encode("utf-8", "backslashreplace"))
    return []
