"""`trapline models add`: from an ONNX file to a version in the bucket that was tried."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import typer
import yaml
from rich.console import Console

from trapline.cli import jobs, words
from trapline.cli.models_apart import Apart
from trapline.cli.models_options import (
    Source,
    Wanted,
    check_name,
    check_version,
    given_fields,
    labels_of,
    preset_of,
    read_source,
    size_of,
)
from trapline.cli.models_trial import Tried, samples, try_model
from trapline.cli.models_usage import reading, uses, writing
from trapline.cli.place import Place
from trapline.errors import ConfigError, TraplineError
from trapline.models import Model, checked_card, sha256_of
from trapline.models.beside import from_folder, from_metadata
from trapline.models.inspecting import Inspected, inspect
from trapline.models.proposing import PRESET_WORDS, PRESETS, Proposal, Question, propose
from trapline.registry import CARD, FIRST, Kept, following

__all__ = ["Wanted", "add"]

_TO = {"detect": "detections/", "classify": "classifications/", "embed": "embeddings/"}


def add(place: Place, wanted: Wanted, apart: Apart) -> None:
    """Look into a file, write its card, try it, and put both into the bucket."""
    source = read_source(wanted)
    preset = preset_of(wanted.preset) if wanted.preset is not None else None
    given = given_fields(wanted, source.card)
    if source.whole:
        _check_whole(source, given)
    beside = from_folder(source.path.parent, source.path.name)
    side = _side(given) or _side({name: value for name, (value, _) in beside.items()})
    layout = "nhwc" if given.get("input.layout") == "nhwc" else "nchw"
    seen = apart.run(source.path.name, inspect, source.data, source.path.name, side, layout)
    if source.whole and preset is None and _says_all(given):
        made = Proposal(dict(given), dict.fromkeys(given, "as you said"))  # what it leaves out is what a card means
    else:
        made = propose(seen, source.path.name, given, {**beside, **from_metadata(seen.metadata)}, preset)
    for name in [name for name, value in source.card.items() if name in given and made.card.get(name) == value]:
        made.why[name] = "the card"
    out = words.console(stderr=wanted.as_json)
    named = wanted.name or (str(source.card["name"]) if "name" in source.card else None)
    name = _answered(out, made, wanted, named, source, given)
    kept = reading(place).model(name)
    version = _version(wanted, source, kept)
    fields = {"name": name, "version": version, "file": "model.onnx", "sha256": sha256_of(source.data)}
    values = Proposal({**made.card, **fields}).nested()
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100).encode()
    if not wanted.as_json:
        _show(out, made, seen, source, name, version)
    model = Model(checked_card(values, "The card"), source.data)
    there = _there(kept, version, text, place)
    tried = apart.run(source.path.name, try_model, model, samples(place.pipeline.folder, wanted.sample))
    if not wanted.as_json:
        _say_tried(out, tried)
    if not (wanted.dry_run or there):
        _confirm(out, wanted, name, version)
        registry = writing(place)
        registry.put(name, version, {CARD: text, "model.onnx": source.data})
        if not kept.in_force or wanted.promote:
            registry.promote(name, version)
    _report(out, place, wanted, Added(name, version, values, made.why, tried, kept, there))


class Added:
    """What was done, for people and for scripts."""

    def __init__(
        self, name: str, version: str, card: dict[str, Any], why: dict[str, str], tried: Tried, kept: Kept, there: bool
    ) -> None:
        self.name = name
        self.version = version
        self.card = card
        self.why = why
        self.tried = tried
        self.before = kept.in_force  # the version in force until now
        self.there = there  # it was in the bucket already


# -- what only a person knows


def _answered(
    out: Console, made: Proposal, wanted: Wanted, named: str | None, source: Source, given: dict[str, Any]
) -> str:
    """Ask for what is missing, on a terminal; elsewhere name all of it at once. Returns the model's name."""
    questions = list(made.questions)
    if named is None:
        questions.insert(0, Question("name", "--name NAME", "The model's name (lower-case letters, digits, hyphens)"))
    asking = not wanted.as_json and sys.stdin.isatty() and sys.stdout.isatty()
    if questions and not asking:
        flags = ", ".join(question.flag for question in questions)
        raise ConfigError(f"{source.path.name} does not say all that its card needs.", remedy=f"Give {flags}.")
    if questions:
        words.say(out, f"{source.path.name} does not say the following; a card needs it.")
    for question in questions:
        answer = _asked(out, question, made)
        named = answer if question.field == "name" else named
    return check_name(named or "")


