"""Who sent a request: signatures of Slack and PagerDuty, compared in constant time. Pure.

Sources: docs.slack.dev, "Verifying requests from Slack"; developer.pagerduty.com, "Verifying signatures".
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

WINDOW_S: Final = 300
"""An older request of Slack, or one from the future, is a replay. PagerDuty's carry no time."""
_MAX_SIGNATURES: Final = 20
"""PagerDuty sends one for each of its keys; more than so many are nobody's."""


def slack(
    secrets: Mapping[str, bytes], timestamp: str, signature: str, body: bytes, now_s: float
) -> str | None:
    """The name of the secret that a request was signed with; None: with none of them, or too long ago.

    Parameters
    ----------
    timestamp, signature : str
        The headers `X-Slack-Request-Timestamp` and `X-Slack-Signature`; empty if absent.
    now_s : float
        Epoch seconds.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return None
    if abs(now_s - int(timestamp)) > WINDOW_S:
        return None
    return _signer(secrets, f"v0:{timestamp}:".encode() + body, "v0=", [signature])


def pagerduty(secrets: Mapping[str, bytes], signatures: str, body: bytes) -> str | None:
    """The same for the header `X-PagerDuty-Signature`: several, by commas, any of which may be ours."""
    given = [one.strip() for one in signatures.split(",")]
    return _signer(secrets, body, "v1=", given) if len(given) <= _MAX_SIGNATURES else None


def _signer(secrets: Mapping[str, bytes], content: bytes, scheme: str, given: list[str]) -> str | None:
    found = None
    # All of them always, so that the time does not tell which it was.
    for name, secret in secrets.items():
        expected = (scheme + hmac.new(secret, content, sha256).hexdigest()).encode()
        for one in given:
            if hmac.compare_digest(expected, one.encode("utf-8", "surrogateescape")):
                found = name
    return found
