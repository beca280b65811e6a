"""What became of an image, in words that a station understands, and what to do about it. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from trapline.cli import words
from trapline.cli.tracing import Explanation, StageStory
from trapline.errors import CODES
from trapline.records.naming import classification, label_of

Kind = Literal[
    "done",
    "nothing_found",
    "failed",
    "waiting",
    "changed",
    "cancelled",
    "refused",
    "ignored",
    "not_received",
    "unlisted",
    "unusable",
    "gone",
]

_STALE = "Nothing: they are read by themselves, and a new revision replaces the results."


@dataclass(frozen=True)
class Fate:
    """What became of an image."""

    kind: Kind
    what: str  # one sentence or two
    todo: str = ""  # empty: nothing


def fate(story: Explanation) -> Fate:
    """The one thing that a person should know about an image first."""
    return _never_read(story) or _failed(story) or _unfinished(story) or _finished(story)


def _never_read(story: Explanation) -> Fate | None:
    if story.unusable:
        code = CODES["key_unusable"]
        return Fate("unusable", f"{code.meaning} {story.unusable} It was put aside and counts as failed.", code.remedy)
    if story.ignored:
        todo = "Nothing, if it is no image; copy it elsewhere before the card is wiped: it is not in the results."
        return Fate("ignored", f"It is ignored: {story.ignored}. It is counted in the job's status.", todo)
    if story.not_received:
        if story.size is None:
            return _gone(story) or Fate("not_received", CODES["not_received"].meaning, CODES["not_received"].remedy)
        return Fate(
            "not_received",
            "`_DONE` names the file with another sha256 than the bucket's: it was damaged on the way, or changed.",
            f"Copy it from the card again. `_DONE` says {story.done_sha256[:16]}…",
        )
    return None


def _gone(story: Explanation) -> Fate | None:
    """An image that `_DONE` names and that came once: a record, a failure or a revision knows its bytes."""
    known = story.sha256_read or next((told.sha256 for told in story.revisions if told.sha256), "")
    if not known:
        return None
    if known != story.done_sha256:
        what = "The image came with another sha256 than `_DONE` names, and is not in the bucket any more."
        return Fate("not_received", what, CODES["not_received"].remedy)
    kept = (
        "What was read of it stays." if story.sha256_read else f"The results of {story.revisions[0].revision} have it."
    )
    return Fate("gone", f"The image came and was read, but it is not in the bucket any more. {kept}", _AGAIN)


_AGAIN = "If that was not meant, upload it again; the job reopens by itself."


def _failed(story: Explanation) -> Fate | None:
    stage = next((stage for stage in story.stages if stage.outcome == "failed"), None)
    if stage is None or stage.failure is None:
        return None
    if stage.source and story.sha256 and stage.source != story.sha256:
        return Fate(
            "changed", f"It failed at {stage.stage}, but other bytes came since and are still to be read.", _STALE
        )
    failure = stage.failure
    text = str(failure["message"])
    told = "" if text == failure["meaning"] else f" {text}"
    blocked = [other.stage for other in story.stages if other.outcome == "blocked"]
    after = f" {' and '.join(blocked)} could not follow." if blocked else ""
    again = f"Then `trapline retry {shlex.quote(story.key)}`."
    remedy = str(failure["remedy"]).removesuffix(_RETRY).rstrip()
    todo = f"{remedy} {again}" if failure["retried"] or remedy != failure["remedy"] else remedy
    return Fate("failed", f"It failed at {stage.stage}, {failure['code']}: {failure['meaning']}{told}{after}", todo)


_RETRY = "Then delete the dead letter or run `trapline retry`."


def _unfinished(story: Explanation) -> Fate | None:
    """An image on its way, one of which other bytes came, and one that is not there at all."""
    open_stages = [stage for stage in story.stages if stage.outcome == "waiting"]
    if story.size is not None and story.sha256_read not in ("", story.sha256) and not open_stages:
        return Fate("changed", "Other bytes came under this name since it was read; they are still to be read.", _STALE)
    if not open_stages:
        return None
    if story.cancelled:
        todo = f"To go on, delete _CANCEL in the folder of {story.job}; what is done stays."
        return Fate("cancelled", f"The job is cancelled: {_names(open_stages)} did not run.", todo)
    if story.refused:
        return _refused(story)
    if story.size is None and all(stage.outcome == "waiting" for stage in story.stages):
        return _absent(story)
    if story.listed is False:
        return _unlisted(story)
    return Fate("waiting", f"It waits for {_names(open_stages)}. {_why_waiting(story)}".rstrip(), _to_hurry(story))


def _refused(story: Explanation) -> Fate:
    todo = f"Correct {story.refused_manifest} and send it again." if story.refused_manifest else _SAID
    return Fate("refused", f"The job is not worked on. {story.job_message}", todo)


_SAID = "Do what this says; the engine goes on by itself."


def _absent(story: Explanation) -> Fate:
    if story.listed:
        return Fate("waiting", "The manifest lists it, and it is still to be fetched.", _to_hurry(story))
    return Fate("gone", "The image is not in the bucket (any more), and nothing was kept of it.", _AGAIN)


def _why_waiting(story: Explanation) -> str:
    if story.size == 0:
        return "It has no bytes: if none come by the time the job closes, it fails (empty_file)."
    if story.engine_missing:
        return story.engine_missing
    if not story.job_state:
        return "No engine has looked at it yet."
    return story.job_message or story.job_open


def _to_hurry(story: Explanation) -> str:
    if story.size == 0:
        return CODES["empty_file"].remedy
    if story.engine_missing:
        return "Start the engine; it goes on by itself."
    return (
        "" if story.job_state else "`trapline sweep` has an engine look; `trapline doctor` says why events do not come."
    )


def _finished(story: Explanation) -> Fate:
    if story.listed is False:
        return _unlisted(story)
    kept = " The image itself is not in the bucket any more; what was found stays." if story.size is None else ""
    corrected = _corrected(story)
    if story.detections is None:
        return Fate("done", f"It is done.{corrected}{kept}")
    if not story.detections:
        return Fate("nothing_found", f"It is done, and nothing was found on it: an empty image.{corrected}{kept}")
    return Fate("done", f"It is done: {found(story)}.{corrected}{kept}")


def _unlisted(story: Explanation) -> Fate:
    """In a manifest's job, but not on its list."""
    before = next((told.revision for told in story.revisions if told.revision != story.revision), "")
    was = f" It was in the results up to {before}." if before else ""
    what = f"The job's manifest does not list it (any more), so it is not in the results.{was}"
    return Fate("unlisted", what, f"If it should be, list it in the manifest of {story.job} and send that again.")


def _corrected(story: Explanation) -> str:
    if not story.review:
        return ""
    said = [entry for entry in dict(story.review.get("detections") or {}).values() if isinstance(entry, dict)]
    said += [entry for entry in story.review.get("added") or () if isinstance(entry, dict)]
    labels = Counter(str(entry.get("label")) for entry in said)
    people = sorted({str(entry["reviewer"]) for entry in said if entry.get("reviewer")})
    by = f" ({', '.join(map(words.safe, people))})" if people else ""
    return f" A person{by} says: {_counted(labels)}."


def found(story: Explanation) -> str:
    """`3 detections: moth 2, beetle 1`."""
    detections = story.detections or []
    labels = Counter(label_of(detection, classification(detection)) for detection in detections)
    named = _counted(labels)
    return words.plural(len(detections), "detection") + (f": {named}" if named else "")


def _counted(labels: Counter[str]) -> str:
    return ", ".join(f"{words.safe(label)} {count}" for label, count in labels.most_common() if label)


def _names(stages: list[StageStory]) -> str:
    return " and ".join(stage.stage for stage in stages)
