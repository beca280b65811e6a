"""The output `camtrap-dp`: `camtrap-dp.zip`, a Camera Trap Data Package (Camtrap DP 1.0.2)."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import IO

from functions.compile.cells import row
from functions.compile.outputs.camtrap_dp import deployments, descriptor, media, observations
from functions.compile.outputs.camtrap_dp.taxa import Taxa
from functions.compile.results import Open, Results
from functions.compile.spool import Spool

_DATE = (1980, 1, 1, 0, 0, 0)  # of each file in the package: compile adds no time of its own
LEFT_OUT = ("file", "reason")


def write(results: Results, open: Open) -> list[str]:
    """Write `camtrap-dp.zip`; where the project, a place or every capture time is missing, say so and write nothing."""
    places = deployments.Places(results)
    missing = [*descriptor.missing(results), *places.missing()]
    if missing:
        return missing
    folder = results.scratch
    with Taxa(results) as taxa, Spool(folder) as shown, Spool(folder) as seen, Spool(folder) as left_out:
        _fill(results, taxa, shown, seen, left_out)
        with (
            open("camtrap-dp.zip", content_type="application/zip") as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package,
        ):
            extra = not left_out.empty
            _put(package, "datapackage.json", lambda to: descriptor.write(to, results, places, taxa, left_out=extra))
            _put(package, "deployments.csv", places.write)
            _put(package, "media.csv", lambda to: _table(to, media.COLUMNS, shown))
            _put(package, "observations.csv", lambda to: _table(to, observations.COLUMNS, seen))
            if extra:
                _put(package, "left-out.csv", lambda to: _table(to, LEFT_OUT, left_out))
    return []


def _fill(results: Results, taxa: Taxa, shown: Spool, seen: Spool, left_out: Spool) -> None:
    """The rows of all tables but the first."""
    levels = results.parameters["project"]["observationLevel"]
    for picture in results.pictures():
        reason = media.left_out(picture)
        if reason:
            left_out.write(row((picture.rel, reason)))
            continue
        shown.write(media.line(results, picture))
        rows = observations.of_image(results, picture, taxa)  # every name is noted, whatever is written
        for cells in rows:
            if "media" in levels:
                seen.write(cells)
    if "event" in levels:
        for cells in observations.of_events(results, taxa):
            seen.write(cells)


def _table(stream: IO[bytes], columns: tuple[str, ...], rows: Spool) -> None:
    stream.write(row(columns))
    rows.copy_to(stream)


def _put(package: zipfile.ZipFile, name: str, write: Callable[[IO[bytes]], None]) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with package.open(entry, "w", force_zip64=True) as stream:
        write(stream)
