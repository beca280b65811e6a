"""`trapline demo`: the main job once, on a store and an engine of this process, with the sample night."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from trapline.cli import jobs, words
from trapline.cli.done import DoneMark
from trapline.cli.engine import Engine
from trapline.cli.follow import Display, display
from trapline.cli.interrupt import Interrupted, listen
from trapline.cli.place import Place, embedded_place, s3_client
from trapline.cli.results import show_found
from trapline.cli.submit import tell_upload, what_is_there
from trapline.cli.up import log_to
from trapline.cli.upload import Found, Upload, find_files
from trapline.embedded.credentials import credentials
from trapline.embedded.rclone import HOST, PORT
from trapline.errors import ConfigError, NotFound, TraplineError
from trapline.records import Status, Summary
from trapline.store.base import Store
from trapline.store.folder import LIMITS
from trapline.template import template_root

DATA = Path("trapline-demo")  # a folder of its own: a project's data is not mixed with it
JOB = "st7/2026-11-20"
OTHER_JOB = "st7/by-hand"  # what the lines to type upload to
TOLERANCE = 0.1  # of the insects drawn: how far the detector may be off in sum
LOOK_EVERY = 0.25  # seconds
_SAMPLES = ("samples", "local_dev/samples")  # in a project; in a clone and in the wheel


def run_demo(project: Path, data: Path | None, port: int) -> None:
    """Run it. Raises `TraplineError` where an expected result is missing, `Interrupted` after Ctrl-C."""
    root = project if (project / "pipeline.yaml").is_file() else template_root()
    samples = _samples(root)
    place = embedded_place(root, data or DATA)
    log_to(place.data / "engine", logging.ERROR)
    out = words.console()
    found = find_files(samples / "night" / JOB, JOB, place.layout, LIMITS)
    words.say(out, f"A night of {words.plural(len(found.files), 'image')} ({words.size(found.size)}) is sent over S3.")
    words.say(out, f"Data folder: {place.data}", style="dim")
    problems = asyncio.run(_Demo(place, port, found, out).run(samples / "expected.json"))
    listen()
    if problems is None:
        raise Interrupted
    by_hand(out, place, samples / "night" / JOB)
    if problems:
        raise TraplineError(f"The demo did not end as expected: {problems[0]}.", remedy=_more(problems))
    words.say(out, "Every expected result is there.", style="bold green")


def _samples(root: Path) -> Path:
    for folder in (*(root / place for place in _SAMPLES), template_root() / _SAMPLES[-1]):
        if (folder / "night" / JOB).is_dir():
            return folder
    raise ConfigError(
        "The sample night is not there.",
        remedy="Install Trapline anew, or run the demo in a project that `trapline init` made.",
    )


class _Demo:
    """One run: engine up, night sent, results shown, engine down."""

    def __init__(self, place: Place, port: int, found: Found, out: Console) -> None:
        self._place, self._found, self._out = place, found, out
        self._engine = Engine(place, port)
        self._stop = asyncio.Event()
        self._upload: Upload | None = None
        self._was_final = False

    async def run(self, expected: Path) -> list[str] | None:
        """Returns what is not as expected; None after Ctrl-C. Whatever happens, nothing is left running."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        try:
            if not await self._started():
                return None
            with display(self._out, JOB, closing=True) as shown:
                finished = await self._night(shown)
            return self._show(expected) if finished else None
        finally:
            await self._stop_sending()
            await self._engine.stop()

    async def _stop_sending(self) -> None:
        """End the upload and let go of its client: the endpoint waits seconds for a connection that is not used."""
        upload, self._upload = self._upload, None
        if upload is not None:
            await asyncio.to_thread(upload.stop, 1.0)

    async def _started(self) -> bool:
        """Start the engine unless Ctrl-C comes first; then its start is cancelled, and waited for."""
        starting = asyncio.ensure_future(self._engine.start())
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([starting, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if self._stop.is_set():
            starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        return not self._stop.is_set()

    async def _night(self, shown: Display) -> bool:
        """Send the night over S3 and watch it go through; False after Ctrl-C."""
        layout, sender, reader = self._place.layout, s3_client(self._place), self._place.store()
        there = await asyncio.to_thread(what_is_there, self._place, reader, JOB)
        upload = self._upload = Upload(sender, there, layout, JOB, self._found.files)
        upload.start()
        mark: DoneMark | None = None
        self._was_final = _over(jobs.status_of(reader, layout, JOB))
        ways_out = [asyncio.ensure_future(self._engine.failed()), asyncio.ensure_future(self._stop.wait())]
        while not await _first(ways_out):
            tell_upload(shown, upload.sent, self._found)
            if mark is None and upload.over:
                mark = await asyncio.to_thread(DoneMark, self._place, sender, reader, JOB, upload.sent)
            status = jobs.status_of(reader, layout, JOB)
            shown.status(status)
            if mark is not None and status is not None and mark.answered_by(status):
                return True
        return False

    def _show(self, expected: Path) -> list[str]:
        store, layout = self._place.store(), self._place.layout
        summary = jobs.summary_of(store, layout, JOB)
        if summary is None:
            return ["there are no results"]
        words.say(self._out)
        if self._was_final:
            words.say(self._out, "Everything was already there: nothing was sent, nothing ran again.")
        show_found(self._out, self._place, summary)
        truth = json.loads(expected.read_text("utf-8"))["files"]
        bad = sum(1 for file in truth.values() if file["state"] == "failed")
        words.say(
            self._out, f"(The {bad} failures belong to the sample night: one image is cut off, one is a text file.)"
        )
        return list(compare(store, summary, truth))


def _over(status: Status | None) -> bool:
    return status is not None and jobs.is_final(status)


async def _first(ways_out: Sequence[asyncio.Future[Any]]) -> bool:
    """Whether there is a way out, after a short while; raises what ended the engine."""
    await asyncio.wait(ways_out, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
    over = [way for way in ways_out if way.done()]
    for way in over:
        await way
    return bool(over)


# -- what is expected


def compare(store: Store, summary: Summary, truth: dict[str, Any]) -> list[str]:
    """What of a job's results is not as expected, in words."""
    lines = _lines(store, summary)
    problems = [_difference(rel, wanted, lines.get(rel)) for rel, wanted in truth.items()]
    problems += [f"{rel} was not expected" for rel in lines if rel not in truth]
    drawn = sum(file.get("insects", 0) for file in truth.values())
    found = sum(len(line.get("detections") or ()) for line in lines.values())
    if abs(found - drawn) > TOLERANCE * drawn:
        problems.append(f"{found} insects were found, {drawn} were drawn")
    return [problem for problem in problems if problem]


def _lines(store: Store, summary: Summary) -> dict[str, dict[str, Any]]:
    file = next((f for f in summary.files if f.name == "results.jsonl"), None)
    data = b""
    with suppress(NotFound):
        data = store.get(file.key).data if file else b""
    return {line["rel"]: line for line in map(json.loads, data.splitlines())}


def _difference(rel: str, wanted: dict[str, Any], line: dict[str, Any] | None) -> str:
    if line is None:
        return f"{rel} is not in the results"
    passed = {"skipped": "done", "blocked": "failed"}
    state = passed.get(line["state"], line["state"])
    code = (line.get("failure") or {}).get("code")
    if (state, code) == (wanted["state"], wanted.get("code")):
        return ""
    return f"{rel} is {state} {code or ''}, expected {wanted['state']} {wanted.get('code', '')}".replace(
        " ,", ","
    ).strip()


def _more(problems: list[str]) -> str:
    more = f"({len(problems) - 1} more.) " if len(problems) > 1 else ""
    return f"{more}See engine/engine.log in the data folder."


# -- the same by hand


def by_hand(out: Console, place: Place, night: Path) -> None:
    """The lines to type to do the same with an S3 client: the demo's own engine has stopped."""
    keys = credentials(place.data / "engine" / "credentials.json")
    program = "trapline" if shutil.which("trapline") else sys.argv[0]
    options = f" --data {_short(place.data)}"
    options += "" if place.pipeline.folder == Path.cwd() else f" --project {_short(place.pipeline.folder)}"
    address, target = f"http://{HOST}:{PORT}", f"{place.bucket}/{place.layout.prefix('incoming')}{OTHER_JOB}/"
    source = f"{_short(night)}/"
    lines = (
        f"{program} up{options}          # in another terminal",
        f"mc alias set trap {address} {keys.access_key} {keys.secret_key}",
        f"mc cp --recursive {source} trap/{target}",
        f"mc cat trap/{place.bucket}/{place.layout.status_of(OTHER_JOB, '.txt')}",
        "",
        f"export AWS_ACCESS_KEY_ID={keys.access_key} AWS_SECRET_ACCESS_KEY={keys.secret_key}",
        f"aws --endpoint-url {address} s3 cp --recursive {source} s3://{target}",
    )
    words.say(out, "\nThe same by hand, with mc or aws:")
    for line in lines:
        words.say(out, f"  {line}".rstrip())
    words.say(out)


def _short(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
