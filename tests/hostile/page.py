"""Prints docs/reference/hostile-inputs.md from the corpus: what is tried, what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable

from tests.hostile import manifests
from tests.hostile.corpus import corpus
from tests.hostile.names import NAMES
from trapline.errors import CODES

_HEAD = """# Hostile inputs

What cameras, bad cards and attackers leave, and what becomes of it. Each row is proved by files, names or manifests
that the tests build and send through a running engine; their number is in the last column. One bad input costs
itself alone: the rest of its job completes, the job ends `PARTIAL`, no worker dies, and nobody outside is called.

A code's meaning stands under [failure codes](failure-codes.md). *Done* means that the picture is read as if nothing
were there.

This page is printed by `python -m tests.hostile.page`.
"""
_MANIFESTS = """
## Manifests

A refused manifest makes its job `FAILED`; the reason is the `message` of `status/<job>.json`, and a copy of it lies
under `quarantine/`. Its client is told, where the address in it can be read. The limits are under
[the job manifest](manifest.md). Mend the manifest and drop it again.
"""
_LIMITS = """
## Limits

| what | limit |
|---|---|
| pixels of an image | `images.max_pixels` |
| pixels of a WebP, of a packed (RLE) BMP | the same, up to 50 and 25 million; above that a half and a quarter of it |
| a side of an image | 65,535 pixels |
| scans of a JPEG, segments before its picture | 100, 5,000 |
| chunks of a PNG | 100,000 |
| blocks of text and other data before a GIF's picture | 20,000 |
| numbers under one tag of a TIFF, pixels of its tiles | 200,000, `images.max_pixels` |
| text or profile in a PNG, unpacked | 1 MB |
| a worker's memory | `resources.memory` of its function |
| decoded pixels that a batch keeps | 512 MiB; the oldest are decoded again when they are asked for |
| a settings file; values in it with every alias written out | 4 million characters; 200,000 |
"""
_IGNORED = "Rename it, if it is an image."
_REWRITE = "Write the field as [the job manifest](manifest.md) says."


def page() -> str:
    """The page, as Markdown."""
    files: dict[tuple[str, str], int] = {}
    for file in corpus():
        files[file.what, file.fate] = files.get((file.what, file.fate), 0) + 1
    told = ((what, fate, _remedy(fate), count) for (what, fate), count in files.items())
    names = ((what, fate, _remedy(fate), len(several)) for what, (fate, several) in NAMES.items())
    refused = ((what, "the manifest is refused", _REWRITE, len(several)) for what, several in manifests.REFUSED.items())
    urls = ((what, code, _remedy(code), len(several)) for what, (code, several) in manifests.URLS.items())
    calls = ((what, code, _remedy(code), len(several)) for what, (code, several) in manifests.CALLBACKS.items())
    return "".join(
        (
            *(_HEAD, "\n## Files\n", _table("file", told), "\n## Names\n", _table("name", names), _MANIFESTS),
            *(_table("manifest", refused), "\n### What its images are read from\n", _table("address", urls)),
            *("\n### Whom it has called\n", _table("callback", calls), _LIMITS),
        )
    )


def _remedy(fate: str) -> str:
    return CODES[fate].remedy if fate in CODES else _IGNORED if fate == "ignored" else ""


def _table(what: str, rows: Iterable[tuple[str, str, str, int]]) -> str:
    lines = (f"| {row} | {_outcome(fate)} | {remedy} | {count} |\n" for row, fate, remedy, count in rows)
    return f"\n| {what} | what becomes of it | what to do | tried |\n|---|---|---|---|\n" + "".join(lines)


def _outcome(fate: str) -> str:
    if fate in CODES:
        return f"[`{fate}`](failure-codes.md)"
    return "ignored, and named in the status" if fate == "ignored" else fate


if __name__ == "__main__":
    print(page(), end="")
