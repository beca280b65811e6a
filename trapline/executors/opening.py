"""How a worker process opens the project and its store: a description that travels as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from trapline.embedded import signing
from trapline.embedded.store import EmbeddedConfig, EmbeddedStore
from trapline.pipeline.load import load_pipeline
from trapline.records import Frozen
from trapline.runtime.runtime import Runtime
from trapline.store.base import Store
from trapline.store.open import open_store, settings_from
from trapline.store.s3 import S3Store


class WorkerConfig(Frozen):
    """Everything a worker has to know. No credential: those come from the environment."""

    project: Path
    cache: Path  # models, by hash
    store: Literal["embedded", "s3"]
    bucket: str
    data: Path | None = None  # embedded: the data folder
    control: Path | None = None  # embedded: rclone's remote control
    shared: tuple[str, ...] = ()  # embedded: prefixes that other programs write to
    polled: tuple[str, ...] = ("",)  # embedded: prefixes that clients read
    endpoint: str | None = None  # s3: where it is, if not in the environment
    threads: int = 1  # per ONNX session
    cache_bytes: int = 256 * 2**20


def open_configured(config: WorkerConfig, bucket: str | None = None) -> Store:
    """The pipeline's store, or another bucket of the same endpoint."""
    name = bucket or config.bucket
    if config.store == "embedded" and config.data is not None and config.control is not None:
        return EmbeddedStore(EmbeddedConfig(config.data, name, config.control, *_prefixes(config, name)))
    return open_store(settings_from(name, endpoint=config.endpoint))


def _prefixes(config: WorkerConfig, bucket: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (config.shared, config.polled) if bucket == config.bucket else ((), ("",))


def signer(config: WorkerConfig, store: Store) -> Callable[[str, float], str]:
    """What makes presigned addresses: (key, seconds) → URL."""

    def sign(key: str, seconds: float) -> str:
        data = config.data if config.store == "embedded" else None
        through = store if isinstance(store, S3Store) else signing.client(data or Path(), config.bucket)
        return through.sign(key, seconds)

    return sign


def open_runtime(config: WorkerConfig, store: Store, on_ready: Callable[[], None]) -> Runtime:
    """A worker's runtime."""
    pipeline = load_pipeline(config.project)
    return Runtime(
        pipeline,
        store,
        config.cache,
        other=lambda bucket: open_configured(config, bucket),
        cache_bytes=config.cache_bytes,
        on_ready=on_ready,
        sign=signer(config, store),
    )
