"""One page that shows an evaluation: curves, confusions, calibration, confidences. Drawn from `evaluation.json` alone.

The only module, with `mistakes` and `fonts`, that needs matplotlib (the extra `plots`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from trapline.evaluation.fonts import families, shower, spelt

CURVES = 10  # labels with a curve and a colour of their own; those with the most things
CELLS = 40  # labels in the confusion matrix; the rest is one row
_NUMBERED = 14  # rows up to which the matrix's cells show numbers
_LONGEST = 26  # letters of a name
_INK, _FAINT, _RIGHT, _WRONG = "#1f2a30", "#8a979e", "#2a7f62", "#c2513f"
_REST = "others"
NOTHING = "nothing there"

Document = Mapping[str, Any]


def draw(document: Document, files: Sequence[Path]) -> None:
    """Write the page to each of `files`, as its suffix says (.png, .svg, .pdf)."""
    settings = {
        "font.family": families(),
        "font.size": 9,
        "axes.edgecolor": _FAINT,
        "axes.labelcolor": _INK,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "text.color": _INK,
        "svg.hashsalt": "trapline",
        "axes.unicode_minus": False,
    }
    with mpl.rc_context(settings):
        figure = page(document)
        for file in files:
            metadata = {"Date": None} if file.suffix == ".svg" else {}
            figure.savefig(file, dpi=140, facecolor="white", metadata=metadata)


def page(document: Document) -> Figure:
    """The page, not yet drawn."""
    figure = Figure(figsize=(16, 11.5))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, 12, left=0.05, right=0.985, top=0.855, bottom=0.065, hspace=0.34, wspace=1.6, height_ratios=(1.35, 1)
    )
    _title(figure, document)
    _foot(figure, document)
    _recall(figure.add_subplot(grid[0, :5]), document)
    _confusion(figure.add_subplot(grid[0, 6:]), document)
    _reliability(figure.add_subplot(grid[1, :4]), document)
    _confidences(figure.add_subplot(grid[1, 4:8]), document)
    _thresholds(figure.add_subplot(grid[1, 8:]), document)
    return figure


def _title(figure: Figure, document: Document) -> None:
    model, data, told = document["model"], document["data"], document["figures"]
    figure.text(0.05, 0.957, f"{model['name']} {model['version']}", size=17, weight="bold")
    problems = sum(document["problems"]["counts"].values())
    about = f"{model['kind']} on {spelt(Path(data['path']).name or data['path'], 70)}: {data['images']:,} images, "
    about += f"{data['objects']:,} things" + (f", {problems:,} problems left out" if problems else "")
    figure.text(0.05, 0.929, f"{about}   ·   {document['created_at'][:10]}", size=10, color="#4d5a61")
    for place, (name, value, interval) in enumerate(_main(document, told)):
        left = 0.05 + 0.13 * place
        figure.text(left, 0.893, value, size=14, weight="bold")
        figure.text(left + 0.048, 0.902, name, size=8.5, color="#4d5a61")
        figure.text(left + 0.048, 0.890, interval, size=8.5, color=_FAINT)


def _foot(figure: Figure, document: Document) -> None:
    """What a number in the place of a name means, where there is one."""
    show = shower(_LONGEST)
    some = [show(label, number) for number, label in enumerate(document["model"]["labels"])]
    if any(name == f"#{number}" for number, name in enumerate(some, 1)):
        said = (
            "#1, #2, …: the model's labels by number, where no font here has their letters; evaluation.json names them"
        )
        figure.text(0.05, 0.012, said, size=8, color="#4d5a61")


def _main(document: Document, told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    at = told.get("at_threshold") or {}
    if document["model"]["kind"] == "detector":
        point = f"at {at['threshold']:.2f}"
        names = {
            "map": "mAP .50–.95",
            "map50": "mAP .50",
            "precision": f"precision {point}",
            "recall": f"recall {point}",
        }
    else:
        names = {"top1": "top 1", "top5": "top 5", "macro_f1": "macro F1"}
    values = {**told, **at}
    rows = []
    for key, name in names.items():
        interval = told["intervals"].get(key)
        rows.append((name, _figure(values[key]), f"{interval[0]:.3f}–{interval[1]:.3f}" if interval else ""))
    if best := told["best"]:
        rows.append((f"best F1, at {best['threshold']:.2f}", _figure(best["f1"]), ""))
    rows.append(("calibration error", _figure(told["calibration"]["ece"]), ""))
    return rows


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _recall(axes: Axes, document: Document) -> None:
    curves, rows = document["figures"]["curves"], document["figures"]["labels"]
    number = {row["label"]: place for place, row in enumerate(rows)}
    average = {row["label"]: row.get("map50", row.get("average_precision")) for row in rows}
    show = shower(_LONGEST)
    recall = curves["recall"]
    ranked = sorted(curves["labels"], key=lambda label: -rows[number[label]]["objects"])
    colours = mpl.colormaps["tab10"].colors
    for label in ranked[CURVES:]:
        axes.plot(recall, _numbers(curves["labels"][label]), color="#c9d1d5", lw=0.8, zorder=1)
    if len(ranked) > 1:
        for place, label in enumerate(ranked[:CURVES]):
            name = f"{show(label, number[label])}  {_figure(average[label])}"
            axes.plot(recall, _numbers(curves["labels"][label]), color=colours[place], lw=1.3, label=name, zorder=2)
    axes.plot(recall, _numbers(curves["overall"]), color=_INK, lw=2.6, label="all together", zorder=3)
    if len(ranked) > CURVES:
        axes.plot([], [], color="#c9d1d5", lw=0.8, label=f"{len(ranked) - CURVES} other labels")
    _unit(axes)
    axes.set(title="Precision over recall", xlabel="recall", ylabel="precision")
    axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.85, edgecolor="none")


def matrix(document: Document) -> tuple[NDArray[np.float64], list[str], list[str], list[int]]:
    """Counts of truth (rows) and told (columns), their names, and the labels' numbers (-1: no label)."""
    cells = document["figures"]["confusion"]
    seen: Counter[str] = Counter()
    for cell in cells:
        for name in (cell["truth"], cell["told"]):
            if name is not None:
                seen[name] += cell["count"]
    order = {label: place for place, label in enumerate(document["model"]["labels"])}
    most = sorted(seen, key=lambda name: (-seen[name], order[name]))[: CELLS if len(seen) <= CELLS else CELLS - 1]
    kept = sorted(most, key=order.__getitem__)
    names = [*kept, *([_REST] if len(seen) > len(kept) else [])]
    place = {name: at for at, name in enumerate(kept)}
    nothing = document["model"]["kind"] == "detector"
    size = len(names) + nothing
    counts = np.zeros((size, size))
    for cell in cells:
        at = [size - 1 if name is None else place.get(name, len(kept)) for name in (cell["truth"], cell["told"])]
        counts[at[0], at[1]] += cell["count"]
    numbers = [order.get(name, -1) for name in kept] + [-1] * (size - len(kept))
    extra = [[NOTHING], ["missed"]] if nothing else [[], []]
    return counts, [*names, *extra[0]], [*names, *extra[1]], numbers


