"""An emulator of S3, SQS and STS, moto's, behind a guard that knows which keys were handed out and when they end.

What moto does not do, the guard does: it refuses unknown and expired keys, as AWS words that. Nobody checks signatures.
The same address plays the metadata services of a machine and of a container, and may speak TLS.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import boto3
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

NAME = "store.test"  # the emulator's, through a proxy
ROLE = "arn:aws:iam::123456789012:role/field"
_AUTHORIZED = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/(\w+)/")
_ISSUED = re.compile(rb"<AccessKeyId>(\w+)</AccessKeyId>")
_ENDS = re.compile(rb"(<Expiration>)[^<]*(</Expiration>)")
_ASKED = re.compile(rb"Action=(AssumeRole\w*)")
_ERROR = "<Error><Code>{code}</Code><Message>{code}</Message></Error>"
_STS_ERROR = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{code}</Message></Error></ErrorResponse>"
)


@dataclass
class Guarded:
    """The emulator. `lives`: seconds for which the keys hold that it hands out; `refuses`: of STS, a code."""

    port: int
    scheme: str
    lives: float = 3600
    refuses: str = ""
    region: str = ""  # where set, a request signed for another is refused
    elsewhere: str = "AuthorizationHeaderMalformed"  # as what it is refused
    issued: dict[str, float] = field(default_factory=dict)  # keys that were handed out → when they end
    known: set[str] = field(default_factory=lambda: {"fixed"})  # keys that hold for ever
    used: dict[str, int] = field(default_factory=dict)  # how often each key signed something to S3 or SQS
    hosts: set[str] = field(default_factory=set)  # as whom it was addressed by requests to S3
    asked: list[str] = field(default_factory=list)  # what handed out keys: an action of STS, or a path
    refused: list[str] = field(default_factory=list)  # the codes that the guard answered
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def ends(self) -> str:
        return datetime.fromtimestamp(time.time() + self.lives, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def keys(self, name: str) -> dict[str, str]:
        """New keys, as a metadata service words them."""
        with self.lock:
            key = f"ASIA{name.upper()}{len(self.issued)}"
            self.issued[key] = time.time() + self.lives
        return {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": "s", "Token": "t", "Expiration": self.ends()}


class _Guard:
    """The WSGI application: metadata, then the guard, then moto."""

    def __init__(self, told: Guarded) -> None:
        self._told = told
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(("/latest/", "/container")):
            return self._metadata(path, start)
        if asked := self._asked(environ):
            return self._sts(asked, environ, start)
        if wrong := self._wrong(environ):
            self._told.refused.append(wrong)
            return _refusal(start, wrong, in_json="HTTP_X_AMZ_TARGET" in environ)
        if environ["HTTP_HOST"] == NAME:
            environ["HTTP_HOST"] = f"127.0.0.1:{self._told.port}"  # moto would take its first word for a bucket
        answer: Iterable[bytes] = self._moto(environ, start)
        return answer

    def _metadata(self, path: str, start: StartResponse) -> Iterable[bytes]:
        if path == "/latest/api/token":
            return _answer(start, "200 OK", "a-token", "text/plain")
        if path.endswith("/security-credentials/"):
            return _answer(start, "200 OK", "a-role", "text/plain")
        self._told.asked.append(path)
        name = "container" if path.startswith("/container") else "machine"
        return _answer(start, "200 OK", json.dumps(self._told.keys(name)), "application/json")

    def _asked(self, environ: WSGIEnvironment) -> str:
        """The action of STS that is asked for; its body is put back."""
        if environ["REQUEST_METHOD"] != "POST" or "form" not in environ.get("CONTENT_TYPE", ""):
            return ""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        found = _ASKED.search(body)
        return found[1].decode() if found else ""

    def _sts(self, action: str, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        told = self._told
        told.asked.append(action)
        if told.refuses:
            return _answer(start, "403 Forbidden", _STS_ERROR.format(code=told.refuses), "text/xml")
        said: list[Any] = []
        body = b"".join(self._moto(environ, lambda status, headers, *_: said.extend((status, headers))))
        body = _ENDS.sub(rb"\g<1>" + told.ends().encode() + rb"\2", body)
        with told.lock:
            told.issued |= {key.decode(): time.time() + told.lives for key in _ISSUED.findall(body)}
        headers = [(name, value) for name, value in said[1] if name.lower() != "content-length"]
        start(said[0], [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _wrong(self, environ: WSGIEnvironment) -> str:
        told = self._told
        found = _AUTHORIZED.search(environ.get("HTTP_AUTHORIZATION", ""))
        if not found:
            return "AccessDenied"
        key, region, service = found.groups()
        with told.lock:
            told.used[key] = told.used.get(key, 0) + 1
            if service == "s3":
                told.hosts.add(environ["HTTP_HOST"])
        if key in told.known:
            return told.elsewhere if told.region not in ("", region) else ""
        if key not in told.issued:
            return "InvalidAccessKeyId"
        return "ExpiredToken" if told.issued[key] < time.time() else ""


def _refusal(start: StartResponse, code: str, *, in_json: bool) -> Iterable[bytes]:
    status = "301 Moved Permanently" if code == "PermanentRedirect" else "403 Forbidden"
    text = json.dumps({"__type": code}) if in_json else _ERROR.format(code=code)
    return _answer(start, status, text, "application/x-amz-json-1.0" if in_json else "application/xml")


def _answer(start: StartResponse, status: str, text: str, kind: str) -> Iterable[bytes]:
    body = text.encode()
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def guarded(certificate: tuple[str, str] | None = None) -> Iterator[Guarded]:
    """The emulator with an empty bucket `traps`; `certificate`: its file and its key's, for TLS."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    told = Guarded(0, "https" if certificate else "http")
    server = make_server("127.0.0.1", 0, _Guard(told), threaded=True, ssl_context=certificate)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        client(told, verify=certificate is None).create_bucket(Bucket="traps")
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client(told: Guarded, service: str = "s3", *, verify: bool = True) -> Any:
    """A client of the emulator with keys that always hold."""
    make: Callable[..., Any] = boto3.client
    return make(
        service,
        endpoint_url=told.endpoint,
        aws_access_key_id="fixed",
        aws_secret_access_key="s",
        region_name="us-east-1",
        verify=verify,
    )


def in_files(folder: Path, config: str = "", keys: str = "") -> dict[str, str]:
    """AWS' two files with these words, and the variables that name them."""
    (folder / "config").write_text(config)
    (folder / "credentials").write_text(keys)
    return {"AWS_CONFIG_FILE": str(folder / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials")}


def without_aws(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which nothing leads to keys, the files of whoever runs the tests included."""
    nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")} | nowhere


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A private authority's certificate, one that it gave to 127.0.0.1, and the latter's key: PEM files."""
    authority, trusted = _certificate("A private authority", None, None)
    _, other = _certificate("Another authority", None, None)
    key, given = _certificate("127.0.0.1", trusted, authority)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    bundle, chain, secret = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    bundle.write_bytes(other.public_bytes(pem) + trusted.public_bytes(pem))  # as bundles are: of several
    chain.write_bytes(given.public_bytes(pem))
    secret.write_bytes(private)
    return bundle, chain, secret


def _certificate(
    name: str, issuer: x509.Certificate | None, signer: ec.EllipticCurvePrivateKey | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        names: list[x509.GeneralName] = [x509.IPAddress(ip_address("127.0.0.1"))]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, made.sign(signer or key, hashes.SHA256())
