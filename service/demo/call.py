"""One call as the demo's gateways make it, and the event they publish about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import orjson

from schemas.events import CostEvent
from schemas.money import usd
from service.ingest.price import Pricer

ENVIRONMENT: Final = "production"


@dataclass(slots=True)
class Call:
    """One call. `at` is epoch seconds of event time; `tokens_in` includes `cached`."""

    at: float
    workflow: str
    team: str
    feature: str
    customer: str
    api_key: str
    gateway: str
    provider: str
    model: str
    trace_id: str
    session_id: str
    tokens_in: int
    tokens_out: int
    cached: int = 0
    attempt: int = 1
    status: Literal["success", "error", "cancelled"] = "success"
    priced: bool = False
    injection: str | None = None
    """Which scripted event made this call; None: the usual traffic. Not published."""


class Published(NamedTuple):
    """The event's bytes, and exactly what it must be accounted at."""

    value: bytes
    nanos: int


def publish(call: Call, event_id: str, pricer: Pricer) -> Published:
    """What the gateway writes to the topic about a call.

    Where the gateway prices its calls, it does so with the same price list, as a decimal string.

    Raises
    ------
    ValueError
        The price list does not know the model: the demo could not tell what must be accounted.
    """
    at_ms = round(call.at * 1_000)
    event: dict[str, Any] = {
        "event_id": event_id,
        "occurred_at": datetime.fromtimestamp(at_ms / 1_000, UTC),
        "provider": call.provider,
        "model": call.model,
        "workflow": call.workflow,
        "team": call.team,
        "feature": call.feature,
        "customer": call.customer,
        "api_key": call.api_key,
        "environment": ENVIRONMENT,
        "gateway": call.gateway,
        "trace_id": call.trace_id,
        "session_id": call.session_id,
        "input_tokens": call.tokens_in,
        "cached_input_tokens": call.cached,
        "output_tokens": call.tokens_out,
        "status": call.status,
        "attempt": call.attempt,
        "latency_ms": round(180.0 + 0.05 * call.tokens_in + 14.0 * call.tokens_out, 1),
        "operation": "chat",
        "usage_source": "estimated" if call.status == "cancelled" else "reported",
    }
    # Not validated here: whoever reads it must do that anyway, and a day of traffic is published in seconds.
    nanos = pricer.price(CostEvent.model_construct(**event), at_ms * 1_000, None).cost_nanos
    if nanos is None:
        raise ValueError(f"no list price for {call.provider}/{call.model}")
    if call.priced:
        event["cost_usd"] = format(usd(nanos), "f")
    return Published(orjson.dumps(event), nanos)
