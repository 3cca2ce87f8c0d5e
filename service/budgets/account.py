"""One budget as this stage keeps it: its ledger, what is usual of it, and what people have been told."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.alerts import Kind, Severity
from schemas.control import Budget
from schemas.decode import decode
from schemas.reasons import Refused
from service.rules import forecast, ledger
from service.rules.forecast import Usual
from service.rules.ledger import Ledger

VERSION: Final = 1


class UnreadableAccount(ValueError):
    """Bytes that no version of the codec wrote. What they counted cannot be guessed."""


class Told(msgspec.Struct, array_like=True):
    """A fact that people were told, and that still holds. Amounts are in the budget's unit, times epoch seconds.

    Attributes
    ----------
    key : str
        Of the fact; it holds while the ledger has it among what was told.
    sequence : int
        Of the last alert that said it.
    sent : float
        When that was, event time.
    """

    key: str
    fingerprint: str
    kind: Kind
    severity: Severity
    point: float
    since: float
    window_start: float
    window_end: float
    limit: int
    expected: int
    until: float | None
    sequence: int
    sent: float


class Account(msgspec.Struct):
    """Everything of one budget that must survive a crash.

    Attributes
    ----------
    budget : Budget
        The record as it was last: if it is gone after a restart, people must still be told that it is over.
    """

    budget: Budget
    ledger: Ledger
    usual: Usual
    told: list[Told]

    @classmethod
    def fresh(cls, budget: Budget, since: float) -> Account:
        """Nothing is counted yet. `since`: epoch seconds from which on spend is."""
        return cls(budget, Ledger(since=since), Usual(), [])


class _Kept(msgspec.Struct, array_like=True):
    budget: bytes
    ledger: bytes
    told: list[Told]


_kept: Final = msgspec.msgpack.Decoder(_Kept)


def dump(account: Account) -> bytes:
    """All but what is usual (`service.rules.forecast.dump`): one version byte, then MessagePack."""
    kept = _Kept(account.budget.to_json(), ledger.dump(account.ledger), account.told)
    return bytes((VERSION,)) + msgspec.msgpack.encode(kept)


def load(data: bytes, usual: bytes | None = None) -> Account:
    """Bytes to account. What is usual is learnt anew where `usual` is missing or of another release.

    Raises
    ------
    UnreadableAccount
    """
    if not data or data[0] != VERSION:
        raise UnreadableAccount(f"version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        kept = _kept.decode(memoryview(data)[1:])
        counted = ledger.load(kept.ledger)
        budget = decode(Budget, kept.budget)
    except (msgspec.MsgspecError, ledger.UnreadableLedger, Refused) as error:
        raise UnreadableAccount(str(error)) from None
    try:
        learnt = Usual() if usual is None else forecast.load(usual)
    except forecast.UnreadableUsual:
        learnt = Usual()
    return Account(budget, counted, learnt, kept.told)
