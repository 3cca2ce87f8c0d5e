"""One message, by itself and among neighbours, through the fold: accounted for as the ledger says."""

from __future__ import annotations

from typing import Final

from schemas.rollups import Rollup
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.settings import IngestSettings
from tests.fuzz.corpus import BASE_S
from tests.fuzz.ledger import Ledger

_SETTINGS: Final = IngestSettings(dedup_offsets=8)
_AT_MS: Final = round(BASE_S * 1_000)
_GOOD: Final = (
    b'{"event_id":"good-%d","occurred_at":1769851800.5,"provider":"openai","model":"gpt-4o","cost_usd":"0.5"}'
)
_PRICER: Final = Pricer()


def account_for(message: bytes) -> None:
    """Raises whatever goes wrong."""
    for timestamp in (_AT_MS, -1):
        _account_for([message], timestamp)
        _account_for([_GOOD % 1, message, _GOOD % 2, message], timestamp)


def _account_for(values: list[bytes], timestamp: int) -> None:
    fold = Fold(0, 1, _SETTINGS, _PRICER, topic="t")
    ledger = Ledger(_SETTINGS.dedup_offsets, _SETTINGS.future_allowance_s)
    records = [RawRecord(0, offset, timestamp, None, value, ()) for offset, value in enumerate(values)]
    fold.take(records)
    for record in records:
        ledger.enter(record)
    batch, wanted = fold.drain(), ledger.take()
    rollups = [Rollup.from_json(delta.to_json()) for delta in batch.deltas]
    assert rollups == batch.rollups
    assert len(records) == batch.records == batch.events + batch.duplicates + len(batch.dead_letters)
    assert sum(r.calls + r.charges for r in rollups) == batch.events == wanted.counted.total()
    assert sum(r.cost_nanos for r in rollups) == wanted.cost_nanos.total()
    assert batch.duplicates == wanted.duplicates
    letters = [(x.origin.offset, x.reason, x.value) for x in batch.dead_letters]
    assert letters == wanted.refused
