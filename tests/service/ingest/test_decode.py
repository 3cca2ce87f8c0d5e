from __future__ import annotations

import pytest

from schemas.reasons import Reason, Refused
from service.ingest.decode import decode_event
from tests.service.ingest.events import fields, raw


def test_an_event_is_read() -> None:
    assert decode_event(raw(7), 300.0).event_id == "e-7"


@pytest.mark.parametrize(("ahead_s", "refused"), [(299.9, False), (300.0, False), (300.1, True)])
def test_the_future_begins_at_the_records_own_broker_time_plus_the_allowance(
    ahead_s: float, refused: bool
) -> None:
    record = raw(0, fields(at=ahead_s))
    if not refused:
        decode_event(record, 300.0)
        return
    with pytest.raises(Refused) as caught:
        decode_event(record, 300.0)
    assert caught.value.reason is Reason.IN_THE_FUTURE
    assert caught.value.path == "occurred_at"


def test_a_record_without_a_broker_time_has_no_future() -> None:
    decode_event(raw(0, fields(at=1e9))._replace(timestamp_ms=-1), 300.0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b"\x1f\x8b\x08gzip", Reason.INVALID_UTF8),
        (b"{", Reason.INVALID_JSON),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b'{"event_id":"a"}', Reason.MISSING_FIELD),
    ],
)
def test_what_cannot_be_read_says_why(value: bytes | None, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        decode_event(raw(0)._replace(value=value), 300.0)
    assert caught.value.reason is reason
