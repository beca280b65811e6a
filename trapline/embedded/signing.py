"""Presigned addresses of objects behind the embedded endpoint, for a process that knows the data folder alone."""

from __future__ import annotations

import json
from pathlib import Path

from trapline.embedded.credentials import credentials
from trapline.errors import StoreUnavailable
from trapline.store.open import open_store
from trapline.store.s3 import S3Settings, S3Store


def client(data: Path, bucket: str) -> S3Store:
    """A client of the endpoint that serves a data folder. Raises `StoreUnavailable` where none does."""
    try:
        endpoint = str(json.loads((data / "engine" / "serving.json").read_text())["endpoint"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreUnavailable(f"No engine serves {data}.", remedy="Start one with `trapline up`.") from None
    keys = credentials(data / "engine" / "credentials.json")
    return open_store(
        S3Settings(bucket=bucket, endpoint=endpoint, access_key=keys.access_key, secret_key=keys.secret_key)
    )
