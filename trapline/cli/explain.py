"""`trapline explain`: everything that happened to one image."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from trapline.cli import jobs, words
from trapline.cli.place import Place
from trapline.cli.results import best_label, where
from trapline.cli.tracing import Explanation, StageStory, trace
from trapline.errors import CODES, TraplineError
from trapline.keys import Layout
from trapline.store.base import Store

CANDIDATES = 10  # keys that an ambiguous name lists


def explain(place: Place, key: str, *, as_json: bool) -> None:
    """Find the image that is meant and tell its story."""
    store = place.store()
    rel = find(place, store, key)
    story = trace(place, store, rel)
    if as_json:
        words.emit(story.document())
    else:
        _tell(words.console(), place, story)


# -- which image is meant


def find(place: Place, store: Store, what: str) -> str:
    """The rel of the image that a person means. Raises `TraplineError` naming the candidates."""
    layout = place.layout
    meaning = layout.meaning(what)
    exact = meaning.rel if meaning.kind in ("record", "dead_letter") else what.removeprefix(layout.prefix("incoming"))
    if exact and _mentioned(layout, store, exact):
        return exact
    rels = sorted(set(_rels(layout, store)))
    matches = _matching(rels, exact.strip("/"))
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = "".join(f"\n  {layout.prefix('incoming')}{words.safe(rel)}" for rel in matches[:CANDIDATES])
        more = f"\n  … and {len(matches) - CANDIDATES} more" if len(matches) > CANDIDATES else ""
        raise TraplineError(f"{what!r} could be any of {len(matches)} images; name more of the path:{shown}{more}")
    raise TraplineError(
        f"There is no image {words.safe(what)!r} in {store.describe()}.", remedy=_close(exact, rels, place)
    )


def _mentioned(layout: Layout, store: Store, rel: str) -> bool:
    """Whether the bucket holds anything about a path."""
    if rel.endswith("/"):
        return False
    keys = [layout.image(rel), *(layout.record(stage, rel) for stage in layout.records)]
    keys += [layout.dead_letter(stage, rel) for stage in (*layout.records, "fetch")]
    if any(_there(store, key) for key in keys):
        return True
    status = jobs.status_of(store, layout, layout.job_of(rel))
    return status is not None and rel in status.not_received


def _there(store: Store, key: str) -> bool:
    try:
        return jobs.head(store, key) is not None
    except TraplineError:
        return False


def _rels(layout: Layout, store: Store) -> Iterator[str]:
    """Every path under `incoming/`, and those of failures whose image is not there."""
    for entry in store.list(layout.prefix("incoming")):
        meaning = layout.meaning(entry.key)
        if meaning.kind in ("image", "ignored") and meaning.why != "folder marker":
            yield meaning.rel
    for entry in store.list(layout.prefix("failed")):
        meaning = layout.meaning(entry.key)
        if meaning.kind == "dead_letter" and meaning.stage in (*layout.records, "fetch"):
            yield meaning.rel


def _matching(rels: list[str], end: str) -> list[str]:
    """The paths that end like this, at a `/`; or whose file name without its suffix is this."""
    ends = [rel for rel in rels if rel == end or rel.endswith(f"/{end}")]
    return ends or [rel for rel in rels if rel.rpartition("/")[2].rpartition(".")[0] == end]


def _close(what: str, rels: list[str], place: Place) -> str:
    names = {rel.rpartition("/")[2]: rel for rel in rels}
    close = difflib.get_close_matches(what.rpartition("/")[2], names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(words.safe(names[name]) for name in close)}?"
    return f"`trapline status` lists the jobs; an image's key begins with {place.layout.prefix('incoming')}."


# -- the story


def _tell(out: Console, place: Place, story: Explanation) -> None:
    words.say(out, words.safe(story.key), style="bold")
    _line(out, "job", f"{words.safe(story.job)} ({story.job_state or 'no engine has looked at it'})")
    _line(out, "object", _object(story))
    if story.ignored:
        _line(out, "ignored", f"{story.ignored}; nothing is done with it")
    if story.unusable:
        _line(out, "unusable", story.unusable)
    if story.not_received:
        _line(out, "not received", f"{CODES['not_received'].meaning} {CODES['not_received'].remedy}")
    if story.received_at or story.trigger:
        _line(out, "first seen", f"{words.moment(story.received_at)}, {_by(story.trigger)}")
    for stage in story.stages if not (story.ignored or story.unusable) else ():
        _stage(out, story, stage)
    _found(out, story)
    if not (story.ignored or story.unusable):
        _line(out, "results", _results(place, story))


def _line(out: Console, name: str, text: str, style: str = "") -> None:
    words.say(out, f"  {name:<13}{text}", style=style)


def _by(trigger: str) -> str:
    return "by a sweep" if trigger == "sweep" else f"by the trigger {trigger}"


def _object(story: Explanation) -> str:
    if story.size is None:
        return "is not in the bucket (any more)"
    changed = "; changed since it was read" if story.sha256_read not in ("", story.sha256) else ""
    return f"{words.size(story.size)}, sha256 {story.sha256[:16]}…{changed}"


def _stage(out: Console, story: Explanation, stage: StageStory) -> None:
    if stage.outcome == "failed":
        _failed(out, story, stage)
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


def _failed(out: Console, story: Explanation, stage: StageStory) -> None:
    failure: dict[str, Any] = stage.failure or {}
    _line(out, stage.stage, f"failed, {failure.get('code')}: {words.safe(str(failure.get('message')))}", style="red")
    _line(out, "", f"{words.plural(stage.attempts, 'attempt')}, the last {words.moment(stage.at)}")
    _line(out, "", words.safe(stage.key), style="dim")
    if failure.get("remedy"):
        _line(out, "to do", str(failure["remedy"]))
    _line(out, "to try again", f"trapline retry {words.safe(shlex.quote(story.key))}")


def _found(out: Console, story: Explanation) -> None:
    if story.detections is None:
        return
    labels = Counter(best_label(d)[0] for d in story.detections)
    named = ", ".join(f"{words.safe(label)} {count}" for label, count in labels.most_common())
    _line(out, "found", f"{words.plural(len(story.detections), 'detection')}" + (f": {named}" if named else ""))


def _results(place: Place, story: Explanation) -> str:
    if not story.revision:
        return "not compiled yet"
    if story.state_in_revision is None:
        return f"not in the newest final revision ({story.revision})"
    return f"{story.state_in_revision} in {where(place, story.results)}"
