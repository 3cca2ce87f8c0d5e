"""Cost events as fast as Python reads them; whatever is unusual is left to `schemas`, which decides.

pydantic takes 6 µs for an event and the search for repeated keys another 2. msgspec takes one for both type and
bounds, but knows neither repeated keys nor every rule of the contract. So there is one definition of the event
(`schemas.events.CostEvent`) and this module only recognises what that would surely accept:

1. Each record is decoded into a `Call`: all fields of the contract and no others, with the same bounds. A
   backslash, a DEL, space before a colon, an unknown field, a charge: not recognised.
2. Over a stretch of records at once the keys on the wire are counted. As many as there are fields set in the
   calls, together, means that no key came twice in any of them.
3. Times and amounts are read by their commonest spellings.

What is not recognised goes through `service.ingest.decode`, which accepts it with the same outcome or says why
not. A property test holds the two to the same verdict and the same values over generated and mutated bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.base import MAX_LABEL, MAX_TOKENS
from schemas.decode import MAX_BYTES, decode
from schemas.events import Charge, CostEvent
from schemas.money import nanos
from schemas.reasons import Refused
from service.ingest.spelling import micros_of, nanos_of, since_epoch

_STRETCH: Final = 128
"""Records whose keys are counted together. One odd record among them has each looked at by itself."""

_ABSENT: Final[Any] = UNSET
_Label = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL)]
if TYPE_CHECKING:
    # What a call holds once it has been read.
    _Name = str | None
    _Tokens = int
    _Micros = int
    _Nanos = int | None
    _Status = Literal["success", "error", "cancelled"]
    _UsageSource = Literal["reported", "estimated"]
    _Charge = Charge | None
else:
    # What msgspec finds on the wire, where fields may be absent, and times and amounts have many spellings.
    _Name = _Label | None | UnsetType
    _Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | UnsetType
    _Micros = str | int | float
    _Nanos = str | int | float | None | UnsetType
    _Status = Literal["success", "error", "cancelled"] | UnsetType
    _UsageSource = Literal["reported", "estimated"] | UnsetType
    _Charge = None | UnsetType


class Call(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A cost event as the fold wants it: `schemas.events.CostEvent`, flat and in integers.

    Attributes
    ----------
    at : int
        `occurred_at` in epoch microseconds, UTC.
    cost_nanos : int or None
        `cost_usd` in nano-dollars, rounded half to even.
    charge : Charge or None
        What it is when it is not a call.
    """

    event_id: _Label
    at: _Micros = msgspec.field(name="occurred_at")
    provider: _Label
    model: _Label
    workflow: _Name = _ABSENT
    team: _Name = _ABSENT
    feature: _Name = _ABSENT
    customer: _Name = _ABSENT
    api_key: _Name = _ABSENT
    trace_id: _Name = _ABSENT
    input_tokens: _Tokens = _ABSENT
    cached_input_tokens: _Tokens = _ABSENT
    cache_write_tokens: _Tokens = _ABSENT
    cache_write_1h_tokens: _Tokens = _ABSENT
    output_tokens: _Tokens = _ABSENT
    reasoning_tokens: _Tokens = _ABSENT
    cost_nanos: _Nanos = msgspec.field(name="cost_usd", default=_ABSENT)
    status: _Status = _ABSENT
    usage_source: _UsageSource = _ABSENT
    operation: _Name = _ABSENT
    service_tier: _Name = _ABSENT
    gateway: _Name = _ABSENT
    # Validated and counted like the others, and not looked at by the fold.
    user: _Name = _ABSENT
    environment: _Name = _ABSENT
    session_id: _Name = _ABSENT
    request_tags: Annotated[list[_Label], Meta(max_length=32)] | UnsetType | None = UNSET
    attempt: Annotated[int, Meta(ge=1, le=10000)] | UnsetType | None = UNSET
    latency_ms: Annotated[float, Meta(ge=0, le=604800000)] | UnsetType | None = UNSET
    schema_version: Annotated[int, Meta(ge=1, le=1)] | UnsetType = UNSET
    charge: _Charge = _ABSENT


_FIELDS: Final = len(Call.__struct_fields__)
_decode: Final = msgspec.json.Decoder(Call).decode
_UNUSUAL: Final = (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError)


def read(values: Sequence[bytes | None]) -> list[Call | Refused]:
    """For each record's bytes the call, or why it is refused. As many as values, in their order."""
    found: list[Call | Refused] = []
    for start in range(0, len(values), _STRETCH):
        stretch = values[start : start + _STRETCH]
        calls = recognised(stretch)
        if None in calls:
            found += [call or _outcome(value) for value, call in zip(stretch, calls, strict=True)]
        else:
            found += calls  # type: ignore[arg-type]  # without None
    return found


def _outcome(value: bytes | None) -> Call | Refused:
    try:
        return by_the_book(value)
    except Refused as refused:
        return refused.at_rest()


def by_the_book(value: bytes | None) -> Call:
    """What `schemas` says of the bytes. Raises `Refused`."""
    return call_of(decode(CostEvent, value))


