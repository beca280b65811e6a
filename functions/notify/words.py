"""A message in words, for a mail or a chat: one short paragraph."""

from __future__ import annotations

from functions.notify.item import Item
from trapline.errors import CODES
from trapline.records import Summary

_STATES = {
    "SUCCEEDED": "is finished: every image went through",
    "PARTIAL": "is finished, but not everything went through",
    "FAILED": "failed",
}
_PAGES = ("report.html", "observations.csv", "results.jsonl")  # what a person opens, best first
_MOST_CODES = 3


def title(item: Item) -> str:
    """One line; a job's name may come from anybody."""
    short = {"opened": "began", "progress": "goes on", "test": "a test", "failed": "failed"}.get(item.event, "")
    state = item.summary.state.lower() if item.summary else short
    return _line(f"{item.job}: {state}")


def text(item: Item) -> str:
    """One paragraph."""
    if item.event == "test":
        return _line(f"This is a test for the job {item.job}. Nothing happened to it.")
    if item.event == "failed":
        return _line(f"The job {item.job} failed: its manifest was refused. {item.news['message']}")
    sentences = _of_revision(item, item.summary) if item.summary else _of_open_job(item)
    return _line(" ".join(sentences))


def _of_revision(item: Item, summary: Summary) -> list[str]:
    images = summary.images
    again = _replaces(summary) if item.event == "updated" else ""
    counts = f"{images.get('done', 0)} of {images.get('total', 0)} images done, {images.get('failed', 0)} failed."
    link = next((item.links[name] for name in _PAGES if name in item.links), "")
    parts = [f"The job {item.job} {_STATES.get(summary.state, summary.state.lower())}.{again}", counts]
    parts += _failures(summary.failures_by_code)
    parts += _missing(summary)
    return [*parts, *([f"Results: {link}"] if link else [])]


def _missing(summary: Summary) -> list[str]:
    count = summary.not_received_count
    if count and not summary.not_received:
        return [f"`_DONE` counts {count} more images than came."]
    return [f"{count} files that were announced never came."] if count else []


def _replaces(summary: Summary) -> str:
    changes = summary.changes
    how = f": {changes.added} images added, {changes.changed} changed, {changes.removed} removed" if changes else ""
    return f" These results (revision {summary.revision}) replace earlier ones{how}."


def _of_open_job(item: Item) -> list[str]:
    images, eta = item.news.get("images", {}), item.news.get("eta_seconds")
    begun = "began" if item.event == "opened" else "goes on"
    left = f", about {max(1, round(eta / 60))} minutes left" if eta else ""
    counts = f"{images.get('done', 0)} of {images.get('total', 0)} images done, {images.get('failed', 0)} failed{left}."
    return [f"The job {item.job} {begun}.", counts, *_failures(item.news.get("failures_by_code", {}))]


def _failures(by_code: dict[str, int]) -> list[str]:
    """The commonest failures, in words."""
    first = sorted(by_code.items(), key=lambda code: (-code[1], code[0]))
    told = [f"{count} × {CODES[code].meaning if code in CODES else code}" for code, count in first[:_MOST_CODES]]
    more = len(first) - _MOST_CODES
    return told + ([f"And {more} more kinds of failure."] if more > 0 else [])


def _line(text: str) -> str:
    """Without what could make a second line, or a header, of it."""
    return "".join(char if char.isprintable() else " " for char in text)
