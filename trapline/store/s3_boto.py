"""What boto3 does for `S3Store`: finding credentials, and listing keys that obstore cannot address."""

from __future__ import annotations

from typing import Any

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
        self._client = _client(settings)

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


def _client(settings: S3Settings) -> Any:
    config = Config(
        connect_timeout=CONNECT,
        read_timeout=READ,
        retries={"max_attempts": 3, "mode": "standard"},
        s3={"addressing_style": "path" if settings.path_style else "virtual"},
    )
    verify = str(settings.ca_bundle) if settings.ca_bundle else None
    return _session(settings).client("s3", endpoint_url=settings.endpoint, config=config, verify=verify)


def _session(settings: S3Settings) -> Session:
    if settings.access_key:
        return boto3.session.Session(
            settings.access_key, settings.secret_key, settings.session_token, region_name=settings.region
        )
    return boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
