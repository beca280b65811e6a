"""A store from the settings that S3 tools share: the `AWS_*` variables and the profile."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from trapline.errors import ConfigError
from trapline.store.profile import Profile, profile_name, read_profile
from trapline.store.s3 import S3Settings, S3Store

_AT_AWS = re.compile(r"s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?")  # its region


def settings_from(
    bucket: str,
    environment: Mapping[str, str] = os.environ,
    *,
    endpoint: str | None = None,
    root: str = "",
) -> S3Settings:
    """The usual settings; `endpoint`, if given, goes before the environment's. Raises `ConfigError`."""
    address = endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None
    host = _host(address) if address else ""
    access, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if bool(access) != bool(secret):
        missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
        raise ConfigError(f"{missing} is not set, though the other half of the key is.", remedy="Set both, or neither.")
    profile = read_profile(environment)
    return S3Settings(
        bucket=bucket,
        endpoint=address,
        region=_region(environment, profile, host),
        access_key=access,
        secret_key=secret,
        session_token=environment.get("AWS_SESSION_TOKEN"),
        profile=profile_name(environment),
        ca_bundle=_bundle(environment, profile),
        root=root,
        path_style=_by_path(bucket, host, profile.addressing),
    )


def open_store(settings: S3Settings) -> S3Store:
    """The bucket that the settings name. Nothing is asked of it yet."""
    return S3Store(settings)


def checked_bundle(path: Path, where: str) -> Path:
    """A file of certificates that can be used. Raises `ConfigError`, which says where it was named."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        why = "holds no certificates"
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    else:
        return path
    raise ConfigError(f"The CA bundle {path} {why}.", remedy=f"Set {where} to a PEM file with the authority's.")


def _bundle(environment: Mapping[str, str], profile: Profile) -> Path | None:
    if named := environment.get("AWS_CA_BUNDLE"):
        return checked_bundle(Path(named).expanduser(), "AWS_CA_BUNDLE")
    if profile.ca_bundle:
        return checked_bundle(Path(profile.ca_bundle).expanduser(), "`ca_bundle` of the profile")
    return None


def _region(environment: Mapping[str, str], profile: Profile, host: str) -> str:
    named = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or profile.region
    at_aws = _AT_AWS.fullmatch(host)
    return named or (at_aws[1] if at_aws else "us-east-1")


def _by_path(bucket: str, host: str, addressing: str) -> bool:
    """Whether the bucket stands in the path: at every store but AWS, unless the profile says otherwise."""
    if addressing in ("path", "virtual"):
        return addressing == "path"
    at_aws = not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return not at_aws or "." in bucket  # no certificate of AWS fits a bucket with dots


def _host(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"The endpoint {address!r} is not an address.", remedy="Set AWS_ENDPOINT_URL to http(s)://host[:port]."
        )
    return parts.hostname
