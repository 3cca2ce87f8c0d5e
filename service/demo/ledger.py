"""What was published against what Tidegate's durable state accounts for, to the nano-dollar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.detect.state import WorkflowState, decode


@dataclass(frozen=True, slots=True)
class Sum:
    """Events and their cost in nano-dollars."""

    events: int = 0
    nanos: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.events + other.events, self.nanos + other.nanos)


class Accounts:
    """The workflows' states as the changelog of detect's table has them: the newest value of each key."""

    def __init__(self) -> None:
        self._raw: dict[tuple[int, bytes], bytes] = {}
        self._states: dict[tuple[int, bytes], tuple[bytes, WorkflowState]] = {}
        self.records = 0

    def take(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        """One record of the changelog. Nothing is decoded yet: most are overtaken before anybody looks."""
        self.records += 1
        at = (partition, key or b"")
        if value is None:
            self._raw.pop(at, None)
            self._states.pop(at, None)
        else:
            self._raw[at] = value

    def states(self) -> dict[str, WorkflowState]:
        """By workflow. A workflow is in one partition only: its records have one key.

        States of scopes count their calls a second time, and are not among them.
        """
        for at, raw in self._raw.items():
            known = self._states.get(at)
            if known is None or known[0] is not raw:
                self._states[at] = (raw, decode(raw))
        return {state.workflow: state for _, state in self._states.values() if state.scope is None}

    def sums(self) -> dict[str, Sum]:
        """Events and money accounted for, by workflow."""
        return {name: Sum(s.totals.calls, s.totals.cost) for name, s in self.states().items()}


def total(sums: Mapping[str, Sum]) -> Sum:
    """All workflows together."""
    return sum(sums.values(), Sum())


def differences(published: Mapping[str, Sum], accounted: Mapping[str, Sum]) -> list[str]:
    """One line for each workflow in which the two differ; empty when every nano-dollar is accounted for."""
    found = []
    for name in sorted(published.keys() | accounted.keys()):
        sent, held = published.get(name, Sum()), accounted.get(name, Sum())
        if sent != held:
            found.append(
                f"{name}: {sent.events} events published, {held.events} accounted;"
                f" {sent.nanos} nano-dollars published, {held.nanos} accounted"
            )
    return found