def call_of(event: CostEvent) -> Call:
    """An event in the form of the fold."""
    return Call(
        event_id=event.event_id,
        at=since_epoch(event.occurred_at),
        provider=event.provider,
        model=event.model,
        workflow=event.workflow,
        team=event.team,
        feature=event.feature,
        customer=event.customer,
        api_key=event.api_key,
        trace_id=event.trace_id,
        input_tokens=event.input_tokens,
        cached_input_tokens=event.cached_input_tokens,
        cache_write_tokens=event.cache_write_tokens,
        cache_write_1h_tokens=event.cache_write_1h_tokens,
        output_tokens=event.output_tokens,
        reasoning_tokens=event.reasoning_tokens,
        cost_nanos=None if event.cost_usd is None else nanos(event.cost_usd),
        status=event.status,
        usage_source=event.usage_source,
        operation=event.operation,
        service_tier=event.service_tier,
        gateway=event.gateway,
        charge=event.charge,
    )


# --- 1 and 2: what the bytes are ------------------------------------------------------------------------------


def recognised(values: Sequence[bytes | None]) -> list[Call | None]:
    """The calls among records that surely are ones; None for each that the book must be asked about."""
    calls: list[Call | None] = []
    keys = 0
    odd: list[int] = []
    for value in values:
        try:
            call = _decode(value)  # type: ignore[arg-type]  # None is unusual
            absent = _settle(call)
        except _UNUSUAL:
            odd.append(len(calls))
            calls.append(None)
        else:
            calls.append(call)
            keys += _FIELDS - absent
    usual = [value for value in values if value is not None] if not odd else _without(values, odd)
    if usual and not _plain(usual, keys):
        if len(values) == 1:
            return [None]
        return [call and recognised([value])[0] for value, call in zip(values, calls, strict=True)]
    return calls


def _without(values: Sequence[bytes | None], odd: Sequence[int]) -> list[bytes]:
    left: list[Any] = list(values)
    for i in reversed(odd):
        del left[i]
    return left


def _plain(values: Sequence[bytes], keys: int) -> bool:
    """Nothing but `keys` keys in flat objects as most writers space them: so each of them is another one.

    Without a backslash a quote ends a string, and followed by a colon it ends a key.
    """
    data = b"".join(values)
    return (
        data.count(b'":') == keys
        and data.find(b"\\") < 0
        and data.find(b"\x7f") < 0
        # A single byte is found at memchr's speed, two are not: most writers put no space at all.
        and (data.find(b" ") < 0 or data.find(b" :") < 0)
        and data.find(b"\n") < 0
        and data.find(b"\t") < 0
        and data.find(b"\r") < 0
        and max(map(len, values)) <= MAX_BYTES
    )


# --- 3: what the fields say -----------------------------------------------------------------------------------


def _settle(call: Any) -> int:
    """Put integers in the place of times and amounts, and defaults in that of absent fields, which are counted.

    Written out field by field: this runs for every event, and a loop over names takes several times as long.

    Raises
    ------
    ValueError
        Not by these spellings, or the parts do not fit their whole: the book will say.
    """
    call.at = micros_of(call.at)
    absent = 0
    cost = call.cost_nanos
    if cost is UNSET:
        absent += 1
        call.cost_nanos = None
    elif cost is not None:
        call.cost_nanos = nanos_of(cost)
    tokens = call.input_tokens
    if tokens is UNSET:
        absent += 1
        tokens = call.input_tokens = 0
    cached = call.cached_input_tokens
    if cached is UNSET:
        absent += 1
        cached = call.cached_input_tokens = 0
    written = call.cache_write_tokens
    if written is UNSET:
        absent += 1
        written = call.cache_write_tokens = 0
    hour = call.cache_write_1h_tokens
    if hour is UNSET:
        absent += 1
        hour = call.cache_write_1h_tokens = 0
    if cached + written > tokens or hour > written:
        raise ValueError
    tokens = call.output_tokens
    if tokens is UNSET:
        absent += 1
        tokens = call.output_tokens = 0
    reasoning = call.reasoning_tokens
    if reasoning is UNSET:
        absent += 1
        reasoning = call.reasoning_tokens = 0
    if reasoning > tokens:
        raise ValueError
    if call.workflow is UNSET:
        absent += 1
        call.workflow = None
    if call.team is UNSET:
        absent += 1
        call.team = None
    if call.feature is UNSET:
        absent += 1
        call.feature = None
    if call.customer is UNSET:
        absent += 1
        call.customer = None
    if call.api_key is UNSET:
        absent += 1
        call.api_key = None
    if call.trace_id is UNSET:
        absent += 1
        call.trace_id = None
    if call.status is UNSET:
        absent += 1
        call.status = "success"
    if call.usage_source is UNSET:
        absent += 1
        call.usage_source = "reported"
    if call.operation is UNSET:
        absent += 1
        call.operation = None
    if call.service_tier is UNSET:
        absent += 1
        call.service_tier = None
    if call.gateway is UNSET:
        absent += 1
        call.gateway = None
    if call.charge is UNSET:
        absent += 1
        call.charge = None
    return (
        absent
        + (call.user is UNSET)
        + (call.environment is UNSET)
        + (call.session_id is UNSET)
        + (call.request_tags is UNSET)
        + (call.attempt is UNSET)
        + (call.latency_ms is UNSET)
        + (call.schema_version is UNSET)
    )
