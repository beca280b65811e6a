"""Hints from a folder of this machine: a file is whole (closed after writing, or moved in), or is gone."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

from watchdog import events
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserverVFS

from trapline.errors import ConfigError
from trapline.events import ObjectEvent, TriggerContext
from trapline.store.mounts import network_mount
from trapline.store.settling import Settling, is_linked, is_regular, is_whole

if sys.platform == "linux":
    from watchdog.observers.inotify import InotifyFullEmitter
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD
else:
    from watchdog.observers import Observer

Kind = Literal["created", "removed"]

_DELETED: list[type[events.FileSystemEvent]] = [events.FileMovedEvent, events.FileDeletedEvent, events.DirDeletedEvent]
_CLOSED = [
    *_DELETED,
    events.FileClosedEvent,
    events.FileCreatedEvent,
    events.DirCreatedEvent,
    events.DirMovedEvent,
]  # where closing is told of
_CHANGED = [*_DELETED, events.FileCreatedEvent, events.FileModifiedEvent]
_LOOK = 1.0  # seconds between two looks at what no event tells of
_PATIENT = 30  # looks between two attempts to watch what could not be watched
_QUIET = 60.0  # seconds between two lines about dropped events
_LIMITS = {errno.ENOSPC: "max_user_watches", errno.EMFILE: "max_user_instances"}  # of fs.inotify
_LONGEST = 86_400  # seconds between two polls

log = logging.getLogger(__name__)


class FolderTrigger:
    """Watches prefixes of a bucket folder, and all folders in them.

    `on_object(key, kind)` is called from the trigger's own threads and must not raise. `created` says that the
    file's writer is done with it. Dotfiles, unfinished uploads of rclone among them, are not told of.
    `on_loss()` is called when events were lost. With `poll` the folders are looked through every so many seconds.
    """

    def __init__(
        self,
        root: Path,
        prefixes: Iterable[str],
        on_object: Callable[[str, Kind], None],
        *,
        on_loss: Callable[[], None] = lambda: None,
        poll: float | None = None,
    ) -> None:
        self._root = os.fspath(root)
        self._folders = {os.path.join(self._root, prefix.rstrip("/")) for prefix in prefixes}
        self._on_object = on_object
        self._on_loss = on_loss
        self._poll = poll
        self._observer: BaseObserver | None = None
        self._watches: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._handler = events.FileSystemEventHandler()
        self._handler.on_any_event = self._on_event  # type: ignore[method-assign]
        self._settling = Settling()
        self._closes = poll is None and sys.platform == "linux"  # whether a file's closing is told of
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._looker = threading.Thread(target=self._look, name="folder", daemon=True)
        self._warned = False
        self._said_lost = -_QUIET

    def start(self) -> None:
        """Returns once everything is watched. What cannot be watched is told of once, and left to the sweep."""
        # watchdog prints all that it watches when a folder is made while its parent is read, and each overflow twice.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        logging.getLogger("watchdog.observers.inotify_c").setLevel(logging.ERROR)
        logging.getLogger("watchdog.observers.inotify").setLevel(logging.ERROR)
        try:
            self._observer = self._open()
            self._observer.start()
        except OSError as error:  # too many instances of inotify
            self._observer = None
            self._refused(error)
        for folder in self._folders:
            self._watch(folder)
        self._looker.start()

    def stop(self) -> None:
        with self._lock:
            self._stopped.set()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5)
        if self._looker.is_alive():
            self._looker.join(5)

    def _open(self) -> BaseObserver:
        if self._poll is not None:
            return PollingObserverVFS(os.lstat, os.scandir, polling_interval=self._poll)
        if sys.platform == "linux":
            return _InotifyObserver(_Inotify(self._refused, self._lost))
        else:  # noqa: RET505 - mypy leaves out the branch of another platform only so
            return Observer()

    def _watch(self, folder: str) -> bool:
        with self._lock:
            if self._stopped.is_set():
                return False
            try:
                os.makedirs(folder, exist_ok=True)
                if self._observer is None:
                    return False
                wanted = _CLOSED if self._closes else _CHANGED
                watch = self._observer.schedule(self._handler, folder, recursive=True, event_filter=wanted)
                self._watches[folder] = watch, _identity(folder)
            except OSError as error:
                self._refused(error)
            return folder in self._watches

    def _watch_again(self, folder: str) -> None:
        """A watched folder was removed or replaced: it is made where it is missing, and watched again."""
        with self._lock:
            old = self._watches.pop(folder, None)
        if old is not None and self._observer is not None:
            with suppress(KeyError):
                self._observer.unschedule(old[0])
        if self._watch(folder):
            for path in _files(folder):
                self._appeared(path)

    def _look(self) -> None:
        """A folder that was moved away and made again, or mounted over, gives no event; nor does a file's settling."""
        for turn in count(1):
            if self._stopped.wait(_LOOK):
                return
            for folder in self._folders:
                watched = self._watches.get(folder)
                if watched[1] != _identity(folder) if watched else turn % _PATIENT == 0:
                    self._watch_again(folder)
            for path in self._settling.settled():
                self._created(path)

    def _on_event(self, event: events.FileSystemEvent) -> None:
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if isinstance(event, events.FileClosedEvent):
            self._created(source)
        elif isinstance(event, events.FileMovedEvent):
            self._moved(source, target)
        elif isinstance(event, events.FileDeletedEvent):
            self._tell(source, "removed")
        elif isinstance(event, events.FileCreatedEvent | events.FileModifiedEvent):
            self._changed(source)
        elif isinstance(event, events.DirDeletedEvent):
            if source in self._folders:  # not from this thread: it is the one that would end
                threading.Thread(target=self._watch_again, args=(source,), daemon=True).start()
        elif event.is_directory and (target or not isinstance(event, events.DirMovedEvent)):
            self._folder_appeared(target or source)

    def _moved(self, source: str, target: str) -> None:
        if source:
            self._tell(source, "removed")
        if target and self._closes:
            self._created(target)
        elif target:
            self._settling.touched(target)

    def _changed(self, path: str) -> None:
        if not self._closes:
            self._settling.touched(path)
        elif is_linked(path):  # a hard link is whole at once, and nobody closes it
            self._appeared(path)

    def _created(self, path: str) -> None:
        if is_regular(path):
            self._tell(path, "created")

    def _folder_appeared(self, folder: str) -> None:
        """What was in it before it was watched gave no event; the folders in it are told of one by one."""
        with suppress(OSError), os.scandir(folder) as items:
            for item in items:
                if item.is_file(follow_symlinks=False):
                    self._appeared(item.path)

    def _appeared(self, path: str) -> None:
        if not self._closes:
            self._settling.touched(path)
        elif is_whole(path):
            self._tell(path, "created")

    def _tell(self, path: str, kind: Kind) -> None:
        key = os.path.relpath(path, self._root)
        if not any(segment.startswith(".") for segment in key.split("/")):
            self._on_object(key, kind)

    def _refused(self, error: OSError) -> None:
        """Something cannot be watched: said once."""
        if self._warned or error.errno in (errno.ENOENT, errno.ENOTDIR):  # gone since
            return
        self._warned = True
        limit = _LIMITS.get(error.errno or 0)
        remedy = f" Raise fs.inotify.{limit} (sysctl), or set `folder: {{poll: 10}}`." if limit else ""
        told = "event=folder.unwatched why=%r: files that come there are found by the sweep, later.%s"
        log.warning(told, error.strerror, remedy)

    def _lost(self) -> None:
        """The kernel dropped events: what they would have told of is looked for."""
        now = time.monotonic()
        if now - self._said_lost >= _QUIET:
            self._said_lost = now
            log.warning("event=folder.overflow: more events than the kernel keeps; the whole bucket is looked over.")
        self._on_loss()


