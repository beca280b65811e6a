"""The page that shows an evaluation: whatever the labels are called and however many there are, it can be read."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from trapline.evaluation.classifying import Named, classifier_figures
from trapline.evaluation.detecting import detector_figures
from trapline.evaluation.matching import Found, Truth
from trapline.evaluation.report import tidy

if not os.environ.get("CI"):
    pytest.importorskip("matplotlib")

from trapline.evaluation.fonts import shortened, shower, spelt
from trapline.evaluation.picture import matrix, page

LONG = "Agrotis exclamationis var. something rather long ssp. longissima"


def names(count: int) -> list[str]:
    odd = [LONG, "$x_{1}$", "Жук-плавунец обыкновенный, самый большой", "蛾 (ガ)", "a\nb", ""]
    return [*odd, *(f"Genus{n} with-a-long-species-name-{n}" for n in range(len(odd), count))][:count]


def document(kind: str, count: int) -> dict[str, Any]:
    rng, labels = np.random.default_rng(count), names(count)
    if kind == "classifier":
        told = rng.permuted(np.tile(np.arange(count), (200, 1)), axis=1)
        scores = -np.sort(-rng.dirichlet(np.ones(count), 200), axis=1)
        figures = classifier_figures(
            Named(rng.integers(0, count, 200), told, scores, np.arange(200), 200), labels, draws=5
        )
    else:
        boxes = [np.hstack([corner, corner + 40]) for corner in rng.integers(0, 900, (40, 6, 2))]
        truths = [Truth.of(some, rng.integers(0, count, 6)) for some in boxes]
        founds = [Found.of(some + 2, rng.integers(0, count, 6), rng.random(6)) for some in boxes]
        figures = detector_figures(truths, founds, labels, 0.4, draws=5)
    made: dict[str, Any] = tidy(
        {
            "model": {"name": "m" * 63, "version": "10.20.30", "kind": kind, "labels": labels},
            "data": {"path": f"folder/{LONG} 蛾.json", "images": 40_000, "objects": 240_000},
            "created_at": "2026-11-21T00:00:00+00:00",
            "problems": {"counts": {"box_wrong": 3}},
            "figures": figures,
        }
    )
    return made


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(("kind", "count"), [("detector", 1), ("detector", 7), ("detector", 40), ("classifier", 60)])
def test_no_text_runs_into_another_panel_or_off_the_page(kind: str, count: int) -> None:
    figure = page(document(kind, count))
    figure.canvas.draw()
    texts = [[text for text in panel.findobj(is_text) if text.get_text().strip()] for panel in figure.axes]
    whole = figure.bbox
    for number, own in enumerate(texts):
        for text in own:
            box = text.get_window_extent()
            assert box.x0 >= whole.x0, text
            assert box.x1 <= whole.x1, text
            assert box.y0 >= whole.y0, text
            for other in figure.axes[:number] + figure.axes[number + 1 :]:
                assert not box.overlaps(other.get_window_extent()), (text, other)
                assert not any(box.overlaps(title.get_window_extent()) for title in [other.title, other._left_title])
    heads = [text.get_window_extent() for text in figure.texts]
    for number, head in enumerate(heads):
        assert not any(head.overlaps(other) for other in heads[:number])
        assert not any(head.overlaps(panel.get_window_extent()) for panel in figure.axes)


def is_text(artist: Any) -> bool:
    from matplotlib.text import Text

    return isinstance(artist, Text) and artist.get_visible()


def test_the_matrix_of_many_labels_keeps_the_most_frequent_and_joins_the_rest() -> None:
    told = document("classifier", 60)
    counts, rows, columns, numbers = matrix(told)
    assert counts.sum() == 200
    assert (len(rows), rows[-1], columns[-1]) == (40, "others", "others")
    assert numbers[-1] == -1


def test_the_matrix_of_a_detector_has_what_is_nothing_and_what_was_missed() -> None:
    counts, rows, columns, _ = matrix(document("detector", 1))
    assert (rows, columns) == ([LONG, "nothing there"], [LONG, "missed"])
    assert counts[1, 1] == 0


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("short", 10) == "short"
    assert shortened(LONG, 21) == "Agrotis ex…longissima"


def test_a_name_in_letters_that_no_font_has_is_told_by_its_number() -> None:
    show = shower(20)
    assert show("Жук", 4) == "Жук"
    assert show("\U000f0000", 4) == "#5"
    assert show("  ", 4) == "#5"
    assert show("$x$", 4) == r"\$x\$"
    assert spelt("a \U000f0000", 20) == "a ?"
