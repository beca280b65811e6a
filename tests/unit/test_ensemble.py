"""The function ensemble, on records written here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ensemble.handler import Ensemble
from functions.ensemble.joining import best, joint
from tests.functions_items import Item, detection, parameters
from trapline.errors import ConfigError, Failure
from trapline.images import Image

NO_IMAGE = Image(b"")  # an ensemble looks at records alone


def known(**said: dict[str, float] | None) -> dict[str, Any]:
    """What a classifier's record knows: a label and score or more for each detection; None: it passed it over."""
    rows = []
    for ident, scores in said.items():
        row = detection(ident, 1, 2, 3, 4)
        if scores is not None:
            row["classifications"] = [{"label": label, "score": score} for label, score in scores.items()]
        rows.append(row)
    return {"image": {"width": 10, "height": 10}, "detections": rows}


def answer(records: Mapping[str, dict[str, Any] | None], **given: Any) -> dict[str, Any] | Failure:
    union: dict[str, dict[str, Any]] = {}
    for record in records.values():
        for row in (record or {}).get("detections", []):
            union[str(row.get("id"))] = union.get(str(row.get("id")), {}) | row
    item = Item(NO_IMAGE, list(union.values()), parameters("ensemble", **given), dict(records))
    function = Ensemble()
    function.setup(SimpleNamespace(parameters=item.parameters))
    (result,) = function.handle([item])
    return result


def joined(records: Mapping[str, dict[str, Any] | None], **given: Any) -> dict[str, Any]:
    result = answer(records, **given)
    assert isinstance(result, dict), result
    json.dumps(result)
    return result


def ranked(row: dict[str, Any]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in row["classifications"]}


TWO = {
    "sharp": known(d0001={"noctuid": 0.7, "geometer": 0.3}),
    "wide": known(d0001={"geometer": 0.6, "lacewing": 0.4}),
}


def test_the_mean_is_over_the_classifiers_and_a_label_that_one_does_not_tell_counts_nothing_there() -> None:
    result = joined(TWO)
    (row,) = result["detections"]
    assert row["id"] == "d0001"
    assert list(ranked(row).items()) == [("geometer", 0.45), ("noctuid", 0.35), ("lacewing", 0.2)]
    assert row["opinions"] == {
        "sharp": {"label": "noctuid", "score": 0.7},
        "wide": {"label": "geometer", "score": 0.6},
    }
    assert row["agreement"] == 0.5
    assert "missing" not in row
    assert result["ensemble"] == {"method": "mean", "stages": ["sharp", "wide"], "missing": []}


def test_max_takes_the_highest_score_of_each_label() -> None:
    (row,) = joined(TWO, method="max")["detections"]
    assert list(ranked(row).items()) == [("noctuid", 0.7), ("geometer", 0.6), ("lacewing", 0.4)]


def test_votes_are_shares_and_a_tie_is_decided_by_the_mean() -> None:
    (row,) = joined(TWO, method="vote")["detections"]
    assert list(ranked(row).items()) == [("geometer", 0.5), ("noctuid", 0.5)]
    three = {**TWO, "third": known(d0001={"noctuid": 0.5})}
    (row,) = joined(three, method="vote")["detections"]
    assert ranked(row) == {"noctuid": 0.6667, "geometer": 0.3333}
    assert row["agreement"] == 0.6667


def test_weights_count_one_stage_more_than_another() -> None:
    result = joined(TWO, method="weights", weights={"sharp": 3, "wide": 1})
    assert ranked(result["detections"][0]) == {"noctuid": 0.525, "geometer": 0.375, "lacewing": 0.1}
    assert result["ensemble"]["weights"] == {"sharp": 3, "wide": 1}


def test_a_classifier_that_failed_is_named_and_does_not_count() -> None:
    result = joined({"sharp": TWO["sharp"], "wide": None})
    assert result["ensemble"]["missing"] == ["wide"]
    (row,) = result["detections"]
    assert ranked(row) == {"noctuid": 0.7, "geometer": 0.3}
    assert (row["missing"], row["agreement"]) == (["wide"], 1.0)


def test_a_classifier_that_passed_a_detection_over_is_named_there() -> None:
    records = {
        "sharp": known(d0001={"a": 0.9}, d0002=None, d0003=None),
        "wide": known(d0001={"a": 0.5}, d0002={"b": 1.0}, d0003=None),
    }
    result = joined(records)
    assert result["ensemble"]["missing"] == []
    one, two, three = result["detections"]
    assert "missing" not in one
    assert (two["missing"], ranked(two)) == (["sharp"], {"b": 1.0})
    assert three == {"id": "d0003", "missing": ["sharp", "wide"]}


def test_a_stage_that_reads_one_prefix_alone_is_told_what_to_do() -> None:
    failure = answer({})
    assert isinstance(failure, Failure)
    assert "`from: [first/, second/]`" in failure.remedy


