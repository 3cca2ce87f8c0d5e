"""The paced producer: what it says it sent is what its bytes are."""

from __future__ import annotations

from collections import Counter

from benchmarks.paced import Events, pool
from schemas.decode import decode
from schemas.events import CostEvent
from schemas.reasons import Refused


def test_every_event_is_new_but_the_duplicates_and_good_but_the_bad_ones() -> None:
    events = Events(pool(50, 300))
    ids: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for _ in range(2_000):
        event, value = events.next(1_769_817_600_000)
        try:
            decoded = decode(CostEvent, value)
        except Refused as refused:
            reasons[refused.reason.value] += 1
            continue
        assert decoded.workflow == event.key.decode()
        ids[decoded.event_id] += 1
    assert reasons == {"bad_timestamp": events.bad}
    assert events.bad == 20
    assert sum(ids.values()) - len(ids) == events.duplicates == 40
    assert len(ids) + events.duplicates + events.bad == events.made == 2_000
