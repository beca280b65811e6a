"""`trapline up`: an engine in the foreground."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from trapline.cli.engine import Engine
from trapline.cli.place import Place
from trapline.errors import SurroundingsError


def serve(place: Place, port: int, *, as_json: bool) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    log_to(place.data / "engine")
    asyncio.run(_serve(Engine(place, port), as_json))


async def _serve(engine: Engine, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(engine.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    try:
        await starting
        tell(engine.describe(), engine.place, as_json)
        ended = asyncio.create_task(engine.failed())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await ended
        ended.cancel()
    except asyncio.CancelledError:
        pass
    finally:
        stopping.cancel()
        await engine.stop()


def tell(told: dict[str, Any], place: Place, as_json: bool) -> None:
    """Say what a client has to know."""
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(place.pipeline.name)}[/] is served at {told['endpoint']}")
    if place.endpoint is None:
        console.print(f"  access key  {told['access_key']}\n  secret key  {told['secret_key']}")
    console.print(f"  bucket      {told['bucket']}")
    if place.endpoint is None:
        folder = escape(str(place.folder / place.layout.prefix("incoming")))
        console.print(f"  folder      {folder}  (a file manager's copy works too)")
    for name, address in told.get("triggers", {}).items():
        console.print(f"  {name:11} {escape(address)}  (for the store's events)")
    console.print("\nTry it:")
    console.print(f"  {escape(mc_line(told, place))}")
    console.print("Then `trapline status --watch` in another terminal. Ctrl-C stops the engine; nothing is lost.")


def mc_line(told: dict[str, Any], place: Place) -> str:
    """The one line with which a station's client uploads a folder."""
    keys = f"{told['access_key']} {told['secret_key']}" if told["access_key"] else "ACCESS_KEY SECRET_KEY"
    target = f"trap/{told['bucket']}/{place.layout.prefix('incoming')}st1/first-night/"
    return f"mc alias set trap {told['endpoint']} {keys} && mc cp --recursive PHOTOS/ {target}"


def log_to(folder: Path, shown_from: int = logging.WARNING) -> None:
    """Warnings to stderr, everything to a file in the data folder. One line an event."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.raiseExceptions = False  # a full disk is told once, where it matters, not at every line of the log
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    shown = logging.StreamHandler()
    shown.setLevel(shown_from)
    shown.setFormatter(form)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # manifests in it carry tokens
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = logging.handlers.RotatingFileHandler(folder / "engine.log", maxBytes=10 * 2**20, backupCount=3)
    except OSError as error:
        raise SurroundingsError(
            f"The data folder {folder.parent} cannot be written to: {error.strerror}.",
            remedy="Make it writable, or name another with --data.",
        ) from None
    kept.setFormatter(form)
    root.handlers = [shown, kept]
