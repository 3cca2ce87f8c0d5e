from __future__ import annotations

from service.dead_letters.lookout import Lookout, Seen
from tests.service.dead_letters.letters import AT_S, event


def seen(value: bytes | None, offset: int = 20, timestamp_ms: int = round(AT_S * 1_000)) -> Seen:
    return Seen("cost-events", 2, offset, timestamp_ms, value)


def looked(*records: Seen) -> dict[tuple[str, str], str]:
    lookout = Lookout({("cost-events", "e-1")}, {("cost-events", 2, 7)}, 300.0)
    for record in records:
        lookout.see(record)
    return dict(lookout.counted)


def test_the_first_record_that_ingest_counts_is_found_however_it_is_written() -> None:
    found = {("cost-events", "e-1"): "at 2@20"}
    assert looked(seen(event()), seen(event(), 21)) == found
    assert looked(seen(event().replace(b":", b" :\n"))) == found
    assert looked(seen(event().replace(b"event_id", b"event\\u005fid"))) == found
    assert looked(seen(event().replace(b"e-1", b"\\u0065-1"))) == found


def test_what_ingest_does_not_count_is_passed_over() -> None:
    assert (
        looked(seen(None), seen(b"{"), seen(event(event_id="e-10")), seen(event(model="e-1", event_id="x")))
        == {}
    )
    assert looked(seen(event(cost_usd=-1))) == {}
    assert looked(seen(event(occurred_at=AT_S + 301))) == {}
    assert looked(seen(event(occurred_at=AT_S + 301), timestamp_ms=-1)) != {}
    assert looked(seen(event(), 7)) == {}, "it was refused, whatever the contract says of it today"
