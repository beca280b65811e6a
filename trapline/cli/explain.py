"""`trapline explain`: everything that happened to one image."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from trapline.cli import words
from trapline.cli.fate import Fate, fate
from trapline.cli.finding import find_image
from trapline.cli.place import Place
from trapline.cli.results import where
from trapline.cli.tracing import Explanation, StageStory, trace
from trapline.cli.upload import digests
from trapline.records.naming import classification, label_of


def explain(place: Place, key: str, *, as_json: bool) -> None:
    """Find the image that is meant and tell its story."""
    store = place.store()
    meant = find_image(place, store, key)
    story = trace(place, store, meant.rel)
    story.card = _on_card(meant.card) if meant.card else None
    if as_json:
        words.emit(document(story))
    else:
        _tell(words.console(), place, story, fate(story))


def _on_card(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"path": str(file), "sha256": digests(stream)[0]}


def document(story: Explanation) -> dict[str, Any]:
    """The story as JSON."""
    labels = Counter(label_of(detection, classification(detection)) for detection in story.detections or ())
    told = fate(story)
    counted = {
        "fate": told.kind,
        "what": told.what,
        "todo": told.todo,
        "detections": None if story.detections is None else len(story.detections),
        "labels": dict(labels.most_common()),
        "exists": story.size is not None,
    }
    said: dict[str, Any] = json.loads(json.dumps({**asdict(story), **counted}, default=datetime.isoformat))
    return said


# -- the story


def _tell(out: Console, place: Place, story: Explanation, told: Fate) -> None:
    words.say(out, words.safe(story.key), style="bold")
    bad = told.kind in ("failed", "not_received", "unusable", "refused")
    words.say(out, f"  {words.safe(told.what)}", style="red" if bad else "")
    if told.todo:
        _line(out, "to do", words.safe(told.todo))
    if told.kind == "failed" and "trapline retry" not in told.todo:
        _line(out, "to try again", f"trapline retry {words.safe(shlex.quote(story.key))}")
    _line(out, "job", _job(story))
    _line(out, "image", _object(story))
    if story.card:
        _line(out, "on the card", _card(story))
    if story.received_at or story.trigger:
        _line(out, "first seen", f"{words.moment(story.received_at)}, {_by(story.trigger)}")
    if not (story.ignored or story.unusable):
        _read(out, place, story)


def _read(out: Console, place: Place, story: Explanation) -> None:
    """What stages did, and where it is in the results."""
    for stage in story.stages:
        _stage(out, stage)
    _line(out, "results", _results(place, story))
    for line in _history(story):
        _line(out, "", line, style="dim")


def _job(story: Explanation) -> str:
    state = story.job_state or "no engine has looked at it"
    listed = f", listed as {words.safe(story.manifest_id)}" if story.manifest_id else ""
    return f"{words.safe(story.job)} ({state}){listed} {story.job_open}".rstrip()


def _card(story: Explanation) -> str:
    here = story.card or {}
    same = "the same bytes" if here.get("sha256") == story.sha256 else "other bytes than in the bucket"
    return f"{words.safe(str(here.get('path')))}: {same}"


def _history(story: Explanation) -> Iterator[str]:
    """Earlier revisions, where they were made of other bytes or say something else."""
    if len({(told.state, told.sha256) for told in story.revisions}) > 1:
        for told in story.revisions:
            bytes_ = "these bytes" if told.sha256 == story.sha256 else f"other bytes ({told.sha256[:16]}…)"
            yield f"{told.revision}: {told.state}, of {bytes_}"


def _line(out: Console, name: str, text: str, style: str = "") -> None:
    words.say(out, f"  {name:<13}{text}", style=style)


def _by(trigger: str) -> str:
    return "by a sweep" if trigger == "sweep" else f"by the trigger {trigger}"


def _object(story: Explanation) -> str:
    if story.size is None:
        return "is not in the bucket (any more)"
    changed = "; changed since it was read" if story.sha256_read not in ("", story.sha256) else ""
    return f"{words.safe(story.where)}, {words.size(story.size)}, sha256 {story.sha256[:16]}…{changed}"


def _stage(out: Console, stage: StageStory) -> None:
    if stage.outcome == "failed":
        _failed(out, stage)
        return
    _line(out, stage.stage, _outcome(stage))
    for line in _made_with(stage):
        _line(out, "", line, style="dim")


def _outcome(stage: StageStory) -> str:
    if stage.outcome == "blocked":
        return f"blocked: {stage.blocked_by} failed"
    if stage.outcome not in ("done", "skipped"):
        return "not yet"
    why = " (nothing for it to look at)" if stage.outcome == "skipped" else ""
    took = f", {stage.seconds:.2f} s" if stage.seconds else ""
    without = f", without {', '.join(stage.missing)}" if stage.missing else ""
    return f"{stage.outcome}{why}{without} {words.moment(stage.at)}{took}, {words.plural(stage.attempts, 'attempt')}"


def _made_with(stage: StageStory) -> Iterator[str]:
    if stage.outcome not in ("done", "skipped"):
        return
    model = (
        f", model {stage.model['name']} {stage.model['version']} ({stage.model['sha256'][:12]})" if stage.model else ""
    )
    yield f"{stage.function} {stage.version}{model}"
    pin = {None: "", True: " (the job's present one)", False: " (stale: the job is pinned to another)"}[stage.current]
    yield f"recipe {stage.recipe[:12]}{pin}"
    yield words.safe(stage.key)


def _failed(out: Console, stage: StageStory) -> None:
    code = (stage.failure or {}).get("code")
    tried = f"{words.plural(stage.attempts, 'attempt')}, the last {words.moment(stage.at)}"
    _line(out, stage.stage, f"failed, {code}, {tried}", style="red")
    _line(out, "", words.safe(stage.key), style="dim")


def _results(place: Place, story: Explanation) -> str:
    if not story.revision:
        return "not compiled yet"
    if story.state_in_revision is None:
        return f"not in the newest final revision ({story.revision})"
    return f"{story.state_in_revision} in {where(place, story.results)}"
