"""What holds for a budget, and what people must be told of it.

How it is meant to be called, by whoever reads the spend:

1. `ledger = Ledger(since=now)` when a budget record appears; `load(data)` after a restart.
2. `count(ledger, budget, at, spent, source)` for each delta of spend within the budget's scope, in any order.
3. `look(ledger, budget, now, outlook)` after each delta or batch of them, and when `due(ledger, budget)` is
   reached: the facts it returns are alerts to send. `outlook` is what `service.rules.forecast` says of the
   window; None = spend is thought to be even.
4. `snapshot(…)` of `service.rules.budget_snapshot` when a fact was told, and every few seconds: the record for
   gateways. Then keep `dump(ledger)`.

`now` is event time as far as it is known: the latest instant of any spend, or the watermark if that is later.
Nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from schemas.alerts import Severity
from schemas.base import MAX_INT
from schemas.budgets import BudgetStatus
from schemas.control import Budget
from schemas.money import nanos
from service.rules.calendar import Calendar, Span
from service.rules.ledger import Ledger, amount, recut

PACE_FROM: Final = 0.1
"""Before this share of a window is over its pace is looked at as if it was: one early call is no trend."""
REARMED_BELOW: Final = 0.5
"""A rolling window never ends: below this share of the limit what was told is forgotten, and grace given again."""
PRODUCTION: Final = frozenset(("production", "prod", "prd", "live"))
"""Environments that are production by their name. Whatever else an environment is called, it is not."""

FactKind = Literal["pace", "forecast", "soft", "grace", "hard", "reset"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a window is thought to bring.

    Attributes
    ----------
    share : float
        Of what such a window usually spends, how much is usually spent by now: 0 to 1.
    low, expected, high : int
        Spend of the whole window at its end, in the budget's unit: 80 of 100 ends lie between low and high.
    """

    share: float
    low: int
    expected: int
    high: int


