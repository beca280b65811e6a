"""How `trapline bucket-events` words what it found and did, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from trapline.cli import words
from trapline.cli.bucket_steps import steps
from trapline.store.notifications import GONE, NEW, Kind, NotConfigurable, Rule, clashes
from trapline.store.notifications_boto import without_password


@dataclass(frozen=True)
class Made:
    """What `setup` did, or would do."""

    bucket: str
    store: Kind
    tells: str  # an address without its password, or an ARN
    dry_run: bool
    rules: list[Rule]  # the pipeline's own
    others: list[Rule]
    note: str = ""  # what has still to be done or waited for


@dataclass(frozen=True)
class Shown:
    """What `show` found."""

    bucket: str
    store: Kind
    rules: list[Rule]  # everybody's
    own: set[str]  # what the pipeline's own rules are called
    untold: set[str]  # those of them of whose events nobody is told
    addresses: dict[str, str]  # where a topic tells, by its ARN; empty where that is not known


def say_setup(made: Made, *, as_json: bool) -> None:
    """What `setup` did."""
    pairs = clashes(made.rules, made.others)
    if as_json:
        told = {**asdict(made), "rules": list(map(_item, made.rules)), "others": list(map(_item, made.others))}
        words.emit({**told, "clashes": [{"rule": ours.id, "other": theirs.id} for ours, theirs in pairs]})
        return
    out = words.console()
    words.say(out, f"The bucket {made.bucket!r} {'would tell' if made.dry_run else 'tells'} {made.tells} of:")
    out.print(_table(made.rules))
    if made.others:
        words.say(out, f"Rules of others, which stay as they are: {', '.join(map(_named, made.others))}.")
    if made.store != "ceph":
        for name in sorted({_named(theirs) for _, theirs in pairs}):
            words.say(out, f"The rule {name} tells some of the same events; AWS refuses that.")
    if made.note:
        words.say(out, made.note)


def say_rules(shown: Shown, *, as_json: bool) -> None:
    """Who is told of what, and what of it the pipeline lacks."""
    missing, addresses = sorted(shown.untold), shown.addresses
    if as_json:
        listed = [
            {**_item(rule), "own": rule.id in shown.own, "address": addresses.get(rule.target, "")}
            for rule in shown.rules
        ]
        words.emit({"bucket": shown.bucket, "store": shown.store, "rules": listed, "missing": missing})
        return
    out = words.console()
    if shown.rules:
        out.print(_table(shown.rules, addresses))
    else:
        words.say(out, f"The bucket {shown.bucket!r} tells nobody of anything.")
    if missing:
        words.say(out, f"Rules that lack: {', '.join(missing)}. `trapline bucket-events setup` makes them.")


def say_removed(bucket: str, pipeline: str, removed: list[Rule], kept: str, *, dry_run: bool, as_json: bool) -> None:
    """What `remove` did, or would do. `kept`: why a topic stays."""
    names = [rule.id for rule in removed]
    if as_json:
        words.emit({"bucket": bucket, "removed": names, "kept": kept, "dry_run": dry_run})
        return
    said = f"{words.plural(len(names), 'rule')} {'would be removed' if dry_run else 'removed'}: {', '.join(names)}."
    words.say(words.console(), said if names else f"The bucket {bucket!r} has no rules of {pipeline}.")
    if kept:
        words.say(words.console(), kept)


def say_steps(bucket: str, error: NotConfigurable, url: str, path: str, *, as_json: bool) -> None:
    """Why the store cannot be configured from here, and what to do by hand. `path`: the webhook's."""
    told = steps(bucket, without_password(url) or f"https://HOST:PORT{path}")
    if as_json:
        words.emit({"bucket": bucket, "store": None, "why": error.message, "steps": told})
        return
    words.say(words.console(stderr=True), f"trapline: {error.message} What each kind of store needs instead:")
    out = words.console()
    for store, lines in told.items():
        words.say(out, f"{store}:")
        for line in lines:
            words.say(out, f"  {line}")


def _table(rules: list[Rule], addresses: dict[str, str] | None = None) -> Table:
    """The rules; with `addresses`, by ARN, also whom they tell."""
    table = Table(box=None, pad_edge=False)
    for title in ("RULE", "PREFIX", "EVENTS", *(() if addresses is None else ("TELLS",))):
        table.add_column(title, overflow="fold")
    for rule in rules:
        cells = [rule.id, rule.prefix + (f"*{rule.suffix}" if rule.suffix else ""), events_of(rule)]
        if addresses is not None:
            cells.append(addresses.get(rule.target) or rule.target)
        table.add_row(*map(words.safe, cells))
    return table


def events_of(rule: Rule) -> str:
    """`new, removed`, and any other event as the store words it."""
    left, named = list(rule.events), []
    for name, kinds in (("new", NEW), ("removed", GONE)):
        if set(kinds) <= set(left):
            named.append(name)
            left = [event for event in left if event not in kinds]
    return ", ".join((*named, *left))


def _named(rule: Rule) -> str:
    return words.safe(rule.id) or "(without an id)"


def _item(rule: Rule) -> dict[str, Any]:
    return {**asdict(rule), "events": list(rule.events)}
