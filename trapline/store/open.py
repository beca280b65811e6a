"""A store from the settings that S3 tools share: the `AWS_*` variables and profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from trapline.errors import ConfigError
from trapline.store.s3 import S3Settings, S3Store


def settings_from(
    bucket: str,
    environment: Mapping[str, str] = os.environ,
    *,
    endpoint: str | None = None,
    root: str = "",
) -> S3Settings:
    """The usual settings; `endpoint`, if given, goes before the environment's."""
    address = endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None
    host = _host(address) if address else ""
    access, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if bool(access) != bool(secret):
        missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
        raise ConfigError(f"{missing} is not set, though the other half of the key is.", remedy="Set both, or neither.")
    bundle = environment.get("AWS_CA_BUNDLE")
    return S3Settings(
        bucket=bucket,
        endpoint=address,
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1",
        access_key=access,
        secret_key=secret,
        session_token=environment.get("AWS_SESSION_TOKEN"),
        profile=environment.get("AWS_PROFILE"),
        ca_bundle=Path(bundle) if bundle else None,
        root=root,
        path_style=bool(address) and not host.endswith(".amazonaws.com"),
    )


def open_store(settings: S3Settings) -> S3Store:
    """The bucket that the settings name. Nothing is asked of it yet."""
    return S3Store(settings)


def _host(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"The endpoint {address!r} is not an address.", remedy="Set AWS_ENDPOINT_URL to http(s)://host[:port]."
        )
    return parts.hostname
