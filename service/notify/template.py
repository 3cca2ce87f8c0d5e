"""What every receiver is told, in plain words without any vendor's markup. Pure.

Texts come from outside (workflow names, trace ids): all of them are cleaned here, and escaped by the vendor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

from schemas.alerts import Alert, DimensionEvidence, Driver, Severity, TraceEvidence
from schemas.base import format_timestamp
from schemas.money import format_usd
from schemas.throttles import Scope, ThrottleEvent
from service.notify import change_text
from service.notify.notification import Change, Line, Notification
from service.notify.text import clean

SEVERITY_WORD: Final[dict[Severity, str]] = {"critical": "CRITICAL", "warning": "WARNING", "info": "NOTICE"}
_ACTION: Final = {
    "slow": "slowed down",
    "downgrade": "moved to another model",
    "cap": "capped",
    "block": "blocked",
}
_BARRED: Final = {
    "protected": "not throttled, it is protected",
    "limit": "not throttled, too many are at once",
    "refused": "not throttled, somebody said no",
    "lapsed": "not throttled, nobody said yes in time",
}


def headline(alert: Alert) -> str:
    """`CRITICAL: retry loop in support-agent`."""
    word = "RESOLVED" if alert.status == "resolved" else SEVERITY_WORD[alert.severity]
    return f"{word}: {kind(alert)} in {clean(alert.workflow)}"


def title(said: Notification) -> str:
    """What a notification is about: the headline of one alert, or of the first of several and how many more."""
    if said.tidings is not None:
        return change_text.title(said.tidings)
    going, over = len(said.firing), len(said.resolved)
    if said.occasion == "daily":
        return f"DAILY DIGEST: {_count(going, 'incident')} going on, {over} ended"
    first = said.firing or said.resolved
    assert said.lead is not None
    assert first
    more = len(first) - 1 + (said.omitted if said.firing else 0)
    if said.held_back is not None:
        return f"{SEVERITY_WORD[said.severity]}: {_count(len(said.news), 'incident')} at once"
    # The lead may be one that is over while others go on: then it says so itself.
    headed = headline(said.lead if said.over or said.lead.status == "firing" else first[0].alert)
    prefix = "NOBODY ANSWERED: " if Change.ESCALATED in said.changes else ""
    return f"{prefix}{headed}{f' and {more} more' if more > 0 else ''}"


def opening(said: Notification) -> str:
    """The first sentences of a notification; who is told although somebody wanted less hears of it."""
    if said.tidings is not None:
        return change_text.opening(said.tidings)
    if said.remark is None or said.lead is None or said.occasion != "incident":
        return _opening(said)
    return f"{_opening(said)} ({clean(said.lead.workflow)} is {clean(said.remark)}.)"


def _opening(said: Notification) -> str:
    if said.occasion == "daily":
        since = f"{said.since:%Y-%m-%d %H:%M} UTC" if said.since is not None else "yesterday"
        if said.lead is None:
            return f"Since {since} nothing happened."
        cost = sum(line.alert.cost_nanos for line in said.resolved if not line.alert.of_budget)
        return f"Since {since}: what ended cost {format_usd(cost)} in all."
    assert said.lead is not None
    if said.held_back is not None and said.held_back.cap:
        held = said.held_back
        return (
            f"More than {held.cap} notifications in {elapsed_s(held.within_s)}: {held.notifications} were held"
            f" back, and this is all that is new in them. {sentence(said.lead)}"
        )
    taken = said.acknowledgement
    if said.why is Change.ACKNOWLEDGED and taken is not None:
        return f"{clean(taken.author)} took it. {sentence(said.lead)}"
    if said.why is Change.THROTTLED:
        newest = next(iter(done(said.measures)), "Something was done about it")
        return f"{newest}. {sentence(said.lead)}"
    if Change.ESCALATED in said.changes:
        return f"Not acknowledged at {clean(', '.join(said.escalated_from))}. {sentence(said.lead)}"
    return sentence(said.lead)


def others(said: Notification) -> list[str]:
    """A line for each alert that the opening does not speak of, what is new first.

    `CRITICAL: retry loop in chat, $3.90 so far`. A daily digest has a line for every one; what is about the
    configuration, a line for each record.
    """
    if said.tidings is not None:
        return [*change_text.launches(said.tidings), *change_text.records(said.tidings)]
    lead = None if said.occasion == "daily" else said.lead
    lines = [line for line in (*said.firing, *said.resolved) if line.alert is not lead]
    ordered = sorted(lines, key=lambda line: line.change is None)
    texts = [_other(line) for line in ordered]
    return [*texts, f"and {said.omitted} more"] if said.omitted else texts


def done(measures: Sequence[ThrottleEvent]) -> list[str]:
    """What was done about an alert, what would have been in a dry run, and what was not.

    `trace run-4711: blocked since 14:08:05 UTC (rule stop-loops)`, the newest first.
    """
    return [_measure(event) for event in sorted(measures, key=lambda event: event.at, reverse=True)]


def _measure(event: ThrottleEvent) -> str:
    dry = event.mode == "dry_run"
    saved = f", which would have saved {format_usd(event.spared_nanos)}" if dry and event.spared_nanos else ""
    return f"{_scope(event.scope)}: {_became(event, dry)}{saved} (rule {clean(event.rule)})"


def _scope(scope: Scope) -> str:
    if scope.kind == "organisation":
        return "everything"
    return f"{scope.kind.replace('_', ' ')} {clean(scope.value)}"


def _became(event: ThrottleEvent, dry: bool) -> str:
    at, would = f"{event.at:%H:%M:%S} UTC", "would have been " if dry else ""
    match event.change:
        case "proposed":
            return f"waits for a yes, tidegate approve {clean(event.proposal)}"
        case "withdrawn":
            return f"over at {at}, before anybody answered"
        case "barred":
            return _BARRED.get(event.why or "", "not throttled")
        case "releasing" | "faster":
            return f"{would}let go step by step, last at {at}"
        case "released":
            return f"{would}let go at {at}"
        case "rested":
            return f"{would}let go at {at}, as long as a throttle may last, though the incident goes on"
        case "ended":
            return f"{would}let go at {at}: {clean(event.why or 'ended from outside')}"
        case _:
            return f"{would}{_ACTION.get(event.action, event.action)} since {event.since:%H:%M:%S} UTC"


def _other(line: Line) -> str:
    alert = line.alert
    known = ""
    if line.change is None and alert.status == "firing":
        known = f", for {elapsed(alert.started_at, alert.updated_at)}"
    taken = f" ({clean(line.acknowledgement.author)} took it)" if line.acknowledgement is not None else ""
    if alert.status == "resolved":
        return f"{headline(alert)}. {ending(alert)}{taken}"
    cost = "" if alert.of_budget else f", {format_usd(alert.cost_nanos)} so far"
    return f"{headline(alert)}{cost}{known}{taken}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def kind(alert: Alert) -> str:
    return alert.kind.replace("_", " ")


def sentence(alert: Alert) -> str:
    """The alert's own summary, and when it is over, for how long it went on and what it came to."""
    summary = clean(alert.summary) or f"{headline(alert)}."
    if alert.status != "resolved":
        return summary
    return f"{ending(alert)} {summary}"


