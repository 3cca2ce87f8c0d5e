"""Records of every topic as one or two lines for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from schemas.alerts import Alert
from schemas.base import Record, format_timestamp
from schemas.control import ConfigChange, ConfigRejection, Control
from schemas.dead_letters import DeadLetter
from schemas.decode import decode
from schemas.events import UNATTRIBUTED, CostEvent, Outcome
from schemas.money import NANOS_PER_USD
from schemas.notifications import Acknowledgement, NotificationLogEntry, ParkedNotification
from schemas.outcomes import OutcomeRollup, TraceCosts
from schemas.reasons import Refused
from schemas.rollups import Rollup, Tick
from schemas.throttles import ThrottleAck, ThrottleCommand, ThrottleEvent
from schemas.topics import Topic
from service.commands.invocation import printable
from service.rules.config import read_control

_VALUE_CHARS: Final = 400
_MAX_BYTES: Final = 1_048_576


def dollars(nanos: int) -> str:
    """Nano-dollars as people write them, exact to the cent, or to a hundredth of one below a dollar."""
    digits = 2 if abs(nanos) >= NANOS_PER_USD else 4
    scale = NANOS_PER_USD // 10**digits
    whole, part = divmod((abs(nanos) + scale // 2) // scale, 10**digits)
    return f"{'-' if nanos < 0 else ''}${whole:,}.{part:0{digits}}"


def read(topic: Topic, key: bytes | None, value: bytes | None) -> Record | None:
    """The record, None for a tombstone.

    Raises
    ------
    Refused
        It is none of the topic's records.
    """
    if value is None:
        return None
    if topic.records == (Control,):
        return read_control((key or b"").decode("utf-8", "replace"), value)
    problem: Refused | None = None
    for model in topic.records:
        try:
            return decode(model, value, max_bytes=_MAX_BYTES)
        except Refused as refused:
            # Which of two records it was meant to be: the one whose `type` fits.
            problem = refused if problem is None or problem.path == "type" else problem
    assert problem is not None, "topics without records are not read"
    raise problem


def line(record: Record) -> str:
    """What a person wants to know of a record, escaped for a terminal."""
    render = _RENDERERS.get(type(record), _control)
    shown = render(record)
    return "\n    ".join(map(printable, [shown] if isinstance(shown, str) else shown))


def _event(e: CostEvent) -> str:
    cost = "unpriced" if e.cost_usd is None else f"${e.cost_usd:f}"
    what = (
        f"{e.charge.quantity:g} {e.charge.unit}" if e.charge else f"{e.input_tokens}→{e.output_tokens} tokens"
    )
    trace = f" trace={e.trace_id}" if e.trace_id else ""
    failed = "" if e.status == "success" else f" {e.status}"
    who = f"{e.workflow or UNATTRIBUTED} {e.provider}/{e.model}"
    return f"{who} {what} {cost}{failed}{trace} at {_at(e.occurred_at)}"


def _outcome(o: Outcome) -> str:
    return f"{o.kind} ×{o.quantity:g} trace={o.trace_id} at {_at(o.occurred_at)}"


def _rollup(r: Rollup) -> str:
    s = r.source
    extra = "".join(
        f" {name}={value}"
        for name, value in (
            ("errors", r.errors),
            ("unpriced", r.unpriced_calls),
            ("late", r.late),
            ("duplicates", r.duplicates),
        )
        if value
    )
    return (
        f"{r.workflow} {_at(r.bucket_start)} {r.calls} calls {dollars(r.cost_nanos)}{extra}"
        f" from {s.partition}:{s.first_offset}-{s.last_offset}"
    )


def _outcome_rollup(r: OutcomeRollup) -> str:
    unmatched = f" unmatched={r.unmatched:+}" if r.unmatched else ""
    return (
        f"{r.workflow} {_at(r.bucket_start)} {r.kind} {r.outcomes:+} outcomes,"
        f" {dollars(r.cost_nanos)} of {r.calls:+} calls{unmatched}"
    )


def _trace_costs(t: TraceCosts) -> str:
    cost, s = sum(trace.cost_nanos for trace in t.traces), t.source
    return (
        f"{t.workflow} {_at(t.bucket_start)} {len(t.traces)} traces {dollars(cost)}"
        f" from {s.partition}:{s.first_offset}-{s.last_offset}"
    )


def _tick(t: Tick) -> str:
    return (
        f"tick partition {t.partition}/{t.partitions} watermark {_at(t.watermark)}{' idle' if t.idle else ''}"
    )


def _alert(a: Alert) -> list[str]:
    drivers = ", ".join(
        f"{d.factor} {d.before:g}→{d.after:g} ({dollars(d.share_nanos)})" for d in a.drivers[:3]
    )
    head = (
        f"{a.status.upper()} {a.severity} {a.kind} {a.workflow} {a.fingerprint}#{a.sequence}:"
        f" {a.summary} [config {a.config_version}]"
    )
    return [head, f"because {drivers}"] if drivers else [head]


def _throttle(t: ThrottleCommand) -> str:
    action = " ".join(
        str(value) if name == "action" else f"{name}={value}"
        for name, value in t.action.model_dump(exclude_none=True).items()
    )
    return f"{t.mode} {action} on {t.scope.key} until {_at(t.expires_at)} #{t.sequence}: {t.reason}"


def _ack(a: ThrottleAck) -> str:
    return f"{a.gateway} {a.result} {a.command_id}{f': {a.detail}' if a.detail else ''}"


def _throttle_event(e: ThrottleEvent) -> str:
    why = f", {e.why}" if e.why else ""
    spared = f", would have saved {dollars(e.spared_nanos)}" if e.spared_nanos else ""
    return f"{e.mode} {e.change} {e.scope.key}: {e.action} by {e.rule} for {e.workflow}{why}{spared} [{e.proposal}]"


def _dead_letter(d: DeadLetter) -> list[str]:
    o = d.origin
    where = f"{d.path}: " if d.path else ""
    value = "(no value)" if d.value is None else d.value.decode("utf-8", "backslashreplace")
    shown = value if len(value) <= _VALUE_CHARS else f"{value[:_VALUE_CHARS]}… ({len(d.value or b'')} bytes)"
    key = "" if d.key is None else f" key={d.key.decode('utf-8', 'backslashreplace')}"
    return [f"{o.topic}/{o.partition}@{o.offset} {d.reason.value}: {where}{d.detail}{key}", shown]


def _control(c: Record) -> str:
    body = c.model_dump(mode="json", exclude_none=True, exclude={"schema_version", "kind", "name"})
    return " ".join(f"{name}={value}" for name, value in body.items())


def _change(c: ConfigChange) -> list[str]:
    who = f" by {c.author}" if c.author else ""
    why = f" ({c.reason})" if c.reason else ""
    value = "deleted" if c.value is None else c.value.decode("utf-8", "backslashreplace")
    shown = value if len(value) <= _VALUE_CHARS else f"{value[:_VALUE_CHARS]}… ({c.size} bytes)"
    return [f"{c.key} at offset {c.offset} {c.command}{who}{why} at {_at(c.written_at)}", shown]


def _rejection(r: ConfigRejection) -> str:
    where = f"{r.path}: " if r.path else ""
    return f"{r.key} at offset {r.offset} refused by {r.rejected_by}: {r.reason}: {where}{r.detail}"


def _delivered(n: NotificationLogEntry) -> str:
    firing = ", ".join(f"{told.severity} {told.fingerprint}" for told in n.firing) or "over"
    return f"{n.receiver} told {n.incident}#{n.sequence} of {n.group} at {_at(n.sent_at)}: {firing}"


def _parked(p: ParkedNotification) -> list[str]:
    others = f" (and {len(p.others)} others)" if p.others else ""
    return [f"{p.receiver} {p.outcome} after {p.attempts} attempts{others}: {p.detail}", *_alert(p.alert)]


def _taken(a: Acknowledgement) -> str:
    note = f": {a.note}" if a.note else ""
    return f"{a.state} {a.fingerprint} by {a.author} via {a.via} at {_at(a.at)}{note}"


def _at(instant: datetime) -> str:
    return format_timestamp(instant)


_RENDERERS: Final[dict[type[Record], Callable[[Any], str | list[str]]]] = {
    CostEvent: _event,
    Outcome: _outcome,
    TraceCosts: _trace_costs,
    Rollup: _rollup,
    OutcomeRollup: _outcome_rollup,
    Tick: _tick,
    Alert: _alert,
    ThrottleCommand: _throttle,
    ThrottleEvent: _throttle_event,
    ThrottleAck: _ack,
    DeadLetter: _dead_letter,
    ConfigChange: _change,
    ConfigRejection: _rejection,
    NotificationLogEntry: _delivered,
    ParkedNotification: _parked,
    Acknowledgement: _taken,
}
