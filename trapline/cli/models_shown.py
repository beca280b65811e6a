"""`trapline models list` and `show`: which models there are, and what their cards say."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from trapline.cli import words
from trapline.cli.models_options import check_name
from trapline.cli.models_usage import Use, reading, uses
from trapline.cli.place import Place
from trapline.cli.seeding import carried
from trapline.errors import ConfigError
from trapline.registry import Kept, Registry

_FOLDED = ("quality", "used by")
_TOLD = ("map50", "map", "top1", "precision", "recall", "accuracy")  # figures that a list has room for


def list_models(place: Place, *, as_json: bool) -> None:
    """A line for each model in the bucket, and for each that the pipeline uses and the bucket lacks."""
    registry, using = reading(place), uses(place.pipeline)
    found = [_summary(registry, kept, using) for kept in registry.models()]
    lacking = _lacking(place, {entry["name"] for entry in found}, using)
    if as_json:
        words.emit({"models": [*found, *lacking]})
        return
    out = words.console()
    if not found and not lacking:
        words.say(out, "There are no models in the bucket. `trapline models add FILE --name …` brings one.")
        return
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, collapse_padding=True, padding=(0, 1))
    for column in ("model", "in force", "kind", "licence", "quality", "used by"):
        table.add_column(column, overflow="fold", no_wrap=column not in _FOLDED)
    for entry in found:
        table.add_row(*(words.safe(cell) for cell in _row(entry)))
    for entry in lacking:
        table.add_row(entry["name"], "-", "", "", "", ", ".join(entry["used_by"]))
    out.print(table)
    for entry in lacking:
        words.say(out, f"{entry['name']} is not in the bucket: {entry['problem']}")
    for entry in found:
        if entry["problem"]:
            words.say(out, f"{words.safe(entry['name'])}: {words.safe(entry['problem'])}", style="red")


def show_model(place: Place, name: str, version: str | None, *, as_json: bool, as_yaml: bool) -> None:
    """One version's card, and how it stands."""
    registry = reading(place)
    kept = registry.known(check_name(name, "NAME"))
    chosen = chosen_version(kept, version)
    card = registry.fields(name, chosen)
    if as_yaml:
        sys.stdout.write(registry.card(name, chosen).decode("utf-8", "replace"))
        return
    using = [use for use in uses(place.pipeline) if use.model == name]
    key = place.layout.model(name, chosen, "")
    if as_json:
        words.emit(
            {
                "name": name,
                "version": chosen,
                "in_force": kept.in_force or None,
                "before": kept.current[1:],
                "versions": kept.versions,
                "used_by": [use.stage for use in using],
                "key": key,
                "whole": registry.whole(name, chosen),
                "card": card,
            }
        )
        return
    out = words.console()
    stands = "in force" if chosen == kept.in_force else f"{kept.in_force or 'none'} is in force"
    words.say(out, f"{words.safe(name)} {words.safe(chosen)} ({stands})", style="bold")
    others = [other for other in kept.versions if other != chosen]
    words.say(out, f"  versions  {', '.join(map(words.safe, kept.versions))}" + ("" if others else "  (the only one)"))
    if kept.current[1:]:
        words.say(out, f"  before    {', '.join(map(words.safe, kept.current[1:]))}  (in force before, newest first)")
    words.say(out, f"  used by   {', '.join(use.named for use in using) or 'no stage of this pipeline'}")
    words.say(out, f"  in        {words.safe(key)}")
    if not registry.whole(name, chosen):
        words.say(out, "  It is not whole: the file that the card names is not there.", style="red")
    words.say(out)
    _say_fields(out, {key: value for key, value in card.items() if key not in ("schema", "name", "version")}, "  ")


def chosen_version(kept: Kept, version: str | None) -> str:
    """The version that a person means. Raises `ConfigError` where there is none."""
    chosen = kept.in_force if version in (None, "current") else str(version)
    if not chosen:
        raise ConfigError(
            f"No version of {kept.name} is in force.",
            remedy=f"Name one ({', '.join(kept.versions)}), or promote it: `trapline models promote {kept.name} …`.",
        )
    if chosen not in kept.versions:
        raise ConfigError(
            f"There is no version {words.safe(chosen)!r} of {kept.name}.", remedy=f"It has: {', '.join(kept.versions)}."
        )
    return chosen


def short_quality(card: Mapping[str, Any], most: int = 3) -> str:
    """A card's first figures: `map50 0.9906, precision 0.9868`."""
    quality = card.get("quality")
    if not isinstance(quality, Mapping):
        return ""
    figures = {key: quality[key] for key in _TOLD if isinstance(quality.get(key), int | float)}
    return ", ".join(f"{key} {value:.4g}" for key, value in list(figures.items())[:most])


def _summary(registry: Registry, kept: Kept, using: list[Use]) -> dict[str, Any]:
    card: dict[str, Any] = {}
    problem = ""
    if not kept.in_force:
        problem = f"no version is in force; `trapline models promote {kept.name} VERSION` puts one."
    else:
        try:
            card = registry.fields(kept.name, kept.in_force)
        except ConfigError as error:
            problem = str(error)
    return {
        "name": kept.name,
        "versions": kept.versions,
        "in_force": kept.in_force or None,
        "kind": card.get("kind"),
        "licence": card.get("licence"),
        "quality": card.get("quality") or {},
        "used_by": [use.named for use in using if use.model == kept.name],
        "problem": problem,
    }


def _row(entry: Mapping[str, Any]) -> list[str]:
    more = len(entry["versions"]) - 1
    in_force = (entry["in_force"] or "none") + (f", {more} more" if more > 0 else "")
    used = ", ".join(entry["used_by"]) or "-"
    return [
        entry["name"],
        in_force,
        str(entry["kind"] or "?"),
        str(entry["licence"] or "?"),
        short_quality(entry, 1) or "-",
        used,
    ]


def _lacking(place: Place, have: set[str], using: list[Use]) -> list[dict[str, Any]]:
    """The models that stages use and the bucket does not have."""
    folders, made = carried(place.pipeline), []
    for name in dict.fromkeys(use.model for use in using if use.model not in have):
        function = f"functions/{folders[name].parent.name}/model/" if name in folders else ""
        problem = (
            f"`trapline up` brings it from {function}."
            if function
            else f"`trapline models add FILE --name {name}` brings it."
        )
        stages = [use.named for use in using if use.model == name]
        made.append({"name": name, "versions": [], "in_force": None, "used_by": stages, "problem": problem})
    return made


def _say_fields(out: Any, fields: Mapping[str, Any], indent: str) -> None:
    widest = max((len(str(key)) for key in fields), default=0)
    for key, value in fields.items():
        if isinstance(value, Mapping) and value:
            words.say(out, f"{indent}{words.safe(str(key))}")
            _say_fields(out, value, f"{indent}  ")
        elif isinstance(value, list) and key == "labels":
            words.say(out, f"{indent}{key} ({len(value)})")
            for label in value:
                words.say(out, f"{indent}  {words.safe(_label(label))}")
        else:
            words.say(out, f"{indent}{words.safe(str(key)):<{widest}}  {words.safe(_value(value))}")


def _label(label: Any) -> str:
    if not isinstance(label, Mapping):
        return str(label)
    more = [f"{key} {_value(label[key])}" for key in ("rank", "gbif", "synonyms") if label.get(key)]
    return f"{label.get('name')}" + (f"  ({'; '.join(more)})" if more else "")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(_value(one) for one in value) if isinstance(value, list | tuple) else str(value)
