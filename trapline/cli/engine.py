"""An engine in this process: store, workers, triggers and dispatcher of one project, started and stopped in order."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import IO, Any, TypeVar

from trapline.cli.place import Place, polled, shared
from trapline.cli.seeding import foreign, lacking, seed_models
from trapline.cli.triggers import Triggers
from trapline.cli.unfit import unfit
from trapline.dispatcher.dispatcher import Dispatcher
from trapline.dispatcher.seams import SystemClock, ThreadedStore
from trapline.dispatcher.world import World
from trapline.embedded.rclone import Rclone
from trapline.embedded.store import EmbeddedStore
from trapline.environments.checking import check_environments
from trapline.errors import StoreError, SurroundingsError, TraplineError
from trapline.executors.local import LocalExecutor
from trapline.executors.opening import WorkerConfig
from trapline.pipeline.notices import resolved
from trapline.pipeline.recipe import pipeline_digest
from trapline.runtime.functions import check_importable
from trapline.runtime.messages import WEBHOOK_SECRET
from trapline.store.base import Store
from trapline.store.open import open_store, settings_from

log = logging.getLogger("trapline.engine")

T = TypeVar("T")


class Engine:
    """Serves one project until stopped. `start` raises one-line errors; `failed` ends when the dispatcher does."""

    def __init__(self, place: Place, port: int) -> None:
        self.place = place
        self._port = port
        self._lock: IO[str] | None = None
        self._rclone: Rclone | None = None
        self._store: Store | None = None
        self._threads: ThreadedStore | None = None
        self._triggers: Triggers | None = None
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self.dispatcher: Dispatcher | None = None

    async def start(self) -> None:
        """Bring everything up; returns when the engine takes in events."""
        for stage in self.place.pipeline.stages.values():
            for function in stage.functions.values():
                check_importable(self.place.pipeline.folder, function)
        check_environments(self.place.pipeline)
        for address in self.place.pipeline.spec.notify.to:
            resolved(address)  # what is missing in the environment is said now
        self._take_lock()
        try:
            store, config = await _whole(self._open)
            self._store = store
            await _whole(lambda: seed_models(self.place.pipeline, store))
            for line in await _whole(lambda: lacking(self.place.pipeline, store)):
                log.warning("event=model.missing why=%s", line)
            await self._dispatch(store, config)
            self._looking = asyncio.create_task(self._tell_unfit(store, config))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take everything down, once. What was under way is found again in the bucket at the next start."""
        if self._triggers is not None:
            await self._triggers.stop()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if self.dispatcher is not None:
                with contextlib.suppress(StoreError, SurroundingsError):
                    await self.dispatcher.stop_cleanly()
        await self._close()
        self._release_lock()

    async def _close(self) -> None:
        store, threads, rclone = self._store, self._threads, self._rclone
        self._store = self._threads = self._rclone = None
        if isinstance(store, EmbeddedStore):
            await asyncio.to_thread(store.close)
        if threads is not None:
            threads.close()
        if rclone is not None:
            await asyncio.to_thread(rclone.stop)

    async def failed(self) -> None:
        """Waits for as long as the dispatcher works; raises what ended it."""
        if self._task is not None:
            await self._task

    def describe(self) -> dict[str, Any]:
        """What a client has to know, as `up --json` prints it."""
        told: dict[str, Any] = {"bucket": self.place.bucket, "data": str(self.place.data), "pid": os.getpid()}
        if self._triggers is not None and self._triggers.addresses:
            told["triggers"] = self._triggers.addresses
        if self._rclone is None:
            return {"endpoint": self.place.endpoint, "access_key": None, "secret_key": None, **told}
        endpoint = self._rclone.endpoint
        keys = endpoint.credentials
        return {"endpoint": endpoint.url, "access_key": keys.access_key, "secret_key": keys.secret_key, **told}

    # -- one by one

    def _take_lock(self) -> None:
        """One engine a data folder: the second exits naming the first's pid."""
        path = self.place.data / "engine" / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = path.open("a+")
        except OSError as error:
            raise SurroundingsError(
                f"The data folder {self.place.data} cannot be written to: {error.strerror}.",
                remedy="Make it writable, or name another with --data.",
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            pid = self._lock.read().strip() or "unknown"
            self._lock.close()
            self._lock = None
            raise SurroundingsError(
                f"An engine already serves {self.place.data} (pid {pid}).",
                remedy="Use that one, stop it, or name another data folder with --data.",
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _release_lock(self) -> None:
        if self._lock is not None:
            (self.place.data / "engine" / "serving.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _open(self) -> tuple[Store, WorkerConfig]:
        place, threads = self.place, self.place.pipeline.spec.local.threads
        cache = place.data / "engine" / "models"
        if place.endpoint is not None:
            store: Store = open_store(settings_from(place.bucket, endpoint=place.endpoint))
            next(iter(store.list(place.layout.prefix("control"))), None)  # wrong credentials or no bucket: said now
            config = WorkerConfig(
                project=place.pipeline.folder,
                cache=cache,
                store="s3",
                bucket=place.bucket,
                endpoint=place.endpoint,
                threads=threads,
            )
            return store, config
        refuse_linked_folders(place.data / "buckets")
        self._rclone = Rclone(place.data, port=self._port)
        self._rclone.start()
        _webhook_secret(place.data / "engine" / "webhook-secret")
        embedded = self._rclone.bucket(place.bucket, shared=shared(place.layout))
        embedded = replace(embedded, polled=polled(place.layout))
        store = EmbeddedStore(embedded)
        store.clear_scratch()
        for name in ("incoming", "jobs"):
            (embedded.root / place.layout.prefix(name)).mkdir(parents=True, exist_ok=True)
        return store, WorkerConfig(
            project=place.pipeline.folder,
            cache=cache,
            store="embedded",
            bucket=place.bucket,
            data=place.data,
            control=embedded.control,
            shared=embedded.shared,
            polled=embedded.polled,
            threads=threads,
        )

    async def _dispatch(self, store: Store, config: WorkerConfig) -> None:
        self._threads = ThreadedStore(store)
        executor = LocalExecutor(self.place.pipeline, config)
        alone = config.store == "embedded"  # the lock on the data folder is one on the bucket, too
        world = World(self.place.pipeline, self._threads, executor, SystemClock(), Random(), alone=alone)
        self.dispatcher = Dispatcher(world)
        self._triggers = Triggers(self.place, store, self.dispatcher)
        self._triggers.start()
        self._task = asyncio.create_task(self.dispatcher.run())
        ready = asyncio.create_task(self.dispatcher.ready.wait())
        await asyncio.wait([self._task, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            await self._task
        self._write_down()

    async def _tell_unfit(self, store: Store, config: WorkerConfig) -> None:
        """Say which models in the bucket cannot be used; what needs none of them goes on."""
        try:
            models = await _whole(lambda: foreign(self.place.pipeline, store))
            async for line in unfit(models, config):
                log.warning("event=model.unfit why=%s", line)
        except (TraplineError, OSError) as error:
            log.warning("event=model.not_looked_at why=%s", error)

    def _write_down(self) -> None:
        told = {key: value for key, value in self.describe().items() if key != "secret_key"}
        told["pipeline"] = pipeline_digest(self.place.pipeline)
        (self.place.data / "engine" / "serving.json").write_text(json.dumps(told))


async def _whole(work: Callable[[], T]) -> T:
    """Run in a thread, to its end even when cancelled: what it starts must be known before it can be stopped."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def refuse_linked_folders(buckets: Path) -> None:
    """Raise where a folder of a bucket is a symbolic link: over S3 it would lead out of the data folder."""
    left = [buckets]
    while left:  # `os.walk` recurses in Python 3.11: a thousand nested folders would end it
        try:
            items = list(os.scandir(left.pop()))
        except OSError:
            continue  # gone since, or deeper than a path can say
        left += [Path(item.path) for item in items if item.is_dir(follow_symlinks=False)]
        for item in items:
            path = Path(item.path)
            if item.is_symlink() and item.is_dir():
                raise SurroundingsError(
                    f"{path} is a symbolic link to a folder; it would lead clients out of the bucket.",
                    remedy="Copy the files themselves, and remove the link.",
                )


def _webhook_secret(path: Path) -> None:
    """The key that callbacks are signed with: from the environment, or made at first use and kept."""
    if os.environ.get(WEBHOOK_SECRET):
        return
    if not path.is_file():
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write("whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())
    os.environ[WEBHOOK_SECRET] = path.read_text().strip()
