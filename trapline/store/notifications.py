"""A bucket's notification rules as data: what the pipeline wants, which are its own, which clash. No client is here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from trapline.errors import ConfigError, StoreError
from trapline.keys import Layout, short_hash

Configuration = dict[str, Any]  # as S3's API words it
Kind = Literal["aws", "ceph", "other"]

# MinIO also sends `ObjectCreated:*` when an object is tagged: new content is named event by event.
NEW = ("ObjectCreated:Put", "ObjectCreated:Post", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload")
GONE = ("ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated")

_TARGETS = {
    "TopicConfigurations": "TopicArn",
    "QueueConfigurations": "QueueArn",
    "LambdaFunctionConfigurations": "LambdaFunctionArn",
}


class NotConfigurable(StoreError):
    """The store has no API for notifications, or none for the part that was asked for."""


class Overlapping(ConfigError):
    """The store takes one rule for an event and a prefix, and somebody else has it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which events of which keys a bucket tells to whom."""

    id: str
    target: str  # the ARN of a topic, a queue or a function
    events: tuple[str, ...]  # without `s3:`
    prefix: str = ""
    suffix: str = ""


def wanted(pipeline: str, layout: Layout, target: str) -> tuple[Rule, ...]:
    """The rules of a pipeline: new objects where clients write, and removals that mean something to it."""
    parts = (
        ("incoming", layout.prefix("incoming"), (*NEW, *GONE)),  # deleting `_CANCEL` resumes a job
        ("jobs", layout.prefix("jobs"), NEW),
        ("requests", f"{layout.prefix('control')}requests/", NEW),
        ("labels", layout.prefix("labels"), (*NEW, *GONE)),  # a review, and its end
        ("failed", layout.prefix("failed"), GONE),  # deleting a dead letter is a retry
    )
    named = f"trapline-{_named(pipeline, layout)}"
    return tuple(Rule(f"{named}-{name}", target, events, prefix) for name, prefix, events in parts)


def topic_name(pipeline: str, layout: Layout, bucket: str) -> str:
    """The topic that `bucket-events setup --url` makes; no other pipeline, root and bucket have the same."""
    return f"trapline-{_named(pipeline, layout)}__{bucket.replace('.', '_')}"


def _named(pipeline: str, layout: Layout) -> str:
    """The pipeline, and which root it has, if any: no pipeline's name has a capital."""
    return f"{pipeline}-R{short_hash(layout.root, 8)}" if layout.root else pipeline


def is_queue(target: str) -> bool:
    """Whether an ARN goes into S3's list of queues: SQS, and every target of MinIO."""
    return target.split(":")[2:3] == ["sqs"]


def rules_in(configuration: Configuration) -> list[Rule]:
    """Everything that a bucket's configuration tells to somebody."""
    return [_rule(item, item[arn]) for kind, arn in _TARGETS.items() for item in configuration.get(kind, ())]


def everything_told(configuration: Configuration) -> list[Rule]:
    """Every rule, and EventBridge, which is told of everything where it is told at all."""
    bridge = Rule("", "EventBridge", ("ObjectCreated:*", "ObjectRemoved:*"))
    return [*rules_in(configuration), *([bridge] if "EventBridgeConfiguration" in configuration else [])]


def telling(asked: Rule, rules: Iterable[Rule]) -> list[Rule]:
    """The rules, whosever they are, that together tell of everything that one asks for; none where they do not."""
    near = [rule for rule in rules if asked.prefix.startswith(rule.prefix) and not rule.suffix]
    by_event = [[rule for rule in near if any(_tells(e, event) for e in rule.events)] for event in asked.events]
    return [rule for rule in near if any(rule in some for some in by_event)] if all(by_event) else []


def untold(asked: Iterable[Rule], rules: Iterable[Rule]) -> list[Rule]:
    """Those of the rules that are asked for of whose events nobody is told, or not of all."""
    rules = tuple(rules)
    return [rule for rule in asked if not telling(rule, rules)]


def without(configuration: Configuration, ids: Iterable[str]) -> Configuration:
    """A configuration less some rules; all else as it was."""
    gone = frozenset(ids)
    left = {kind: [i for i in configuration.get(kind, ()) if i.get("Id") not in gone] for kind in _TARGETS}
    rest = {kind: value for kind, value in configuration.items() if kind not in _TARGETS}
    return {**{kind: items for kind, items in left.items() if items}, **rest}


def with_rules(configuration: Configuration, rules: Iterable[Rule]) -> Configuration:
    """A configuration with these rules in the place of those of the same names; all else as it was."""
    rules = tuple(rules)
    made = without(configuration, (rule.id for rule in rules))
    for rule in rules:
        kind = "QueueConfigurations" if is_queue(rule.target) else "TopicConfigurations"
        made[kind] = [*made.get(kind, ()), _item(rule, _TARGETS[kind])]
    return made


def clashes(rules: Iterable[Rule], others: Iterable[Rule]) -> list[tuple[Rule, Rule]]:
    """Pairs of which AWS takes one only: an event of one key would be told by both."""
    others = tuple(others)
    return [(ours, theirs) for ours in rules for theirs in others if _overlap(ours, theirs)]


def _overlap(one: Rule, other: Rule) -> bool:
    return (
        _nested(one.prefix, other.prefix)
        and _nested(one.suffix[::-1], other.suffix[::-1])
        and any(_same(a, b) for a in one.events for b in other.events)
    )


def _nested(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _same(one: str, other: str) -> bool:
    return _tells(one, other) or _tells(other, one)


def _tells(one: str, other: str) -> bool:
    """Whether an event of a rule stands for another."""
    return one == other or _covers(one, other)


def _covers(wide: str, narrow: str) -> bool:
    return wide.endswith("*") and narrow.startswith(wide[:-1])


def _rule(item: dict[str, Any], target: str) -> Rule:
    filters = {f["Name"].lower(): f["Value"] for f in item.get("Filter", {}).get("Key", {}).get("FilterRules", ())}
    events = tuple(event.removeprefix("s3:") for event in item.get("Events", ()))
    return Rule(item.get("Id", ""), target, events, filters.get("prefix", ""), filters.get("suffix", ""))


def _item(rule: Rule, arn: str) -> dict[str, Any]:
    filters = {"Key": {"FilterRules": [{"Name": "prefix", "Value": rule.prefix}]}}
    return {"Id": rule.id, arn: rule.target, "Events": [f"s3:{event}" for event in rule.events], "Filter": filters}
