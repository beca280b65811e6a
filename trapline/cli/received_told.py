"""What `trapline received` says of a card, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from trapline.cli import words
from trapline.cli.card import Card, CardFile
from trapline.cli.comparing import Compared, Comparison
from trapline.errors import CODES
from trapline.records.received import ReceivedFile

Verdict = Literal["safe", "not_safe", "not_yet"]

NAMED = 5  # files named of each kind
_DAMAGED_ITSELF = ("empty_file", "image_truncated", "image_unreadable")


@dataclass
class Checked:
    """All that was found out about a card."""

    job: str
    folder: Path
    card: Card
    comparison: Comparison
    listed: bool  # whether the bucket's own listing could be read
    as_of: float  # when the engine wrote its list, for people
    keep: list[CardFile] = field(default_factory=list)  # no images, and not known to be in the bucket
    images_only: bool = False

    @property
    def verdict(self) -> Verdict:
        """`safe` only where nothing on the card would be lost."""
        comparison = self.comparison
        bad = comparison.of("missing") or comparison.of("damaged") or self.card.unchecked or not self.card.images
        if bad or (self.keep and not self.images_only):
            return "not_safe"
        if comparison.of("not_yet"):
            return "not_yet"
        whole = len(comparison.of("received")) == len(self.card.images)
        return "safe" if whole else "not_safe"


def tell_early(out: Console, job: str, why: str, *, as_json: bool) -> None:
    """Say that there is nothing to compare with yet."""
    if as_json:
        words.emit({"job": job, "verdict": "not_yet", "safe": False, "why": why})
    else:
        words.say(out, f"{words.safe(job)}: not yet. {why}", style="yellow")


def tell(out: Console, checked: Checked) -> None:
    """Say what became of every file of the card, and whether it may be wiped."""
    found, card = checked.comparison, checked.card
    words.say(out, f"Card {words.safe(str(checked.folder))}, job {words.safe(checked.job)}", style="bold")
    images = words.plural(len(card.images), "image")
    words.say(out, f"{images} on the card ({words.size(card.size)}), {len(found.of('received')):,} received")
    _tell_shift(out, found)
    _tell_images(out, "missing", found.of("missing"), "red")
    _tell_images(out, "damaged", found.of("damaged"), "red")
    _tell_images(out, "not yet", found.of("not_yet"), "yellow")
    _tell_files(out, "could not be checked", card.unchecked, style="red")
    _tell_failed(out, found)
    _tell_others(out, checked)
    if found.job_only:
        shown = _names([file.file for file in found.job_only])
        words.say(out, f"{words.plural(len(found.job_only), 'file')} of the job not on this card: {shown}", style="dim")
    _tell_verdict(out, checked)


def _tell_shift(out: Console, found: Comparison) -> None:
    lost, gained = found.shift
    if lost or gained:
        words.say(out, f"  {words.safe(lost or 'the card')} is {words.safe(gained or 'the folder itself')} in the job")
    if others := found.named_otherwise():
        first = others[0]
        name = words.safe(first.file.file) if first.file else ""
        words.say(out, f"  {len(others)} under another name, such as {words.safe(first.image.name)} as {name}")


def _tell_images(out: Console, what: str, images: list[Compared], style: str) -> None:
    _tell_named(out, what, [(compared.image.name, compared.why) for compared in images], style)


def _tell_files(out: Console, what: str, files: list[CardFile], style: str) -> None:
    _tell_named(out, what, [(file.name, file.why) for file in files], style)


def _tell_named(out: Console, what: str, named: list[tuple[str, str]], style: str) -> None:
    """How many there are, and the first of them with the reason of each."""
    if not named:
        return
    words.say(out, f"{len(named):,} {what}:", style=style)
    for name, why in named[:NAMED]:
        words.say(out, f"    {words.safe(name)}: {words.safe(why)}")
    if len(named) > NAMED:
        words.say(out, f"    … and {len(named) - NAMED:,} more; --json names all")


def _tell_failed(out: Console, found: Comparison) -> None:
    """What was received and failed all the same: the card holds the same bytes."""
    failed: dict[str, list[ReceivedFile]] = {}
    for compared in found.of("received"):
        if compared.file and compared.file.code:
            failed.setdefault(compared.file.code, []).append(compared.file)
    for code, files in sorted(failed.items()):
        words.say(out, f"{len(files):,} received, but failed, {code}: {_meaning(code)}", style="yellow")
        words.say(out, f"    {_names([file.file for file in files])}")
        words.say(out, f"  {_remedy(code)}")


def _meaning(code: str) -> str:
    return CODES[code].meaning if code in CODES else ""


def _remedy(code: str) -> str:
    """What to do about a failure of an image of which the card holds the same bytes."""
    if code in _DAMAGED_ITSELF:
        return "The card holds the very same bytes: to copy it once more does not help."
    return CODES[code].remedy if code in CODES else ""


def _tell_others(out: Console, checked: Checked) -> None:
    for why, count in Counter(file.why for file in checked.card.left_out).items():
        words.say(out, f"{count:,} left out: {why}", style="dim")
    copied = len(checked.card.others) - len(checked.keep)
    if copied:
        words.say(out, f"{copied:,} not read by any stage, and copied to the bucket all the same", style="dim")
    style = "dim" if checked.images_only else "red"
    _tell_files(out, "not read, and not in the bucket unless you copied it: keep it", checked.keep, style=style)


def _tell_verdict(out: Console, checked: Checked) -> None:
    words.say(
        out,
        f"By the engine's list of {words.moment(datetime.fromtimestamp(checked.as_of, UTC))}{_doubt(checked)}.",
        style="dim",
    )
    if checked.verdict == "safe":
        words.say(
            out,
            f"Safe to wipe: every image of the card is in the bucket, byte for byte{_but(checked)}.",
            style="bold green",
        )
        return
    words.say(out, _refusal(checked), style="bold yellow" if checked.verdict == "not_yet" else "bold red")


def _but(checked: Checked) -> str:
    """What the verdict does not speak of."""
    counts = {"left out": len(checked.card.left_out), "not in the bucket and not asked about": len(checked.keep)}
    told = ", ".join(f"{words.plural(count, 'file')} {what}" for what, count in counts.items() if count)
    return f" ({told})" if told else ""


def _doubt(checked: Checked) -> str:
    return " and the bucket's listing" if checked.listed else " alone: these keys may not list the bucket"


def _refusal(checked: Checked) -> str:
    """Why the card may not be wiped, and what to do."""
    found = checked.comparison
    if checked.verdict == "not_yet":
        return (
            "Not yet: the engine has not read everything. Wait a minute, then ask again; `trapline sweep` hurries it."
        )
    if not checked.card.images:
        return "Not safe to wipe: there is no image on it. Is it the right folder?"
    if found.of("missing") or found.of("damaged"):
        send = f"trapline submit {words.safe(str(checked.folder))} --job {words.safe(checked.job)}"
        return f"Not safe to wipe: copy these again (`{send}`), then ask again."
    if checked.card.unchecked:
        return "Not safe to wipe: look at what could not be checked."
    return "Every image is in the bucket, but not safe to wipe: keep the other files, or give --images-only."


def _names(names: list[str]) -> str:
    more = f", … {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(words.safe(name) for name in names[:NAMED]) + more


# -- as JSON


def document(checked: Checked) -> dict[str, Any]:
    """The same as JSON, with every name."""
    found, card = checked.comparison, checked.card
    return {
        "job": checked.job,
        "card": str(checked.folder.absolute()),
        "verdict": checked.verdict,
        "safe": checked.verdict == "safe",
        "as_of": datetime.fromtimestamp(checked.as_of, UTC).isoformat(),
        "listing": checked.listed,
        "images": len(card.images),
        "bytes": card.size,
        "received": len(found.of("received")),
        **{fate: [_image(compared) for compared in found.of(fate)] for fate in ("missing", "damaged", "not_yet")},
        "failed": [_failure(c) for c in found.of("received") if c.file and c.file.code],
        "named_otherwise": [{"file": c.image.name, "is": c.file.file} for c in found.named_otherwise() if c.file],
        "unchecked": [_other(file) for file in card.unchecked],
        "keep": [_other(file) for file in checked.keep],
        "left_out": dict(Counter(file.why for file in card.left_out)),
        "job_only": [file.file for file in found.job_only],
    }


def _image(compared: Compared) -> dict[str, str]:
    return {"file": compared.image.name, "why": compared.why}


def _other(file: CardFile) -> dict[str, str]:
    return {"file": file.name, "why": file.why}


def _failure(compared: Compared) -> dict[str, str]:
    code = compared.file.code if compared.file else ""
    return {"file": compared.image.name, "code": code, "meaning": _meaning(code), "remedy": _remedy(code)}
