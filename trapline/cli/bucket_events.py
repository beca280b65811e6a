"""`trapline bucket-events`: the bucket's own rules that tell the pipeline of uploads, made, shown and removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from trapline.cli.bucket_said import Made, Shown, say_removed, say_rules, say_setup, say_steps
from trapline.cli.place import Place
from trapline.errors import ConfigError, TraplineError
from trapline.store import notifications as rules_of
from trapline.store.notifications import Configuration, NotConfigurable, Overlapping, Rule
from trapline.store.notifications_boto import BucketNotifications, without_password

WEBHOOK_PATH = "/events"  # unless pipeline.yaml says another

_CEPH_WAITS = "A new topic of Ceph delivers nothing for about 30 seconds; sweeps find what comes meanwhile."
_SNS_ASKS = (
    "Under `topics:` of the trigger `webhook` in pipeline.yaml, name {arn}: it then confirms the subscription. "
    "If it was not named there yet, run this again, so that SNS asks again."
)
_SNS_TELLS = (
    " The topic also tells {others}: an earlier address is told until it is unsubscribed "
    "(`aws sns list-subscriptions-by-topic --topic-arn {arn}`, then `aws sns unsubscribe`)."
)


@dataclass(frozen=True)
class Target:
    """Whom the bucket shall tell: an address, or what has an ARN already."""

    url: str = ""
    arn: str = ""
    verify: bool = True  # whether Ceph checks the address's certificate
    cloudevents: bool = False  # whether Ceph words its events as CloudEvents


def target_of(url: str | None, topic: str | None, queue: str | None, *, verify: bool, cloudevents: bool) -> Target:
    """The target that the options name. Raises `ConfigError`."""
    if sum(map(bool, (url, topic, queue))) != 1:
        raise ConfigError("Whom the bucket shall tell is not clear.", remedy="Give one of --url, --topic and --queue.")
    if url:
        return Target(url=_checked_url(url), verify=verify, cloudevents=cloudevents)
    arn = topic or queue or ""
    if not arn.startswith("arn:") or rules_of.is_queue(arn) == bool(topic):
        kind, example = (
            ("--topic", "arn:aws:sns:…") if topic else ("--queue", "arn:aws:sqs:…, arn:minio:sqs::NAME:webhook")
        )
        raise ConfigError(f"{kind} {arn!r} is no such ARN.", remedy=f"It looks like {example}.")
    return Target(arn=arn)


def setup(place: Place, target: Target, *, dry_run: bool, as_json: bool) -> int:
    """Have the bucket tell a target of what is uploaded for this pipeline."""
    bucket = _bucket(place)
    target = replace(target, url=with_path(target.url, webhook_path(place)))
    try:
        before = bucket.read()
        rules = _planned(place, bucket, target) if dry_run else _configured(place, bucket, target, before)
    except NotConfigurable as error:
        say_steps(place.bucket, error, target.url, webhook_path(place), as_json=as_json)
        return 1
    note = _note(bucket, rules, target.url) if target.url and not dry_run else ""
    tells = without_password(target.url) or target.arn
    made = Made(place.bucket, bucket.kind, tells, dry_run, rules, _others(place, before), note)
    say_setup(made, as_json=as_json)
    return 0


def show(place: Place, *, as_json: bool) -> int:
    """Who is told of what happens in the bucket."""
    bucket = _bucket(place)
    try:
        before = bucket.read()
    except NotConfigurable as error:
        say_steps(place.bucket, error, "", webhook_path(place), as_json=as_json)
        return 1
    found = rules_of.rules_in(before)
    untold = {rule.id for rule in rules_of.untold(_wanted(place, ""), rules_of.everything_told(before))}
    shown = Shown(place.bucket, bucket.kind, found, _ids(place), untold, bucket.addresses_of(r.target for r in found))
    say_rules(shown, as_json=as_json)
    return 0


def remove(place: Place, *, dry_run: bool, as_json: bool) -> int:
    """Take away what `setup` made, and nothing else."""
    bucket = _bucket(place)
    try:
        before = bucket.read()
    except NotConfigurable as error:
        say_steps(place.bucket, error, "", webhook_path(place), as_json=as_json)
        return 1
    own = _own(place, before)
    kept = _taken_away(place, bucket, before, own) if own and not dry_run else ""
    say_removed(place.bucket, place.pipeline.name, own, kept, dry_run=dry_run, as_json=as_json)
    return 0


# -- what is done


def _configured(place: Place, bucket: BucketNotifications, target: Target, before: Configuration) -> list[Rule]:
    name = _topic_name(place)
    known = bucket.find_topic(name) if target.url and bucket.kind != "other" else ""
    arn = target.arn or bucket.make_topic(name, target.url, verify=target.verify, cloudevents=target.cloudevents)
    made = _wanted(place, arn)
    try:
        _put(place, bucket, before, made)
    except TraplineError as error:
        if target.url and not known:
            bucket.delete_topic(arn)
        raise _explained(error, made, _others(place, before)) from error
    _forget_topic(place, bucket, [rule.target for rule in _own(place, before)], arn)
    return made


def _put(place: Place, bucket: BucketNotifications, before: Configuration, made: list[Rule]) -> None:
    if bucket.kind == "ceph":
        _put_anew(bucket, [rule for rule in _own(place, before) if rule not in made], made)
    else:
        bucket.write(rules_of.with_rules(before, made))
    if not set(made) <= set(rules_of.rules_in(bucket.read())):
        raise NotConfigurable(f"The bucket {place.bucket!r} at {place.endpoint} took the rules and did not keep them.")


def _put_anew(bucket: BucketNotifications, old: list[Rule], made: list[Rule]) -> None:
    """Ceph adds rules to what is there: one of the same name and another target would stand beside the new one."""
    bucket.delete(rule.id for rule in old)
    try:
        bucket.write(rules_of.with_rules({}, made))
    except TraplineError:
        if old:
            bucket.write(rules_of.with_rules({}, old))
        raise


def _taken_away(place: Place, bucket: BucketNotifications, before: Configuration, own: list[Rule]) -> str:
    """Why the topic of these rules stays; empty where it is gone, or was no topic of `setup`."""
    if bucket.kind == "ceph":
        bucket.delete(rule.id for rule in own)
    else:
        bucket.write(rules_of.without(before, (rule.id for rule in own)))
    left = _own(place, bucket.read())
    if left:
        raise TraplineError(
            f"The bucket still has the rule {left[0].id}.", remedy="Remove it with the store's own tools."
        )
    return _forget_topic(place, bucket, [rule.target for rule in own], "")


def _forget_topic(place: Place, bucket: BucketNotifications, targets: list[str], keep: str) -> str:
    """Delete the topic that an earlier `setup` made, unless somebody's rule names it; then, whose."""
    name = _topic_name(place)
    for arn in {arn for arn in targets if arn != keep and arn.rpartition(":")[2] == name}:
        here = any(rule.target == arn for rule in rules_of.rules_in(bucket.read()))
        if user := place.bucket if here else bucket.other_bucket(arn):
            return f"The topic {name} stays: a rule of the bucket {user!r} names it."
        bucket.delete_topic(arn)
    return ""