def ending(alert: Alert) -> str:
    """`Over after 14 min; it cost $12.40, $11.00 more than usual.` A budget's alert cost nothing itself."""
    over = f"Over after {elapsed(alert.started_at, alert.resolved_at or alert.updated_at)}"
    if alert.of_budget:
        return f"{over}."
    excess = f", {format_usd(alert.excess_nanos)} more than usual" if alert.excess_nanos > 0 else ""
    return f"{over}; it cost {format_usd(alert.cost_nanos)}{excess}."


def dollars(alert: Alert) -> list[tuple[str, str]]:
    """The amounts as (label, amount); once it is over there is nothing left to project.

    A budget in tokens has none: its summary says how many.
    """
    over = alert.status == "resolved"
    if alert.of_budget:
        return _of_window(alert, over) if alert.expected_nanos else []
    amounts = [
        ("Spent in all" if over else "Spent so far", format_usd(alert.cost_nanos)),
        ("Usual for the time", format_usd(alert.expected_nanos)),
        ("Excess", format_usd(alert.excess_nanos)),
    ]
    if over:
        return amounts
    amounts.append(("Day's end if this goes on", format_usd(alert.projected_nanos)))
    if alert.projected_month_nanos is not None:
        amounts.append(("Month's end if this goes on", format_usd(alert.projected_month_nanos)))
    return amounts


