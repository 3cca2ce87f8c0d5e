"""What one budget's windows spent, exactly, however late it comes: plain state, a fold in any order, a codec."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.budgets import Unit, Window
from schemas.control import Budget
from schemas.money import nanos
from service.rules.calendar import CELLS, Calendar, Span

VERSION: Final = 1
WIDE: Final = 2
"""The same schema as JSON: for money beyond 64 bits, which MessagePack has no room for."""
KEPT: Final[dict[Window, int]] = {"hour": 48, "day": 35, "week": 6, "month": 4}
"""Windows with spend that are remembered one by one: what comes later than that is in the total only."""


class Cut(msgspec.Struct, array_like=True, frozen=True):
    """In what spend is counted, and how time was cut when it was."""

    unit: Unit
    window: Window
    timezone: str
    anchor_day: int
    rolling: bool

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.window, self.timezone, self.anchor_day, self.rolling)


class Ledger(msgspec.Struct, array_like=True):
    """All that is remembered of one budget: at most a few kilobytes, and 12 bytes per partition.

    Attributes
    ----------
    since : float
        Epoch seconds from which on spend is counted: a window that began earlier leaves nothing to carry over.
    now : float
        Event time. Never goes back.
    cells : dict of int to int
        Start of a cell to what it spent, late events and corrections included.
    before : int
        Spent in cells that are not kept any more: with the cells it is all that was ever counted.
    applied : dict of int to int
        Per partition the offset of the last delta that is contained: the guard against counting one twice.
    window, window_end : int
        Of the window that was last looked at; -1 before the first look.
    limit : int
        Of that window when it was last looked at.
    told : dict of str to int
        Facts told in this window, and the limit then.
    grace_from : float or None
        When the limit was seen to be reached.
    """

    since: float
    now: float = 0.0
    cut: Cut | None = None
    cells: dict[int, int] = {}
    before: int = 0
    applied: dict[int, int] = {}
    window: int = -1
    window_end: int = -1
    limit: int = 0
    told: dict[str, int] = {}
    grace_from: float | None = None
    sequence: int = 0

    @property
    def total(self) -> int:
        """Everything ever counted in the present unit."""
        return self.before + sum(self.cells.values())

    def spent(self, window: Span) -> int:
        """Spend of a window that is still kept."""
        return sum(spent for start, spent in self.cells.items() if start in window)


class UnreadableLedger(ValueError):
    """Bytes that no version of the codec wrote."""


def unit(budget: Budget) -> Unit:
    return "nano_usd" if budget.amount_usd is not None else "tokens"


def amount(budget: Budget) -> int:
    """What the record grants per window, in its unit; at least 1."""
    return max(1, nanos(budget.amount_usd) if budget.amount_usd is not None else budget.amount_tokens or 1)


def count(
    ledger: Ledger, budget: Budget, at: float, spent: int, source: tuple[int, int] | None = None
) -> bool:
    """Count spend into the window that it belongs to, however late it comes.

    Parameters
    ----------
    at : float
        Epoch seconds of event time of the spend. (A rollup's bucket is never on both sides of a boundary.)
    spent : int
        Nano-dollars or tokens, as `unit(budget)` says; negative for a correction.
    source : (int, int) or None
        Partition and offset of the record it comes from; offsets rise within a partition.

    Returns
    -------
    bool
        False if this record had been counted: nothing is changed then.
    """
    if source is not None:
        partition, offset = source
        if offset <= ledger.applied.get(partition, -1):
            return False
        ledger.applied[partition] = offset
    recut(ledger, budget)
    _add(ledger, Calendar.of(budget), at, spent)
    return True


def recut(ledger: Ledger, budget: Budget) -> None:
    """Follow a record whose window, zone or anchor day was changed: an old cell goes to where its middle lies now.

    So hours become a day and days a month without a loss; a month that becomes days is all in one of them. What
    was told is told again, and a change of unit starts from nothing.
    """
    calendar = Calendar.of(budget)
    cut = Cut(unit(budget), calendar.window, calendar.timezone, calendar.anchor_day, calendar.rolling)
    if cut == ledger.cut:
        return
    old, cells = ledger.cut, ledger.cells
    ledger.cut, ledger.cells = cut, {}
    if old is None:
        return
    ledger.window = ledger.window_end = -1
    ledger.told, ledger.grace_from = {}, None
    if old.unit != cut.unit:
        ledger.before = 0
        return
    for start, spent in sorted(cells.items()):
        cell = old.calendar.cell_at(start)
        _add(ledger, calendar, (cell.start + cell.end) / 2, spent)


def _add(ledger: Ledger, calendar: Calendar, at: float, spent: int) -> None:
    start = calendar.cell_at(at).start
    ledger.cells[start] = ledger.cells.get(start, 0) + spent
    # Always the latest ones with spend are kept, so that what is kept does not depend on the order of counting.
    if len(ledger.cells) > (CELLS + 2 if calendar.rolling else KEPT[calendar.window]):
        ledger.before += ledger.cells.pop(min(ledger.cells))


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final[dict[int, msgspec.msgpack.Decoder[Ledger] | msgspec.json.Decoder[Ledger]]] = {
    VERSION: msgspec.msgpack.Decoder(Ledger),
    WIDE: msgspec.json.Decoder(Ledger),
}


def dump(ledger: Ledger) -> bytes:
    """Ledger to bytes: one version byte, then MessagePack, or JSON where a sum is beyond 64 bits.

    The same for ledgers that hold the same, in whatever order that came.
    """
    ordered = msgspec.structs.replace(
        ledger,
        cells=dict(sorted(ledger.cells.items())),
        applied=dict(sorted(ledger.applied.items())),
        told=dict(sorted(ledger.told.items())),
    )
    try:
        return bytes((VERSION,)) + _ENCODER.encode(ordered)
    except OverflowError:
        return bytes((WIDE,)) + msgspec.json.encode(ordered)


def load(data: bytes) -> Ledger:
    """Bytes to ledger.

    Raises
    ------
    UnreadableLedger
        Unknown version, or not of the schema.
    """
    decoder = _DECODERS.get(data[0]) if data else None
    if decoder is None:
        raise UnreadableLedger(f"ledger version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        return decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnreadableLedger(str(error)) from None
