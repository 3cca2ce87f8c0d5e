"""What an incident is, in one sentence: what, how much, why, since when, and whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detectors.protocol import Contribution
from schemas.alerts import Evidence, Kind
from schemas.rollups import BUCKET_SECONDS
from service.detect.words import clock, dollars, listed, name, number, per_hour, percent, times
from service.rules.lifecycle import Incident

_LAUNCH_CROWD: Final = 2.0
"""Times the usual customers, from which on it is they who make the volume."""
_DEAREST_PRICE: Final = 1_000.0
"""Times the list price. Above it the number is nano-dollars per call: there was no list price to compare with."""
_SECOND: Final = 0.25
"""Share of the change from which on a second factor is told too."""
_SAME: Final = 0.1
_MAX_TRACES: Final = 10
_WORDS: Final = {
    "calls_per_trace": "calls per trace",
    "input_per_call": "input per call",
    "output_per_call": "output per call",
    "cost_per_trace": "cost per trace",
}
_IN_DOLLARS: Final = ("input_per_call", "output_per_call", "cost_per_trace")
_PLAIN: Final[dict[Kind, str]] = {
    "retry_loop": "calls repeat in a loop",
    "context_growth": "prompts have grown",
    "output_growth": "answers have grown",
    "dearer_calls": "calls cost more",
    "cache_collapse": "the cache no longer helps",
    "runaway_trace": "a trace runs away",
    "new_customer": "a new customer spends much of it",
    "new_api_key": "a new key spends much of it",
    "cost_per_trace": "traces cost more",
    "creep": "cost creeps up",
    "unusual_pattern": "an unusual mix of calls, tokens and prices",
    "budget_pace": "faster than its budget allows",
    "budget_exhausted": "its budget is used up",
    "launch": "more traffic",
}
"""What is said where no number says it better."""
_WHOSE: Final = {
    "customer": ("for customer", "for customers"),
    "api_key": ("with key", "with keys"),
    "feature": ("in feature", "in features"),
    "model": ("on model", "on models"),
    "provider": ("at provider", "at providers"),
    "workflow": ("in workflow", "in workflows"),
}


@dataclass(frozen=True, slots=True)
class Account:
    """The numbers of one incident. Rates in nano-dollars per second, amounts in nano-dollars.

    Attributes
    ----------
    usual : float
        0 while it is not known.
    drivers : sequence of Contribution
        The largest share first.
    today, month : int
        Projected to the end of the UTC day and month.
    per_call : float
        Cost of a call since the incident began; 0 if there was none.
    crowd, usual_crowd : float
        Distinct customers per bucket since then, and usually; 0 where nothing is known.
    """

    workflow: str
    now: float
    rate: float
    usual: float
    cost: int
    excess: int
    today: int
    month: int
    drivers: Sequence[Contribution] = ()
    per_call: float = 0.0
    crowd: float = 0.0
    usual_crowd: float = 0.0


def sentence(incident: Incident, account: Account, evidence: Evidence) -> str:
    """One sentence on the present state of an incident. Times are UTC and say so."""
    since = clock(incident.started, account.now)
    workflow = name(account.workflow)
    if incident.family == "data_quality":
        if incident.status == "resolved":
            last = clock(incident.last_seen, account.now)
            return f"{workflow}: not seen since {last}, and so taken as over: {incident.note}"
        return f"{workflow}, since {since}: {incident.note}"
    if incident.status == "resolved":
        return _over(incident, account, workflow, since)
    head = f"{workflow} is spending {per_hour(account.rate)}{_against(account)}"
    if incident.family == "volume":
        ends = f"{dollars(account.today)} today (UTC) if this goes on"
        if incident.note:
            spent = f"{dollars(account.cost)} of it spent; {ends}"
            return f"{head}, with {_traffic(account)} since {since}: {incident.note}, {spent}."
        return f"{head}, with {_traffic(account)} since {since}, {ends}{_crowd(account)}."
    if incident.kind in ("budget_pace", "budget_exhausted"):
        why = (incident.note or _PLAIN[incident.kind]).rstrip(".")
        ends = f"{dollars(account.today)} today and {dollars(account.month)} this month (UTC)"
        return f"{head}: {why}; {ends} if this goes on."
    if incident.family == "launch":
        return (
            f"{head}: {incident.note}, since {since}; {dollars(account.today)} today (UTC) if this goes on."
        )
    over = f"{dollars(account.excess)} over so far" if account.excess > 0 else "nothing over the usual so far"
    return f"{head}: {_why(incident, account)} since {since}{_where(incident, evidence)}; {over}."


def _over(incident: Incident, account: Account, workflow: str, since: str) -> str:
    more = f", {dollars(account.excess)} more than usual" if account.excess > 0 else ", no more than usual"
    told = _changes(incident, account.drivers) if incident.family != "volume" else ""
    whose = _whose(incident)
    because = f": {told}{whose}" if told else ""
    if incident.family == "volume" and incident.note:
        because = f": {incident.note}"
    kind = incident.kind.replace("_", " ")
    return f"{workflow}: {kind} since {since} is over; it spent {dollars(account.cost)}{more}{because}."


def _against(account: Account) -> str:
    if account.usual < 1.0:
        return " (its usual is not known yet)"
    ratio, usual = account.rate / account.usual, per_hour(account.usual)
    if ratio >= 1 + _SAME:
        return f", {times(ratio)} its usual {usual}"
    return f", {'about' if ratio > 1 - _SAME else 'below'} its usual {usual}"


def _why(incident: Incident, account: Account) -> str:
    if incident.kind in ("new_customer", "new_api_key"):
        what = "customer" if incident.kind == "new_customer" else "api_key"
        one = next((s for s in incident.suspects if s[0] == what), None)
        if one is not None:
            noun = "customer" if what == "customer" else "key"
            return f"new {noun} {name(one[1])} makes {percent(one[4])} of the spend"
    if incident.group == "announced_cost":  # against what was announced, which no driver knows
        return incident.note
    told = _changes(incident, account.drivers)
    if incident.kind == "cache_collapse" and told:
        return f"{_PLAIN['cache_collapse']}, {told}"
    return told or incident.note.rstrip(".") or _PLAIN.get(incident.kind, incident.kind.replace("_", " "))


def _changes(incident: Incident, drivers: Sequence[Contribution]) -> str:
    """The factor that holds most of the change, and the next if it holds much of it."""
    verb = "crept" if incident.kind == "creep" else "went"
    up = [d for d in drivers if d.share_nanos > 0 and d.factor not in ("cost", "calls")]
    if not up:
        return ""
    whole = sum(d.share_nanos for d in drivers if d.share_nanos > 0)
    named = [up[0], *(d for d in up[1:2] if d.share_nanos >= _SECOND * whole)]
    return " and ".join(_change(d, verb) for d in named)


def _change(driver: Contribution, verb: str) -> str:
    before, after = driver.before, driver.after
    if driver.factor == "traces":  # of windows of some minutes: the ratio tells, not the counts
        return f"{times(after / before)} the traces" if before > 0 else "traces where there were none"
    if driver.factor == "price":
        if max(before, after) > _DEAREST_PRICE:
            return f"price per call {verb} from {dollars(round(before))} to {dollars(round(after))}"
        words, unit = (percent(before), percent(after)), " of the list price"
        what = "price"
    else:
        show = _dollars if driver.factor in _IN_DOLLARS else number
        words, unit = (show(before), show(after)), ""
        what = _WORDS.get(driver.factor, driver.factor.replace("_", " "))
    if words[0] == words[1] and before > 0:  # a change too small for two digits
        return f"{what} {'rose' if after >= before else 'fell'} by {100 * abs(after / before - 1):.1f} %"
    return f"{what} {verb} from {words[0]} to {words[1]}{unit}"


def _dollars(value: float) -> str:
    return dollars(round(value))


def _where(incident: Incident, evidence: Evidence) -> str:
    if not evidence.traces:
        return _whose(incident)
    worst, n = evidence.traces[0], len(evidence.traces)
    many = f"{'more than ' if len(incident.culprits) > n == _MAX_TRACES else ''}{n}"
    customers = {trace.customer for trace in evidence.traces}
    one = f" of customer {name(worst.customer)}" if len(customers) == 1 and worst.customer else ""
    calls = f"{worst.calls:,} call{'' if worst.calls == 1 else 's'}"
    return (
        f" in {many} trace{'' if n == 1 else 's'}{one or _whose(incident)},"
        f" {name(worst.trace_id)} alone made {calls} for {dollars(worst.cost_nanos)}"
    )


def _whose(incident: Incident) -> str:
    if not incident.suspects:
        return ""
    dimension = incident.suspects[0][0]
    if incident.kind == "new_customer" and dimension == "customer":
        return ""
    if incident.kind == "new_api_key" and dimension == "api_key":
        return ""
    values = [value for d, value, *_ in incident.suspects if d == dimension]
    one, several = _WHOSE[dimension]
    return f" {one if len(values) == 1 else several} {listed(values)}"


def _traffic(account: Account) -> str:
    traces = next((d for d in account.drivers if d.factor == "traces"), None)
    many = (
        f"{times(traces.after / traces.before)} the traces" if traces and traces.before > 0 else "more calls"
    )
    usual = _usual_per_call(account.drivers)
    if account.per_call < 1.0:
        return f"{many} at the usual cost per call"
    if usual > 0 and not 0.75 <= account.per_call / usual <= 1.33:
        return f"{many} at {_dollars(account.per_call)} per call (usually {_dollars(usual)})"
    return f"{many} at the usual {_dollars(account.per_call)} per call"


def _usual_per_call(drivers: Sequence[Contribution]) -> float:
    before = {d.factor: d.before for d in drivers}
    tokens = [before[f] for f in ("input_per_call", "output_per_call") if f in before]
    return before.get("price", 0.0) * (sum(tokens) if tokens else 1.0)


def _crowd(account: Account) -> str:
    """A launch brings customers; the same few who do much more are something else."""
    now, usual = account.crowd, account.usual_crowd
    if now <= 0 or usual <= 0:
        return ": looks like a launch"
    counts = f"customers per {BUCKET_SECONDS} s went from {number(usual)} to {number(now)}"
    if now >= _LAUNCH_CROWD * usual:
        return f": {counts}, looks like a launch"
    return f": {counts}, the same ones do more"
