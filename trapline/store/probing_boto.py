"""What boto3 tells about a bucket and the way to it: whose keys, how the clocks differ, whether versions are kept."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from trapline.store.keys_boto import found_keys
from trapline.store.s3 import S3Settings
from trapline.store.s3_boto import FAILURES, boto_meaning, client


class Probe:
    """Questions that change nothing. Errors as of a store, already where there are no keys to ask with."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._s3 = client("s3", settings)

    def keys(self) -> str:
        """Where the credentials come from, in boto3's word: `env`, `iam-role`, `shared-credentials-file` …"""
        if self._settings.access_key:
            return "env"
        return str(found_keys(self._settings).method)

    def clock(self, prefix: str) -> float | None:
        """Lists one key; returns by how many seconds this machine's clock is ahead of the store's."""
        try:
            answer = self._s3.list_objects_v2(Bucket=self._settings.bucket, Prefix=prefix, MaxKeys=1)
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            return time.time() - parsedate_to_datetime(date).timestamp() if date else None
        except FAILURES as error:
            raise boto_meaning(error, prefix, self._settings) from error
        except ValueError:  # a date that is none
            return None

    def versioned(self) -> bool | None:
        """Whether the bucket keeps versions; None where the store does not say."""
        try:
            found = self._s3.get_bucket_versioning(Bucket=self._settings.bucket)
        except FAILURES:
            return None
        return bool(found.get("Status") == "Enabled")
