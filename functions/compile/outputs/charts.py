"""The output `charts`: `charts.svg` and `charts.png`, the counts of a job as one picture for slides and papers.

Needs matplotlib (the extra `plots`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from functions.compile import figures
from functions.compile.figures import Bar
from functions.compile.picture import UNKNOWN
from functions.compile.results import Open, Results
from trapline.evaluation.fonts import families, shower, spelt

KINDS = 16  # with a bar of their own
_LONGEST = 30  # letters of a name …
_ROOM = 0.165  # … and how wide it may be, as a share of the page
_DPI = 150
_INK, _QUIET, _BAR, _IDLE = "#1a2226", "#59656b", "#2f7d68", "#eef1f0"
_STYLE = {
    "font.size": 9,
    "axes.edgecolor": _QUIET,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelcolor": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _INK,
    "text.color": _INK,
    "svg.hashsalt": "trapline",
}
_FILES = (  # name, type, and what leaves out the day it was made and the library that made it
    ("charts.svg", "image/svg+xml", {"Date": None, "Creator": None}),
    ("charts.png", "image/png", {"Software": None}),
)


def write(results: Results, open: Open) -> list[str]:
    """Write `charts.svg` and `charts.png`."""
    with mpl.rc_context({**_STYLE, "font.family": families()}):
        figure = _page(results)
        for name, content_type, metadata in _FILES:
            with open(name, content_type=content_type) as stream:
                form = name.rpartition(".")[2]
                figure.savefig(stream, format=form, dpi=_DPI, facecolor="white", metadata=metadata)
    return []


def _page(results: Results) -> Figure:
    figure = Figure(figsize=(11, 6.2))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, left=0.19, right=0.975, top=0.81, bottom=0.09, hspace=0.55, wspace=0.16)
    _title(figure, results)
    _kinds(figure.add_subplot(grid[:, 0]), results.summary)
    clock = results.summary["timezone"] or "the camera's clock"
    _hours(figure.add_subplot(grid[0, 1]), figures.hours(results.summary), clock)
    _confidences(figure.add_subplot(grid[1, 1]), figures.confidences(results.summary))
    return figure


def _title(figure: Figure, results: Results) -> None:
    images = results.summary["images"]
    days = [when.date().isoformat() for when in results.span if when]
    parts = [
        f"{results.summary['detections']:,} detections on {images['with_detections']:,} of {images['total']:,} images",
        " to ".join(dict.fromkeys(days)),
        f"revision {results.revision}",
    ]
    figure.text(0.025, 0.93, spelt(results.job, 70), size=16, weight="bold")
    figure.text(0.025, 0.888, "   ·   ".join(part for part in parts if part), size=9, color=_QUIET)


def _kinds(axes: Axes, found: dict[str, Any]) -> None:
    labels = {label: count for label, count in found["labels"].items() if label != UNKNOWN}
    shown = list(labels.items())[: KINDS if len(labels) <= KINDS else KINDS - 1]
    rest = sum(labels.values()) + found.get("other_labels", 0) - sum(count for _, count in shown)
    names = [_named(axes, label, number) for number, (label, _) in enumerate(shown)]
    _unwritten(axes, [name for number, name in enumerate(names) if name == f"#{number + 1}" != shown[number][0]])
    rows = [(name, count) for name, (_, count) in zip(names, shown, strict=True)]
    rows += [(f"{len(labels) - len(shown):,} other kinds", rest)] if rest else []
    axes.set(title="Detections by kind")
    if not rows:
        _nothing(axes)
        return
    places = range(len(rows))
    axes.barh(places, [count for _, count in rows], height=0.68, color=_BAR)
    axes.set_yticks(places, [name for name, _ in rows])
    axes.set_ylim(max(len(rows), 6) - 0.4, -0.6)
    _numbers(axes, [count for _, count in rows])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _named(axes: Axes, label: str, number: int) -> str:
    """A name as it stands beside its bar: cut shorter where its letters are wide."""
    name, figure = "(no name)", _figure(axes)
    for longest in range(_LONGEST, 5, -2) if label else ():
        name = shower(longest)(label, number)
        written = figure.text(0, 0, name)
        width = written.get_window_extent().width
        written.remove()
        if width <= _ROOM * figure.bbox.width:
            break
    return name


def _unwritten(axes: Axes, names: Sequence[str]) -> None:
    """What stands for names that cannot be written, explained."""
    if names:
        some = f"{', '.join(names[:4])}{' …' if len(names) > 4 else ''}"
        note = f"{some}: no font here has these names' letters; numbered by count, as in summary.json"
        _figure(axes).text(0.025, 0.025, note, size=8, color=_QUIET)


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _numbers(axes: Axes, counts: Sequence[int]) -> None:
    """Each bar's count at its end, in the place of an axis."""
    axes.set_xlim(0, max(counts) * 1.14)
    for place, count in enumerate(counts):
        axes.text(count + max(counts) * 0.012, place, f"{count:,}", va="center", size=8.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _hours(axes: Axes, bars: list[Bar], clock: str) -> None:
    axes.set(title="Detections by hour of the day")
    if not bars:
        _nothing(axes)
        return
    for place, bar in enumerate(bars):
        if not bar.images:
            axes.axvspan(place - 0.5, place + 0.5, color=_IDLE, lw=0, zorder=0)
    _bars(axes, bars, 3)
    idle = "" if all(bar.images for bar in bars) else "; grey: no images were taken"
    axes.set_xlabel(clock + idle, fontsize=8)


def _confidences(axes: Axes, bars: list[Bar]) -> None:
    axes.set(title="Detections by confidence of their name")
    if not bars:
        _nothing(axes)
        return
    _bars(axes, bars, 4)
    ticks = range(0, len(bars), 4)
    axes.set_xticks(
        [*(place - 0.5 for place in ticks), len(bars) - 0.5], [*(bars[place].tick for place in ticks), "1.0"]
    )


def _bars(axes: Axes, bars: list[Bar], every: int) -> None:
    axes.bar(range(len(bars)), [bar.count for bar in bars], width=0.86, color=_BAR)
    axes.set_xlim(-0.6, len(bars) - 0.4)
    ticks = range(0, len(bars), every)
    axes.set_xticks(ticks, [bars[place].tick for place in ticks])
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(length=0)
    axes.grid(axis="y", color="#e6eaec", lw=0.7)
    axes.spines["left"].set_visible(False)


def _nothing(axes: Axes) -> None:
    axes.text(0, 1, "nothing to count", transform=axes.transAxes, color=_QUIET, va="top")
    axes.set_axis_off()
    axes.title.set_visible(True)
