"""Signatures of Slack and PagerDuty: the documented ones, the right secret, the right time."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks import signatures

SECRETS = {"old": b"old-secret", "new": b"new-secret"}


def sign(secret: bytes, content: bytes) -> str:
    return hmac.new(secret, content, sha256).hexdigest()


def test_slack_s_is_the_documented_one() -> None:
    # printf 'v0:1769868600:payload=x' | openssl dgst -sha256 -hmac new-secret
    expected = sign(b"new-secret", b"v0:1769868600:payload=x")
    assert signatures.slack(SECRETS, "1769868600", f"v0={expected}", b"payload=x", 1769868601.5) == "new"


@given(st.binary(max_size=200), st.sampled_from(["old", "new"]), st.integers(0, 2_000))
def test_only_the_very_content_and_time_count(body: bytes, name: str, age: int) -> None:
    stamp = "1769868600"
    signature = f"v0={sign(SECRETS[name], f'v0:{stamp}:'.encode() + body)}"
    found = signatures.slack(SECRETS, stamp, signature, body, 1769868600.0 + age)
    assert found == (name if age <= signatures.WINDOW_S else None)
    assert signatures.slack(SECRETS, stamp, signature, body + b"x", 1769868600.0) is None
    assert signatures.slack(SECRETS, "1769868601", signature, body, 1769868600.0) is None
    assert signatures.slack({}, stamp, signature, body, 1769868600.0) is None


@pytest.mark.parametrize("stamp", ["", "-1", "1e9", "٣", "9" * 13, "1769868600 "])
def test_a_time_that_is_none_is_refused(stamp: str) -> None:
    signature = sign(b"new-secret", b"v0:" + stamp.encode() + b":")
    assert signatures.slack(SECRETS, stamp, f"v0={signature}", b"", 1769868600.0) is None


@given(st.text(max_size=300))
def test_any_header_at_all_is_only_refused(header: str) -> None:
    assert signatures.slack(SECRETS, "1769868600", header, b"", 1769868600.0) is None
    assert signatures.pagerduty(SECRETS, header, b"") is None


def test_any_of_pagerduty_s_may_be_ours() -> None:
    ours = sign(b"old-secret", b"{}")
    assert signatures.pagerduty(SECRETS, f"v1={'0' * 64}, v1={ours}", b"{}") == "old"
    assert signatures.pagerduty(SECRETS, f"v2={ours}", b"{}") is None
