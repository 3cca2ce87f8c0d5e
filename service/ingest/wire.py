"""Cost events as fast as Python reads them; whatever is unusual is left to `schemas`, which decides.

pydantic takes 6 µs for an event and the search for repeated keys another 2. msgspec takes one for both type and
bounds, but knows neither repeated keys nor every rule of the contract. So there is one definition of the event
(`schemas.events.CostEvent`) and this module only recognises what that would surely accept:

1. Each record is decoded into a `Spelt`: all fields of the contract and no others, with the same bounds. A
   backslash, a DEL, space before a colon, an unknown field, a charge: not recognised.
2. Over a stretch of records at once the keys on the wire are counted. As many as there are fields set in the
   calls, together, means that no key came twice in any of them.
3. Times and amounts are read by their commonest spellings.

What is not recognised goes through `service.ingest.decode`, which accepts it with the same outcome or says why
not. A property test holds the two to the same verdict and the same values over generated and mutated bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import UNSET
from msgspec.structs import astuple

from schemas.decode import MAX_BYTES, decode
from schemas.events import CostEvent
from schemas.reasons import Refused
from service.ingest.call import Call, call_of
from service.ingest.spelling import micros_of, nanos_of
from service.ingest.spelt import FIELDS, spelt

_STRETCH: Final = 128
"""Records whose keys are counted together. One odd record among them has each looked at by itself."""

_LITTLE: Final = 4_096
"""Bytes that are counted in sooner than numpy begins."""
_QUOTE: Final = np.uint8(ord('"'))
_COLON: Final = np.uint8(ord(":"))
_FIELDS: Final[int] = FIELDS
_ABSENT: Final[object] = UNSET
_UNUSUAL: Final = (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError, OverflowError)


def read(values: Sequence[bytes | None]) -> list[Call | Refused]:
    """For each record's bytes the call, or why it is refused. As many as values, in their order."""
    found: list[Call | Refused] = []
    for start in range(0, len(values), _STRETCH):
        stretch = list(values[start : start + _STRETCH])
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


# --- 1 and 2: what the bytes are ------------------------------------------------------------------------------


def recognised(values: list[bytes | None]) -> list[Call | None]:
    """The calls among records that surely are ones; None for each that the book must be asked about."""
    calls: list[Call | None] = []
    keys = 0
    odd: list[int] = []
    for value in values:
        try:
            call, found = _call(value)
        except _UNUSUAL:
            odd.append(len(calls))
            calls.append(None)
        else:
            calls.append(call)
            keys += found
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
        _ends_of_keys(data) == keys
        and data.find(b"\\") < 0
        and data.find(b"\x7f") < 0
        # A single byte is found at memchr's speed, two are not: most writers put no space at all.
        and (data.find(b" ") < 0 or data.find(b" :") < 0)
        and data.find(b"\n") < 0
        and data.find(b"\t") < 0
        and data.find(b"\r") < 0
        and max(map(len, values)) <= MAX_BYTES
    )


def _ends_of_keys(data: bytes) -> int:
    """`data.count(b'":')` in a quarter of the time, where there is enough of it."""
    if len(data) < _LITTLE:
        return data.count(b'":')
    codes = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((codes[:-1] == _QUOTE) & (codes[1:] == _COLON)))


# --- 3: what the fields say -----------------------------------------------------------------------------------


def _call(value: bytes | None) -> tuple[Call, int]:
    """The call, with defaults for absent fields, and how many fields are there.

    Written out field by field: this runs for every event, and a loop over names takes several times as long.

    Raises
    ------
    MsgspecError, UnicodeDecodeError, TypeError, ValueError
        Not by these spellings, or the parts do not fit their whole: the book will say.
    """
    (
        event_id,
        spelt_at,
        provider,
        model,
        workflow,
        team,
        feature,
        customer,
        api_key,
        trace_id,
        tokens_in,
        cached,
        written,
        written_1h,
        tokens_out,
        reasoning,
        cost,
        status,
        usage_source,
        operation,
        service_tier,
        gateway,
        charge,
        user,
        environment,
        session_id,
        request_tags,
        attempt,
        latency_ms,
        schema_version,
    ) = astuple(spelt(value))  # type: ignore[arg-type]
    absent = 0
    at = micros_of(spelt_at)
    if workflow is _ABSENT:
        absent += 1
        workflow = None
    if team is _ABSENT:
        absent += 1
        team = None
    if feature is _ABSENT:
        absent += 1
        feature = None
    if customer is _ABSENT:
        absent += 1
        customer = None
    if api_key is _ABSENT:
        absent += 1
        api_key = None
    if trace_id is _ABSENT:
        absent += 1
        trace_id = None
    if tokens_in is _ABSENT:
        absent += 1
        tokens_in = 0
    if cached is _ABSENT:
        absent += 1
        cached = 0
    if written is _ABSENT:
        absent += 1
        written = 0
    if written_1h is _ABSENT:
        absent += 1
        written_1h = 0
    if tokens_out is _ABSENT:
        absent += 1
        tokens_out = 0
    if reasoning is _ABSENT:
        absent += 1
        reasoning = 0
    if cost is _ABSENT:
        absent += 1
        cost_nanos = None
    elif cost is None:
        cost_nanos = None
    else:
        cost_nanos = nanos_of(cost)
    if status is _ABSENT:
        absent += 1
        status = "success"
    if usage_source is _ABSENT:
        absent += 1
        usage_source = "reported"
    if operation is _ABSENT:
        absent += 1
        operation = None
    if service_tier is _ABSENT:
        absent += 1
        service_tier = None
    if gateway is _ABSENT:
        absent += 1
        gateway = None
    if charge is _ABSENT:
        absent += 1
        charge = None
    if user is _ABSENT:
        absent += 1
    if environment is _ABSENT:
        absent += 1
        environment = None
    if session_id is _ABSENT:
        absent += 1
    if request_tags is _ABSENT:
        absent += 1
    if attempt is _ABSENT:
        absent += 1
    if latency_ms is _ABSENT:
        absent += 1
    if schema_version is _ABSENT:
        absent += 1
    call = Call(
        event_id,
        at,
        provider,
        model,
        workflow,
        team,
        feature,
        customer,
        api_key,
        trace_id,
        tokens_in,
        cached,
        written,
        written_1h,
        tokens_out,
        reasoning,
        cost_nanos,
        status,
        usage_source,
        operation,
        service_tier,
        gateway,
        charge,
        environment,
    )
    if (
        call.cached_input_tokens + call.cache_write_tokens > call.input_tokens
        or call.cache_write_1h_tokens > call.cache_write_tokens
        or call.reasoning_tokens > call.output_tokens
    ):
        raise ValueError
    return call, _FIELDS - absent