def _confusion(axes: Axes, document: Document) -> None:
    counts, rows, columns, numbers = matrix(document)
    few = len(rows) <= _NUMBERED
    shows = (shower(_LONGEST if few else 20), shower(17))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if rows[-1:] == [NOTHING]:  # of how much there is nothing cannot be said
        shares[-1] = counts[-1] / np.maximum(counts.sum(axis=0), 1)
    axes.imshow(np.sqrt(shares), cmap="GnBu", vmin=0, vmax=1.1, aspect="auto")
    size = 8.5 if few else max(4.6, min(8.0, 230 / len(rows)))
    named = [
        [show(name, number) if number >= 0 else name for name, number in zip(side, numbers, strict=True)]
        for side, show in zip((rows, columns), shows, strict=True)
    ]
    axes.set_yticks(range(len(rows)), named[0], fontsize=size)
    slanted = few and len(rows) > 3
    axes.set_xticks(
        range(len(columns)),
        named[1],
        fontsize=size,
        rotation=45 if slanted else 0 if few else 90,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(title="What is there (rows) and what was told (columns)", xlabel="", ylabel="")
    if few:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else _INK
            text = f"{counts[row, column]:,.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=min(8.5, 75 / len(rows)))


def _reliability(axes: Axes, document: Document) -> None:
    told = document["figures"]["calibration"]
    bins = [one for one in told["bins"] if one["count"]]
    most = max((one["count"] for one in bins), default=1)
    axes.plot([0, 1], [0, 1], color=_FAINT, lw=1, ls="--")
    axes.plot([one["confidence"] for one in bins], [one["right"] for one in bins], color=_RIGHT, lw=1.2)
    axes.scatter(
        [one["confidence"] for one in bins],
        [one["right"] for one in bins],
        s=[14 + 110 * one["count"] / most for one in bins],
        color=_RIGHT,
        zorder=3,
        clip_on=False,
    )
    _unit(axes)
    axes.set(title="Can a confidence be believed?", xlabel="confidence told", ylabel="share that is right")
    axes.text(
        0.97,
        0.04,
        f"calibration error {_figure(told['ece'])}\nBrier score {_figure(told['brier'])}\ndots: size = how many",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        size=8.5,
        color="#4d5a61",
    )


def _confidences(axes: Axes, document: Document) -> None:
    scores = document["figures"]["scores"]
    edges = np.array(scores["edges"])
    right, wrong = np.array(scores["right"], np.float64), np.array(scores["wrong"], np.float64)
    width = np.diff(edges) * 0.92
    axes.bar(edges[:-1], right, width, align="edge", color=_RIGHT, label="right")
    axes.bar(edges[:-1], wrong, width, align="edge", bottom=right, color=_WRONG, label="wrong")
    axes.set(title="Confidence of answers", xlabel="confidence", ylabel="answers", xlim=(0, 1))
    if (right + wrong).max(initial=0) > 50 * max(1.0, float(np.median(right + wrong))):
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylabel("answers (logarithmic above 10)")
    axes.legend(loc="upper center", fontsize=8.5, frameon=False, ncols=2)
    axes.margins(y=0.22)


def _thresholds(axes: Axes, document: Document) -> None:
    told = document["figures"]["thresholds"]
    for key, name, colour in (("precision", "precision", _RIGHT), ("recall", "recall", "#3a6ea5"), ("f1", "F1", _INK)):
        axes.plot(told["threshold"], _numbers(told[key]), color=colour, lw=2.2 if key == "f1" else 1.4, label=name)
    marks = []
    if at := document["figures"].get("at_threshold"):
        marks.append((at["threshold"], f"in use, {at['threshold']:.2f}", ":"))
    if best := document["figures"]["best"]:
        marks.append((best["threshold"], f"best F1, {best['threshold']:.2f}", "--"))
    for threshold, name, style in marks:
        axes.axvline(threshold, color=_FAINT, lw=1.2, ls=style, label=name)
    _unit(axes)
    axes.set(title="What a threshold gives", xlabel="threshold", ylabel="")
    axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.85, edgecolor="none")


def _unit(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(color="#e6eaec", lw=0.8)
    axes.set_axisbelow(True)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
