"""What is folded besides workflows: the calls of a team, a customer, a key, …, where somebody watches these or
has given them a budget.

Such a delta counts calls a second time, so it never meets those of workflows: not in a sum, and not in a record
of their type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.control import Budget, Watch
from schemas.events import UNATTRIBUTED
from schemas.money import nanos
from schemas.rollups import WatchKind
from service.ingest.call import Call
from service.ingest.delta import Delta
from service.ingest.price import Priced
from service.ingest.spenders import Spenders

_FULL: Final = 1 << 62


_WITHOUT: Final = ("organisation", "workflow")
"""Whose spend the deltas of workflows tell."""


class Watching:
    """What is watched, for all folds of a process. Of several records for one kind, the lowest floor and the most
    values hold. What has a budget is folded from its first nano-dollar on, whatever the floor."""

    def __init__(self, watches: Sequence[Watch] = (), budgets: Sequence[Budget] = ()) -> None:
        self.version = 0
        self.floors: dict[WatchKind, int] = {}
        self.most: dict[WatchKind, int] = {}
        self.budgeted: dict[str, set[str]] = {}
        self.use(watches, budgets)

    def use(self, watches: Sequence[Watch], budgets: Sequence[Budget] = ()) -> None:
        """Replace what is watched, and who has a budget."""
        budgeted: dict[str, set[str]] = {}
        for budget in budgets:
            kind, value = budget.scope.kind, budget.scope.value
            if kind not in _WITHOUT and value is not None:
                budgeted.setdefault(kind, set()).add(value)
        floors: dict[WatchKind, int] = {}
        most: dict[WatchKind, int] = {}
        for watch in watches:
            floor = nanos(watch.floor_usd)
            floors[watch.scope] = min(floor, floors.get(watch.scope, floor))
            most[watch.scope] = max(watch.max_values, most.get(watch.scope, 0))
        if floors != self.floors or most != self.most or budgeted != self.budgeted:
            self.version += 1
        self.floors, self.most, self.budgeted = floors, most, budgeted


class Scopes:
    """One partition's deltas of watched scopes since the last drain.

    Each partition sees a part of a value's spend, so each asks for its part of the floor: whoever spends the floor
    in all does so in one of them at least.
    """

    def __init__(self, partition: int, partitions: int, watching: Watching) -> None:
        self._partition = partition
        self._partitions = partitions
        self._watching = watching
        self._version = 0
        self._deltas: dict[tuple[str, str, int], Delta] = {}
        self._full: list[Delta] = []
        self._spenders: dict[str, Spenders] = {}
        self._budgeted: dict[str, set[str]] = {}
        self._kinds: list[str] = []
        self.anything = False
        self.refresh(partitions)

    def refresh(self, partitions: int) -> None:
        """Watch what is to be watched by now. What stays as it was goes on from where it is."""
        watching = self._watching
        if self._version == watching.version and self._partitions == partitions:
            return
        self._version, self._partitions = watching.version, partitions
        before, self._spenders = self._spenders, {}
        for kind, floor in watching.floors.items():
            part, most = -(-floor // max(partitions, 1)), watching.most[kind]
            known = before.get(kind)
            same = known is not None and known.floor == part and known.most == most
            self._spenders[kind] = known if same and known is not None else Spenders(part, most)
        self._budgeted = watching.budgeted
        self._kinds = [*self._spenders, *(kind for kind in self._budgeted if kind not in self._spenders)]
        self.anything = bool(self._kinds)

    @property
    def needs_past(self) -> bool:
        """Whether who is watched depends on spend that lies before the first record."""
        return any(spenders.floor > 0 for spenders in self._spenders.values())

    def learn(self, call: Call, cost_nanos: int) -> None:
        """Count towards the floor what was folded before a restart."""
        for kind, spenders in self._spenders.items():
            value = value_of(call, kind)
            if value is not None:
                spenders.spent(value, cost_nanos, call.at)

    def add(self, call: Call, priced: Priced | None, bucket: int, offset: int, late: bool) -> bool:
        """Fold a call, or a charge (not `priced`), into each scope it is of that is watched or has a budget.

        Of a kind that nobody watches, the delta of a budget's value has the sums alone: a quarter of the work.

        Returns whether its gateway is one of them.
        """
        said = call.cost_nanos if priced is None else priced.cost_nanos
        cost = said or 0
        whose = call.workflow or UNATTRIBUTED
        gateway = False
        for kind in self._kinds:
            value = value_of(call, kind)
            if value is None:
                continue
            spenders, budgeted = self._spenders.get(kind), self._budgeted.get(kind)
            exact = budgeted is not None and value in budgeted
            if not exact and (spenders is None or not spenders.spent(value, cost, call.at)):
                continue
            place = kind, value, bucket
            delta = self._deltas.get(place)
            if delta is None:
                delta = self._deltas[place] = Delta.of_scope(
                    self._partition, kind, value, bucket, call.at, offset
                )
            if spenders is None:
                delta.spend(call, said, offset)
            elif priced is None:
                delta.charge(call, offset, whose)
            else:
                delta.add(call, priced, offset, whose)
            if late:
                delta.late += 1
            if delta.cost_nanos > _FULL or delta.reference_cost_nanos > _FULL:
                self._full.append(self._deltas.pop(place))
            if kind == "gateway":
                gateway = True
        return gateway

    def drain(self) -> list[Delta]:
        """The deltas since the last drain, in no order."""
        drained = [*self._full, *self._deltas.values()]
        self._full, self._deltas = [], {}
        return drained


def value_of(call: Call, kind: str) -> str | None:
    """The call's label of that kind."""
    if kind == "team":
        return call.team
    if kind == "customer":
        return call.customer
    if kind == "api_key":
        return call.api_key
    if kind == "model":
        return call.model
    if kind == "provider":
        return call.provider
    if kind == "feature":
        return call.feature
    if kind == "environment":
        return call.environment
    return call.gateway
