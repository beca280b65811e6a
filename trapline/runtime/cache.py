"""What a worker keeps between tickets: image bytes for the next stage, records it just wrote, models."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.errors import ConfigError, NotFound, Temporary
from trapline.keys import Layout
from trapline.records import ImageRecord, ModelRef
from trapline.registry import CARD
from trapline.store.base import Store

if TYPE_CHECKING:
    from trapline.images import Image
    from trapline.models import Model


@dataclass
class Bytes:
    """An image's bytes with what is known about them; `decoded` is kept for the next stage."""

    data: bytes
    etag: str
    sha256: str
    decoded: Image | None = None


class ByteCache:
    """Image bytes by key, bounded; safe for a reader thread beside the worker's own."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[str, Bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def read(self, store: Store, key: str, etag: str) -> Bytes:
        """The bytes now under a key, from memory when they are those of `etag`. Raises `NotFound`."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.etag == etag:
                self._held.move_to_end(key)
                return held
        got = store.get(key)
        fresh = Bytes(got.data, got.entry.etag, hashlib.sha256(got.data).hexdigest())
        self._keep(key, fresh)
        return fresh

    def drop(self, key: str) -> None:
        """Forget one key."""
        with self._lock:
            held = self._held.pop(key, None)
            self._size -= len(held.data) if held else 0

    def _keep(self, key: str, fresh: Bytes) -> None:
        self.drop(key)
        with self._lock:
            self._held[key] = fresh
            self._size += len(fresh.data)
            while self._size > self._most and len(self._held) > 1:
                _, old = self._held.popitem(last=False)
                self._size -= len(old.data)


class RecordCache:
    """The newest records this worker wrote, so that the next stage need not read them again."""

    def __init__(self, most: int = 512) -> None:
        self._most = most
        self._held: OrderedDict[tuple[str, str], ImageRecord] = OrderedDict()

    def keep(self, stage: str, rel: str, record: ImageRecord) -> None:
        self._held[(stage, rel)] = record
        while len(self._held) > self._most:
            self._held.popitem(last=False)

    def get(self, stage: str, rel: str) -> ImageRecord | None:
        return self._held.get((stage, rel))

    def drop(self, stage: str, rel: str) -> None:
        self._held.pop((stage, rel), None)


class ModelCache:
    """Models on this machine's disk and in this process. Nothing is kept that is not what its card says."""

    def __init__(self, store: Store, layout: Layout, folder: Path) -> None:
        self._store = store
        self._layout = layout
        self._folder = folder
        self._loaded: dict[tuple[ModelRef, bytes], Model] = {}  # by the card too: a wrong one may be mended in place

    def load(self, ref: ModelRef) -> Model:
        """The model, downloaded at most once per machine. Raises `Temporary` (`model_unusable`) or `ConfigError`."""
        card = self._get(ref, CARD)
        if (ref, card) not in self._loaded:
            from trapline.models import Model  # noqa: PLC0415 - onnxruntime is loaded by the stages that use a model alone

            self._loaded[(ref, card)] = Model.load(self._local(ref, card))
        return self._loaded[(ref, card)]

    def _local(self, ref: ModelRef, card: bytes) -> Path:
        # Nothing that a card says is part of the folder's name: a hash may hold `/..`.
        digest = hashlib.sha256(f"{ref.version} {ref.sha256} ".encode() + card).hexdigest()
        folder = self._folder / f"{ref.name}-{digest[:32]}"
        if not folder.is_dir():
            self._download(ref, card, folder)
        return folder

    def _download(self, ref: ModelRef, card: bytes, folder: Path) -> None:
        from trapline.models import Model, read_card  # noqa: PLC0415 - as above

        said = read_card(card, key := self._layout.model(ref.name, ref.version, CARD))
        if said.sha256 != ref.sha256:
            raise ConfigError(
                f"{key}: sha256: it names {said.sha256[:12]}…, and the job is to be run with {ref.sha256[:12]}…; "
                "a version's files never change.",
                remedy="Put its card and file back, and add the new ones as a version of their own.",
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=self._folder, prefix=".part-"))
        try:
            (part / CARD).write_bytes(card)
            (part / said.file).write_bytes(self._get(ref, said.file))
            Model.load(part)  # a file that is not whole is not kept, so that the next try reads it again
            os.replace(part, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another worker was first
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _get(self, ref: ModelRef, file: str) -> bytes:
        try:
            return self._store.get(self._layout.model(ref.name, ref.version, file)).data
        except NotFound as error:
            raise Temporary(f"Model {ref.name} {ref.version}: {error}", code="model_unusable") from None