def _of_window(alert: Alert, over: bool) -> list[tuple[str, str]]:
    pace = alert.verdict.detector.endswith(".pace")
    amounts = [
        ("Spent in the window", format_usd(alert.cost_nanos)),
        ("Should be by now" if pace else "Limit", format_usd(alert.expected_nanos)),
    ]
    if not over:
        amounts.append(("Expected at its end", format_usd(alert.projected_nanos)))
    return amounts


def since(alert: Alert) -> str:
    """`14:07:30 UTC on 2026-01-31, for 35 s`."""
    until = alert.resolved_at or alert.updated_at
    return f"{alert.started_at:%H:%M:%S} UTC on {alert.started_at:%Y-%m-%d}, for {elapsed(alert.started_at, until)}"


def elapsed(start: datetime, end: datetime) -> str:
    """The two largest units: `35 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`. Never negative."""
    return elapsed_s((end - start).total_seconds())


def elapsed_s(seconds: float) -> str:
    """The same of a number of seconds."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def drivers(alert: Alert) -> list[str]:
    """`calls per trace 3.1 → 41: +$3.30, 95 % of the change`, the largest share first."""
    change = sum(driver.share_nanos for driver in alert.drivers)
    ordered = sorted(alert.drivers, key=lambda driver: -driver.share_nanos)
    return [_driver(driver, change) for driver in ordered]


def _driver(driver: Driver, change_nanos: int) -> str:
    sign = "+" if driver.share_nanos >= 0 else ""
    text = (
        f"{driver.factor.replace('_', ' ')} {number(driver.before)} → {number(driver.after)}: "
        f"{sign}{format_usd(driver.share_nanos)}"
    )
    if change_nanos > 0:
        text += f", {(200 * driver.share_nanos + change_nanos) // (2 * change_nanos)} % of the change"
    return text


def number(value: float) -> str:
    """Three significant digits, thousands separated; never in a form longer than a dozen characters."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-4:
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 1_000 else f"{value:.3g}"


def top(alert: Alert) -> list[str]:
    """`81 % customer acme (usually 6 %): $3.15, 131 calls; 94 % of the excess`, those that explain it first."""
    return [_slice(found) for found in alert.evidence.top]


def _slice(found: DimensionEvidence) -> str:
    text = f"{_percent(found.share)} {found.dimension.replace('_', ' ')} {clean(found.value)}"
    if found.usual_share is not None:
        text += f" (usually {_percent(found.usual_share)})"
    text += f": {format_usd(found.cost_nanos)}, {_calls(found.calls)}"
    if found.excess_share is not None and found.excess_share > 0:
        text += f"; {'all' if found.excess_share > 0.995 else _percent(found.excess_share)} of the excess"
    return text


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def traces(alert: Alert) -> list[str]:
    """`trace run-4711: $3.10, 130 calls, 18,000 tokens at most, customer acme, gpt-4o`."""
    return [_trace(trace) for trace in alert.evidence.traces]


def _trace(trace: TraceEvidence) -> str:
    parts = [format_usd(trace.cost_nanos), _calls(trace.calls)]
    if trace.max_input_tokens:
        parts.append(f"{trace.max_input_tokens:,} tokens in its largest call")
    if trace.customer:
        parts.append(f"customer {clean(trace.customer)}")
    if trace.model:
        parts.append(clean(trace.model))
    return f"trace {clean(trace.trace_id)}: {', '.join(parts)}"


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def provenance(alert: Alert) -> str:
    """Everything that is needed to check the decision."""
    verdict = alert.verdict
    return (
        f"{clean(verdict.detector)} {number(verdict.score)} over {number(verdict.threshold)}"
        f" · config {clean(alert.config_version)} · incident {clean(alert.fingerprint)} #{alert.sequence}"
        f" · {format_timestamp(alert.updated_at)}"
    )


@dataclass(frozen=True, slots=True)
class Link:
    """Where people can read more. `pattern` may name `{fingerprint}` and `{workflow}`."""

    pattern: str

    def to(self, alert: Alert) -> str:
        found = self.pattern.replace("{fingerprint}", quote(alert.fingerprint, safe=""))
        return found.replace("{workflow}", quote(alert.workflow, safe=""))
