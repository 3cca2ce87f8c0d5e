"""Names of the published schemas, each with a golden example."""

from __future__ import annotations

from typing import Any, Final

from schemas.alerts import Alert
from schemas.base import Record
from schemas.control import CONTROL_KINDS, ConfigRejection
from schemas.dead_letters import DeadLetter, DeadLetterReplay
from schemas.events import CostEvent, Outcome
from schemas.notifications import NotificationLogEntry, ParkedNotification
from schemas.rollups import Rollup, Tick
from schemas.throttles import ThrottleAck, ThrottleCommand

SCHEMAS: Final[dict[str, type[Record]]] = {
    "cost-event": CostEvent,
    "outcome": Outcome,
    "rollup": Rollup,
    "tick": Tick,
    "alert": Alert,
    "throttle-command": ThrottleCommand,
    "throttle-ack": ThrottleAck,
    "dead-letter": DeadLetter,
    "dead-letter-replay": DeadLetterReplay,
    **{f"config-{kind}": model for kind, model in CONTROL_KINDS.items()},
    "config-rejection": ConfigRejection,
    "notification-log-entry": NotificationLogEntry,
    "parked-notification": ParkedNotification,
}

_T0 = "2026-01-31T14:07:30Z"
_T1 = "2026-01-31T14:08:05Z"
_ALERT: Final[dict[str, Any]] = {
    "fingerprint": "9f2c64b1d0aa4e17",
    "status": "firing",
    "severity": "critical",
    "kind": "retry_loop",
    "workflow": "support-agent",
    "team": "care",
    "started_at": _T0,
    "fired_at": _T1,
    "updated_at": _T1,
    "sequence": 1,
    "summary": "support-agent is spending $212/h, 9× its usual $23/h: calls per trace went from 3 to 41"
    " since 14:07 UTC in 1 trace of customer acme; $3.50 over so far.",
    "cost_nanos": 3_900_000_000,
    "expected_nanos": 420_000_000,
    "excess_nanos": 3_480_000_000,
    "projected_nanos": 2_310_000_000_000,
    "projected_month_nanos": 2_890_000_000_000,
    "drivers": [
        {"factor": "calls_per_trace", "share_nanos": 3_300_000_000, "before": 3.1, "after": 41.0},
        {"factor": "traces", "share_nanos": 180_000_000, "before": 14.0, "after": 15.0},
    ],
    "evidence": {
        "traces": [
            {
                "trace_id": "run-4711",
                "calls": 130,
                "cost_nanos": 3_100_000_000,
                "max_input_tokens": 18_000,
                "started_at": _T0,
                "customer": "acme",
                "model": "gpt-4o",
            }
        ],
        "top": [
            {
                "dimension": "customer",
                "value": "acme",
                "calls": 131,
                "cost_nanos": 3_150_000_000,
                "share": 0.81,
                "usual_share": 0.06,
                "excess_share": 0.94,
            }
        ],
    },
    "verdict": {"detector": "live_trace", "score": 11.2, "threshold": 4.3},
    "config_version": "17-3fa9c1d2",
}

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "cost-event": {
        "event_id": "chatcmpl-8f3a51",
        "occurred_at": "2026-01-31T14:07:31.250Z",
        "provider": "openai",
        "model": "gpt-4o",
        "workflow": "support-agent",
        "team": "care",
        "feature": "triage",
        "customer": "acme",
        "api_key": "key-7d1f",
        "environment": "production",
        "gateway": "litellm-eu-1",
        "trace_id": "run-4711",
        "request_tags": ["beta"],
        "input_tokens": 1200,
        "cached_input_tokens": 1024,
        "output_tokens": 310,
        "reasoning_tokens": 64,
        "cost_usd": "0.00482",
        "status": "success",
        "attempt": 1,
        "latency_ms": 812.5,
        "operation": "chat",
    },
    "outcome": {
        "outcome_id": "ticket-99812",
        "occurred_at": 1769868451.25,
        "trace_id": "run-4711",
        "workflow": "support-agent",
        "customer": "acme",
        "kind": "ticket_resolved",
        "quantity": 1.0,
    },
    "rollup": {
        "type": "rollup",
        "workflow": "support-agent",
        "team": "care",
        "bucket_start": _T0,
        "source": {"partition": 2, "first_offset": 90_112, "last_offset": 90_480},
        "calls": 42,
        "errors": 1,
        "cost_nanos": 203_000_000,
        "input_tokens": 51_000,
        "cached_input_tokens": 20_480,
        "output_tokens": 12_400,
        "reasoning_tokens": 900,
        "reference_cost_nanos": 251_500_000,
        "by_dimension": [
            {
                "dimension": "customer",
                "top": [{"value": "acme", "calls": 30, "cost_nanos": 160_000_000, "tokens": 47_000}],
                "rest": {"values": 3, "calls": 12, "cost_nanos": 43_000_000, "tokens": 16_400},
            }
        ],
        "live_traces": [
            {
                "trace_id": "run-4711",
                "calls": 28,
                "cost_nanos": 151_000_000,
                "max_input_tokens": 18_000,
                "customer": "acme",
                "model": "gpt-4o",
            }
        ],
        "other_traces": {"traces": 9, "calls": 14, "cost_nanos": 52_000_000, "max_cost_nanos": 7_200_000},
        "price_faults": [
            {
                "kind": "off_list",
                "provider": "openai",
                "model": "gpt-4o",
                "calls": 2,
                "tokens": 3_100,
                "cost_nanos": 81_000_000,
                "list_nanos": 8_100_000,
            }
        ],
    },
    "tick": {"type": "tick", "partition": 2, "partitions": 4, "watermark": "2026-01-31T14:07:36.250Z"},
    "alert": _ALERT,
    "throttle-command": {
        "command_id": "9f2c64b1d0aa4e17-1",
        "scope": {"kind": "trace", "value": "run-4711", "workflow": "support-agent"},
        "action": {"action": "block", "message": "Stopped by Tidegate: retry loop in trace run-4711."},
        "reason": "retry_loop in support-agent, $3.48 over",
        "alert_fingerprint": "9f2c64b1d0aa4e17",
        "mode": "enforce",
        "issued_at": _T1,
        "expires_at": "2026-01-31T14:18:05Z",
        "sequence": 1_769_868_485_000_000,
        "config_version": "17-3fa9c1d2",
    },
    "throttle-ack": {
        "command_id": "9f2c64b1d0aa4e17-1",
        "gateway": "litellm-eu-1",
        "result": "applied",
        "acked_at": "2026-01-31T14:08:05.400Z",
    },
    "dead-letter": {
        "origin": {"topic": "tidegate.cost-events", "partition": 2, "offset": 90_113},
        "timestamp": _T0,
        "key": "c3VwcG9ydC1hZ2VudA==",
        "value": "eyJldmVudF9pZCI6ICJ4In0=",
        "headers": [{"key": "traceparent", "value": "MDAtMDE="}],
        "reason": "missing_field",
        "path": "occurred_at",
        "detail": "Field required",
    },
    "dead-letter-replay": {
        "origin": {"topic": "tidegate.cost-events", "partition": 2, "offset": 90_113},
        "letter": "5e8cba3b4d2e5a7f6d5c2f4a9b1e0c7d8f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c",
        "outcome": "published",
        "record_id": "x",
        "content": "0d1f3c5b7a9e8d6c4b2a1f0e9d8c7b6a5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c",
        "at": _T1,
        "by": "ops@example.com",
    },
    "config-tuning": {
        "kind": "tuning",
        "name": "support",
        "author": "ops@example.com",
        "reason": "noisy during migration",
        "scope": {"workflow": "support-*"},
        "settings": {"min_excess_usd": "5", "page_budget": 8.0, "resolve_s": 300.0},
    },
    "config-budget": {
        "kind": "budget",
        "name": "care-month",
        "scope": {"kind": "team", "value": "care"},
        "window": "month",
        "amount_usd": "12000",
        "timezone": "Europe/Berlin",
        "alert_at": [0.7, 0.8, 1.0],
    },
    "config-rule": {
        "kind": "rule",
        "name": "stop-loops",
        "match": {"workflow": "*", "kinds": ["retry_loop", "runaway_trace"]},
        "min_excess_usd": "0.5",
        "scope": "narrowest",
        "action": {"action": "block", "message": "Stopped by Tidegate. Ask #ai-ops."},
        "mode": "enforce",
        "duration_s": 600.0,
    },
    "config-switch": {"kind": "switch", "name": "throttles", "state": "off", "reason": "provider outage"},
    "config-launch": {
        "kind": "launch",
        "name": "spring-release",
        "workflow": "chat",
        "starts_at": "2026-03-01T08:00:00Z",
        "ends_at": "2026-03-03T08:00:00Z",
        "volume_multiple": 20.0,
        "unit_cost_usd": "0.012",
        "cap_usd": "25000",
        "owner": "growth",
        "review_at": "2026-03-04T08:00:00Z",
    },
    "config-silence": {
        "kind": "silence",
        "name": "load-test",
        "match": {"workflow": "loadtest-*"},
        "starts_at": "2026-02-01T08:00:00Z",
        "ends_at": "2026-02-01T10:00:00Z",
        "author": "ops@example.com",
        "reason": "load test",
    },
    "config-route": {
        "kind": "route",
        "name": "care",
        "match": {"team": "care", "severities": ["warning", "critical"]},
        "receivers": ["slack-care", "pagerduty"],
    },
    "config-price": {
        "kind": "price",
        "name": "contract-gpt-4o",
        "provider": "openai",
        "model": "gpt-4o",
        "effective_from": "2026-01-01T00:00:00Z",
        "input_usd_per_mtok": "2.10",
        "cached_input_usd_per_mtok": "1.05",
        "output_usd_per_mtok": "8.40",
    },
    "config-rejection": {
        "key": "tuning/support",
        "offset": 18,
        "reason": "out_of_range",
        "path": "settings.page_budget",
        "detail": "Input should be less than or equal to 100",
        "rejected_by": "detect-1",
        "rejected_at": _T0,
    },
    "notification-log-entry": {
        "receiver": "slack-care",
        "fingerprint": "9f2c64b1d0aa4e17",
        "status": "firing",
        "severity": "critical",
        "sequence": 1,
        "delivered_at": _T1,
    },
    "parked-notification": {
        "receiver": "slack-care",
        "alert": _ALERT,
        "outcome": "final_error",
        "detail": "404 no_service",
        "attempts": 1,
        "parked_at": _T1,
    },
}
