"""What a partition's records amount to by the contract alone, worked out beside the fold and not with it.

Read with the pydantic model of `schemas` only: no fast path, no deltas, no code of `service.ingest` but the price
list. Slow, plain, and what the fold must agree with to the last nano-dollar.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from schemas.decode import decode
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused
from service.ingest.dedup import GENERATIONS
from service.ingest.price import Pricer
from service.ingest.record import RawRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Place = tuple[str, datetime]
"""A workflow and the start of its 10 s bucket."""


@dataclass
class Entries:
    """What was added since the last look."""

    records: int = 0
    counted: Counter[Place] = field(default_factory=Counter)  # calls and charges
    cost_nanos: Counter[Place] = field(default_factory=Counter)
    tokens: int = 0
    charges: int = 0
    unpriced: int = 0
    duplicates: int = 0
    refused: list[tuple[int, Reason, bytes | None]] = field(default_factory=list)


class Ledger:
    """Keeps account of one partition."""

    def __init__(self, dedup_offsets: int, future_allowance_s: float) -> None:
        self._generation = -(-dedup_offsets // GENERATIONS)
        self._allowance = timedelta(seconds=future_allowance_s)
        self._last: dict[str, int] = {}
        self._pricer = Pricer()
        self._entries = Entries()

    def enter(self, record: RawRecord) -> None:
        """Account for one record."""
        now = self._entries
        now.records += 1
        try:
            event = decode(CostEvent, record.value)
        except Refused as refused:
            now.refused.append((record.offset, refused.reason, record.value))
            return
        if record.timestamp >= 0:
            written = _EPOCH + timedelta(milliseconds=record.timestamp)
            if event.occurred_at > written + self._allowance:
                now.refused.append((record.offset, Reason.IN_THE_FUTURE, record.value))
                return
        last = self._last.get(event.event_id)
        self._last[event.event_id] = record.offset
        size = self._generation
        if last is not None and record.offset // size - last // size <= GENERATIONS:
            now.duplicates += 1
            return
        self._count(event)

    def _count(self, event: CostEvent) -> None:
        now, micros = self._entries, (event.occurred_at - _EPOCH) // timedelta(microseconds=1)
        place = event.workflow or "unattributed", _EPOCH + timedelta(seconds=micros // 10_000_000 * 10)
        now.counted[place] += 1
        said = None if event.cost_usd is None else nanos(event.cost_usd)
        if event.charge is not None:
            now.charges += 1
            now.cost_nanos[place] += said or 0
            return
        now.tokens += event.input_tokens + event.output_tokens
        cost = said if said is not None else self._pricer.price(event, micros, None).cost_nanos
        if cost is None:
            now.unpriced += 1
        else:
            now.cost_nanos[place] += cost

    def take(self) -> Entries:
        """What was entered since the last time."""
        taken, self._entries = self._entries, Entries()
        return taken


def nanos(usd: Decimal) -> int:
    """Dollars to whole nano-dollars, half to even."""
    with localcontext(prec=80):
        return int((usd * 10**9).quantize(Decimal(1), ROUND_HALF_EVEN))
