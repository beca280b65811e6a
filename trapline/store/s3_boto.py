"""Clients of boto3, and what one does for `S3Store`: listing keys that obstore cannot address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from trapline.store.keys_boto import keys_wrong, session
from trapline.store.s3 import CONNECT, READ, S3Settings
from trapline.store.s3_errors import meaning

PAGE = 1000
FAILURES = (BotoCoreError, ClientError, OSError)  # what a call may raise; the last from reading a file of keys


class Lister:
    """One page of a listing at a time, every key as the store words it."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client: Any = None

    def page(self, prefix: str, options: dict[str, Any]) -> Any:
        client_ = self._client or client("s3", self._settings)
        self._client = None  # after a failure another is made: its keys may have been renewed in their file
        try:
            page = client_.list_objects_v2(Bucket=self._settings.bucket, Prefix=prefix, MaxKeys=PAGE, **options)
        except FAILURES as error:
            raise boto_meaning(error, prefix, self._settings) from error
        self._client = client_
        return page


def client(service: str, settings: S3Settings) -> Any:
    """A client of boto3, for `s3` or another service at the same address."""
    config = Config(
        connect_timeout=CONNECT,
        read_timeout=READ,
        retries={"max_attempts": 3, "mode": "standard"},
        s3={"addressing_style": "path" if settings.path_style else "virtual"},
    )
    verify = str(settings.ca_bundle) if settings.ca_bundle else None
    made: Any = session(settings)
    return made.client(service, endpoint_url=_address(service, settings), config=config, verify=verify)


def boto_meaning(error: Exception, key: str, settings: S3Settings) -> Exception:
    """The error to raise for what boto3 raised: about the keys themselves, or as of a store."""
    return keys_wrong(error, settings.place) or meaning(error, key, settings)


def is_aws(settings: S3Settings) -> bool:
    """Whether the endpoint is AWS' own."""
    host = urlsplit(settings.endpoint or "https://s3.amazonaws.com").hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _address(service: str, settings: S3Settings) -> str | None:
    """AWS has an address for each service; other stores answer for all at one."""
    return None if service != "s3" and is_aws(settings) else settings.endpoint
