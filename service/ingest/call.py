"""A cost event as the fold wants it."""

from __future__ import annotations

from typing import final

from mypy_extensions import mypyc_attr

from schemas.events import Charge, CostEvent
from schemas.money import nanos
from service.ingest.spelling import since_epoch


@mypyc_attr(acyclic=True)
@final
class Call:
    """A cost event as the fold wants it: `schemas.events.CostEvent`, flat and in integers.

    What the fold does not look at (user, session, tags, attempt, latency) was validated and is gone.

    Attributes
    ----------
    at : int
        `occurred_at` in epoch microseconds, UTC.
    cost_nanos : int or None
        `cost_usd` in nano-dollars, rounded half to even.
    charge : Charge or None
        What it is when it is not a call.
    """

    __slots__ = (
        "api_key",
        "at",
        "cache_write_1h_tokens",
        "cache_write_tokens",
        "cached_input_tokens",
        "charge",
        "cost_nanos",
        "customer",
        "environment",
        "event_id",
        "feature",
        "gateway",
        "input_tokens",
        "model",
        "operation",
        "output_tokens",
        "provider",
        "reasoning_tokens",
        "service_tier",
        "status",
        "team",
        "trace_id",
        "usage_source",
        "workflow",
    )

    def __init__(
        self,
        event_id: str,
        at: int,
        provider: str,
        model: str,
        workflow: str | None,
        team: str | None,
        feature: str | None,
        customer: str | None,
        api_key: str | None,
        trace_id: str | None,
        input_tokens: int,
        cached_input_tokens: int,
        cache_write_tokens: int,
        cache_write_1h_tokens: int,
        output_tokens: int,
        reasoning_tokens: int,
        cost_nanos: int | None,
        status: str,
        usage_source: str,
        operation: str | None,
        service_tier: str | None,
        gateway: str | None,
        charge: Charge | None,
        environment: str | None = None,
    ) -> None:
        self.event_id = event_id
        self.at = at
        self.provider = provider
        self.model = model
        self.workflow = workflow
        self.team = team
        self.feature = feature
        self.customer = customer
        self.api_key = api_key
        self.trace_id = trace_id
        self.input_tokens = input_tokens
        self.cached_input_tokens = cached_input_tokens
        self.cache_write_tokens = cache_write_tokens
        self.cache_write_1h_tokens = cache_write_1h_tokens
        self.output_tokens = output_tokens
        self.reasoning_tokens = reasoning_tokens
        self.cost_nanos = cost_nanos
        self.status = status
        self.usage_source = usage_source
        self.operation = operation
        self.service_tier = service_tier
        self.gateway = gateway
        self.charge = charge
        self.environment = environment


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
        environment=event.environment,
    )
