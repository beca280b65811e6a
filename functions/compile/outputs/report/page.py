"""The page itself: what the template is filled with, piece by piece. What is in it is counted elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from functions.compile import figures
from functions.compile.outputs.report import tables, text
from functions.compile.outputs.report.album import GRID, Album, Cut, Shot
from functions.compile.outputs.report.survey import Survey
from functions.compile.picture import UNKNOWN
from functions.compile.results import Results
from trapline import __version__
from trapline.errors import CODES

_HERE = Path(__file__).resolve().parent
_PIECE = 64  # parts of the template that are written at once
CROWD = 100  # boxes on one image above which they are drawn thinner
MISSING = 200  # names that never came


def pieces(results: Results, found: Survey, album: Album) -> Iterator[str]:
    """The page's text. Pictures are read when it is their turn."""
    stream = _template().stream(_told(results, found, album))
    stream.enable_buffering(_PIECE)
    return stream


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_said,
    )
    environment.filters["coded"] = text.coded
    environment.globals |= {"counted": text.counted, "day": text.day, "clock": text.clock, "span": text.span}
    return environment.get_template("page.html.j2")


def _said(value: Any) -> Any:
    """Whatever the template says: invisible characters as their codes, but for what is markup already."""
    if isinstance(value, Markup | int):
        return value
    return text.plain(value)


def _told(results: Results, found: Survey, album: Album) -> dict[str, Any]:
    kinds = tables.kind_rows(found)
    colours = {kind.label: min(rank, tables.COLOURS) for rank, kind in enumerate(found.ranked)}
    return {
        **_frame(),
        **_head(results, found),
        "found": results.summary,
        "kinds": kinds,
        "kind_count": len([label for label in results.summary["labels"] if label != UNKNOWN]),
        "unnamed": found.unnamed,
        "more_kinds": len(found.kinds) - len(kinds) + (1 if results.summary.get("other_labels") else 0),
        "counts": found.counted,
        "most": found.most,
        "event_rows": tables.event_rows(found.counted, results.job),
        "gap": text.duration(results.gap.total_seconds()),
        "hours": figures.hours(results.summary),
        "confidences": figures.confidences(results.summary),
        "crops": [_crops(results, found, album, label, colours) for label in _with_crops(found, album)],
        "shots": (_shot(results, shot, album, colours) for shot in album.shots),
        "shown": _shown(results, album),
        "codes": CODES,
        "troubles": tables.troubles(found, results),
        "made": tables.made_by(found),
        "release": __version__,
        "until": _until(found),
        "formats": results.parameters.get("outputs", []),
        "left_out": tables.left_out(results),
        "citations": tables.citations(found, results),
        "review": results.summary.get("review"),
        "problems": tables.problems(results.summary.get("review")),
        "by_model": tables.agreements(results.summary.get("review"), "models"),
        "by_label": tables.agreements(results.summary.get("review"), "labels"),
    }


# -- what stands around everything


def _frame() -> dict[str, Any]:
    style, script = ((_HERE / name).read_text("utf-8") for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}  # files of this folder


def _hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _head(results: Results, found: Survey) -> dict[str, Any]:
    images, (first, last) = results.summary["images"], results.span
    lost, never, unfit = images["failed"], results.summary["not_received"], results.unusable_count
    return {
        "job": text.shortened(results.job, 200),
        "revision": results.revision,
        "name": text.shortened(results.deployment.get("locationName") or results.deployment.get("name") or ""),
        "place": text.listed(sorted(found.places), "places"),
        "timezone": results.summary["timezone"] or "",
        "zoned": found.zoned,
        "taken": text.span(first, last) if first and last else "",
        "images": images,
        "state": _state(images["total"], lost, never + unfit),
        "lost": lost,
        "unfit": unfit,
        "never": [tables.short(name, results.job) for name in results.not_received[:MISSING]],
        "never_count": never,
    }


def _state(total: int, lost: int, never: int) -> str:
    """`lost` of all images could not be read, and beside them so many never arrived, or have names of no use."""
    if lost and lost == total:
        return "failed"
    return "partial" if lost or never else "complete"


def _until(found: Survey) -> str:
    return f"{found.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if found.until else ""


# -- pictures


def _with_crops(found: Survey, album: Album) -> list[str]:
    return [kind.label for kind in found.ranked if kind.label in album.cuts]


def _crops(results: Results, found: Survey, album: Album, label: str, colours: dict[str, int]) -> dict[str, Any]:
    cuts = sorted(album.cuts[label], key=lambda cut: -(cut.sure if cut.sure is not None else 2.0))
    return {
        "name": tables.named(label),
        "colour": colours[label],
        "things": found.kinds[label].things,
        "shown": len(cuts),
        "cuts": (_cut(results, cut, album) for cut in cuts),
    }


def _cut(results: Results, cut: Cut, album: Album) -> dict[str, Any]:
    folder, file = _apart(results, cut.rel)
    return {
        "uri": album.uri(cut.place),
        "folder": folder,
        "file": file,
        "when": cut.when,
        "sure": "by hand" if cut.by_hand else "" if cut.sure is None else f"{cut.sure:.2f}",
    }


def _shot(results: Results, shot: Shot, album: Album, colours: dict[str, int]) -> dict[str, Any]:
    labels = [
        (tables.named(label), colours.get(label, tables.COLOURS), count) for label, count in tables.few(shot.labels)
    ]
    width, height = shot.size
    folder, file = _apart(results, shot.rel)
    return {
        "uri": album.uri(shot.place) if shot.place else None,
        "problem": text.shortened(shot.problem, 200),
        "file": file,
        "folder": folder,
        "when": shot.when,
        "width": width,
        "height": height,
        "grid": f"0 0 {GRID * width / max(width, height):.0f} {GRID * height / max(width, height):.0f}",
        "outlines": [
            (tables.named(label), colours.get(label, tables.COLOURS), path) for label, path in shot.outlines.items()
        ],
        "left_out": shot.left_out,
        "crowd": " crowd" if sum(shot.labels.values()) > CROWD else "",
        "labels": labels,
        "more": sum(shot.labels.values()) - sum(count for _, _, count in labels),
        "kinds": " ".join(sorted({str(colours.get(label, tables.COLOURS)) for label in shot.labels})) or "none",
    }


def _apart(results: Results, rel: str) -> tuple[str, str]:
    """An image's folder within its job, and its file."""
    folder, _, file = rel.removeprefix(f"{results.job}/").rpartition("/")
    return text.shortened(folder), text.shortened(file)


def _shown(results: Results, album: Album) -> dict[str, int]:
    images = results.summary["images"]
    return {
        "images": len(album.shots),
        "of": images["with_detections"] + images["empty"],
        "crops": sum(map(len, album.cuts.values())),
    }