def test_a_detection_that_only_one_of_them_knows_is_kept() -> None:
    result = joined({"sharp": known(d0001={"a": 0.9}), "wide": known(d0001={"a": 0.8}, x1={"b": 0.4})})
    assert [(row["id"], row.get("missing")) for row in result["detections"]] == [("d0001", None), ("x1", ["sharp"])]


def test_an_image_without_detections_says_who_looked_and_nothing_else() -> None:
    empty: dict[str, Any] = {"detections": []}
    assert joined({"sharp": empty, "wide": None}) == {
        "ensemble": {"method": "mean", "stages": ["sharp", "wide"], "missing": ["wide"]}
    }


def test_stages_that_are_no_classifiers_are_left_out_by_naming_those_that_are() -> None:
    records = {"crops": {"detections": []}, **TWO}
    assert joined(records, stages=["wide", "sharp"])["ensemble"]["stages"] == ["sharp", "wide"]


def test_only_so_many_kinds_are_told() -> None:
    (row,) = joined(TWO, top_k=1)["detections"]
    assert list(ranked(row)) == ["geometer"]


def test_a_thousand_detections_are_joined() -> None:
    many = {f"d{n:04d}": {"a": 0.2, "b": 0.3} for n in range(1000)}
    rows = joined({"sharp": known(**many), "wide": known(**many)})["detections"]
    assert len(rows) == 1000
    assert all(ranked(row) == {"b": 0.3, "a": 0.2} for row in rows)


def test_too_few_classifiers_fail_the_image_where_that_is_asked_for() -> None:
    failure = answer({"sharp": TWO["sharp"], "wide": None}, least=2)
    assert isinstance(failure, Failure)
    assert failure.message == "1 of 2 classifiers read the image, 2 must; missing: wide."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "weights"}, "without `weights`"),
        ({"weights": {"sharp": 2}}, "beside `method: mean`"),
        ({"method": "weights", "weights": {"a": 1}, "stages": ["b"]}, "name different stages"),
        ({"stages": ["sharp"], "least": 2}, "`least: 2` of 1 `stages`"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused_before_any_image(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Failure, match=words):
        Ensemble().setup(SimpleNamespace(parameters=parameters("ensemble", **given)))


def test_a_weight_of_nothing_is_refused_when_the_pipeline_is_loaded() -> None:
    with pytest.raises(ConfigError, match=r"stages\.ensemble\.parameters\.weights"):
        parameters("ensemble", method="weights", weights={"sharp": 0})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stages": ["blunt"]}, "the stage 'blunt', whose records it does not read"),
        ({"method": "weights", "weights": {"blunt": 1}}, "'blunt'"),
        ({"method": "weights", "weights": {"sharp": 1}}, "The stage 'wide' has no weight"),
    ],
)
def test_a_stage_that_is_not_read_or_not_weighted_is_named(given: dict[str, Any], words: str) -> None:
    failure = answer(TWO, **given)
    assert isinstance(failure, Failure)
    assert words in failure.message
    assert "sharp, wide" in failure.remedy or "weights" in failure.remedy


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "d0001", "classifications": [{"label": "a", "score": "high"}]}, "the score of 'a' is high"),
        ({"id": "d0001", "classifications": [{"label": "a", "score": 7.5}]}, "the score of 'a' is 7.5"),
        ({"id": "d0001", "classifications": [{"label": "a", "score": float("nan")}]}, "the score of 'a' is nan"),
        ({"id": "d0001", "classifications": [{"score": 0.5}]}, "a classification without a label"),
        ({"id": "d0001", "classifications": "noctuid"}, "`classifications` is no list"),
        ({"classifications": []}, "Detection 1 has no id"),
    ],
)
def test_what_no_classifier_says_is_told_in_one_line(row: dict[str, Any], words: str) -> None:
    failure = answer({"sharp": TWO["sharp"], "wide": {"detections": [row]}})
    assert isinstance(failure, Failure)
    assert words in failure.message
    assert failure.code == "function_output"


SCORES = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), min_size=1)


@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), SCORES, min_size=1), st.sampled_from(["mean", "max", "vote"]))
def test_a_joint_answer_lies_between_those_it_is_made_of_and_does_not_depend_on_their_order(
    heard: dict[str, dict[str, float]], method: str
) -> None:
    ranking = joint(method, heard, {})
    assert ranking == joint(method, dict(reversed(heard.items())), {})
    assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)
    if method != "vote":
        assert {label for label, _ in ranking} == {label for scores in heard.values() for label in scores}
        most = max(max(scores.values()) for scores in heard.values())
        assert ranking[0][1] <= most + 1e-12
    else:
        assert sum(score for _, score in ranking) == pytest.approx(1)
    if len(heard) == 1 and method != "vote":
        assert ranking[0][0] == best(next(iter(heard.values())))[0]
