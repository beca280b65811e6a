"""What SNS posts, beside the event in it: who signed it, and which addresses it names. Pure: nothing is fetched."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from trapline.errors import EventForged, EventUnknown

NOTIFICATION = "Notification"
CONFIRMATION = "SubscriptionConfirmation"
FAREWELL = "UnsubscribeConfirmation"

# SNS's own hosts: a certificate in somebody's bucket is on a host of amazonaws.com, too.
_HOST = re.compile(r"sns\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?")
_HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    FAREWELL: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@dataclass(frozen=True)
class Message:
    """An envelope of SNS, as it claims to be."""

    fields: dict[str, str]

    @property
    def kind(self) -> str:
        return self.fields["Type"]

    @property
    def topic(self) -> str:
        return self.fields["TopicArn"]

    @property
    def text(self) -> str:
        """What somebody published. Raises `EventUnknown` where there is nothing."""
        if "Message" not in self.fields:
            raise EventUnknown("An envelope holds no message.")
        return self.fields["Message"]

    @property
    def certificate_url(self) -> str:
        """Where the certificate is. Raises `EventForged` where that is not SNS itself."""
        return _of_amazon("SigningCertURL", self.fields.get("SigningCertURL", ""))

    @property
    def subscribe_url(self) -> str:
        """What confirms a subscription when it is read. Raises `EventForged` where that is not SNS itself."""
        return _of_amazon("SubscribeURL", self.fields.get("SubscribeURL", ""))

    def check(self, certificate: bytes, now: datetime) -> None:
        """Raises `EventForged` unless the certificate's owner signed this."""
        algorithm = _HASHES.get(self.fields.get("SignatureVersion", ""))
        if algorithm is None:
            raise EventForged("SignatureVersion is neither 1 nor 2.")
        key = _key(certificate, now)
        try:
            signature = base64.b64decode(self.fields.get("Signature", ""), validate=True)
            key.verify(signature, self._signed(), padding.PKCS1v15(), algorithm)
        except (InvalidSignature, binascii.Error, ValueError):
            raise EventForged("The signature is wrong.") from None

    def _signed(self) -> bytes:
        named = [name for name in _SIGNED[self.kind] if name in self.fields]
        return "".join(f"{name}\n{self.fields[name]}\n" for name in named).encode("utf-8", "surrogatepass")


def message_in(body: bytes) -> Message | None:
    """The envelope that a body is; None where it is something else.

    Of what looks like one all the same, in another encoding or within something else, `dialects.read` refuses to read
    whatever was posted.
    """
    if b"TopicArn" not in body and b"\\u" not in body:
        return None  # spares most bodies a parse: the name is there, or is written in escapes
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return Message(_texts(value)) if _is_envelope(value) else None


def _is_envelope(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("TopicArn"), str) and value.get("Type") in (*_SIGNED,)


def _texts(value: dict[str, Any]) -> dict[str, str]:
    return {name: text for name, text in value.items() if isinstance(text, str)}


def _of_amazon(name: str, url: str) -> str:
    """The address, where it is `https://sns.<region>.amazonaws.com/…` and nothing else."""
    try:
        parts = urlsplit(url)
        known = parts.scheme == "https" and _HOST.fullmatch(parts.netloc) and url.isascii() and url.isprintable()
    except ValueError:
        known = False
    if not known or "\\" in url or " " in url:
        raise EventForged(f"{name} is not an https address of sns.<region>.amazonaws.com.")
    return url


def _key(certificate: bytes, now: datetime) -> rsa.RSAPublicKey:
    try:
        read = x509.load_pem_x509_certificate(certificate)
        key = read.public_key()
    except ValueError:
        raise EventForged("SigningCertURL leads to no certificate.") from None
    if not read.not_valid_before_utc <= now <= read.not_valid_after_utc:
        raise EventForged("The certificate is not valid today.")
    if not isinstance(key, rsa.RSAPublicKey):
        raise EventForged("The certificate holds no RSA key.")
    return key
