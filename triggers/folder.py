"""Hints from a folder of this machine: a file is whole (closed after writing, or moved in), or is gone."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, ObservedWatch

from trapline.errors import ConfigError
from trapline.events import ObjectEvent, TriggerContext

if sys.platform == "linux":
    from watchdog.observers.inotify import InotifyObserver
else:
    from watchdog.observers import Observer

Kind = Literal["created", "removed"]

_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")

log = logging.getLogger(__name__)


class FolderTrigger:
    """Watches prefixes of a bucket folder, and all folders in them.

    `on_object(key, kind)` is called from the trigger's own threads and must not raise. `created` says that the
    file's writer is done with it. Dotfiles, unfinished uploads of rclone among them, are not told of.
    """

    def __init__(self, root: Path, prefixes: Iterable[str], on_object: Callable[[str, Kind], None]) -> None:
        self._root = os.fspath(root)
        self._folders = {os.path.join(self._root, prefix.rstrip("/")) for prefix in prefixes}
        self._on_object = on_object
        self._observer = _observer()
        self._watches: dict[str, ObservedWatch] = {}
        self._handler = _Handler(self._on_event)
        self._lock = threading.Lock()
        self._stopped = False
        self._warned = False

    def start(self) -> None:
        """Returns once everything is watched. What cannot be watched is told of once, and left to the sweep."""
        # watchdog meets a folder twice when it is made while its parent is read, and prints all it watches each time.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        self._observer.start()
        for folder in self._folders:
            self._watch(folder)
        self._check_limit()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        self._observer.stop()
        self._observer.join(5)

    def _watch(self, folder: str) -> None:
        with self._lock:
            if self._stopped:
                return
            try:
                os.makedirs(folder, exist_ok=True)
                self._watches[folder] = self._observer.schedule(
                    self._handler, folder, recursive=True, event_filter=_EVENTS
                )
            except OSError as error:
                self._warn(error)

    def _watch_again(self, folder: str) -> None:
        """A watched folder was removed, for being empty as likely as not: it is made and watched again."""
        with self._lock:
            old = self._watches.pop(folder, None)
        if old is not None:
            self._observer.unschedule(old)
        self._watch(folder)
        self._tell_files(folder)

    def _on_event(self, event: FileSystemEvent) -> None:
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if isinstance(event, FileClosedEvent):
            self._created(source)
        elif isinstance(event, FileMovedEvent):
            self._moved(source, target)
        elif isinstance(event, FileDeletedEvent):
            self._tell(source, "removed")
        elif isinstance(event, DirDeletedEvent):
            if source in self._folders:  # not from this thread: it is the one that would end
                threading.Thread(target=self._watch_again, args=(source,), daemon=True).start()
        elif event.is_directory and (target or not isinstance(event, DirMovedEvent)):
            self._check_limit()
            self._tell_files(target or source)

    def _moved(self, source: str, target: str) -> None:
        if source:
            self._tell(source, "removed")
        if target:
            self._created(target)

    def _created(self, path: str) -> None:
        if _is_regular(path):
            self._tell(path, "created")

    def _tell_files(self, folder: str) -> None:
        """A folder appeared: what was in it before it was watched gave no event."""
        for path in _files(folder):
            if _is_whole(path):
                self._tell(path, "created")

    def _tell(self, path: str, kind: Kind) -> None:
        key = os.path.relpath(path, self._root)
        if not any(segment.startswith(".") for segment in key.split("/")):
            self._on_object(key, kind)

    def _check_limit(self) -> None:
        """Folders beyond the kernel's limit are left out in silence by watchdog."""
        if self._warned or sys.platform != "linux" or not _LIMIT.exists():
            return
        limit = int(_LIMIT.read_text())
        for count, _ in enumerate(_folders(self._folders), start=1):
            if count >= limit:
                self._warn(OSError(errno.ENOSPC, "inotify watch limit reached"))
                return

    def _warn(self, error: OSError) -> None:
        if self._warned:
            return
        self._warned = True
        remedy = "Raise fs.inotify.max_user_watches (sysctl)" if error.errno in (errno.ENOSPC, errno.EMFILE) else ""
        log.warning(
            "Some folders cannot be watched (%s): new files there are found by the sweep, later. %s",
            error.strerror,
            remedy,
            extra={"event": "folder.unwatched"},
        )


class _Handler(FileSystemEventHandler):
    def __init__(self, on_event: Callable[[FileSystemEvent], None]) -> None:
        self._on_event = on_event

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._on_event(event)


def _observer() -> BaseObserver:
    if sys.platform == "linux":
        return InotifyObserver(generate_full_events=True)  # a move from outside is told from a creation
    else:  # noqa: RET505 - mypy leaves out the branch of another platform only so
        return Observer()


def _files(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(parent, name)


def _folders(roots: Iterable[str]) -> Iterator[str]:
    for root in roots:
        for parent, _, _ in os.walk(root):
            yield parent


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_whole(path: str) -> bool:
    """Whether nobody has this file open for writing; where that cannot be told, no. Its closing is told of anyway."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if sys.platform != "linux" or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # refused while there is a writer
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def open_trigger(context: TriggerContext) -> FolderTrigger:
    """The trigger of a pipeline whose bucket is a folder. Raises `ConfigError` where it is not."""
    if context.folder is None:
        raise ConfigError("The trigger `folder` needs the embedded store.", remedy="Leave it out of `triggers:`.")

    def tell(key: str, kind: Kind) -> None:
        if kind == "created":
            context.closed(key)
        context.notice(ObjectEvent(key, kind, "folder"))

    return FolderTrigger(context.folder, context.prefixes, tell)
