"""Figures of models: by hand, and beside COCO's own tools."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import numpy as np
import pytest

from trapline.evaluation import matching
from trapline.evaluation.calibration import calibration, histogram
from trapline.evaluation.classifying import Named, classifier_figures
from trapline.evaluation.detecting import detector_figures, pairs
from trapline.evaluation.intervals import intervals, resamples
from trapline.evaluation.matching import Found, Pair, Truth, match, overlaps
from trapline.evaluation.precision import (
    Ranking,
    average_precision,
    best_point,
    pooled,
    rankings,
    threshold_curve,
    working_point,
)

HERE, THERE, ELSEWHERE = (0, 0, 10, 10), (50, 50, 60, 70), (200, 200, 230, 230)
ONE = np.array([0.5])


def truth(*boxes: tuple[float, ...], labels: list[int] | None = None, crowd: list[bool] | None = None) -> Truth:
    return Truth.of(boxes, labels if labels is not None else [0] * len(boxes), crowd)


def found(*rows: tuple[tuple[float, ...], float], labels: list[int] | None = None) -> Found:
    return Found.of(
        [box for box, _ in rows], labels if labels is not None else [0] * len(rows), [score for _, score in rows]
    )


NOTHING, BOX = Found.of([], [], []), (0.0, 0.0, 10.0, 10.0)


def figures(truths: list[Truth], founds: list[Found], labels: str = "a", threshold: float = 0.5) -> dict[str, Any]:
    return detector_figures(truths, founds, tuple(labels), threshold, draws=20)


def ranking(truths: list[Truth], founds: list[Found]) -> Ranking:
    ((ranked,),) = rankings(truths, founds, 1, ONE)
    return ranked


def average(truths: list[Truth], founds: list[Found]) -> float:
    return float(average_precision(ranking(truths, founds))[0])


# -- how much counts


def test_the_confusion_counts_as_many_detections_as_the_other_figures() -> None:
    seen = found((HERE, 0.9), (THERE, 0.8), (ELSEWHERE, 0.7), (ELSEWHERE, 0.6), labels=[0, 0, 0, 1])
    told = detector_figures([truth(HERE, THERE, ELSEWHERE)], [seen], ("a", "b"), 0.5, most=2, draws=20)
    assert told["at_threshold"]["hits"] == 2
    assert {"truth": "a", "told": "a", "count": 2} in told["confusion"]
    assert {"truth": "a", "told": "b", "count": 1} in told["confusion"]
    assert sum(line["count"] for line in told["confusion"]) == 3


def test_overlaps_are_the_same_taken_at_once_or_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    corners = random.uniform(0, 90, (57, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 30, (57, 2))], axis=1)
    crowd = random.uniform(size=31) < 0.2
    whole = matching.overlaps(boxes, boxes[:31], crowd)
    monkeypatch.setattr(matching, "_AT_ONCE", 100)
    assert (matching.overlaps(boxes, boxes[:31], crowd) == whole).all()
    assert matching.overlaps(boxes[:0], boxes).shape == (0, 57)


# -- matching


def test_an_overlap_is_what_two_boxes_share_of_what_they_cover_together() -> None:
    (row,) = overlaps(np.array([[0, 0, 10, 10.0]]), np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10.0]]))
    assert row.tolist() == pytest.approx([1, 1 / 3, 0])


def test_an_overlap_with_a_crowd_is_the_share_of_the_detection_alone() -> None:
    (row,) = overlaps(np.array([[0, 0, 10, 10.0]]), np.array([[0, 0, 100, 100.0]]), np.array([True]))
    assert row.tolist() == [1]


def test_boxes_without_an_area_overlap_nothing() -> None:
    assert overlaps(np.array([[5, 5, 5, 5.0]]), np.array([[5, 5, 5, 5.0]])).tolist() == [[0]]


def test_a_thing_is_found_once_and_by_the_most_confident() -> None:
    matched = match(Pair.of(truth(HERE), found((HERE, 0.5), ((0, 0, 10, 9), 0.8))), 0, ONE)
    assert matched.which.tolist() == [1, 0]
    assert matched.truth.tolist() == [[0, -1]]


def test_a_detection_takes_what_it_overlaps_most() -> None:
    both = truth((0, 0, 10, 10), (4, 0, 14, 10))
    assert match(Pair.of(both, found(((3, 0, 13, 10), 0.9))), 0, ONE).truth.tolist() == [[1]]


def test_a_label_is_matched_with_its_own_alone() -> None:
    matched = match(Pair.of(truth(HERE, labels=[1]), found((HERE, 0.9))), 0, ONE)
    assert matched.truth.tolist() == [[-1]]
    assert matched.objects == 0


def test_what_lies_on_a_crowd_is_neither_right_nor_false_however_often() -> None:
    matched = match(Pair.of(truth((0, 0, 100, 100), crowd=[True]), found((HERE, 0.9), (THERE, 0.8))), 0, ONE)
    assert matched.ignored.tolist() == [[True, True]]
    assert matched.objects == 0


def test_no_more_than_the_most_confident_detections_count() -> None:
    matched = match(Pair.of(truth(HERE), found((THERE, 0.9), (HERE, 0.8))), 0, ONE, most=1)
    assert matched.which.tolist() == [0]


# -- precision


def test_average_precision_is_one_when_all_is_found_and_less_when_less_is() -> None:
    both = [truth(HERE, THERE)]
    assert average(both, [found((HERE, 0.9), (THERE, 0.6))]) == pytest.approx(1)
    assert average(both, [found((HERE, 0.9))]) == pytest.approx(51 / 101)  # recall reaches 0.5: 51 of the 101 points
    assert average(both, [found((ELSEWHERE, 0.9), (HERE, 0.5))]) == pytest.approx(51 / 101 / 2)
    assert average(both, [found()]) == 0


def test_average_precision_of_nothing_to_find_cannot_be_said() -> None:
    assert np.isnan(average([truth()], [found((HERE, 0.9))]))


def test_detections_are_ranked_over_all_pictures() -> None:
    truths, founds = [truth(HERE), truth(HERE)], [found((ELSEWHERE, 0.9)), found((HERE, 0.8))]
    assert average(truths, founds) == pytest.approx(51 / 101 / 2)


def test_the_best_threshold_keeps_what_is_right_and_drops_what_is_wrong() -> None:
    ranked = ranking([truth(HERE, THERE)], [found((HERE, 0.9), (THERE, 0.6), (ELSEWHERE, 0.4))])
    best = best_point(ranked)
    assert best is not None
    assert (best.threshold, best.precision, best.recall, best.f1) == (0.6, 1, 1, 1)


def test_the_best_threshold_never_parts_equal_confidences() -> None:
    ranked = ranking([truth(HERE)], [found((HERE, 0.6), (THERE, 0.6), (ELSEWHERE, 0.6))])
    best = best_point(ranked)
    assert best is not None
    assert (best.told, best.hits) == (3, 1)
    assert best.precision == pytest.approx(1 / 3)


def test_there_is_no_best_threshold_where_nothing_right_is_told() -> None:
    assert best_point(ranking([truth(HERE)], [found((THERE, 0.6))])) is None


def test_a_threshold_tells_what_is_as_sure_as_it_and_surer() -> None:
    ranked = ranking([truth(HERE, THERE)], [found((HERE, 0.5), (ELSEWHERE, 0.49))])
    point = working_point(ranked, 0.5)
    assert (point.hits, point.told, point.total) == (1, 1, 2)
    curve = {round(one.threshold, 2): one for one in threshold_curve(ranked)}
    assert (curve[0.5].precision, curve[0.5].recall) == (1, 0.5)
    assert curve[0.49].precision == 0.5
    assert np.isnan(curve[0.51].precision)
    assert curve[0.51].recall == 0


def test_labels_together_are_ranked_as_one() -> None:
    truths, founds = [truth(HERE, THERE, labels=[0, 1])], [found((HERE, 0.9), (ELSEWHERE, 0.8), labels=[0, 1])]
    together = pooled(rankings(truths, founds, 2, ONE)[0])
    assert together.scores.tolist() == [0.9, 0.8]
    assert together.right.tolist() == [[True, False]]
    assert together.total == 2


# -- beside COCO's own tools


def needs(name: str) -> Any:
    """A module of the extra `dev`; where everything is to be tested it must be there."""
    return __import__(name) if os.environ.get("CI") else pytest.importorskip(name)


Drawn = tuple[list[Truth], list[Found], dict[str, Any], list[dict[str, Any]]]


def drawn(seed: int, labels: int = 4) -> Drawn:
    """Truth and detections as a poor detector would give them, with crowds, equal scores and labels without truth."""
    rng = np.random.default_rng(seed)
    truths, founds = [], []
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for picture in range(12):
        count = int(rng.integers(0, 25))
        boxes = np.hstack([rng.integers(0, 300, (count, 2)), rng.integers(4, 140, (count, 2))]).astype(float)
        kinds, crowd = rng.integers(0, labels - seed % 2, count), rng.random(count) < 0.1
        areas = boxes[:, 2] * boxes[:, 3] * rng.uniform(0.5, 1, count)
        truths.append(Truth.of(corners(boxes), kinds, crowd, areas.tolist()))
        annotations += [
            {"id": len(annotations) + n + 1, "image_id": picture, "category_id": int(kinds[n]), "area": areas[n],
             "bbox": boxes[n].tolist(), "iscrowd": int(crowd[n])} for n in range(count)
        ]  # fmt: skip
        again = np.concatenate([np.flatnonzero(rng.random(count) < 0.8), rng.integers(0, count, count // 4)])
        near = boxes[again] + np.round(rng.normal(0, 3, (len(again), 4)) * (rng.random((len(again), 1)) < 0.8))
        near = np.vstack([near, np.hstack([rng.integers(0, 300, (5, 2)), rng.integers(4, 140, (5, 2))])])
        near[:, 2:] = np.maximum(near[:, 2:], 1)
        told = np.concatenate([kinds[again], rng.integers(0, labels, 5)])
        scores = np.round(rng.random(len(told)), 2)
        founds.append(Found.of(corners(near), told, scores))
        detections += [
            {"image_id": picture, "category_id": int(told[n]), "bbox": near[n].tolist(), "score": float(scores[n])}
            for n in range(len(told))
        ]
    images = [{"id": picture, "width": 500, "height": 500} for picture in range(12)]
    categories = [{"id": label, "name": str(label)} for label in range(labels)]
    return truths, founds, {"images": images, "annotations": annotations, "categories": categories}, detections


def corners(boxes: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def by_coco(content: dict[str, Any], detections: list[dict[str, Any]], most: int) -> list[float]:
    """AP, AP50, AP75, AP of three sizes, AR, AR of three sizes."""
    needs("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
        scored = COCOeval(coco, coco.loadRes(detections), "bbox")
        scored.params.maxDets = [most]
        scored.evaluate()
        scored.accumulate()
    precision, recall = scored.eval["precision"][..., -1], scored.eval["recall"][..., -1]
    parts = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]]
    parts += [precision[..., size] for size in (1, 2, 3)] + [recall[..., size] for size in range(4)]
    return [float(part[part > -1].mean()) if (part > -1).any() else float("nan") for part in parts]


@pytest.mark.parametrize("most", [3, 100])
@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_cocos_own_tools(seed: int, most: int) -> None:
    truths, founds, content, detections = drawn(seed)
    told = detector_figures(truths, founds, "0123", 0.5, most=most, draws=0)
    sizes = [told["areas"][size] for size in ("small", "medium", "large")]
    ours = [told["map"], told["map50"], told["map75"], *(size["map"] for size in sizes)]
    ours += [told["average_recall"], *(size["average_recall"] for size in sizes)]
    assert ours == pytest.approx(by_coco(content, detections, most), abs=1e-9, nan_ok=True)


# -- a detector's document


def test_a_detector_that_finds_all_and_nothing_else_is_perfect() -> None:
    told = figures([truth(HERE, THERE), truth(ELSEWHERE)], [found((HERE, 0.9), (THERE, 0.8)), found((ELSEWHERE, 0.7))])
    assert (told["map"], told["map50"], told["average_recall"]) == pytest.approx((1, 1, 1))
    assert told["at_threshold"]["f1"] == 1
    assert told["confusion"] == [{"truth": "a", "told": "a", "count": 3}]
    assert told["intervals"]["map"] == pytest.approx((1, 1))


def test_what_was_taken_for_what_is_counted_with_the_missed_and_the_false() -> None:
    there = truth(HERE, THERE, (100, 100, 120, 120), labels=[0, 0, 1])
    said = found((HERE, 0.9), (THERE, 0.8), (ELSEWHERE, 0.7), ((100, 100, 120, 120), 0.2), labels=[0, 1, 1, 1])
    told = figures([there], [said], "ab")
    assert told["confusion"] == [
        {"truth": None, "told": "b", "count": 1},
        {"truth": "a", "told": "a", "count": 1},
        {"truth": "a", "told": "b", "count": 1},
        {"truth": "b", "told": None, "count": 1},
    ]


def test_a_detection_of_the_wrong_label_is_paired_with_what_it_lies_on() -> None:
    assert pairs(truth(HERE), found((HERE, 0.9), labels=[3]), 0.5) == [(0, 0)]
    assert pairs(truth(HERE), found((HERE, 0.4)), 0.5) == [(0, None)]
    assert pairs(truth((0, 0, 99, 99), crowd=[True]), found((HERE, 0.9)), 0.5) == []


def test_a_label_without_truth_is_left_out_of_the_mean_and_its_false_ones_still_count() -> None:
    told = figures([truth(HERE)], [found((HERE, 0.9), (THERE, 0.8), labels=[0, 1])], "ab")
    assert told["map"] == pytest.approx(1)
    assert told["at_threshold"]["precision"] == 0.5
    assert told["labels"][1]["objects"] == 0
    assert np.isnan(told["labels"][1]["map"])
    assert list(told["curves"]["labels"]) == ["a"]


@pytest.mark.parametrize("founds", [[NOTHING], [Found.of([BOX], [0], [0.9])]])
def test_pictures_with_nothing_on_them_have_figures_that_cannot_be_said(founds: list[Found]) -> None:
    told = figures([truth()], founds)
    assert all(np.isnan(told[name]) for name in ("map", "map50", "map75", "average_recall"))


def test_a_detector_that_finds_nothing_has_figures_all_the_same() -> None:
    told = figures([truth(HERE), truth(THERE)], [found(), found()])
    assert told["map"] == 0
    assert told["best"] is None
    assert told["at_threshold"]["recall"] == 0
    assert np.isnan(told["calibration"]["ece"])


def test_sizes_are_told_apart_at_32_and_96_pixels() -> None:
    there = truth((0, 0, 20, 20), (100, 100, 150, 150), (200, 200, 400, 400))
    told = figures([there], [found(((0, 0, 20, 20), 0.9), ((200, 200, 400, 400), 0.8))])
    assert [told["areas"][size]["objects"] for size in ("small", "medium", "large")] == [1, 1, 1]
    assert [told["areas"][size]["map"] for size in ("small", "medium", "large")] == pytest.approx([1, 0, 1])


# -- a classifier's document


def named(truths: list[int], told: list[int], scores: list[float], labels: int = 3) -> Named:
    ranks = [[first, *(other for other in range(labels) if other != first)] for first in told]
    spread = [[score, *[(1 - score) / (labels - 1)] * (labels - 1)] for score in scores]
    return Named(np.array(truths), np.array(ranks), np.array(spread), np.arange(len(truths)), len(truths))


def test_a_classifiers_figures_are_those_counted_by_hand() -> None:
    told = classifier_figures(named([0, 0, 1, 1], [0, 1, 1, 1], [0.9, 0.6, 0.8, 0.7]), "abc", draws=20)
    assert told["top1"] == 0.75
    assert told["top5"] == 1
    assert told["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)  # of the two labels that occur
    a, b, c = told["labels"]
    assert (a["objects"], a["told"], a["precision"], a["recall"]) == (2, 1, 1, 0.5)
    assert (b["objects"], b["told"], b["precision"], b["recall"]) == (2, 3, pytest.approx(2 / 3), 1)
    assert (c["objects"], c["told"]) == (0, 0)
    assert {"truth": "a", "told": "b", "count": 1} in told["confusion"]
    low, high = told["intervals"]["top1"]
    assert 0 <= low < 0.75 < high <= 1


def test_a_classifiers_best_threshold_leaves_unsure_names_out() -> None:
    told = classifier_figures(named([0, 0, 1, 1], [0, 1, 1, 1], [0.9, 0.4, 0.8, 0.7]), "abc", draws=0)
    assert told["best"]["threshold"] == pytest.approx(0.7)
    assert told["best"]["precision"] == 1
    assert told["best"]["recall"] == 0.75


def test_a_classifier_with_nothing_to_name_has_figures_that_cannot_be_said() -> None:
    nothing = Named(np.zeros(0, int), np.zeros((0, 1), int), np.zeros((0, 1)), np.zeros(0, int), 0)
    told = classifier_figures(nothing, "abc")
    assert np.isnan(told["top1"])
    assert told["best"] is None


# -- calibration and intervals


def test_confidences_that_come_true_as_often_as_they_say_have_no_error() -> None:
    scores, right = np.repeat(0.75, 4), np.array([True, True, True, False])
    told = calibration(scores, right)
    assert told.ece == pytest.approx(0)
    assert told.brier == pytest.approx((3 * 0.25**2 + 0.75**2) / 4)
    (bin_,) = [one for one in told.bins if one.count]
    assert bin_.low == pytest.approx(0.7)
    assert (bin_.confidence, bin_.right) == (0.75, 0.75)


def test_confidences_that_promise_too_much_are_off_by_as_much() -> None:
    told = calibration(np.array([0.9, 0.9, 0.3]), np.array([False, True, False]))
    assert told.ece == pytest.approx((2 * 0.4 + 0.3) / 3)


def test_a_confidence_of_one_falls_into_the_last_bin() -> None:
    assert calibration(np.array([1.0]), np.array([True])).bins[-1].count == 1


def test_the_errors_of_calibration_are_of_what_is_used() -> None:
    scores, right = np.array([0.9, *[0.01] * 1000]), np.array([False, *[False] * 1000])
    assert calibration(scores, right).ece < 0.02
    assert calibration(scores, right, 0.5).ece == pytest.approx(0.9)
    assert calibration(scores, right, 0.5).bins[0].count == 1000


def test_right_and_wrong_answers_are_counted_by_confidence() -> None:
    told = histogram(np.array([0.02, 0.02, 0.99]), np.array([True, False, True]))
    assert (told["right"][0], told["wrong"][0], told["right"][-1]) == (1, 1, 1)


def test_an_interval_holds_the_figure_and_is_the_same_again() -> None:
    values = np.random.default_rng(1).random(50)

    def mean(weights: Any) -> dict[str, float]:
        return {"mean": float(values @ weights / weights.sum())}

    first, again = (intervals(mean, 50, 200, seed=3)["mean"] for _ in range(2))
    assert first == again
    assert first is not None
    assert first[0] < values.mean() < first[1]
    assert first[1] - first[0] == pytest.approx(2 * 1.96 * values.std() / 50**0.5, rel=0.25)


def test_one_picture_says_nothing_of_others() -> None:
    assert intervals(lambda weights: {"mean": 1.0}, 1, 200, seed=0) == {"mean": None}


def test_fewer_draws_are_made_where_there_are_very_many_answers() -> None:
    assert resamples(1000) == 200
    assert resamples(10**9) == 50
    assert resamples(10**9, 0) == 0
