"""All budgets: counts spend into them, lets time pass, and says what has to be written. Reads no clock, no broker.

1. `use(book, wall)` when there is another book.
2. `count` and `pass_time` for each record of the rollups topic.
3. `tell(wall)` every now and then: snapshots for gateways, alerts for people.
4. `changes()`: what must be durable together with what `tell` said. Then 2. again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final, Literal

from schemas.alerts import Alert
from schemas.budgets import BudgetSnapshot
from schemas.control import Budget
from service.budgets.account import Account, Told
from service.budgets.alert import alert, opened, whose
from service.budgets.entry import Passage, Spend
from service.budgets.progress import Progress, Watermark
from service.rules import forecast
from service.rules.budget import PACE_FROM, Fact, Outlook, due, look
from service.rules.budget_snapshot import snapshot
from service.rules.calendar import Calendar, Span
from service.rules.config import ConfigBook
from service.rules.forecast import Planned
from service.rules.ledger import count, unit

SNAPSHOT_S: Final = 1.0
"""Where something is spent, a snapshot is sent no more often; at once where people are told something."""
STILL_S: Final = 5.0
"""… and where nothing is, every so often, for gateways must know that somebody still counts."""
VALID_S: Final = 60.0
"""Twelve times that: time for a killed process to be found dead and for another to take over."""
OUTLOOK_S: Final = 60.0
USUAL_S: Final = 60.0
_DAY_KNOWN: Final = 24
"""Hours that must be over before what is usual is asked: of one hour no month can be told."""


@dataclass(slots=True)
class Said:
    """What must be sent: snapshots and alerts, and the names of budgets that are no more."""

    snapshots: list[BudgetSnapshot] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Desk:
    """What need not survive: it is worked out again."""

    launches: list[Planned]
    changed: bool = True
    kept: bool = False
    due: float = 0.0
    sent: float | None = None
    outlook: Outlook | None = None
    looked_out: float | None = None
    learnt: bool = False
    learnt_kept: float | None = None


class Accounts:
    """The accounts of all budgets.

    Parameters
    ----------
    accounts : mapping of str to Account
        By budget, as they were kept.
    partitions : int
        Of the rollups topic.
    """

    def __init__(self, accounts: Mapping[str, Account], progress: Progress, partitions: int) -> None:
        self.accounts = dict(accounts)
        self.progress = progress
        self._watermark = Watermark(partitions)
        self._book = ConfigBook.empty()
        self._desks: dict[str, _Desk] = {}
        self._whose: dict[tuple[str, str], list[str]] = {}
        self._everyones: list[str] = []
        self._said = Said()
        self._gone: set[str] = set()

    def use(self, book: ConfigBook, wall: float) -> list[Budget]:
        """Follow the budget records from now on.

        Returns
        -------
        list of Budget
            Those whose counting begins now.
        """
        self._book = book
        budgets = {budget.name: budget for budget in book.budgets}
        new = []
        for name, account in list(self.accounts.items()):
            budget = budgets.get(name)
            if budget is None or budget.scope != account.budget.scope:
                self._end(name, account, wall, keeps_name=budget is not None)
        for name, budget in budgets.items():
            known = self.accounts.get(name)
            if known is None:
                self.accounts[name] = Account.fresh(budget, wall)
                self._gone.discard(name)
                new.append(budget)
            elif known.budget != budget:
                known.budget = budget
            elif name in self._desks:
                self._desks[name].launches = self._launches(budget)
                continue
            self._desks[name] = _Desk(self._launches(budget))
        self._whose, self._everyones = {}, []
        for name, budget in budgets.items():
            if budget.scope.kind == "organisation" or budget.scope.value is None:
                self._everyones.append(name)
            else:
                self._whose.setdefault((budget.scope.kind, budget.scope.value), []).append(name)
        return new

    def since(self, name: str, at: float) -> None:
        """It turned out that everything from an earlier instant on will be counted."""
        ledger = self.accounts[name].ledger
        ledger.since = min(ledger.since, at)

    def now(self, wall: float) -> float:
        """Event time: how far all is counted, or the latest spend if that is not in the future.

        Before anything was heard it is the present: a window of 1970 is of no use to anybody.
        """
        return max(self.progress.watermark, min(self.progress.latest, wall)) or wall

    def count(self, partition: int, offset: int, spend: Spend) -> None:
        """Count a delta into each budget that it concerns, unless it was counted before."""
        self.progress.latest = max(self.progress.latest, spend.until)
        for name in self._whose.get((spend.kind, spend.value), ()):
            self._count(name, partition, offset, spend)
        if spend.kind == "workflow":
            for name in self._everyones:
                self._count(name, partition, offset, spend)

    def _count(self, name: str, partition: int, offset: int, spend: Spend) -> None:
        account, desk = self.accounts[name], self._desks[name]
        amount = spend.nanos if unit(account.budget) == "nano_usd" else spend.tokens
        if amount and count(account.ledger, account.budget, spend.at, amount, (partition, offset)):
            forecast.note(account.usual, spend.at, amount, desk.launches)
            desk.changed = desk.learnt = True
            desk.kept = False

    def pass_time(self, partition: int, passage: Passage, told_at: float) -> None:
        """Take in a tick. `told_at`: the broker's time of it, epoch seconds."""
        watermark = self._watermark.observe(partition, passage, told_at)
        if watermark is not None:
            self.progress.watermark = max(self.progress.watermark, watermark)

    def tell(self, wall: float, incomplete: Collection[str] = ()) -> Said:
        """What is to be said at a moment of the present (epoch seconds).

        `incomplete`: budgets whose past is still being read; nothing is said of them yet.
        """
        now = self.now(wall)
        for name, account in self.accounts.items():
            if name not in incomplete:
                self._tell(name, account, self._desks[name], now, wall)
        said, self._said = self._said, Said()
        return said

    def _tell(self, name: str, account: Account, desk: _Desk, now: float, wall: float) -> None:
        budget = account.budget
        old = desk.looked_out is None or not 0 <= wall - desk.looked_out < OUTLOOK_S
        facts: list[Fact] = []
        if desk.changed or old or now >= desk.due:
            if old:
                desk.outlook, desk.looked_out = self._outlook(account, desk, now), wall
            facts = look(account.ledger, budget, now, desk.outlook)
            if any(fact.kind == "reset" for fact in facts):
                desk.outlook, desk.looked_out = None, None  # it was of the window that is over
            desk.due = due(account.ledger, budget)
        talked = self._talk(account, facts, desk.outlook)
        age = None if desk.sent is None else wall - desk.sent
        urgent = bool(facts) or age is None or age < 0
        if urgent or age is None or age >= (SNAPSHOT_S if desk.changed else STILL_S):
            self._said.snapshots.append(
                snapshot(
                    account.ledger,
                    budget,
                    issued_at=wall,
                    counted_until=self.progress.watermark,
                    valid_s=VALID_S,
                    config_version=self._book.version,
                    outlook=desk.outlook,
                )
            )
            desk.sent, desk.changed, desk.kept = wall, False, False
        elif talked:
            desk.kept = False

    def _talk(self, account: Account, facts: list[Fact], outlook: Outlook | None) -> bool:
        """Alerts for what has become true, has ceased to be, or must be said again."""
        ledger, budget = account.ledger, account.budget
        news = [opened(budget, fact) for fact in facts if fact.kind != "reset"]
        again = {told.key for told in news}
        holding: list[Told] = []
        spoke = bool(news)
        called, _ = whose(budget)
        repeat_s = self._book.workflow(called).repeat_s
        for told in account.told:
            same = budget.rolling or told.window_start == ledger.window
            if told.key not in ledger.told or not same or told.key in again:
                self._say(account, told, "resolved", outlook)
                spoke = True
                continue
            holding.append(told)
            if ledger.now >= told.sent + repeat_s:
                self._say(account, told, "firing", outlook)
                spoke = True
        for told in news:
            self._say(account, told, "firing", outlook)
        account.told = holding + news
        return spoke

    def _say(
        self, account: Account, told: Told, status: Literal["firing", "resolved"], outlook: Outlook | None
    ) -> None:
        ledger, budget = account.ledger, account.budget
        over = told.window_start != ledger.window and not budget.rolling
        window = (
            Span(int(told.window_start), int(told.window_end))
            if over
            else Calendar.of(budget).window_at(ledger.now)
        )
        self._said.alerts.append(
            alert(
                budget,
                told,
                spent=ledger.spent(window),
                forecast=None if outlook is None or over else outlook.expected,
                status=status,
                now=ledger.now,
                config_version=self._book.version,
            )
        )

    def _outlook(self, account: Account, desk: _Desk, now: float) -> Outlook | None:
        """The forecast of the present window; None while too little is known for one."""
        budget, ledger = account.budget, account.ledger
        if budget.rolling:
            return None  # it never ends
        now = max(now, ledger.now)
        window = Calendar.of(budget).window_at(now)
        if sum(account.usual.weights) < _DAY_KNOWN and now - window.start < PACE_FROM * window.seconds:
            return None
        if ledger.since > window.start:
            return None  # what was spent before is not known: it would seem to be rising
        forecast.note(account.usual, now, 0, desk.launches)
        return forecast.outlook(account.usual, window, now, ledger.spent(window), desk.launches)

    def _launches(self, budget: Budget) -> list[Planned]:
        """Announced launches of the workflow whose budget it is; of what share of others they are is not known."""
        kind, value = budget.scope.kind, budget.scope.value
        if kind != "workflow" or value is None:
            return []
        found = [
            forecast.planned(launch) for launch in self._book.launches if fnmatchcase(value, launch.workflow)
        ]
        return found if unit(budget) == "nano_usd" else [replace(launch, cap=None) for launch in found]

    def _end(self, name: str, account: Account, wall: float, *, keeps_name: bool) -> None:
        for told in account.told:
            self._say(account, told, "resolved", None)
        del self.accounts[name]
        self._desks.pop(name, None)
        self._gone.add(name)
        if not keeps_name:
            self._said.ended.append(name)

    def changes(self, wall: float) -> Iterator[tuple[str, Account | None, bool]]:
        """Budgets to be kept as they are now, None for those that are gone, and whether to keep what is usual, too.

        What is asked for once counts as kept. What is usual is an opinion and fills pages: a crash may take a
        minute's learning.
        """
        for name in self._gone:
            yield name, None, True
        self._gone = set()
        for name, account in self.accounts.items():
            desk = self._desks[name]
            if desk.kept:
                continue
            kept = desk.learnt_kept
            learnt = desk.learnt and (kept is None or not 0 <= wall - kept < USUAL_S)
            if learnt:
                desk.learnt, desk.learnt_kept = False, wall
            desk.kept = True
            yield name, account, learnt