@dataclass(frozen=True, slots=True)
class Fact:
    """What happened to a budget. Amounts are in the budget's unit.

    Attributes
    ----------
    kind : str
        pace = spend reached `point` of what should have been spent by now; forecast = the end of the window will
        exceed the limit; soft = spend reached `point` of the limit; grace = a hard limit is reached, and calls go
        on for a while; hard = calls are refused; reset = the window is over, and `spent` is what it spent.
    expected : int
        pace: what should have been spent by now. forecast: what will have been spent at the end. Else the limit.
    until : float or None
        grace: when it ends at the latest, epoch seconds.
    """

    kind: FactKind
    budget: str
    point: float
    severity: Severity
    window: Span
    spent: int
    limit: int
    expected: int
    at: float
    until: float | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.point:g}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for a budget at one instant. Amounts are in the budget's unit.

    Attributes
    ----------
    pace : int
        What should have been spent by now, if the limit is to last to the window's end.
    stop_at : int or None
        A hard budget's calls are refused from so much on, its grace included.
    """

    window: Span
    spent: int
    limit: int
    carried: int
    pace: int
    state: BudgetStatus
    hard: bool
    stop_at: int | None
    grace_until: float | None


def is_hard(budget: Budget) -> bool:
    """Whether calls are refused: as the record says, else unless it is for production.

    Without a purpose, a budget of an environment goes by that environment's name, and any other is production.
    """
    if budget.hard is not None:
        return budget.hard
    if budget.purpose is not None:
        return budget.purpose != "production"
    return budget.scope.kind == "environment" and (budget.scope.value or "").lower() not in PRODUCTION


def standing(ledger: Ledger, budget: Budget, now: float, outlook: Outlook | None = None) -> Standing:
    """What holds at an instant, no earlier than the last one looked at. Changes nothing."""
    now = max(now, ledger.now)
    calendar = Calendar.of(budget)
    window = calendar.window_at(now)
    carried = _carried(ledger, budget, calendar, window)
    limit = limit_at(budget, carried, now)
    spent = ledger.spent(window)
    pace = _pace(limit, window, now, outlook, rolling=budget.rolling)
    hard = is_hard(budget)
    stop_at = min(limit + _part(limit, budget.grace_share), MAX_INT) if budget.grace_s else limit
    grace_until: float | None = None
    state: BudgetStatus
    if spent < limit:
        ahead = spent > pace if outlook is None else outlook.expected > limit
        state = "pace" if ahead else "ok"
    elif not hard:
        state = "soft"
    else:
        same = window.start == ledger.window or budget.rolling
        grace_from = ledger.grace_from if same and ledger.grace_from is not None else now
        grace_until = grace_from + budget.grace_s
        state = "grace" if spent < stop_at and now < grace_until else "hard"
        if state == "hard":
            stop_at, grace_until = limit, None
    return Standing(window, spent, limit, carried, pace, state, hard, stop_at if hard else None, grace_until)


def look(ledger: Ledger, budget: Budget, now: float, outlook: Outlook | None = None) -> list[Fact]:
    """Let time pass, and say what has to be told: each fact once per window, and again if the limit was raised.

    Returns
    -------
    list of Fact
        That a window is over first, then what is true of the present one. Where several points of a kind are
        passed at once only the highest is told; when calls are refused that is told, and no point.
    """
    recut(ledger, budget)
    ledger.now = now = max(now, ledger.now)
    facts = _turn(ledger, budget, Calendar.of(budget).window_at(now))
    found = standing(ledger, budget, now, outlook)
    ledger.limit = found.limit
    if found.spent < (_part(found.limit, REARMED_BELOW) if budget.rolling else found.limit):
        ledger.grace_from = None
    elif ledger.grace_from is None and found.spent >= found.limit:
        ledger.grace_from = now
    true = {fact.key: fact for fact in _true_facts(budget, found, now, outlook)}
    for key, limit in list(ledger.told.items()):
        if found.limit > limit and key not in true:
            del ledger.told[key]  # there is more to spend now, and to be told of
    untold = [fact for key, fact in true.items() if key not in ledger.told]
    ledger.told.update({fact.key: found.limit for fact in untold})
    return facts + _loudest(untold)


def due(ledger: Ledger, budget: Budget) -> float:
    """When time alone next changes what holds: a window's end, a grace's end, an increase. Epoch seconds."""
    times = [float(Calendar.of(budget).window_at(ledger.now).end)]
    if ledger.grace_from is not None:
        times.append(ledger.grace_from + budget.grace_s)
    for increase in budget.increases:
        times.append(increase.expires_at.timestamp())
        if increase.starts_at is not None:
            times.append(increase.starts_at.timestamp())
    return min(time for time in times if time > ledger.now)


def _true_facts(budget: Budget, found: Standing, now: float, outlook: Outlook | None) -> list[Fact]:
    def fact(
        kind: FactKind, point: float, severity: Severity, expected: int, until: float | None = None
    ) -> Fact:
        return Fact(
            kind, budget.name, point, severity, found.window, found.spent, found.limit, expected, now, until
        )

    facts = [
        fact("soft", point, "info" if point < 1 else "warning", found.limit)
        for point in budget.alert_at
        if found.spent >= max(1, _part(found.limit, point))
    ]
    if found.spent < found.limit:
        facts += [
            fact("pace", point, "info" if point < 1 else "warning", found.pace)
            for point in budget.pace_at
            if found.spent >= max(1, _part(found.pace, point))
        ]
        if budget.alert_on_forecast and outlook is not None and outlook.expected > found.limit:
            # Whoever is certain to be refused calls wants to know it now.
            certain = found.hard and outlook.low > found.limit
            facts.append(fact("forecast", 1.0, "critical" if certain else "warning", outlook.expected))
    if found.state in ("grace", "hard"):
        kind: FactKind = "grace" if found.state == "grace" else "hard"
        facts.append(fact(kind, 1.0, "critical", found.limit, found.grace_until))
    return facts


def _loudest(facts: list[Fact]) -> list[Fact]:
    highest: dict[FactKind, Fact] = {}
    for fact in facts:
        if fact.kind not in highest or fact.point > highest[fact.kind].point:
            highest[fact.kind] = fact
    if "grace" in highest or "hard" in highest:
        highest.pop("soft", None)
    return list(highest.values())


def _turn(ledger: Ledger, budget: Budget, window: Span) -> list[Fact]:
    """Begin the window of now, if it is another one than was last looked at."""
    if window.start == ledger.window:
        return []
    over = Span(ledger.window, ledger.window_end)
    ledger.window, ledger.window_end = window.start, window.end
    if budget.rolling:
        spent = ledger.spent(window)
        ledger.told = {k: limit for k, limit in ledger.told.items() if spent >= _part(limit, REARMED_BELOW)}
        return []
    ledger.told, ledger.grace_from = {}, None
    if over.start < 0:
        return []
    spent = ledger.spent(over)
    return [Fact("reset", budget.name, 1.0, "info", over, spent, ledger.limit, ledger.limit, ledger.now)]


def _pace(limit: int, window: Span, now: float, outlook: Outlook | None, *, rolling: bool) -> int:
    if rolling:
        return limit  # the window is always whole
    share = outlook.share if outlook is not None else (now - window.start) / window.seconds
    return _part(limit, min(max(share, PACE_FROM), 1.0))


def _carried(ledger: Ledger, budget: Budget, calendar: Calendar, window: Span) -> int:
    """Unused amount of the window before. What was carried into that one is not carried on: it is used last."""
    if not budget.rollover or budget.rolling:
        return 0
    last = calendar.window_at(window.start - 1)
    if last.start < ledger.since:
        return 0
    unused = amount(budget) - ledger.spent(last)
    return max(0, min(unused, _part(amount(budget), budget.rollover)))


def limit_at(budget: Budget, carried: int, now: float) -> int:
    """Amount, what is carried over, and the increases that hold at an instant."""
    limit = amount(budget) + carried
    for more in budget.increases:
        if (
            more.starts_at is None or more.starts_at.timestamp() <= now
        ) and now < more.expires_at.timestamp():
            limit += nanos(more.amount_usd) if more.amount_usd is not None else more.amount_tokens or 0
    return min(limit, MAX_INT)


def _part(whole: int, share: float) -> int:
    """A share of an amount, in integers: exact for shares of up to nine decimals."""
    return whole * round(share * 1_000_000_000) // 1_000_000_000
