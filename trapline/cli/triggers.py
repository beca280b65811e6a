"""The triggers that pipeline.yaml names: found in the project's folder, started with an engine and stopped with it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from trapline.cli.aside import Aside
from trapline.cli.handover import Handover
from trapline.cli.place import Place
from trapline.dispatcher.dispatcher import Dispatcher
from trapline.errors import ConfigError
from trapline.events import ObjectEvent, Trigger, TriggerContext
from trapline.store.base import Store

_EXTRAS = {"boto3": "sqs", "minio": "minio"}  # packages that a trigger may lack, and what brings them


class Triggers:
    """What tells a dispatcher of uploads. Made in the dispatcher's event loop; triggers may call from any thread."""

    def __init__(self, place: Place, store: Store, dispatcher: Dispatcher) -> None:
        self.addresses: dict[str, str] = {}  # of triggers that listen
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._dispatcher = dispatcher
        self._started: list[Trigger] = []
        self._handover = Handover(self._loop, dispatcher.notice)
        self._aside = Aside(store, place.layout, self._put_aside)
        self._context = self._given(store)

    def start(self) -> None:
        """Start each. Raises `ConfigError` where one is not there, or is given an option that it does not have."""
        for named in self._place.pipeline.spec.triggers:
            name, options = (named, {}) if isinstance(named, str) else next(iter(named.items()))
            if name == "folder" and self._context.folder is None:
                continue  # the sample pipeline names it; an outside store is found by sweeps
            self._start(name, options or {})

    async def stop(self) -> None:
        """Stop those that were started, and what they asked of the store. Does nothing the second time."""
        started, self._started = self._started, []
        for trigger in started:
            await asyncio.to_thread(trigger.stop)
        await asyncio.to_thread(self._aside.close)

    def _given(self, store: Store) -> TriggerContext:
        place, layout = self._place, self._place.layout
        return TriggerContext(
            bucket=place.bucket,
            folder=place.folder if place.endpoint is None else None,
            prefixes=(
                *(layout.prefix(p) for p in ("incoming", "jobs", "failed", "labels")),
                layout.prefix("control") + "requests/",
            ),
            notice=self._handover.hand,
            closed=getattr(store, "closed", lambda key: None),
            sweep=self._look_over,
            quarantine=self._aside.quarantine,
            put=self._aside.put,
            endpoint=place.endpoint,
            embedded=place.endpoint is None,
            manifests=layout.prefix("jobs"),
            project=place.pipeline.folder,
            check_job=layout.check_job,
        )

    def _put_aside(self, key: str) -> None:
        self._handover.hand(ObjectEvent(key, "created", "engine"))

    def _look_over(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._dispatcher.look_over)

    def _start(self, name: str, options: dict[str, Any]) -> None:
        trigger = _open_trigger(self._place.pipeline.folder, name, self._context, options)
        trigger.start()
        self._started.append(trigger)
        if hasattr(trigger, "describe"):
            self.addresses[name] = trigger.describe()


def _open_trigger(project: Path, name: str, context: TriggerContext, options: dict[str, Any]) -> Trigger:
    where = f"pipeline.yaml: triggers.{name}"
    opener = getattr(trigger_module(project, name), "open_trigger", None)
    if opener is None:
        raise ConfigError(
            f"{where}: triggers/{name}.py has no `open_trigger`.", remedy="See docs/reference/pipeline.md."
        )
    known = list(inspect.signature(opener).parameters)[1:]
    wrong = next((option for option in options if option not in known), None)
    if wrong is not None:
        raise ConfigError(f"{where}: unknown option {wrong!r}.", remedy=f"It takes: {', '.join(known) or 'none'}.")
    trigger: Trigger = opener(context, **options)
    return trigger


def trigger_module(project: Path, name: str) -> Any:
    """The module triggers/NAME.py of a project. Raises `ConfigError` where it is missing, or cannot be imported."""
    if sys.path[:1] != [str(project)]:
        sys.path.insert(0, str(project))
    try:
        return importlib.import_module(f"triggers.{name}")
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "trapline":
            raise ConfigError(
                f"triggers/{name}.py is of another release of Trapline: {error.msg}.",
                remedy=f"Copy triggers/{name}.py anew: `trapline init DIR` writes those of this release.",
            ) from None
        if not isinstance(error, ModuleNotFoundError):
            raise _unusable(name, error) from error
        if error.name not in ("triggers", f"triggers.{name}"):
            extra = _EXTRAS.get(error.name or "")
            remedy = f"Install it: pip install 'trapline[{extra}]'." if extra else "Install it."
            raise ConfigError(f"The trigger {name!r} needs the package {error.name!r}.", remedy=remedy) from None
        have = sorted(p.stem for p in (project / "triggers").glob("[!_]*.py"))
        raise ConfigError(
            f"pipeline.yaml: triggers: there is no trigger {name!r} (no triggers/{name}.py).",
            remedy=f"Found: {', '.join(have) or 'none'}.",
        ) from None
    except Exception as error:
        raise _unusable(name, error) from error


def _unusable(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"triggers/{name}.py cannot be imported: {type(error).__name__}: {error}.", remedy="Mend it there."
    )
