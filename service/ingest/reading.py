"""What records hold: cost events of the wire format, or somebody else's records that an adapter turns into some."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from schemas.decode import parse_object, validate
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused
from service.ingest.adapters import ADAPTERS, MAX_BYTES, MAX_DEPTH, Adapter, adapt, adapter_for
from service.ingest.record import Record
from service.ingest.wire import Call, call_of, read

_headers: Final = attrgetter("headers")


class Reader:
    """Reads records. The answer depends on the record alone, so that reading it again decides the same.

    Parameters
    ----------
    default : str
        Format of records whose headers name none: `tidegate`, or the name of an adapter.
    future_allowance_s : float
        How far after its record's own broker time an event may lie. Not after this machine's: what was refused
        when it was read first is refused by whoever reads it after a crash. A record without a time has no
        future.
    """

    def __init__(self, default: str, future_allowance_s: float) -> None:
        self._default = ADAPTERS.get(default)
        self._future_us = round(future_allowance_s * 1_000_000)
        self._too_late = Refused(
            Reason.IN_THE_FUTURE,
            f"later than the broker's time by more than {future_allowance_s:g} s",
            "occurred_at",
        )

    def read(self, records: Sequence[Record]) -> list[tuple[Record, Call | Refused]]:
        """Each record with its event or the reason why not, in their order.

        A foreign record comes with each of its events, or not at all when it holds none, or once with the reason
        why one of them is refused: all of it or nothing counts.
        """
        if self._default is None and not any(map(_headers, records)):
            return list(map(self._judged, records, read([record.value for record in records])))
        found: list[tuple[Record, Call | Refused]] = []
        native = [record for record in records if self._adapter(record) is None]
        outcomes = iter(read([record.value for record in native]))
        for record in records:
            adapter = self._adapter(record)
            if adapter is None:
                found.append(self._judged(record, next(outcomes)))
            elif isinstance(adapter, Refused):
                found.append((record, adapter))
            else:
                found += self._foreign(record, adapter)
        return found

    def _judged(self, record: Record, outcome: Call | Refused) -> tuple[Record, Call | Refused]:
        if (
            outcome.__class__ is Call
            and outcome.at > record.timestamp * 1_000 + self._future_us
            and record.timestamp >= 0
        ):
            return record, self._too_late
        return record, outcome

    def _adapter(self, record: Record) -> Adapter | Refused | None:
        try:
            return adapter_for(record.headers, self._default)
        except Refused as refused:
            return refused

    def _foreign(self, record: Record, adapter: Adapter) -> list[tuple[Record, Call | Refused]]:
        try:
            document = parse_object(record.value, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH)
            calls = [call_of(validate(CostEvent, event)) for event in adapt(document, adapter)]
        except Refused as refused:
            return [(record, refused)]
        found = [self._judged(record, call) for call in calls]
        late = [pair for pair in found if isinstance(pair[1], Refused)]
        return late[:1] or found
