"""What is uncertain about the numbers themselves: calls without a believable price, duplicates, late calls."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from schemas.money import format_usd
from schemas.rollups import Dimension, PriceFaultKind, Rollup
from service.rules.config import WorkflowConfig
from service.rules.lifecycle import QUIET_S, Signal

MAX_FAULTS: Final = 8
_SPAN_S: Final = 300.0
_OTHERS: Final = 3

FaultKey = tuple[PriceFaultKind, str, str]
"""Kind, provider, model."""
Complaint = Literal["unpriced", "zero_cost", "off_list", "unknown_tier", "duplicates", "late"]


class Fault(msgspec.Struct, array_like=True):
    """Sums of one kind of fault of one model. `of` counts all its calls since `since` (epoch seconds).

    A delta tells the calls of its dearest models, and those of its providers, but not those of both together.
    Where these do not settle how many it were, `of` is an estimate: `about`.
    """

    kind: PriceFaultKind
    provider: str
    model: str
    since: float
    last: float
    calls: int = 0
    tokens: int = 0
    cost: int = 0
    list_cost: int = 0
    of: int = 0
    about: bool = False

    @property
    def key(self) -> FaultKey:
        return self.kind, self.provider, self.model


class Quality(msgspec.Struct, array_like=True):
    """Sums of some minutes. Two generations of them are "lately", as with shares."""

    since: float = 0.0
    calls: int = 0
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    duplicates: int = 0
    late: int = 0
    faults: list[Fault] = []

    def add(self, rollup: Rollup, begin: float, now: float) -> None:
        self.calls += rollup.calls
        self.duplicates += rollup.duplicates
        self.late += rollup.late
        if rollup.unpriced_calls:
            self.unpriced_calls += rollup.unpriced_calls
            self.unpriced_tokens += rollup.unpriced_tokens
        if self.faults or rollup.price_faults:
            self._add_faults(rollup, begin, now)

    def _add_faults(self, rollup: Rollup, begin: float, now: float) -> None:
        known = {fault.key: fault for fault in self.faults}
        for found in rollup.price_faults:
            key = found.kind, found.provider, found.model
            fault = known.get(key)
            if fault is None:
                fault = known[key] = Fault(*key, since=begin, last=now)
                self.faults.append(fault)
            fault.calls += found.calls
            fault.tokens += found.tokens
            fault.cost += found.cost_nanos
            fault.list_cost += found.list_nanos
            fault.last = now
        faulty = {(f.kind, f.provider, f.model): f.calls for f in rollup.price_faults}
        models, providers = calls_by(rollup, "model"), calls_by(rollup, "provider")
        for fault in self.faults:
            mine = faulty.get(fault.key, 0)
            of = models.get(fault.model, mine)
            if len(providers) > 1:
                of = min(of, providers.get(fault.provider, of))
            fault.of += max(of, mine)
            fault.about |= (of > mine and len(providers) > 1) or (mine > 0 and fault.model not in models)
        self.keep(MAX_FAULTS)

    def keep(self, faults: int) -> None:
        """Forget all but the faults with the most calls."""
        if len(self.faults) > faults:
            self.faults = sorted(self.faults, key=lambda f: (-f.calls, f.key))[:faults]

    def next(self, begin: float, now: float) -> Quality:
        """The generation after this one. Models that were faulty lately are counted on from its beginning."""
        lately = [f for f in self.faults if now - f.last < QUIET_S]
        return Quality(begin, faults=[Fault(*f.key, since=begin, last=f.last) for f in lately])


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to complain of: `count` of `of` calls or records between `begin` and now."""

    complaint: Complaint
    name: str
    count: int
    of: int
    begin: float
    about: bool = False
    tokens: int = 0
    cost: int = 0
    list_cost: int = 0

    @property
    def share(self) -> float:
        return _share(self.count, self.of)


def calls_by(rollup: Rollup, dimension: Dimension) -> dict[str, int]:
    """Calls by value, of the values that a delta names."""
    return {s.value: s.calls for b in rollup.by_dimension if b.dimension == dimension for s in b.top}


def findings(older: Quality, newer: Quality, config: WorkflowConfig) -> list[Finding]:
    """What is worth telling of two generations: prices first, then by how many calls."""
    if not config.data_quality_share:
        return []
    calls, twice = older.calls + newer.calls, older.duplicates + newer.duplicates
    late, unpriced = older.late + newer.late, older.unpriced_calls + newer.unpriced_calls
    found = [
        _finding(parts)
        for parts in _faults(older, newer)
        if _matter(sum([p.calls for p in parts]), sum([p.of for p in parts]), config)
    ]
    if _matter(unpriced, calls, config) and not any(f.complaint == "unpriced" for f in found):
        # Many models with few calls each: none of them speaks alone.
        found.append(_unpriced(older, newer))
    found.sort(key=lambda f: (-f.count, f.complaint, f.name))
    begin = older.since if older.calls or older.duplicates else newer.since
    if _matter(twice, calls + twice, config):
        found.append(Finding("duplicates", "", twice, calls + twice, begin))
    if _matter(late, calls, config):
        found.append(Finding("late", "", late, calls, begin))
    return found


