"""Signed config records: what passes, and everything that must not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reasons import Reason, Refused
from service.rules.config_signature import HEADER, PATH, Headers, Signatures, sign, signature_in

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRETS = {"ops": b"o" * 32, "next": b"n" * 32}
TOPIC = "tidegate.config"


def header(signature: str) -> Headers:
    return [("other", b"x"), (HEADER, signature.encode())]


def signed(
    key: str, value: bytes | None, at: datetime = NOON, by: str = "ops", topic: str = TOPIC
) -> Headers:
    return header(sign(by, SECRETS[by], topic, key, value, at))


def refusal(signatures: Signatures, key: str, value: bytes | None, headers: Headers) -> Reason:
    with pytest.raises(Refused) as caught:
        signatures.check(key, value, headers)
    assert caught.value.path == PATH
    return caught.value.reason


@given(st.text(max_size=30), st.none() | st.binary(max_size=60), st.sampled_from(sorted(SECRETS)))
def test_what_is_signed_passes_and_every_other_word_of_it_does_not(
    key: str, value: bytes | None, by: str
) -> None:
    signatures, headers = Signatures(TOPIC, SECRETS), signed(key, value, by=by)
    signatures.check(key, value, headers)
    changed: list[tuple[str, bytes | None]] = [(key + "x", value), (key, (value or b"") + b"x")]
    changed.append((key, b"" if value is None else None))
    for other_key, other_value in changed:
        assert refusal(signatures, other_key, other_value, headers) is Reason.BAD_SIGNATURE


def test_nothing_can_move_from_the_key_to_the_value() -> None:
    assert refusal(Signatures(TOPIC, SECRETS), "a", b"bc", signed("ab", b"c")) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(HEADER, None)],
        [(HEADER, b"")],
        [(HEADER, b"v2 ops 1 00")],
        [(HEADER, b"\xff\xfe")],
        [*signed("k", b"v"), *signed("k", b"v")],
    ],
)
def test_without_a_signature_nothing_passes(headers: Headers) -> None:
    assert refusal(Signatures(TOPIC, SECRETS), "k", b"v", headers) is Reason.UNSIGNED


def test_a_record_of_another_installation_does_not_pass() -> None:
    headers = signed("k", b"v", topic="staging.config")
    assert refusal(Signatures(TOPIC, SECRETS), "k", b"v", headers) is Reason.BAD_SIGNATURE


def test_a_key_that_is_taken_away_signs_nothing_any_more() -> None:
    headers = signed("k", b"v")
    assert refusal(Signatures(TOPIC, {"next": SECRETS["next"]}), "k", b"v", headers) is Reason.BAD_SIGNATURE
    swapped = header(sign("next", SECRETS["ops"], TOPIC, "k", b"v", NOON))
    assert refusal(Signatures(TOPIC, SECRETS), "k", b"v", swapped) is Reason.BAD_SIGNATURE


def test_an_old_record_cannot_be_written_again() -> None:
    signatures = Signatures(TOPIC, SECRETS)
    old, new = signed("k", b"old"), signed("k", None, NOON + timedelta(microseconds=1))
    signatures.check("k", b"old", old)
    signatures.check("k", None, new)
    assert refusal(signatures, "k", b"old", old) is Reason.BAD_SIGNATURE
    signatures.check("k", None, new)  # a reader may see the same twice
    assert signatures.latest("k") == NOON + timedelta(microseconds=1)


def test_a_later_time_cannot_be_claimed() -> None:
    ((_, signature),) = [pair for pair in signed("k", b"v") if pair[0] == HEADER]
    assert signature is not None
    version, key_id, micros, digest = signature.decode().split(" ")
    later = f"{version} {key_id} {int(micros) + 1} {digest}"
    assert refusal(Signatures(TOPIC, SECRETS), "k", b"v", header(later)) is Reason.BAD_SIGNATURE


def test_without_keys_everything_passes() -> None:
    signatures = Signatures(TOPIC, {})
    for headers in ([], signed("k", b"v"), [(HEADER, b"nonsense")]):
        signatures.check("k", b"w", headers)
    assert signature_in([]) is None
