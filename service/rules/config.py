"""What the config topic amounts to: an immutable book of control records, and what holds for one workflow."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, TypeVar

from schemas.control import (
    CONTROL_KINDS,
    Answer,
    Budget,
    Control,
    Launch,
    Price,
    Route,
    Rule,
    Silence,
    Switch,
    Tuning,
    Watch,
)
from schemas.decode import parse_object, validate
from schemas.reasons import Reason, Refused
from schemas.rollups import SEPARATOR

_C = TypeVar("_C", bound=Control)
_TUNING_ORDER: Final = ("global", "team", "pattern", "exact")


@dataclass(frozen=True, slots=True)
class WorkflowConfig:
    """Every tunable of one workflow, resolved. The defaults are meant to be left alone."""

    enabled: bool = True
    min_excess_usd: Decimal = Decimal("0.5")
    min_excess_minutes: float = 2.0
    page_budget: float = 0.25
    trace_quantile: float = 1e-4
    trace_min_usd: Decimal = Decimal("0.25")
    launch_multiple: float = 4.0
    data_quality_share: float = 0.2
    data_quality_min_calls: int = 20
    pending_s: float = 0.0
    resolve_s: float = 300.0
    repeat_s: float = 60.0
    answers: tuple[Answer, ...] = ()
    """What people said of its alerts, the oldest first: see `service.rules.answers`."""


@dataclass(frozen=True)
class ConfigBook:
    """Control records by key. A new record makes a new book; a bad one makes none.

    The book of the topic has those with dates too, whenever they hold; `at` makes the one to judge by.

    Attributes
    ----------
    records : mapping of str to Control
        By `KIND/NAME`.
    offsets : mapping of str to int
        Where each of them lies on the config topic.
    version : str
        `OFFSET-DIGEST`: the largest offset among the records that hold, and a digest of all of them, so that
        two workers with the same version judge alike. Both are of what holds and not of what was read: a worker
        that starts after compaction, when tombstones are gone, gives it the same name.
    """

    records: Mapping[str, Control] = field(default_factory=lambda: MappingProxyType({}))
    offsets: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    _resolved: dict[tuple[str, str | None], WorkflowConfig] = field(
        default_factory=dict, repr=False, compare=False
    )
    _spans: dict[int, ConfigBook] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def empty(cls) -> ConfigBook:
        return cls()

    def apply(self, key: str, value: bytes | None, offset: int) -> ConfigBook:
        """The book with one more record of the config topic in it.

        Raises
        ------
        Refused
            With the field's path. This book is unchanged and still holds.
        """
        records, offsets = dict(self.records), dict(self.offsets)
        if value is None:
            records.pop(key, None)
            offsets.pop(key, None)
        else:
            records[key] = read_control(key, value)
            offsets[key] = offset
        return ConfigBook(MappingProxyType(records), MappingProxyType(offsets))

    def at(self, instant: datetime) -> ConfigBook:
        """The book of what holds at an instant: without what is not effective yet, or has expired.

        Between two dates of its records it is the same book, so it may be asked for with every record.
        """
        dates = self._dates
        if not dates:
            return self
        span = bisect_right(dates, instant)
        found = self._spans.get(span)
        if found is None:
            held = {key: record for key, record in self.records.items() if record.holds(instant)}
            if len(held) == len(self.records):
                found = self
            else:
                offsets = {key: self.offsets[key] for key in held}
                found = ConfigBook(MappingProxyType(held), MappingProxyType(offsets))
            self._spans[span] = found
        return found

    def next_date(self, after: datetime) -> datetime | None:
        """The first instant after this one at which `at` answers with another book; None: never."""
        dates = self._dates
        index = bisect_right(dates, after)
        return dates[index] if index < len(dates) else None

    @cached_property
    def _dates(self) -> list[datetime]:
        given = ((record.effective_at, record.expires_at) for record in self.records.values())
        return sorted({date for pair in given for date in pair if date is not None})

    @cached_property
    def version(self) -> str:
        # When it is asked for: a worker that catches up with thousands of records wants that of the last book.
        return _version(self.records, self.offset)

    @property
    def offset(self) -> int:
        """The largest offset among the records that hold; -1 when there are none."""
        return max(self.offsets.values(), default=-1)

    def of_kind(self, kind: type[_C]) -> list[_C]:
        """Records of one kind, by key."""
        return [record for _, record in sorted(self.records.items()) if isinstance(record, kind)]

    @property
    def throttles_on(self) -> bool:
        """False: release every throttle and issue none."""
        return all(switch.state == "on" for switch in self.of_kind(Switch))

    @property
    def rules(self) -> list[Rule]:
        return self.of_kind(Rule)

    @property
    def prices(self) -> list[Price]:
        return self.of_kind(Price)

    @property
    def routes(self) -> list[Route]:
        return self.of_kind(Route)

    @property
    def silences(self) -> list[Silence]:
        return self.of_kind(Silence)

    @property
    def watches(self) -> list[Watch]:
        return self.of_kind(Watch)

    def watched(self, kind: str) -> bool:
        """Whether scopes of this kind are judged."""
        return kind in self._watched_kinds

    @cached_property
    def _watched_kinds(self) -> frozenset[str]:
        return frozenset(watch.scope for watch in self.watches)

    @property
    def budgets(self) -> list[Budget]:
        return self.of_kind(Budget)

    @cached_property
    def launches(self) -> list[Launch]:
        """By key; kept, for it is asked with every record."""
        return self.of_kind(Launch)

    def launch(self, workflow: str, at: datetime) -> Launch | None:
        """The announced launch that covers a workflow at an instant, the latest started if several do."""
        covering = [
            launch
            for launch in self.launches
            if fnmatchcase(workflow, launch.workflow) and launch.starts_at <= at < launch.ends_at
        ]
        return max(covering, key=lambda launch: launch.starts_at, default=None)

    def workflow(self, workflow: str, team: str | None = None) -> WorkflowConfig:
        """Global < team < workflow pattern < exact workflow; the longer pattern wins, then the later name.

        The key of a scope may stand for a workflow: it is no workflow's name, so no pattern is about it.
        """
        found = self._resolved.get((workflow, team))
        if found is None:
            if len(self._resolved) > 100_000:  # a flood of workflow names must not fill the memory
                self._resolved.clear()
            found = self._resolved[workflow, team] = self._resolve(workflow, team)
        return found

    def tunings(self, workflow: str, team: str | None = None) -> list[Tuning]:
        """Those that are about a workflow. What a later one of them sets holds over all before it."""
        ranked = [
            (rank, tuning)
            for tuning in self.of_kind(Tuning)
            if (rank := _rank(tuning, workflow, team)) is not None
        ]
        return [tuning for _, tuning in sorted(ranked, key=lambda pair: pair[0])]

    def _resolve(self, workflow: str, team: str | None) -> WorkflowConfig:
        resolved = WorkflowConfig()
        names = {f.name for f in fields(WorkflowConfig)}
        for tuning in self.tunings(workflow, team):
            settings: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in tuning.settings
                if value is not None and name in names
            }
            resolved = replace(resolved, **settings)
        return resolved


def _rank(tuning: Tuning, workflow: str, team: str | None) -> tuple[int, int, str] | None:
    scope = tuning.scope
    if scope.team is not None:
        level = "team" if scope.team == team else None
    elif scope.workflow is None:
        level = "global"
    elif SEPARATOR in workflow:
        level = None
    elif scope.workflow == workflow:
        level = "exact"
    else:
        level = "pattern" if fnmatchcase(workflow, scope.workflow) else None
    return None if level is None else (_TUNING_ORDER.index(level), len(scope.workflow or ""), tuning.name)


def read_control(key: str, value: bytes) -> Control:
    """One record of the config topic, checked against its key.

    Raises
    ------
    Refused
        With the path of the field.
    """
    document = parse_object(value)
    kind = document.get("kind")
    model = CONTROL_KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        reason = Reason.MISSING_FIELD if kind is None else Reason.INVALID_VALUE
        raise Refused(reason, f"expected one of {', '.join(CONTROL_KINDS)}", "kind")
    record = validate(model, document)
    if key != control_key(record):
        raise Refused(Reason.INVALID_VALUE, f"the record's key must be {control_key(record)}", "name")
    return record


def control_key(record: Control) -> str:
    """`KIND/NAME`, the key a control record is published under."""
    kind: str = getattr(record, "kind")  # noqa: B009  (every subclass declares it)
    return f"{kind}/{record.name}"


def _version(records: Mapping[str, Control], offset: int) -> str:
    if not records:
        return "defaults"
    digest = hashlib.sha256()
    for key in sorted(records):
        digest.update(key.encode() + b"\0" + records[key].to_json() + b"\0")
    return f"{offset}-{digest.hexdigest()[:8]}"
