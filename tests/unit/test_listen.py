"""`trapline notify --listen`: what it says of a message's signature."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from trapline.cli.listen import verdict

SECRET = "whsec_" + base64.b64encode(b"the secret of the client").decode()
BODY = '{"type": "trapline.test"}'


def headers(secret: str = SECRET, ago: float = 0.0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=ago)
    signature = Webhook(secret).sign("msg_1", at, BODY)
    stamp = str(int(at.timestamp()))
    return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}


OTHER = "whsec_" + base64.b64encode(b"another secret").decode()


@pytest.mark.parametrize(
    ("secret", "sent", "said"),
    [
        (SECRET, headers(), "right"),
        (SECRET, headers(OTHER), "wrong"),
        (SECRET, headers(ago=3600), "wrong"),
        ("", headers(), "not checked"),
        ("whsec_x", headers(), "wrong"),
        (SECRET, {"webhook-id": "msg_1"}, "not signed"),
    ],
)
def test_a_signature_is_right_wrong_or_not_there(secret: str, sent: dict[str, str], said: str) -> None:
    assert verdict(secret, sent, BODY.encode()).startswith(said)