def _explained(error: TraplineError, made: list[Rule], others: list[Rule]) -> TraplineError:
    """A refusal, with the rule of somebody else that is in the way."""
    found = rules_of.clashes(made, others)
    if not isinstance(error, Overlapping) or not found:
        return error
    ours, theirs = found[0]
    return ConfigError(
        f"{error.message} The rule {theirs.id or '(without an id)'} tells {theirs.target} of the same events "
        f"{f'under {theirs.prefix!r}' if theirs.prefix else 'everywhere'}, as {ours.id} would under {ours.prefix!r}.",
        remedy="This store takes one of them: narrow that rule's prefix, or have its target pass events on.",
    )


def _planned(place: Place, bucket: BucketNotifications, target: Target) -> list[Rule]:
    if target.url and bucket.kind == "other":
        raise NotConfigurable(f"The bucket {place.bucket!r} at {place.endpoint} may have no API for topics.")
    arn = target.arn or _topic_name(place)
    return _wanted(place, arn)


def _note(bucket: BucketNotifications, rules: list[Rule], url: str) -> str:
    if bucket.kind == "ceph":
        return _CEPH_WAITS
    arn = rules[0].target
    others = ", ".join(bucket.other_addresses(arn, url))
    return _SNS_ASKS.format(arn=arn) + (_SNS_TELLS.format(others=others, arn=arn) if others else "")


# -- which bucket, which rules


def _bucket(place: Place) -> BucketNotifications:
    if place.endpoint is None:
        raise ConfigError(
            "The embedded store needs no rules: the trigger `folder` watches its folder.",
            remedy="For another store, give --endpoint or set AWS_ENDPOINT_URL.",
        )
    return BucketNotifications(place.s3())


def _wanted(place: Place, target: str) -> list[Rule]:
    return list(rules_of.wanted(place.pipeline.name, place.layout, target))


def _topic_name(place: Place) -> str:
    return rules_of.topic_name(place.pipeline.name, place.layout, place.bucket)


def _ids(place: Place) -> set[str]:
    return {rule.id for rule in _wanted(place, "")}


def _own(place: Place, configuration: Configuration) -> list[Rule]:
    return [rule for rule in rules_of.rules_in(configuration) if rule.id in _ids(place)]


def _others(place: Place, configuration: Configuration) -> list[Rule]:
    return [rule for rule in rules_of.rules_in(configuration) if rule.id not in _ids(place)]


def webhook_path(place: Place) -> str:
    """Where the pipeline's trigger `webhook` takes events."""
    options = [
        named["webhook"] for named in place.pipeline.spec.triggers if not isinstance(named, str) and "webhook" in named
    ]
    path = options[0].get("path") if options else None
    return path if isinstance(path, str) and path else WEBHOOK_PATH


def with_path(url: str, path: str) -> str:
    """An address; with the webhook's path where it has none, as nobody listens there."""
    parts = urlsplit(url)
    return url if not url or parts.path not in ("", "/") else parts._replace(path=path).geturl()


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        shown = f"…@{url.rpartition('@')[2]}" if "@" in url else url  # a password may stand before it
        raise ConfigError(
            f"--url {shown!r} is not an address.", remedy="Give the webhook's, as http(s)://HOST[:PORT]/PATH."
        )
    return url
