"""`trapline results`: what was found in a job, and how to get the files."""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from trapline.cli import jobs, words
from trapline.cli.failed import tell_failed
from trapline.cli.place import Place
from trapline.cli.plot import plot
from trapline.cli.reviewed import tell_reviewed
from trapline.errors import NotFound, SurroundingsError, TraplineError
from trapline.records import FileRef, Summary
from trapline.store.base import Store

REPORT = "report.html"
TRIES = 3  # a provisional revision may be replaced while it is copied


def results(place: Place, job: str, to: Path | None, *, drawn: bool = False, as_json: bool) -> None:
    """Show a job's newest results, `drawn` as bars too; with `to`, copy them there."""
    store = place.store()
    name = jobs.known_job(place, store, job)
    summary = _summary(place, store, name)
    if to is not None:
        summary = _copy(place, store, summary, to)
    if as_json:
        words.emit({**json.loads(summary.dump()), "copied_to": str(to.absolute()) if to else None})
        return
    out = words.console()
    show_found(out, place, summary)
    if drawn:
        plot(out, summary.results)
    if to is not None:
        words.say(out, f"Copied {words.plural(len(summary.files) + 1, 'file')} to {to}.")
        return
    words.say(out)
    words.say(out, "Copy them with any of these (`trap` is the alias that `trapline up` prints):")
    for line in copy_lines(place, summary):
        words.say(out, f"  {line}")


def _summary(place: Place, store: Store, job: str) -> Summary:
    summary = jobs.summary_of(store, place.layout, job)
    if summary is None:
        status = jobs.status_of(store, place.layout, job)
        state = f"it is {status.state}" if status else "no engine has looked at it"
        raise TraplineError(f"{words.safe(job)} has no results yet: {state}.", remedy=f"See `trapline status {job}`.")
    return summary


# -- showing


def show_found(out: Console, place: Place, summary: Summary) -> None:
    """A table of what was found, the failures, and where the files are."""
    final = "final" if summary.final else "provisional: the job is still open"
    words.say(out, f"{words.safe(summary.job)}: {summary.state}, revision {summary.revision} ({final})", style="bold")
    found = summary.results
    if isinstance(found.get("labels"), Mapping):
        out.print(_labels(found))
    _counts(out, summary)
    if summary.changes is not None:
        words.say(out, words.changes(summary.changes.model_dump()))
    tell_failed(out, summary.failures_by_code, summary.failures)
    tell_reviewed(out, found.get("review"))
    _left_out(out, found)
    words.say(out, f"Results: {where(place, summary.folder)}")
    if place.endpoint is None:
        words.say(out, f"  over S3: s3://{place.bucket}/{summary.folder}")
    files = [f"{file.name} ({words.size(file.size)})" for file in summary.files]
    words.say(out, f"  {', '.join([*files, 'summary.json'])}")
    if any(file.name == REPORT for file in summary.files):
        words.say(out, _to_look_at(place, summary))


def _to_look_at(place: Place, summary: Summary) -> str:
    """How to open the report: a browser cannot read a bucket by itself."""
    if place.endpoint is None:
        return f"To look at it, open {where(place, summary.folder + REPORT)} in a browser."
    return f"To look at it, copy {REPORT} and open it in a browser."


def where(place: Place, key: str) -> str:
    """Where a key is, for people: a path of this machine, or an address."""
    return str(place.folder / key) if place.endpoint is None else f"s3://{place.bucket}/{key}"


def _labels(found: Mapping[str, Any]) -> Table:
    """Each label: how often it was detected; by event, so that one in twenty frames is not twenty; how surely."""
    events = _mapping(found.get("events"))
    more = {"by event": (_mapping(events.get("labels")), ",d"), "mean score": (_mapping(found.get("scores")), ".2f")}
    more = {name: column for name, column in more.items() if column[0]}
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    table.add_column("found")
    for name in ("detections", *more):
        table.add_column(name, justify="right")
    for label, count in found["labels"].items():
        cells = [_shown(values.get(label), form) for values, form in more.values()]
        table.add_row(words.safe(str(label)) or "(no label)", f"{count:,}", *cells)
    if isinstance(total := found.get("detections"), int):
        table.add_section()
        added = [_shown(_added(values), form) if form == ",d" else "" for values, form in more.values()]
        table.add_row("all", f"{total:,}", *added)
    return table


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}


