"""`trapline bucket-events` on AWS, emulated by moto: what only AWS checks (policies, overlaps) is not shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.integration.engine import project
from trapline.cli.bucket_events import remove, setup, target_of
from trapline.cli.place import Place, find_place
from trapline.store.notifications import wanted

moto = pytest.importorskip("moto", reason="needs the package moto")

REGION = "eu-west-1"
OTHERS: Any = {
    "QueueConfigurations": [{"Id": "theirs", "Events": ["s3:ObjectRemoved:*"]}],
    "EventBridgeConfiguration": {},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("ACCESS_KEY_ID", "testing"), ("SECRET_ACCESS_KEY", "testing"), ("REGION", REGION)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with moto.mock_aws():
        where: Any = {"LocationConstraint": REGION}
        boto3.client("s3").create_bucket(Bucket="my.traps", CreateBucketConfiguration=where)
        made = project(tmp_path / "traps")
        yield find_place(made, None, "my.traps", f"https://s3.{REGION}.amazonaws.com")


def ours(place: Place) -> list[str]:
    """The names of the pipeline's rules."""
    return [rule.id for rule in wanted(place.pipeline.name, place.layout, "")]


def configured(place: Place) -> dict[str, Any]:
    found: Any = boto3.client("s3").get_bucket_notification_configuration(Bucket=place.bucket)
    return {kind: value for kind, value in found.items() if kind != "ResponseMetadata"}


def others(place: Place) -> dict[str, Any]:
    """Somebody else's queue, and EventBridge."""
    url = boto3.client("sqs").create_queue(QueueName="theirs")["QueueUrl"]
    arn = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told: Any = {**OTHERS, "QueueConfigurations": [{**OTHERS["QueueConfigurations"][0], "QueueArn": arn}]}
    boto3.client("s3").put_bucket_notification_configuration(Bucket=place.bucket, NotificationConfiguration=told)
    return configured(place)


def test_a_topic_is_made_that_only_this_bucket_may_tell_and_subscribed_to_the_address(place: Place) -> None:
    target = target_of("https://engine.example.org/", None, None, verify=True, cloudevents=False)
    assert setup(place, target, dry_run=False, as_json=True) == 0
    (topic,) = boto3.client("sns").list_topics()["Topics"]
    assert topic["TopicArn"].endswith(":trapline-moth-traps__my_traps")
    attributes = boto3.client("sns").get_topic_attributes(TopicArn=topic["TopicArn"])["Attributes"]
    (statement,) = json.loads(attributes["Policy"])["Statement"]
    assert statement["Condition"] == {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::my.traps"}}
    (subscription,) = boto3.client("sns").list_subscriptions()["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("https", "https://engine.example.org/events")
    assert {rule["TopicArn"] for rule in configured(place)["TopicConfigurations"]} == {topic["TopicArn"]}


def test_setup_and_remove_leave_what_others_configured(place: Place) -> None:
    before = others(place)
    target = target_of("https://engine.example.org/", None, None, verify=True, cloudevents=False)
    setup(place, target, dry_run=False, as_json=True)
    during = configured(place)
    assert {kind: during[kind] for kind in before} == before
    assert len(during["TopicConfigurations"]) == len(ours(place))
    remove(place, dry_run=False, as_json=True)
    assert configured(place) == before
    assert boto3.client("sns").list_topics()["Topics"] == []


def test_a_queue_stands_beside_that_of_others(place: Place) -> None:
    others(place)
    boto3.client("sqs").create_queue(QueueName="ours")
    arn = f"arn:aws:sqs:{REGION}:123456789012:ours"
    target = target_of(None, None, arn, verify=True, cloudevents=False)
    setup(place, target, dry_run=False, as_json=True)
    told = [rule["QueueArn"].rpartition(":")[2] for rule in configured(place)["QueueConfigurations"]]
    assert sorted(told) == [*["ours"] * len(ours(place)), "theirs"]


def test_an_address_that_was_told_before_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("https://USER:hush@old.example.org/", "https://new.example.org/"):
        setup(place, target_of(url, None, None, verify=True, cloudevents=False), dry_run=False, as_json=True)
    before, after = map(json.loads, capsys.readouterr().out.strip().splitlines())
    assert "also tells" not in before["note"]
    assert (
        "also tells https://USER:…@old.example.org/events" in after["note"] and "aws sns unsubscribe" in after["note"]
    )
