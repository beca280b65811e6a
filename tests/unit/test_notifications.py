"""A bucket's notification rules: merged, undone, and which of them AWS would refuse."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trapline.cli.bucket_events import target_of, with_path
from trapline.cli.bucket_said import events_of
from trapline.errors import ConfigError
from trapline.keys import Layout
from trapline.store.notifications import (
    NEW,
    Rule,
    clashes,
    everything_told,
    rules_in,
    telling,
    topic_name,
    untold,
    wanted,
    with_rules,
    without,
)
from trapline.store.notifications_boto import without_password

LAMBDA: Any = {
    "Id": "thumbs",
    "LambdaFunctionArn": "arn:aws:lambda:eu-west-1:1:function:t",
    "Events": ["s3:ObjectCreated:*"],
    "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "thumbs/"}, {"Name": "Suffix", "Value": ".png"}]}},
}
FOUND: Any = {"LambdaFunctionConfigurations": [LAMBDA], "EventBridgeConfiguration": {}}
TOPIC, QUEUE = "arn:aws:sns:eu-west-1:1:ours", "arn:minio:sqs::OURS:webhook"


LACKING = ("control/requests/", "failed/", "incoming/", "jobs/", "labels/")


def other(prefix: str = "", suffix: str = "", *events: str) -> Rule:
    return Rule("theirs", "arn:aws:sqs:::theirs", events or ("ObjectCreated:*",), prefix, suffix)


@pytest.mark.parametrize(("target", "kind"), [(TOPIC, "TopicConfigurations"), (QUEUE, "QueueConfigurations")])
def test_our_rules_are_added_to_those_of_others_and_undone_exactly(target: str, kind: str) -> None:
    rules = wanted("moths", Layout(), target)
    merged = with_rules(FOUND, rules)
    assert len(merged[kind]) == len(rules)
    assert set(rules_in(merged)) == {*rules, *rules_in(FOUND)}
    assert with_rules(merged, rules) == merged
    assert without(merged, [rule.id for rule in rules]) == FOUND


def test_a_pipeline_whose_name_begins_like_ours_keeps_its_rules() -> None:
    theirs = with_rules({}, wanted("moths-north", Layout(), TOPIC))
    ours = with_rules(theirs, wanted("moths", Layout(), TOPIC))
    assert without(ours, [rule.id for rule in wanted("moths", Layout(), "")]) == theirs


def test_the_prefixes_are_those_of_the_pipeline() -> None:
    layout = Layout(root="shared/moths/", incoming="uploads/")
    assert [rule.prefix for rule in wanted("moths", layout, TOPIC)] == [
        "shared/moths/uploads/",
        "shared/moths/jobs/",
        "shared/moths/control/requests/",
        "shared/moths/labels/",
        "shared/moths/failed/",
    ]


def test_no_rule_of_ours_clashes_with_another_of_ours() -> None:
    rules = wanted("moths", Layout(), TOPIC)
    assert [(a.id, b.id) for a, b in clashes(rules, rules) if a != b] == []


@pytest.mark.parametrize(
    ("theirs", "clash"),
    [
        (other(), True),
        (other("incoming/st7/"), True),
        (other("inc"), True),
        (other("incoming/", ".JPG"), True),
        (other("", "", "ObjectCreated:Put"), True),
        (other("", "", "ObjectRemoved:*"), True),
        (other("outgoing/"), False),
        (other("", "", "ObjectRestore:*"), False),
        (other("", "", "ObjectTagging:Put"), False),
        (other("failed/", "", "ObjectCreated:*"), False),
    ],
)
def test_two_rules_clash_where_one_key_could_have_an_event_of_both(theirs: Rule, clash: bool) -> None:
    assert bool(clashes(wanted("moths", Layout(), TOPIC), [theirs])) == clash


def test_tags_and_the_like_are_not_asked_for() -> None:
    asked = {event for rule in wanted("moths", Layout(), TOPIC) for event in rule.events}
    assert not [event for event in asked if "*" in event or "Tagging" in event]
    assert set(NEW) < asked


def test_a_topic_is_named_for_one_pipeline_and_one_bucket() -> None:
    assert topic_name("moths-a", Layout(), "b") != topic_name("moths", Layout(), "a-b")
    assert topic_name("moths", Layout(), "my.traps") == "trapline-moths__my_traps"


def test_pipelines_of_one_name_and_two_roots_share_no_rule_and_no_topic() -> None:
    layouts = Layout(), Layout(root="north/"), Layout(root="south/")
    ids = [rule.id for layout in layouts for rule in wanted("moths", layout, TOPIC)]
    topics = [topic_name("moths", layout, "traps") for layout in layouts]
    assert len(set(ids)) == len(ids)
    assert len(set(topics)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in (*ids, *topics))


@pytest.mark.parametrize(
    ("theirs", "lacks"),
    [
        ([other()], ["failed/", "incoming/", "labels/"]),  # nobody tells of removals
        ([other("", "", "ObjectCreated:*", "ObjectRemoved:*")], []),
        ([other(), other("", "", "ObjectRemoved:*")], []),
        ([other("", ".JPG", "ObjectCreated:*", "ObjectRemoved:*")], [*LACKING]),
        ([other("", "", "ObjectRemoved:*"), other("incoming/")], ["control/requests/", "jobs/", "labels/"]),
        (
            [other("", "", "ObjectCreated:Put", "ObjectRemoved:*")],
            ["control/requests/", "incoming/", "jobs/", "labels/"],
        ),
        ([other("incoming/st7/", "", "ObjectCreated:*", "ObjectRemoved:*")], [*LACKING]),
        ([], [*LACKING]),
    ],
)
def test_what_nobody_is_told_is_known_whatever_rules_are_called(theirs: list[Rule], lacks: list[str]) -> None:
    asked = wanted("moths", Layout(), "")
    assert sorted(rule.prefix for rule in untold(asked, theirs)) == lacks
    assert untold(asked, wanted("others", Layout(), TOPIC)) == []


def test_event_bridge_is_told_of_everything() -> None:
    asked = wanted("moths", Layout(), "")
    assert untold(asked, everything_told({"EventBridgeConfiguration": {}})) == []
    assert {rule.target for rule in telling(asked[0], everything_told(FOUND))} == {"EventBridge"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None, None, None), "one of --url"),
        (("http://a", TOPIC, None), "one of --url"),
        (("ftp://a", None, None), "is not an address"),
        (("http://a:b", None, None), "is not an address"),
        ((None, QUEUE, None), "--topic 'arn:minio:sqs"),
        ((None, None, TOPIC), "--queue 'arn:aws:sns"),
        ((None, "topic", None), "--topic 'topic'"),
    ],
)
def test_a_target_that_is_none_is_refused_before_anything_is_asked(given: tuple[str | None, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        target_of(*given, verify=True, cloudevents=False)


def test_an_address_is_shown_without_its_password() -> None:
    assert without_password("https://ada:hush@host:8443/a?b") == "https://ada:…@host:8443/a?b"
    assert without_password("https://host/") == "https://host/"


@pytest.mark.parametrize(
    "url", ["http://u:hush@h:99999/", "http://u:hush@[x/", "u:hush@h", "http://u:hu@sh@h:x/", "hush@"]
)
def test_an_address_that_is_none_is_told_without_its_password(url: str) -> None:
    assert "hu" not in without_password(url) or "://" not in url
    with pytest.raises(ConfigError) as told:
        target_of(url, None, None, verify=True, cloudevents=False)
    assert "hu" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("https://u:p@h", "https://u:p@h/events"),
        ("http://h:80/", "http://h:80/events"),
        ("https://h/hooks", "https://h/hooks"),
        ("", ""),
    ],
)
def test_an_address_without_a_path_gets_the_webhooks(given: str, told: str) -> None:
    assert with_path(given, "/events") == told


def test_events_are_told_in_two_words_where_they_say_it_all() -> None:
    incoming, *_ = wanted("moths", Layout(), TOPIC)
    assert events_of(incoming) == "new, removed"
    assert events_of(other()) == "ObjectCreated:*"
    assert events_of(other("", "", *NEW, "ObjectRemoved:Delete")) == "new, ObjectRemoved:Delete"