def _added(values: Mapping[str, Any]) -> int:
    return sum(value for value in values.values() if type(value) is int)


def _shown(value: Any, form: str) -> str:
    return format(value, form) if type(value) is int or (type(value) is float and form != ",d") else ""


def _left_out(out: Console, found: Mapping[str, Any]) -> None:
    """The formats that were asked for and not written, with what they need."""
    for name, needs in _mapping(found.get("left_out")).items():
        said = "; ".join(words.safe(str(need)) for need in needs) if isinstance(needs, list) else ""
        words.say(out, f"Not written: {words.safe(name)}. It needs: {said}", style="yellow")


def _counts(out: Console, summary: Summary) -> None:
    told = summary.results.get("images")
    counts: Mapping[str, Any] = told if isinstance(told, Mapping) else summary.images
    parts = [words.plural(counts.get("total", 0), "image")]
    parts += [f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if name != "total" and n]
    words.say(out, ", ".join(parts))
    if summary.not_received_count:
        named = ", ".join(words.safe(rel) for rel in summary.not_received[:3])
        words.say(out, f"{summary.not_received_count} not received{': ' if named else ''}{named}")
    if summary.ignored_count:
        named = ", ".join(words.safe(entry["rel"]) for entry in summary.ignored[:3])
        words.say(out, f"{summary.ignored_count} ignored: {named}")


# -- copying


def copy_lines(place: Place, summary: Summary, target: str = "results/") -> list[str]:
    """Lines to type that copy the newest revision's files."""
    source = shlex.quote(f"{place.bucket}/{summary.folder}")
    endpoint = place.endpoint or (place.served() or {}).get("endpoint")
    address = f" --endpoint-url {endpoint}" if endpoint else ""
    aws = f"aws{address} s3 cp --recursive {shlex.quote(f's3://{place.bucket}/{summary.folder}')} {target}"
    return [
        f"trapline results {shlex.quote(summary.job)} --to {target}",
        f"mc cp --recursive trap/{source} {target}",
        aws,
    ]


def _copy(place: Place, store: Store, summary: Summary, to: Path) -> Summary:
    """Copy a revision whole; a provisional one that was replaced meanwhile is left for the next."""
    for _ in range(TRIES):
        try:
            _copy_once(store, summary, to)
            return summary
        except NotFound:
            summary = _summary(place, store, summary.job)
    raise TraplineError(
        f"The results of {summary.job} change faster than they can be copied.",
        remedy="Try again when the job is closed.",
    )


def _copy_once(store: Store, summary: Summary, to: Path) -> None:
    try:
        to.mkdir(parents=True, exist_ok=True)
        for file in summary.files:
            _copy_file(store, file, _inside(to, file.name))
        _write(_inside(to, "summary.json"), summary.dump())
    except OSError as error:
        raise SurroundingsError(
            f"{error.filename or to} cannot be written: {error.strerror}.", remedy="Name another folder with --to."
        ) from None


def _inside(to: Path, name: str) -> Path:
    """Where a file goes: never outside of `to`, not through a symbolic link either."""
    parts = PurePosixPath(name).parts
    target = to.joinpath(*parts)
    safe = parts and not PurePosixPath(name).is_absolute() and ".." not in parts
    if not safe or not target.parent.resolve().is_relative_to(to.resolve()):
        raise TraplineError(
            f"The summary names a file {name!r} that would lie outside of {to}.", remedy="Nothing was copied there."
        )
    return target


def _copy_file(store: Store, file: FileRef, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, temporary = hashlib.sha256(), _beside(target)
    try:
        with store.open(file.key) as source, temporary.open("xb") as sink:
            while piece := source.read(1 << 20):
                digest.update(piece)
                sink.write(piece)
        if digest.hexdigest() != file.sha256:
            raise TraplineError(
                f"{file.key} is not what the summary says (sha256).",
                remedy="Try again; if it stays so, `trapline retry` the job.",
            )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _write(target: Path, data: bytes) -> None:
    temporary = _beside(target)
    temporary.write_bytes(data)
    temporary.replace(target)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}")