def quality_signal(
    older: Quality, newer: Quality, rollup: Rollup, now: float, config: WorkflowConfig
) -> tuple[Signal | None, bool]:
    """A signal if this rollup has more of something worth telling; and whether it shows that it is over.

    Over it is when calls come that could have the fault and do not: silence shows nothing.
    """
    if not config.enabled or not config.data_quality_share:
        return None, True
    faulty = {(f.kind, f.provider, f.model) for f in rollup.price_faults}
    if not (faulty or rollup.unpriced_calls or rollup.duplicates or rollup.late):
        return None, _refuted(newer, rollup, faulty)
    found = findings(older, newer, config)
    if not any(_has(rollup, faulty, f) for f in found):
        return None, _refuted(newer, rollup, faulty)
    worst = found[0]
    signal = Signal(
        family="data_quality",
        kind="data_quality",
        severity="warning",
        detector=f"data_quality.{worst.complaint}",
        score=round(worst.share, 4),
        threshold=config.data_quality_share,
        started=worst.begin,
        excess_nanos=0,
        note=sentence(found, now),
        group=_group(worst),
    )
    return signal, False


def _group(finding: Finding) -> str:
    """What makes it the same doubt when it comes back: a cost that is as far off the list as before is no news."""
    off = ""
    if finding.complaint == "off_list" and finding.cost > 0 and finding.list_cost > 0:
        off = f"{round(math.log2(finding.cost / finding.list_cost)):+d}"
    return ":".join(("data", finding.complaint, finding.name, off))


def sentence(found: list[Finding], now: float) -> str:
    """`412 of 430 calls of openai/gpt-9 from 09:28 to 09:38 have no price; …`: the first finding, and names."""
    worst = found[0]
    span = f"from {_clock(worst.begin)} to {_clock(now)}"
    things = "records" if worst.complaint == "duplicates" else "calls"
    of = "" if worst.about else f"of {worst.of:,} "
    whose = f" of {worst.name}" if worst.name else ""
    text = f"{worst.count:,} {of}{things}{whose} {span} {_says(worst)}."
    names = [f"{f.name or f.complaint} ({f.complaint.replace('_', ' ')})" for f in found[1:]]
    if names:
        more = f" and {len(names) - _OTHERS} more" if len(names) > _OTHERS else ""
        text += f" Also {', '.join(names[:_OTHERS])}{more}."
    return text


def _says(finding: Finding) -> str:
    tokens, cost, at_list = _many(finding.tokens), format_usd(finding.cost), format_usd(finding.list_cost)
    match finding.complaint:
        case "unpriced":
            return (
                f"have no price; {tokens} tokens are counted with no cost. Publish cost_usd or a price record"
            )
        case "zero_cost":
            worth = f" that cost {at_list} at list price" if finding.list_cost else ""
            return f"came with a cost of $0 for {tokens} tokens{worth}. Check the gateway's prices"
        case "off_list":
            return (
                f"came with a cost of {cost} in all where the list price makes it {at_list}."
                " Check the gateway's prices, or publish a price record"
            )
        case "unknown_tier":
            return (
                f"were billed in a service tier whose price is not known; {cost} is counted for {tokens} tokens"
                " as if in the standard one. Publish cost_usd"
            )
        case "duplicates":
            return (
                "repeated an event_id and were dropped; nothing is counted twice. A gateway publishes again"
            )
        case "late":
            return (
                "came behind the watermark; their cost is counted, but their behaviour was judged late or not at"
                " all. Check the gateways' clocks and delays"
            )


def _faults(older: Quality, newer: Quality) -> Iterable[list[Fault]]:
    """Each fault of two generations: of both, or of the one that has it."""
    before = {fault.key: fault for fault in older.faults}
    for fault in newer.faults:
        earlier = before.pop(fault.key, None)
        yield [fault] if earlier is None else [earlier, fault]
    for fault in before.values():
        yield [fault]


def _finding(parts: list[Fault]) -> Finding:
    one = parts[0]
    return Finding(
        one.kind,
        f"{one.provider}/{one.model}",
        sum(p.calls for p in parts),
        sum(p.of for p in parts),
        one.since,
        any(p.about for p in parts),
        sum(p.tokens for p in parts),
        sum(p.cost for p in parts),
        sum(p.list_cost for p in parts),
    )


def _unpriced(older: Quality, newer: Quality) -> Finding:
    several = [_finding(parts) for parts in _faults(older, newer) if parts[0].kind == "unpriced"]
    named = max(several, key=_rank, default=None)
    return Finding(
        "unpriced",
        f"{named.name} and others" if named else "",
        older.unpriced_calls + newer.unpriced_calls,
        older.calls + newer.calls,
        older.since if older.calls else newer.since,
        tokens=older.unpriced_tokens + newer.unpriced_tokens,
    )


def _rank(finding: Finding) -> tuple[int, str]:
    return finding.count, finding.name


def _matter(count: int, of: int, config: WorkflowConfig) -> bool:
    """Whether so many are worth telling of. Asked with every rollup, and the answer is mostly no."""
    return count >= config.data_quality_min_calls and _share(count, of) >= config.data_quality_share


def _share(count: int, of: int) -> float:
    return count / max(of, count, 1)


def _has(rollup: Rollup, faulty: set[FaultKey], finding: Finding) -> bool:
    match finding.complaint:
        case "duplicates":
            return rollup.duplicates > 0
        case "late":
            return rollup.late > 0
        case "unpriced":
            return rollup.unpriced_calls > 0
        case kind:
            return any(k == kind and f"{p}/{m}" == finding.name for k, p, m in faulty)


def _refuted(newer: Quality, rollup: Rollup, faulty: set[FaultKey]) -> bool:
    if not newer.faults:
        return rollup.calls > 0
    named = calls_by(rollup, "model")
    return any(fault.model in named and fault.key not in faulty for fault in newer.faults)


def _many(count: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            return f"{count / (1_000 if unit == 'k' else size):.3g}{unit}"
    return f"{count:,}"


def _clock(epoch: float) -> str:
    minutes = int(epoch // 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
