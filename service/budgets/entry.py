"""A record of the rollups topic as budgets need it: whose spend, how much, when; or how far time has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from schemas.decode import parse_object, validate
from schemas.outcomes import OutcomeRollup
from schemas.rollups import Rollup, Tick


@dataclass(frozen=True, slots=True)
class Spend:
    """A delta of spend. `kind` is `workflow`, or the label that a scope is of.

    Attributes
    ----------
    at, until : float
        Epoch seconds: start of the bucket, and the latest event of the delta.
    """

    kind: str
    value: str
    at: float
    until: float
    nanos: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A source partition's watermark, epoch seconds."""

    partition: int
    partitions: int
    watermark: float
    idle: bool


class _Scope(msgspec.Struct):
    kind: str
    value: str


class _Source(msgspec.Struct):
    partition: int


class _Rollup(msgspec.Struct, tag_field="type", tag="rollup"):
    workflow: str
    bucket_start: datetime
    source: _Source
    calls: int
    cost_nanos: int
    last_event_at: datetime | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class _ScopeRollup(_Rollup, tag="scope", kw_only=True):
    scope: _Scope


class _Tick(msgspec.Struct, tag_field="type", tag="tick"):
    partition: int
    partitions: int
    watermark: datetime
    idle: bool = False


class _Outcome(msgspec.Struct, tag_field="type", tag="outcome"):
    workflow: str
    kind: str
    bucket_start: datetime


_decode: Final = msgspec.json.Decoder(_Rollup | _ScopeRollup | _Tick | _Outcome).decode


def read(value: bytes | None) -> Spend | Passage | None:
    """The entry that a record is; None for one of outcomes, whose money is in the rollups of their calls.

    A tenth of the work of validating all of it, most of which concerns nobody here. What is spelt otherwise
    than ingest spells it is validated after all, and refused or taken as the contract says.

    Raises
    ------
    Refused
    """
    try:
        found = _decode(value or b"")
        if isinstance(found, _Outcome):
            return None
        if isinstance(found, _Tick):
            watermark = _epoch(found.watermark)
            return Passage(found.partition, found.partitions, watermark, found.idle)
        return _spend(
            found,
            ("workflow", found.workflow)
            if not isinstance(found, _ScopeRollup)
            else (found.scope.kind, found.scope.value),
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return _validated(value)


def _validated(value: bytes | None) -> Spend | Passage | None:
    document = parse_object(value, max_bytes=Rollup.max_bytes)
    if document.get("type") == "outcome":
        validate(OutcomeRollup, document)
        return None
    if document.get("type") == "tick":
        tick = validate(Tick, document)
        return Passage(tick.partition, tick.partitions, _epoch(tick.watermark), tick.idle)
    rollup = validate(Rollup, document)
    scope = rollup.scope
    return _spend(rollup, ("workflow", rollup.workflow) if scope is None else (scope.kind, scope.value))


def _spend(rollup: _Rollup | Rollup, whose: tuple[str, str]) -> Spend:
    at = _epoch(rollup.bucket_start)
    until = at if rollup.last_event_at is None else _epoch(rollup.last_event_at)
    tokens = rollup.input_tokens + rollup.output_tokens
    return Spend(*whose, at, max(at, until), rollup.cost_nanos, tokens)


def _epoch(at: datetime) -> float:
    if at.tzinfo is None:
        raise ValueError("a time without an offset is ambiguous")
    return at.timestamp()
