"""What records hold: cost events of the wire format, or somebody else's records that an adapter turns into some."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from schemas.decode import parse_object, validate
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused
from service.ingest.adapters import ADAPTERS, MAX_BYTES, MAX_DEPTH, Adapter, adapt, adapter_for
from service.ingest.call import Call, call_of
from service.ingest.record import Record
from service.ingest.wire import read

_headers: Final = attrgetter("headers")
_value: Final = attrgetter("value")


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
        self._allowance_us = round(future_allowance_s * 1_000_000)
        self._too_late = Refused(
            Reason.IN_THE_FUTURE,
            f"later than the broker's time by more than {future_allowance_s:g} s",
            "occurred_at",
        )

    def read(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[Call | Refused]]:
        """Records and what each holds, an event or the reason why not: two lists of one length, in order.

        A foreign record comes with each of its events, or not at all when it holds none, or once with the reason
        why one of them is refused: all of it or nothing counts.
        """
        if self._default is not None or any(map(_headers, records)):
            return self._mixed(records)
        outcomes = read(list(map(_value, records)))
        allowance = self._allowance_us
        for i, (record, outcome) in enumerate(zip(records, outcomes)):  # noqa: B905  # see ADR 8
            # Later than the broker's time by more than the allowance; compiled, a division is quicker than
            # a product that may not fit 32 bits.
            if isinstance(outcome, Call) and (outcome.at - allowance - 1) // 1_000 >= record.timestamp:
                outcomes[i] = self._judged(record, outcome)
        return records, outcomes

    def _judged(self, record: Record, outcome: Call | Refused) -> Call | Refused:
        if record.timestamp < 0 or isinstance(outcome, Refused):
            return outcome
        return outcome if outcome.at <= record.timestamp * 1_000 + self._allowance_us else self._too_late

    def _mixed(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[Call | Refused]]:
        adapters = [self._adapter(record) for record in records]
        native = iter(
            read([r.value for r, adapter in zip(records, adapters, strict=True) if adapter is None])
        )
        whose: list[Record] = []
        found: list[Call | Refused] = []
        for record, adapter in zip(records, adapters, strict=True):
            if adapter is None:
                outcomes: list[Call | Refused] = [self._judged(record, next(native))]
            elif isinstance(adapter, Refused):
                outcomes = [adapter]
            else:
                outcomes = self._foreign(record, adapter)
            whose += [record] * len(outcomes)
            found += outcomes
        return whose, found

    def _adapter(self, record: Record) -> Adapter | Refused | None:
        try:
            return adapter_for(record.headers, self._default)
        except Refused as refused:
            return refused.at_rest()

    def _foreign(self, record: Record, adapter: Adapter) -> list[Call | Refused]:
        try:
            document = parse_object(record.value, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH)
            calls = [call_of(validate(CostEvent, event)) for event in adapt(document, adapter)]
        except Refused as refused:
            return [refused.at_rest()]
        judged = [self._judged(record, call) for call in calls]
        for outcome in judged:
            if isinstance(outcome, Refused):
                return [outcome]
        return judged
