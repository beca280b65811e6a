"""What triggers ask of the store: messages put aside, manifests put in. In a thread of its own, so that none waits."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import islice

from trapline.errors import KeyUnusable, StoreError, SurroundingsError
from trapline.keys import Layout
from trapline.store.base import Store

MOST = 1000  # messages kept in quarantine; more are counted in the log
LOOK_AGAIN = 10.0  # seconds until the quarantine is looked at again: somebody may have emptied it
LONGEST = 64 * 1024  # bytes kept of a message
AGAIN = (5.0, 60.0, 600.0)  # seconds until an object is tried again that could not be stored
WAITING = 200  # writes under way; more are dropped, with a line in the log

log = logging.getLogger("trapline.engine")


class Aside:
    """Writes for triggers. `quarantine` and `put` return at once, from any thread. `stored` is told of what was put."""

    def __init__(self, store: Store, layout: Layout, stored: Callable[[str], None]) -> None:
        self._store = store
        self._layout = layout
        self._stored = stored
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._room = threading.BoundedSemaphore(WAITING)
        self._kept: set[str] | None = None  # keys in quarantine as they were listed, and those written since
        self._looked = 0.0  # when they were listed, in monotonic seconds

    def close(self) -> None:
        """What waits is dropped, what is being written is finished."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def put(self, key: str, data: bytes) -> None:
        """Store an object. What fails is tried again a few times."""
        self._later(key, lambda: self._put(key, data, AGAIN))

    def quarantine(self, message: bytes, why: str, trigger: str) -> None:
        """Keep a message that nobody can read, once, with the reason. At most `MOST` of them, each cut to `LONGEST`."""
        key = self._layout.quarantined_event(hashlib.sha256(message).hexdigest()[:32])
        told = {
            "type": "trapline.quarantine",
            "schema": 1,
            "trigger": trigger,
            "why": why,
            "size": len(message),
            "message": message[:LONGEST].decode("utf-8", "replace"),
            "at": datetime.now(UTC).isoformat(),
        }
        self._later(key, lambda: self._keep(key, json.dumps(told, ensure_ascii=False).encode()))

    def _put(self, key: str, data: bytes, waits: tuple[float, ...]) -> None:
        try:
            self._store.put(key, data)
        except (StoreError, SurroundingsError) as error:
            if not waits:
                raise
            log.warning("event=aside.again key=%r seconds=%g error=%s", key, waits[0], error)
            again = partial(self._put, key, data, waits[1:])
            timer = threading.Timer(waits[0], self._later, (key, again))
            timer.daemon = True
            timer.start()
        else:
            self._stored(key)

    def _keep(self, key: str, data: bytes) -> None:
        folder = self._layout.quarantined_event("").removesuffix(".json")
        kept = self._known(key, folder)
        if key in kept:
            return
        if len(kept) >= MOST:
            log.warning("event=quarantine.full key=%s kept=%d: delete what is under %s to see more", key, MOST, folder)
            return
        self._store.put(key, data, content_type="application/json")
        kept.add(key)

    def _known(self, key: str, folder: str) -> set[str]:
        """What is kept. Where that would leave no room for the key, it is listed again: it may have been deleted."""
        kept, now = self._kept, time.monotonic()
        if kept is None or ((key in kept or len(kept) >= MOST) and now - self._looked >= LOOK_AGAIN):
            kept = self._kept = {entry.key for entry in islice(self._store.list(folder), MOST)}
            self._looked = now
        return kept

    def _later(self, key: str, work: Callable[[], object]) -> None:
        if not self._room.acquire(blocking=False):
            log.warning("event=aside.busy key=%r", key)
            return

        def run() -> None:
            try:
                work()
            except (StoreError, KeyUnusable, SurroundingsError) as error:
                log.warning("event=aside.not_written key=%r error=%s", key, error)
            finally:
                self._room.release()

        try:
            self._thread.submit(run).add_done_callback(lambda done: self._room.release() if done.cancelled() else None)
        except RuntimeError:  # closed meanwhile
            self._room.release()