if sys.platform == "linux":

    class _Inotify(InotifyFD):
        """Tells what watchdog keeps to itself: folders that it could not watch, and events that the kernel dropped."""

        def __init__(self, on_refused: Callable[[OSError], None], on_overflow: Callable[[], None]) -> None:
            super().__init__()
            self._on_refused = on_refused
            self._on_overflow = on_overflow

        def add_callback(self, *arguments: Any) -> Any:
            try:
                return super().add_callback(*arguments)
            except OSError as error:
                self._on_refused(error)
                raise

        def handle_event(self, event: InotifyEvent) -> None:
            super().handle_event(event)  # after an overflow it watches what is there now
            if event.is_queue_overflow:
                self._on_overflow()

    class _InotifyObserver(BaseObserver):
        """A move from outside is told from a creation."""

        def __init__(self, inotify: _Inotify) -> None:
            super().__init__(InotifyFullEmitter, inotify_fd=inotify)
            self._inotify = inotify
            inotify.start()

        def on_thread_stop(self) -> None:
            super().on_thread_stop()
            self._inotify.stop()
            self._inotify.join()


def _identity(folder: str) -> tuple[int, int]:
    with suppress(OSError):
        status = os.stat(folder)
        return status.st_dev, status.st_ino
    return 0, 0


def _files(folder: str) -> Iterator[str]:
    return (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)


def open_trigger(context: TriggerContext, poll: Any = None) -> FolderTrigger:
    """The trigger of a pipeline whose bucket is a folder. Raises `ConfigError` where it is not."""
    if context.folder is None:
        raise ConfigError("The trigger `folder` needs the embedded store.", remedy="Leave it out of `triggers:`.")
    if poll is None:
        _check_mount(context.folder)
    elif isinstance(poll, bool) or not isinstance(poll, int | float) or not 1 <= poll <= _LONGEST:
        raise ConfigError(
            f"pipeline.yaml: triggers.folder.poll: {poll!r} is not a number of seconds, 1 to {_LONGEST}.",
            remedy="Write for example `- folder: {poll: 10}`.",
        )

    def tell(key: str, kind: Kind) -> None:
        if kind == "created":
            context.closed(key)
        context.notice(ObjectEvent(key, kind, "folder"))

    return FolderTrigger(context.folder, context.prefixes, tell, on_loss=context.sweep, poll=poll)


def _check_mount(folder: Path) -> None:
    told = "event=folder.network at=%r type=%s: what other machines write there is found by the sweep alone."
    if mount := network_mount(folder):
        log.warning(f"{told} Write `- folder: {{poll: 10}}` to look every 10 seconds.", mount.point, mount.kind)
