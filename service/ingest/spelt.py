"""A cost event as it is spelt on the wire, which msgspec reads."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.base import MAX_LABEL, MAX_TOKENS

_Label = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL)]
_Name = _Label | None | UnsetType
_Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | UnsetType


class Spelt(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """All fields of `schemas.events.CostEvent` with its bounds. Times and amounts as they are spelt."""

    event_id: _Label
    occurred_at: str | int | float
    provider: _Label
    model: _Label
    workflow: _Name = UNSET
    team: _Name = UNSET
    feature: _Name = UNSET
    customer: _Name = UNSET
    api_key: _Name = UNSET
    trace_id: _Name = UNSET
    input_tokens: _Tokens = UNSET
    cached_input_tokens: _Tokens = UNSET
    cache_write_tokens: _Tokens = UNSET
    cache_write_1h_tokens: _Tokens = UNSET
    output_tokens: _Tokens = UNSET
    reasoning_tokens: _Tokens = UNSET
    cost_usd: str | int | float | UnsetType | None = UNSET
    status: Literal["success", "error", "cancelled"] | UnsetType = UNSET
    usage_source: Literal["reported", "estimated"] | UnsetType = UNSET
    operation: _Name = UNSET
    service_tier: _Name = UNSET
    gateway: _Name = UNSET
    charge: UnsetType | None = UNSET
    # Validated and counted like the others; of these the fold looks at the environment alone.
    user: _Name = UNSET
    environment: _Name = UNSET
    session_id: _Name = UNSET
    request_tags: Annotated[list[_Label], Meta(max_length=32)] | UnsetType | None = UNSET
    attempt: Annotated[int, Meta(ge=1, le=10000)] | UnsetType | None = UNSET
    latency_ms: Annotated[float, Meta(ge=0, le=604800000)] | UnsetType | None = UNSET
    schema_version: Annotated[int, Meta(ge=1, le=1)] | UnsetType = UNSET


FIELDS: Final = len(Spelt.__struct_fields__)
spelt: Final = msgspec.json.Decoder(Spelt).decode
