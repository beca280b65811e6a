"""Keys as boto3 finds them, wherever it looks, renewed before they end; and what it means when it finds none."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from boto3.session import Session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    CredentialRetrievalError,
    InfiniteLoopConfigError,
    InvalidConfigError,
    LoginError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from trapline.errors import ConfigError, StoreDenied, StoreUnavailable, TraplineError
from trapline.store.profile import files, no_profile

if TYPE_CHECKING:
    from obstore.store import S3Credential

    from trapline.store.s3 import S3Settings

ASK = timedelta(seconds=5)  # how often obstore asks again whether its keys still hold
_SURE = timedelta(seconds=300)  # obstore takes keys for ended so long before they are

_NO_KEYS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run it where a role is given to the machine."
)
_ISSUERS = re.compile(r"AssumeRole\w*|GetRoleCredentials|CreateToken\w*|GetCallerIdentity")
_PASSING = frozenset(("Throttling", "ThrottlingException", "TooManyRequestsException", "IDPCommunicationError"))
_CONFIG = (ConfigParseError, InfiniteLoopConfigError, InvalidConfigError, PartialCredentialsError)
_LOGIN = (SSOError, TokenRetrievalError, LoginError)
_NO_PROFILE: dict[str, Any] = {"profile": (None, None, None, None)}  # of botocore's settings: where it is read from


class Keys:
    """The keys of one client of obstore or minio, for as long as it lives. May be called from any thread."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._written = _written()
        self._found = found_keys(settings)

    def __call__(self) -> S3Credential:
        """The keys that hold now. Raises `StoreDenied` or `StoreUnavailable` where they cannot be renewed."""
        try:
            if (written := _written()) != self._written:  # somebody renewed them by hand, or by a program
                self._found, self._written = found_keys(self._settings), written
            frozen = self._found.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError, ValueError) as error:
            raise keys_wrong(error, self._settings.place) or unknown_wrong(error, self._settings.place) from error
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _SURE + ASK,  # not their own end: that is boto3's to watch
        }


def session(settings: S3Settings) -> Session:
    """Where clients of boto3 come from. Raises `ConfigError` where the profile is not there."""
    if settings.access_key:  # a profile that is asked for by something else is not looked for
        core = botocore.session.Session(session_vars=_NO_PROFILE)
        keys = settings.access_key, settings.secret_key, settings.session_token
        return boto3.session.Session(*keys, region_name=settings.region, botocore_session=core)
    try:
        return boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
    except (BotoCoreError, ValueError) as error:
        raise keys_wrong(error, settings.place) or unknown_wrong(error, settings.place) from error


def found_keys(settings: S3Settings) -> Any:
    """boto3's own credentials, which it renews itself. Raises `ConfigError` where there are none."""
    try:
        found = session(settings).get_credentials()
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        raise keys_wrong(error, settings.place) or unknown_wrong(error, settings.place) from error
    if found is None:
        raise _none(settings.place)
    return found


def keys_wrong(error: Exception, place: str) -> TraplineError | None:
    """What is wrong with the keys themselves; None where an error is about something else. Holds no secret."""
    if isinstance(error, ProfileNotFound):
        known: dict[str, object] = {
            str(name): {} for name in botocore.session.Session(session_vars=_NO_PROFILE).available_profiles
        }
        return no_profile(str(error.kwargs.get("profile", "")), known, os.environ)
    if isinstance(error, NoCredentialsError):
        return _none(place)
    if isinstance(error, _CONFIG):
        return ConfigError(_line(error), remedy=f"Mend {' or '.join(map(str, files(os.environ)))}.")
    if isinstance(error, _LOGIN):
        return StoreDenied(f"The login that gives keys for {place} has ended.", remedy="Run `aws sso login` again.")
    if isinstance(error, CredentialRetrievalError):
        return StoreUnavailable(f"No keys for {place} could be had: {_line(error)}", remedy="It is tried again.")
    if isinstance(error, ClientError) and _ISSUERS.fullmatch(error.operation_name):
        return _not_issued(error, place)
    if _of_token(error):
        return StoreDenied(
            f"The web identity token {os.environ.get('AWS_WEB_IDENTITY_TOKEN_FILE', '')!r} cannot be used.",
            remedy="Set AWS_WEB_IDENTITY_TOKEN_FILE to a file with a token, which the engine may read.",
        )
    return None


def unknown_wrong(error: Exception, place: str) -> StoreUnavailable:
    """The error for keys that did not come, where nothing better can be said."""
    return StoreUnavailable(f"No keys for {place} could be had: {_line(error)}", remedy="It is tried again.")


def _not_issued(error: ClientError, place: str) -> TraplineError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _PASSING or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return StoreUnavailable(f"STS gave no keys for {place}: {code}.", remedy="It is tried again.")
    if error.operation_name == "AssumeRoleWithWebIdentity":
        remedy = "Check AWS_ROLE_ARN, and that the role trusts the issuer of AWS_WEB_IDENTITY_TOKEN_FILE."
    else:
        remedy = "Check role_arn of the profile, that the role trusts its source, and the source's own keys."
    return StoreDenied(f"STS gave no keys for {place}: {code} at {error.operation_name}.", remedy=remedy)


def _of_token(error: Exception) -> bool:
    path = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "")
    if isinstance(error, OSError):
        return bool(path) and error.filename == path
    return isinstance(error, ParamValidationError) and "WebIdentityToken" in str(error)


def _none(place: str) -> ConfigError:
    return ConfigError(f"There are no credentials for {place}.", remedy=_NO_KEYS)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _written() -> tuple[int, ...]:
    """When AWS' files were last written to."""
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files(os.environ))
