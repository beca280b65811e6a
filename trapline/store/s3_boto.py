"""What boto3 does for `S3Store`: finding credentials, and listing keys that obstore cannot address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.auth.boto3 import Boto3CredentialProvider

from trapline.errors import ConfigError
from trapline.store.s3 import CONNECT, READ, S3Settings
from trapline.store.s3_errors import meaning

PAGE = 1000


class Lister:
    """One page of a listing at a time, every key as the store words it."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client = client("s3", settings)

    def page(self, prefix: str, options: dict[str, Any]) -> Any:
        try:
            return self._client.list_objects_v2(Bucket=self._settings.bucket, Prefix=prefix, MaxKeys=PAGE, **options)
        except (BotoCoreError, ClientError) as error:
            raise meaning(error, prefix, self._settings) from error


def provider(settings: S3Settings) -> Boto3CredentialProvider:
    """Credentials of a profile, a role or a container, renewed when they run out."""
    try:
        return Boto3CredentialProvider(_session(settings))
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"There are no credentials for {settings.place}.",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
        ) from error


def client(service: str, settings: S3Settings) -> Any:
    """A client of boto3, for `s3` or another service at the same address."""
    config = Config(
        connect_timeout=CONNECT,
        read_timeout=READ,
        retries={"max_attempts": 3, "mode": "standard"},
        s3={"addressing_style": "path" if settings.path_style else "virtual"},
    )
    verify = str(settings.ca_bundle) if settings.ca_bundle else None
    session: Any = _session(settings)
    return session.client(service, endpoint_url=_address(service, settings), config=config, verify=verify)


def credentials(settings: S3Settings) -> Any:
    """The keys to sign a request with that boto3 has no call for."""
    return _session(settings).get_credentials()


def is_aws(settings: S3Settings) -> bool:
    """Whether the endpoint is AWS' own."""
    host = urlsplit(settings.endpoint or "https://s3.amazonaws.com").hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _address(service: str, settings: S3Settings) -> str | None:
    """AWS has an address for each service; other stores answer for all at one."""
    return None if service != "s3" and is_aws(settings) else settings.endpoint


def _session(settings: S3Settings) -> Session:
    if settings.access_key:
        return boto3.session.Session(
            settings.access_key, settings.secret_key, settings.session_token, region_name=settings.region
        )
    return boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
