"""What `tidegate config` would change, and what stands against it: a function of files and book, without a broker.

After the model of `kubectl apply`: what is not in the files is left alone unless pruning is asked for, and pruning
deletes only what the same set of files has brought (`managed_by`), unless all is asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from schemas.base import format_timestamp
from schemas.control import Control
from service.commands.control_files import Found
from service.commands.control_yaml import as_yaml
from service.errors import InvalidInput
from service.rules.config import ConfigBook

BY_HAND: Final = ("approval", "launch", "silence", "switch")
"""Kinds that people set while things happen. Pruning everything spares them, unless they belong to a set."""
_FEW: Final = 3
_NOT_CONTENT: Final = ("author", "reason", "managed_by")


@dataclass(frozen=True, slots=True)
class Order:
    """What the person who applies files said on the command line.

    Attributes
    ----------
    managed_by : str or None
        The set that the files are (`--set`). None leaves each record in the set it is in.
    prune : {"set", "all"} or None
    prune_max : int or None
        Most deletions by pruning; None: three, or half of what might be pruned, whichever is more.
    take_over : bool
        Whether records of another set may be changed.
    """

    author: str | None = None
    reason: str | None = None
    managed_by: str | None = None
    prune: Literal["set", "all"] | None = None
    prune_max: int | None = None
    take_over: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One change. `before` None: created; `after` None: deleted."""

    key: str
    before: Control | None
    after: Control | None
    where: str = ""

    @property
    def word(self) -> str:
        if self.after is None:
            return "deleted"
        return "created" if self.before is None else "changed"


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, in the order of the files, then what is pruned by key; and what is as it should be."""

    steps: Sequence[Step] = field(default_factory=list)
    unchanged: Sequence[str] = field(default_factory=list)

    @property
    def records(self) -> Mapping[str, bytes | None]:
        """What to publish: None deletes."""
        return {step.key: None if step.after is None else step.after.to_json() for step in self.steps}


def plan(book: ConfigBook, found: Sequence[Found], order: Order, now: datetime) -> Plan:
    """What applying records would change of `book`, which is that of the topic: with all dates.

    Raises
    ------
    InvalidInput
        Something stands against it; nothing should be changed.
    """
    steps, unchanged, against = [], [], []
    for item in found:
        held = book.records.get(item.key)
        if held is not None and _same(held, item.record, order):
            unchanged.append(item.key)
            continue
        after = _signed(item, held, order)
        if why := _conflict(held, after, order, now):
            against.append(f"{item.where}: {item.key}: {why}")
        steps.append(Step(item.key, held, after, item.where))
    if against:
        raise InvalidInput("\n".join(against))
    return Plan([*steps, *_pruned(book, {item.key for item in found}, order)], unchanged)


def deletions(book: ConfigBook, keys: Sequence[str]) -> Plan:
    """What deleting would change. What is not there is as it should be."""
    held = [(key, book.records.get(key)) for key in dict.fromkeys(keys)]
    steps = [Step(key, record, None) for key, record in held if record is not None]
    return Plan(steps, [key for key, record in held if record is None])


def restoring(book: ConfigBook, past: ConfigBook) -> Plan:
    """What would make `book` the past one again, record for record and byte for byte."""
    steps, unchanged = [], []
    for key in sorted(book.records.keys() | past.records.keys()):
        before, after = book.records.get(key), past.records.get(key)
        if before is not None and after is not None and before.to_json() == after.to_json():
            unchanged.append(key)
        else:
            steps.append(Step(key, before, after))
    return Plan(steps, unchanged)


def difference(steps: Sequence[Step]) -> Iterator[str]:
    """Lines after the model of a unified diff, a piece for each record."""
    for step in steps:
        before = [] if step.before is None else as_yaml(step.before).splitlines()
        after = [] if step.after is None else as_yaml(step.after).splitlines()
        yield from difflib.unified_diff(
            before,
            after,
            f"{step.key} {'(in force)' if step.before is not None else '(none)'}",
            f"{step.key} {f'({step.where})' if step.after is not None and step.where else f'({step.word})'}",
            lineterm="",
        )


def _content(record: Control, without: Sequence[str]) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True, exclude=set(without))


def _same(held: Control, wanted: Control, order: Order) -> bool:
    # Who and why belong to a change and not to what holds, unless the file says them; likewise the set, unless
    # the command says it.
    absent = [name for name in _NOT_CONTENT if getattr(wanted, name) is None]
    if order.managed_by is not None:
        if held.managed_by != order.managed_by:
            return False
        absent = [*absent, "managed_by"]
    return _content(held, absent) == _content(wanted, absent)


def _signed(item: Found, held: Control | None, order: Order) -> Control:
    record = item.record
    inherited = None if held is None else held.managed_by
    given = {
        "author": record.author or order.author,
        "reason": record.reason or order.reason,
        "managed_by": order.managed_by or record.managed_by or inherited,
    }
    document = {**record.model_dump(mode="json", exclude_none=True), **given}
    try:
        return type(record).model_validate({k: v for k, v in document.items() if v is not None})
    except ValueError as error:
        raise InvalidInput(f"--author, --reason or --set: {error}") from None


def _conflict(held: Control | None, after: Control, order: Order, now: datetime) -> str | None:
    if held is None:
        return None
    if held.managed_by not in (None, after.managed_by) and not order.take_over:
        return f"belongs to the set {held.managed_by!r}; --take-over moves it to {after.managed_by!r}"
    if held.holds(now) and after.effective_at is not None and after.effective_at > now:
        # One record a key: the one that holds would be gone at once, and nothing there until then.
        return (
            f"would end now what holds, and be effective only at {format_timestamp(after.effective_at)}:"
            " give it another name, and the one that holds an expires_at"
        )
    return None


def _pruned(book: ConfigBook, kept: set[str], order: Order) -> list[Step]:
    if order.prune is None:
        return []
    if not kept:
        raise InvalidInput("the files hold no record: pruning would delete everything, so nothing is done")
    own = {key: record for key, record in book.records.items() if _prunable(key, record, order)}
    gone = sorted(own.keys() - kept)
    most = order.prune_max if order.prune_max is not None else max(_FEW, len(own) // 2)
    if len(gone) > most:
        raise InvalidInput(
            f"pruning would delete {len(gone)} of {len(own)} records, more than {most};"
            f" look at them with --dry-run, and say --prune-max {len(gone)} if that is meant"
        )
    return [Step(key, own[key], None) for key in gone]


def _prunable(key: str, record: Control, order: Order) -> bool:
    if order.prune == "set":
        return record.managed_by is not None and record.managed_by == order.managed_by
    return record.managed_by is not None or key.partition("/")[0] not in BY_HAND