def _asked(out: Console, question: Question, made: Proposal) -> str:
    """Ask until the answer can be used, and fill the card with it."""
    while True:
        if question.field == "preset":
            words.say(out, f"  Presets: {PRESET_WORDS}")
        answer = str(typer.prompt(question.words)).strip()
        try:
            _fill(made, question, answer)
        except ConfigError as error:
            words.say(out, f"  {error}", style="red")
        else:
            return answer


def _fill(made: Proposal, question: Question, answer: str) -> None:
    why = "as you said"
    if question.field == "name":
        check_name(answer)
    elif question.field == "labels":
        labels = labels_of(answer)
        if made.labels is not None and len(labels) != made.labels:
            raise ConfigError(f"These are {len(labels)}; the output has room for {made.labels}.")
        made.put("labels", labels, why)
    elif question.field == "preset":
        for name, value in PRESETS[preset_of(answer)].items():
            if name.startswith("input."):
                made.card[name], made.why[name] = value, f"preset {answer}"
    elif question.field == "size":
        width, height = size_of(answer)
        made.put("input.width", width, why)
        made.put("input.height", height, why)
    else:
        made.put(question.field, answer, why)


def _side(given: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width, where fields of a card say them."""
    height, width = given.get("input.height"), given.get("input.width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _version(wanted: Wanted, source: Source, kept: Kept) -> str:
    own = source.card.get("version") if source.whole else None
    chosen = wanted.version or (str(own) if own is not None else None)
    return check_version(chosen) if chosen is not None else following(kept.versions)


def _check_whole(source: Source, given: dict[str, Any]) -> None:
    """A folder's card is about the file beside it."""
    said = given.pop("sha256", None)
    if said is not None and said != sha256_of(source.data):
        raise ConfigError(
            f"{source.path.parent / CARD}: sha256: {source.path.name} has {sha256_of(source.data)[:16]}…, the card "
            f"says {str(said)[:16]}….",
            remedy="Put the file beside it that it is about; for another file, use the card as a template: "
            f"`trapline models add {source.path} --card {source.path.parent / CARD}`.",
        )


def _says_all(given: dict[str, Any]) -> bool:
    """Whether these fields are a card, but for those that every model gets here."""
    own = {"name": "model", "version": FIRST, "file": "model.onnx", "sha256": "0" * 64}
    try:
        checked_card(Proposal({**given, **own}).nested(), "The card")
    except ConfigError:
        return False
    return True


def _there(kept: Kept, version: str, card: bytes, place: Place) -> bool:
    """Whether exactly this is in the bucket. Raises `ConfigError` where the version is another."""
    if version not in kept.versions:
        return False
    registry = reading(place)
    if registry.card(kept.name, version) == card and registry.whole(kept.name, version):
        return True
    raise ConfigError(
        f"Version {version} of {kept.name} is in the bucket already, and a version's files never change.",
        remedy=f"Leave --version out for the next one ({following(kept.versions)}), or name another.",
    )


def _confirm(out: Console, wanted: Wanted, name: str, version: str) -> None:
    if wanted.yes or wanted.as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    if not typer.confirm(f"Add {name} {version}?", default=True):
        raise TraplineError("Nothing was added.", remedy="Change what is wrong with the options; see --help.")


# -- what is said


def _show(out: Console, made: Proposal, seen: Inspected, source: Source, name: str, version: str) -> None:
    by = f", written by {words.safe(seen.producer)}" if seen.producer else ""
    words.say(out, f"{name} {version}", style="bold")
    words.say(out, f"  {source.path.name}: {words.size(seen.size)}, opset {seen.opset}{by}")
    rows = [(field, _shown(made.card[field]), made.why.get(field, "")) for field in made.ordered()]
    widest = max(len(field) for field, _, _ in rows)
    for field, value, why in rows:
        words.say(out, f"  {field:<{widest}}  {value:<28}  {words.safe(why)}".rstrip())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        names = [
            str(entry["name"]) if isinstance(entry, dict) and "name" in entry else _shown(entry) for entry in value
        ]
        few = ", ".join(names[:4])
        return words.safe(few if len(names) <= 4 else f"{few}, … ({len(names)})")
    return words.safe(str(value))


def _say_tried(out: Console, tried: Tried) -> None:
    words.say(out, f"Tried on {words.safe(tried.sample)}: {tried.worded()}.")
    if tried.hint:
        words.say(out, f"  {tried.hint}")


def _report(out: Console, place: Place, wanted: Wanted, added: Added) -> None:
    in_force = added.version if (not added.before or wanted.promote) and not wanted.dry_run else added.before
    if wanted.as_json:
        done = not (wanted.dry_run or added.there)
        words.emit(
            {
                "name": added.name,
                "version": added.version,
                "added": done,
                "in_force": in_force or None,
                "key": place.layout.model(added.name, added.version, ""),
                "card": added.card,
                "why": added.why,
                "tried": added.tried.as_dict(),
            }
        )
        return
    if wanted.dry_run:
        words.say(out, "Nothing was added (--dry-run).")
        return
    said = "is in the bucket already, as it is" if added.there else "is added"
    if in_force == added.version:
        words.say(out, f"{added.name} {added.version} {said}, and is in force.", style="bold")
    else:
        words.say(out, f"{added.name} {added.version} {said}; {added.before} stays in force.", style="bold")
        words.say(out, f"To use it: trapline models promote {added.name} {added.version}")
    words.say(out, f"It is in {_where(place, added)}.")
    _say_usage(out, place, added)


def _say_usage(out: Console, place: Place, added: Added) -> None:
    """How a pipeline uses the model, or which of its stages do."""
    using = [use.named for use in uses(place.pipeline) if use.model == added.name]
    if using:
        words.say(out, f"Used by {words.plural(len(using), 'stage')}: {', '.join(using)}; new jobs get it.")
    else:
        words.say(out, f"A stage uses it by `model: {added.name}` in pipeline.yaml, such as:")
        words.say(out, f"  {_stage_line(place, added)}")
    for line in _unheard(place, added):
        words.say(out, line)
    if missing := jobs.engine_missing(place):
        words.say(words.console(stderr=True), missing)


def _where(place: Place, added: Added) -> str:
    """The version's folder, or its prefix in a bucket elsewhere."""
    key = place.layout.model(added.name, added.version, "")
    if place.endpoint is None:
        return words.safe(str(place.folder / key))
    return words.safe(f"{key} of the bucket {place.bucket} at {place.endpoint}")


def _stage_line(place: Place, added: Added) -> str:
    """A stage of the pipeline that could use the model, as it would be written."""
    function = {"detector": "detect", "classifier": "classify"}.get(str(added.card["kind"]), "embed")
    stage = next((one for one in place.pipeline.stages.values() if one.spec.function == function), None)
    if stage is None:
        found = next((one.spec.to for one in place.pipeline.stages.values() if one.spec.function == "detect"), None)
        came, to = ("incoming/" if function == "detect" else found or "detections/"), _TO[function]
        return f"{function}: {{function: {function}, from: {came}, to: {to}, model: {added.name}}}"
    spec = stage.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    spec["from"] = spec["from"][0] if len(spec["from"]) == 1 else spec["from"]
    written = yaml.safe_dump({**spec, "model": added.name}, default_flow_style=True, sort_keys=False, width=1000)
    return f"{stage.name}: {written.strip()}"


def _unheard(place: Place, added: Added) -> list[str]:
    """Stages whose `when` names labels that this detector never gives."""
    if added.card["kind"] != "detector":
        return []
    names = [str(label["name"]) if isinstance(label, dict) else str(label) for label in added.card["labels"]]
    lines, few = [], words.safe(", ".join(names[:4]))
    for stage in place.pipeline.stages.values():
        wanted = stage.spec.when.label if stage.spec.when else ()
        if wanted and not set(names) & set(wanted):
            lines.append(
                f"Mind: stage {stage.name} looks at the label {', '.join(wanted)} alone (`when` in pipeline.yaml), "
                f"which this model never gives. Name there some of: {few}."
            )
    return lines
