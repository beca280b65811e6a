"""`trapline models promote` and `rollback`: which version is in force, and what changes by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from trapline.cli import words
from trapline.cli.models_options import check_name
from trapline.cli.models_shown import chosen_version, short_quality
from trapline.cli.models_usage import reading, uses, writing
from trapline.cli.place import Place
from trapline.errors import ConfigError
from trapline.models import read_card
from trapline.registry import CARD, Registry

_COMPARED = ("kind", "head", "threshold", "licence")


def promote(place: Place, name: str, version: str, *, as_json: bool) -> None:
    """Put a version into force, after its card was read."""
    registry = reading(place)
    kept = registry.known(check_name(name, "NAME"))
    chosen = chosen_version(kept, version)
    read_card(registry.card(name, chosen), place.layout.model(name, chosen, CARD))
    already = kept.in_force == chosen
    current = kept.current if already else writing(place).promote(name, chosen)
    _say(place, registry, name, kept.in_force, current, as_json)


def rollback(place: Place, name: str, *, as_json: bool) -> None:
    """Put the version before into force."""
    kept = reading(place).known(check_name(name, "NAME"))
    current = writing(place).roll_back(name)
    _say(place, reading(place), name, kept.in_force, current, as_json)


def _say(place: Place, registry: Registry, name: str, before: str, current: list[str], as_json: bool) -> None:
    now, using = current[0], [use for use in uses(place.pipeline) if use.model == name]
    if as_json:
        told = {"name": name, "in_force": now, "was": before or None, "before": current[1:]}
        words.emit({**told, "changed": now != before, "used_by": [use.stage for use in using]})
        return
    out = words.console()
    if now == before:
        words.say(out, f"{name} {now} is in force already.")
        return
    instead = f", in place of {words.safe(before)}" if before else ""
    words.say(out, f"{name} {now} is in force{instead}.", style="bold")
    _say_changes(out, _fields(registry, name, before), _fields(registry, name, now))
    follow = [use.stage for use in using if use.version == "current"]
    if follow:
        words.say(
            out, f"Jobs that begin from now on use it in {', '.join(follow)}; those under way keep what they have."
        )
        words.say(out, "What is done already stays as it is; `trapline reprocess JOB` makes a job anew with it.")
    else:
        words.say(out, f"No stage of this pipeline uses it; `model: {name}` in a stage of pipeline.yaml does.")
    for use in using:
        if use.version != "current":
            words.say(out, f"Stage {use.stage} keeps {use.version}, which is written in the project.")
    if before and len(current) > 1:
        words.say(out, f"Back again: trapline models rollback {name}")


def _fields(registry: Registry, name: str, version: str) -> dict[str, Any]:
    try:
        return registry.fields(name, version) if version else {}
    except ConfigError:
        return {}


def _say_changes(out: Console, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """What a person would want to know of the difference."""
    if not before:
        return
    for key in _COMPARED:
        if before.get(key) != now.get(key):
            words.say(out, f"  {key}: {words.safe(str(before.get(key)))} → {words.safe(str(now.get(key)))}")
    old, new = _names(before), _names(now)
    if old != new:
        gone, came = [name for name in old if name not in new], [name for name in new if name not in old]
        parts = [f"{word} {_few(names)}" for word, names in (("new", came), ("gone", gone)) if names]
        words.say(out, f"  labels: {len(old)} → {len(new)} ({'; '.join(parts) or 'in another order'})")
    if short_quality(before) != short_quality(now):
        words.say(out, f"  quality: {short_quality(before) or 'not measured'} → {short_quality(now) or 'not measured'}")


def _names(card: Mapping[str, Any]) -> list[str]:
    labels = card.get("labels")
    names = labels if isinstance(labels, list) else []
    return [str(label.get("name")) if isinstance(label, Mapping) else str(label) for label in names]


def _few(names: list[str]) -> str:
    return words.safe(", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""))
