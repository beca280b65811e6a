"""`trapline submit`: a folder of images or a manifest goes up; the job is followed to its end."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from trapline.cli import jobs, words
from trapline.cli.done import DoneMark, Ended, notify_far_engine
from trapline.cli.follow import Display, display, follow
from trapline.cli.interrupt import saying
from trapline.cli.place import Place, s3_client
from trapline.cli.results import show_found
from trapline.cli.upload import Found, Sent, There, Upload, find_files
from trapline.errors import ConfigError, ManifestError, SurroundingsError, TraplineError
from trapline.keys import CANCEL, Layout, suffix_of
from trapline.records import Status, read_manifest
from trapline.records.received import read_table
from trapline.store.base import Store

EXIT_FAILED, EXIT_CANCELLED = 3, 4
_MOST_UNSENT = 20
UNCHANGED_AFTER = 10.0  # seconds in which an engine would have taken up a changed manifest


def submit(place: Place, what: Path, job: str | None, *, follow: bool, as_json: bool) -> None:
    """Send, and follow unless told not to.

    Exits with 3 where images failed or could not be sent, with 4 where the job is cancelled.
    """
    if not what.exists():
        raise ConfigError(
            f"There is no file or folder {str(what)!r}.", remedy="Name a folder of images, or a manifest (.json)."
        )
    out = words.console(stderr=as_json)
    send = _send_folder if what.is_dir() else _send_manifest
    name, ended, told = send(place, what, job, out)
    unsent = EXIT_FAILED if told.get("unreadable") or told.get("unfit_names") else 0
    if not follow:
        _tell_where(place, out, name, told, as_json)
        raise SystemExit(unsent)
    with saying(f"Stopped following; the engine goes on. Look with `trapline status {name}`."):
        status = _follow(place, name, ended, out)
    raise SystemExit(_conclude(place, name, status, out, as_json) or unsent)


def _tell_where(place: Place, out: Console, job: str, told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        words.emit({"job": job, **told})
        return
    words.say(out, f"Follow it with `trapline status {job} --watch`.")


def _follow(place: Place, job: str, ended: Ended, out: Console) -> Status:
    store = place.store()
    with display(out, job, closing=True) as shown:
        return follow(
            lambda: jobs.status_of(store, place.layout, job),
            shown,
            ended=ended,
            serving=lambda: place.endpoint is not None or place.served() is not None,
        )


def _conclude(place: Place, job: str, status: Status, out: Console, as_json: bool) -> int:
    """Show what came of it. Returns the exit code."""
    if as_json:
        words.emit(json.loads(status.dump()))
    elif status.state == "CANCELLED":
        words.say(out, f"The job is cancelled. To go on, delete {place.layout.marker(job, CANCEL)}.")
    else:
        summary = jobs.summary_of(place.store(), place.layout, job)
        words.say(out)
        if summary is None:
            words.say(out, status.message or "There are no results.")
        else:
            show_found(out, place, summary)
    return {"SUCCEEDED": 0, "CANCELLED": EXIT_CANCELLED}.get(status.state, EXIT_FAILED)


# -- a folder


def _send_folder(place: Place, folder: Path, job: str | None, out: Console) -> tuple[str, Ended, dict[str, Any]]:
    layout, sender, reader = place.layout, s3_client(place), place.store()
    name = job.strip("/") if job is not None else job_of_folder(folder, layout)
    layout.check_job(name)
    found = find_files(folder, name, layout, reader.limits)
    if not found.files:
        _tell_unsent(out, found.unread | found.unfit)
        raise ConfigError(f"There are no images in {folder}.", remedy=_why_none(found, layout))
    words.say(out, f"Job {words.safe(name)}: {words.plural(len(found.files), 'image')}, {words.size(found.size)}.")
    there = what_is_there(place, reader, name)
    with saying("Stopped. Run it again and it goes on; what was sent is not sent again."):
        with display(out, name) as shown:
            sent = _send(Upload(sender, there, layout, name, found.files), found, shown)
        if not sent.sums:
            _tell_unsent(out, found.unread | found.unfit | sent.unread)
            raise SurroundingsError(f"No image in {folder} can be read.", remedy="Mend that, and run it again.")
        unread = found.unread | sent.unread
        mark = DoneMark(place, sender, reader, name, sent, whole=not (unread or found.unfit))
    _tell_sent(out, sent, found)
    _tell_unsent(out, unread | found.unfit)
    told = {"sent": sent.files, "already_there": sent.already, "left_out": dict(found.left_out)}
    return name, mark.answered_by, {**told, "unreadable": unread, "unfit_names": found.unfit}


def _tell_unsent(out: Console, unsent: dict[str, str]) -> None:
    """What could not be read or has no name for a store, file by file: nobody else will miss it."""
    for path, why in sorted(unsent.items())[:_MOST_UNSENT]:
        words.say(out, f"  {words.safe(path)} cannot be sent: {why}", style="red")
    if unsent:
        more = f"{len(unsent) - _MOST_UNSENT} more. " if len(unsent) > _MOST_UNSENT else ""
        words.say(out, f"  {more}Not sent. Mend that, and run it again: it goes on.", style="red")


def job_of_folder(folder: Path, layout: Layout) -> str:
    """The job's name where none was given: the folder's own path, its last parts."""
    parts = [re.sub(r"[\s\x00-\x1f]+", "-", part).lstrip(".") for part in folder.absolute().resolve().parts[1:]]
    parts = [part for part in parts if part][-layout.depth :]
    if len(parts) < layout.depth:
        raise ConfigError(
            f"{folder} gives the job no name.", remedy="Name it with --job, such as --job st7/2026-11-20."
        )
    return "/".join(parts)


def _why_none(found: Found, layout: Layout) -> str:
    if found.unread or found.unfit:
        return "Some of it cannot be sent; mend that, and run it again."
    if not found.left_out:
        return "It is empty; name a folder that holds some."
    reasons = "; ".join(f"{count} left out: {why}" for why, count in found.left_out.most_common(3))
    return f"({reasons}.) Images end in {', '.join(sorted(layout.suffixes - {'.image'}))}."


def what_is_there(place: Place, reader: Store, job: str) -> There:
    """What the bucket holds of a job already."""
    entries = {entry.key: entry for entry in reader.list(place.layout.image(f"{job}/"))}
    key = place.layout.status_of(job, ".received.csv")
    listed = jobs.read_bytes(reader, key) if place.endpoint else None
    return There(reader, entries, _sums(listed, key), local=place.endpoint is None)


def _sums(listed: bytes | None, key: str) -> dict[str, tuple[int, str]]:
    with suppress(TraplineError):  # then every file is sent
        return {file.file: (file.size, file.sha256) for file in read_table(listed or b"", key) if file.sha256}
    return {}


def _send(upload: Upload, found: Found, shown: Display) -> Sent:
    upload.start()
    try:
        while not upload.over:
            tell_upload(shown, upload.sent, found)
            time.sleep(0.1)
    finally:
        upload.stop(wait=1.0)
    tell_upload(shown, upload.sent, found)
    return upload.sent


def tell_upload(shown: Display, sent: Sent, found: Found) -> None:
    """Bring the display up to date."""
    shown.upload(sent.size, found.size, f"{sent.already} there" if sent.already else "")


def _tell_sent(out: Console, sent: Sent, found: Found) -> None:
    already = f", {sent.already} were there already" if sent.already else ""
    whole = not (found.unread or found.unfit or sent.unread)
    named = f"names {words.plural(len(sent.sums), 'image')}" if whole else "names none, since not all could be sent"
    words.say(out, f"{sent.files} sent{already}; `_DONE` {named}.")
    for why, count in found.left_out.most_common():
        words.say(out, f"  {count} left out: {why}", style="dim")


# -- a manifest


def _send_manifest(place: Place, path: Path, job: str | None, out: Console) -> tuple[str, Ended, dict[str, Any]]:
    layout = place.layout
    if suffix_of(path.name) in layout.suffixes:
        raise ConfigError(f"{path} is an image.", remedy="Name the folder that holds it.")
    data = path.read_bytes()
    manifest = read_manifest(data, str(path))
    if not manifest.sourceImages:
        raise ManifestError(f"{path} lists no images.", remedy="Put at least one into `sourceImages`.")
    name = _job_of_manifest(path, job, manifest.projectId, manifest.jobId)
    layout.check_job(name)
    sender, reader = s3_client(place), place.store()
    before = jobs.status_of(reader, layout, name)
    same = jobs.read_bytes(reader, layout.manifest(name)) == data
    if not same:
        sender.put(layout.manifest(name), data, content_type="application/json")
        notify_far_engine(place, name)
    there = "was there already" if same else "sent"
    words.say(
        out,
        f"Job {words.safe(name)}: {words.plural(len(manifest.sourceImages), 'listed image')}; the manifest {there}.",
    )
    after = None if same or before is None else before.updated_at
    return (
        name,
        _manifest_ended(place, reader, name, after),
        {"sent": int(not same), "listed": len(manifest.sourceImages)},
    )


def _job_of_manifest(path: Path, job: str | None, project: str, ident: str) -> str:
    if job is not None:
        return job.strip("/")
    if not project or not ident:
        raise ConfigError(
            f"{path} has no `projectId` and `jobId` to name the job by.",
            remedy="Name it with --job, such as --job ecos/42.",
        )
    return f"{project}/{ident}"


def _manifest_ended(place: Place, store: Store, job: str, before: datetime | None) -> Ended:
    """A status counts once it is newer than the manifest; a change that re-runs nothing brings no newer one."""
    sent_at = time.monotonic()

    def ended(status: Status) -> bool:
        if status.state == "CANCELLED":
            return jobs.cancelled(store, place.layout, job)
        newer = status.updated_at != before or time.monotonic() - sent_at > UNCHANGED_AFTER
        return jobs.is_final(status) and newer

    return ended
