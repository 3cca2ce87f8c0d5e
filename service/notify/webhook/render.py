"""An alert as a signed request: the record itself as the body. Pure."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from urllib.parse import quote

from schemas.alerts import Alert


def headers(alert: Alert, body: bytes, *, receiver: str, secret: str | None, now: datetime) -> dict[str, str]:
    """The headers that go with `body`.

    `Idempotency-Key` is `RECEIVER/FINGERPRINT/SEQUENCE`, percent-encoded, and the same in every retry.
    With a secret, `X-Tidegate-Timestamp` (epoch seconds) and `X-Tidegate-Signature`, see `signature`.
    """
    parts = (receiver, alert.fingerprint, str(alert.sequence))
    found = {"Idempotency-Key": "/".join(quote(part, safe="") for part in parts)}
    if secret is not None:
        timestamp = str(int(now.timestamp()))
        found["X-Tidegate-Timestamp"] = timestamp
        found["X-Tidegate-Signature"] = signature(secret, timestamp, body)
    return found


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC-SHA256 of `TIMESTAMP.BODY`.

    The receiver computes the same, compares in constant time, and refuses a timestamp that is minutes old:
    an answer that was overheard cannot be played again.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"
