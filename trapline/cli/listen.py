"""`trapline notify --listen`: a receiver for a client's developer, which prints and checks what comes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from trapline.cli import words
from trapline.cli.place import Place
from trapline.errors import SurroundingsError
from trapline.runtime.messages import WEBHOOK_SECRET

_MOST = 64 * 2**20  # bytes of a body
_SHOWN = 20_000  # characters of one
_PATIENCE = 30.0  # seconds without a byte


def listen(place: Place, port: int, *, answer: int, as_json: bool) -> None:
    """Answer every POST with one status, until Ctrl-C."""
    receiver = _receiver(_secret(place), answer, as_json)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), receiver)
    except OSError as error:
        raise SurroundingsError(
            f"Port {port} cannot be listened on: {error.strerror}.", remedy="Name another one; 0 takes a free one."
        ) from None
    with server:
        address = f"localhost:{server.server_port}"
        words.say(words.console(stderr=True), f"Listens at http://{address}/ ; allow it in pipeline.yaml: [{address}]")
        server.serve_forever()


def _secret(place: Place) -> str:
    path = place.data / "engine" / "webhook-secret"
    kept = path.read_text().strip() if place.endpoint is None and path.is_file() else ""
    return os.environ.get(WEBHOOK_SECRET) or kept


def _receiver(secret: str, answer: int, as_json: bool) -> type[BaseHTTPRequestHandler]:
    known: set[str] = set()

    class Receiver(BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def do_POST(self) -> None:
            declared = self.headers.get("Content-Length", "")
            size = int(declared) if declared.isdecimal() else _MOST + 1
            if size > _MOST:
                self.send_error(413 if declared else 411)
                return
            body = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            again = headers.get("webhook-id", "") in known
            known.add(headers.get("webhook-id", ""))
            _tell(headers, body, verdict(secret, headers, body), again=again, as_json=as_json)
            self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """What came is printed; the rest is of no use."""

    return Receiver


def verdict(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """Whether a message is from whom it says."""
    if "webhook-signature" not in headers:
        return "not signed"
    if not secret:
        return f"not checked: set {WEBHOOK_SECRET} to the secret"
    try:
        Webhook(secret).verify(body, dict(headers))
    except (WebhookVerificationError, ValueError) as error:
        return f"wrong: {error}"
    return "right"


def _tell(headers: Mapping[str, str], body: bytes, signature: str, *, again: bool, as_json: bool) -> None:
    try:
        message = json.loads(body)
    except ValueError:
        message = body[:_SHOWN].decode("utf-8", "replace")
    kept = {name: value for name, value in headers.items() if name.startswith("webhook-") and "signature" not in name}
    if as_json:
        words.emit({"signature": signature, "again": again, "headers": kept, "message": message})
        return
    out = words.console()
    kind = message.get("type", "a body without a type") if isinstance(message, dict) else "no JSON object"
    words.say(out, f"{words.safe(str(kind))}{' (came before)' if again else ''}, signature {words.safe(signature)}")
    for name, value in kept.items():
        words.say(out, f"  {words.safe(name)}: {words.safe(value)}")
    words.say(out, words.safe(json.dumps(message, ensure_ascii=False))[:_SHOWN])
