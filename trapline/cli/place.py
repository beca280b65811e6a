"""Which project, which store: what every command needs to know first."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trapline.embedded.credentials import credentials
from trapline.errors import ConfigError, SurroundingsError
from trapline.keys import Layout
from trapline.pipeline.load import Pipeline, load_pipeline
from trapline.pipeline.spec import BucketName
from trapline.store.base import Store
from trapline.store.folder import FolderStore
from trapline.store.open import open_store, settings_from
from trapline.store.s3 import S3Settings, S3Store

SHARED = ("incoming", "jobs", "control/requests")  # what other programs than the engine write to


@dataclass(frozen=True)
class Place:
    """A project and where its bucket is: an outside S3 store, or the embedded one in `data`."""

    pipeline: Pipeline
    data: Path
    bucket: str
    endpoint: str | None  # None: the embedded store

    @property
    def layout(self) -> Layout:
        return self.pipeline.layout

    @property
    def folder(self) -> Path:
        """The embedded bucket's own folder."""
        return self.data / "buckets" / self.bucket

    @property
    def keys_file(self) -> Path:
        """Where the embedded store's keys are kept."""
        return self.data / "engine" / "credentials.json"

    def store(self) -> Store:
        """The bucket, for reading and for the small writes of commands."""
        if self.endpoint is not None:
            return open_store(settings_from(self.bucket, endpoint=self.endpoint))
        if not self.folder.is_dir():
            raise SurroundingsError(
                f"There is no bucket {self.bucket!r} in {self.data}.",
                remedy="Start the engine with `trapline up` in the project's folder, or name another with --data.",
            )
        scratch = self.data / "engine" / "scratch"
        return FolderStore(self.folder, scratch, shared=shared(self.layout))

    def s3(self) -> S3Settings:
        """How a client reaches the bucket over S3. Raises `SurroundingsError` when no engine serves it."""
        if self.endpoint is not None:
            return settings_from(self.bucket, endpoint=self.endpoint)
        served = self.served()
        if served is None:
            raise SurroundingsError(
                f"No engine serves {self.data}.", remedy="Start one with `trapline up`, in another terminal."
            )
        keys = credentials(self.keys_file)
        return S3Settings(
            bucket=self.bucket,
            endpoint=served["endpoint"],
            region="us-east-1",
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            path_style=True,
        )

    def served(self) -> dict[str, Any] | None:
        """What the engine on this data folder wrote down about itself; None when none runs."""
        try:
            told: dict[str, Any] = json.loads((self.data / "engine" / "serving.json").read_text())
            os.kill(int(told["pid"]), 0)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return told


def s3_client(place: Place) -> S3Store:
    """A client of the bucket over S3. Raises `SurroundingsError` when no engine serves it."""
    return open_store(place.s3())


def writer(place: Place) -> Store:
    """For the small writes of commands: over S3 where that is served, so that S3 clients see them at once."""
    return s3_client(place) if place.endpoint is None and place.served() is not None else place.store()


def shared(layout: Layout) -> tuple[str, ...]:
    """The prefixes of a folder that programs other than the engine write to."""
    return tuple(f"{layout.root}{prefix}".rstrip("/") for prefix in (layout.incoming, layout.jobs, layout.labels))


def polled(layout: Layout) -> tuple[str, ...]:
    """The prefixes that clients read while the engine writes: all but the engine's own."""
    names = ("incoming", "jobs", "results", "receipts", "status", "failed", "files", "models", *layout.records)
    return tuple(layout.prefix(name) for name in names)


def find_place(project: Path, data: Path | None, bucket: str | None, endpoint: str | None) -> Place:
    """The place that the options and the environment name. Raises `ConfigError`."""
    pipeline = load_pipeline(project)
    chosen = bucket or os.environ.get("TRAPLINE_BUCKET") or pipeline.spec.bucket
    if chosen != pipeline.spec.bucket:
        spec = pipeline.spec.model_copy(update={"bucket": _bucket(chosen)})
        pipeline = Pipeline(pipeline.folder, spec, pipeline.stages)
    outside = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    folder = data or Path(os.environ.get("TRAPLINE_DATA", "trapline-data"))
    return Place(pipeline, _absolute(folder), chosen, outside or None)


def embedded_place(project: Path, data: Path) -> Place:
    """The embedded store of a project in a data folder, whatever the environment says. Raises `ConfigError`."""
    pipeline = load_pipeline(project)
    return Place(pipeline, _absolute(data), pipeline.spec.bucket, None)


def _bucket(name: str) -> str:
    try:
        return TypeAdapter(BucketName).validate_python(name)
    except ValidationError:
        raise ConfigError(
            f"{name!r} is not a bucket's name.",
            remedy="Give --bucket (or TRAPLINE_BUCKET) 3 to 63 lower-case letters, digits, dots or hyphens.",
        ) from None


def _absolute(folder: Path) -> Path:
    return Path.cwd() / folder.expanduser()
