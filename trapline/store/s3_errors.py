"""What an error of obstore or boto3 means to a person: which setting is wrong, or that trying again may help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from trapline.errors import Conflict, KeyUnusable, NotFound, StoreDenied, StoreUnavailable, TraplineError

if TYPE_CHECKING:
    from trapline.store.s3 import S3Settings


class Refused(KeyUnusable):
    """A key that obstore cannot word; a page of a listing with one in it fails whole."""


# The store's own code → what to say of the bucket `{place}`, and the remedy.
_DENIALS = {
    "InvalidAccessKeyId": ("The access key is not known to {place}.", "Check AWS_ACCESS_KEY_ID."),
    "SignatureDoesNotMatch": ("The secret key is wrong for {place}.", "Check AWS_SECRET_ACCESS_KEY."),
    "InvalidToken": ("The session token is not valid for {place}.", "Renew AWS_SESSION_TOKEN, or unset it."),
    "ExpiredToken": (
        "The session token for {place} has expired.",
        "Renew it where it comes from: the credentials file is read again; after AWS_SESSION_TOKEN, start again.",
    ),
    "NoSuchBucket": (
        "There is no {place}.",
        "Create it (`mc mb <alias>/{bucket}` or `aws s3 mb s3://{bucket}`), or set --bucket.",
    ),
    "InvalidBucketName": ("The {place} cannot have that name.", "Set --bucket to a valid name."),
    "AuthorizationHeaderMalformed": ("The region {region!r} is wrong for {place}.", "Set AWS_REGION to the bucket's."),
    "PermanentRedirect": ("The region or endpoint is wrong for {place}.", "Set AWS_REGION and AWS_ENDPOINT_URL."),
    "RequestTimeTooSkewed": ("This machine's clock is wrong, says {place}.", "Set the clock (NTP)."),
    "AccessDenied": (
        "These credentials may not do this in {place}.",
        "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may read, write, list and delete there.",
    ),
}
_DENIALS["AccountProblem"] = _DENIALS["AllAccessDisabled"] = _DENIALS["Forbidden"] = _DENIALS["AccessDenied"]
_CONFLICTS = frozenset(("PreconditionFailed", "ConditionalRequestConflict"))
_MISSING = frozenset(("NoSuchKey", "NotFound", "404"))
_CODE = re.compile(r"<Code>(\w+)</Code>|An error occurred \((\w+)\)")
_STATUS = re.compile(r"status code: (\d+ [\w ]+)|inner: Status \{\s*status: (\d+)")
_PATHS = ("Encountered empty path segment", "Encountered illegal character sequence", "invalid path", "InvalidPath")


_NOT_RENEWED = re.compile(
    r"External AWS credential provider: \w*?(Store\w+|ConfigError): (.*?)\n\nDebug source", re.DOTALL
)
_UNREACHED = ("kind: connect", "dns error", "name resolution", "could not connect", "connection refused")


@contextmanager
def refusals(key: str, settings: S3Settings) -> Iterator[None]:
    """Turns an error of the client library into the house's own."""
    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise meaning(error, key, settings) from error


def meaning(error: Exception, key: str, settings: S3Settings) -> Exception:
    """The error to raise for what a client library raised. Never holds a credential."""
    text = str(error)
    if renewed := _NOT_RENEWED.search(text):  # what `Keys` raised, in obstore's wrapping
        return (StoreUnavailable if renewed[1] == "StoreUnavailable" else StoreDenied)(renewed[2])
    if isinstance(error, InvalidPathError) or any(mark in text for mark in _PATHS):
        return Refused(text)
    match = _CODE.search(text)
    code = (match[1] or match[2]) if match else ""
    if code in _DENIALS:
        return _denied(code, settings)
    if "incorrectly configured region" in text:  # obstore, of a redirect that does not say where to
        return _denied("PermanentRedirect", settings)
    if isinstance(error, AlreadyExistsError | PreconditionError) or code in _CONFLICTS:
        return Conflict(f"There is already an object {key!r}, or it changed.")
    if isinstance(error, FileNotFoundError) or code in _MISSING:
        return NotFound(key)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return _denied("AccessDenied", settings)
    return _unavailable(text, code, settings)


def _denied(code: str, settings: S3Settings) -> TraplineError:
    message, remedy = _DENIALS[code]
    words = {"place": settings.place, "bucket": settings.bucket, "region": settings.region}
    return StoreDenied(message.format(**words), remedy=remedy.format(**words))


def _unavailable(text: str, code: str, settings: S3Settings) -> TraplineError:
    lower = text.lower()
    if "certificate" in lower:
        return StoreDenied(
            f"The certificate of {settings.endpoint} is not trusted.",
            remedy="Set AWS_CA_BUNDLE to the certificate authority's PEM file.",
        )
    status = _STATUS.search(text)
    if code or status:
        said = code or (status and (status[1] or status[2]))
        return StoreUnavailable(
            f"The {settings.place} answered {said}.", remedy="Try again; the store's own log may say more."
        )
    if any(mark in lower for mark in _UNREACHED):
        why = "cannot be reached"
    elif "timed out" in lower or "timedout" in lower or "kind: timeout" in lower:
        why = "did not answer in time"
    else:
        why = "broke off"
    return StoreUnavailable(f"The {settings.place} {why}.", remedy="Check AWS_ENDPOINT_URL, and that the store runs.")
