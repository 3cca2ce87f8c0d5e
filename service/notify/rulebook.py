"""What the config in force says about telling people, put together once per book. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.control import Cap, Daily, Inhibit, Launch, Maintenance, Owner, ReceiverPolicy, Silence
from service.notify.inhibition import in_force
from service.notify.routing import Node, trees
from service.rules.config import ConfigBook
from service.rules.feedback import remarks

DEFAULT_CAP: Final = Cap()
_ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The records that notify reads, by kind, in the order of their names."""

    routes: tuple[Node, ...]
    silences: tuple[Silence, ...]
    maintenances: tuple[Maintenance, ...]
    launches: tuple[Launch, ...]
    inhibits: tuple[Inhibit, ...]
    owners: tuple[Owner, ...]
    policies: tuple[ReceiverPolicy, ...]
    remarks: Mapping[str, str]
    """By workflow: what people said that made it quieter."""

    def cap(self, receiver: str) -> Cap:
        policy = self._policy(receiver)
        return policy.cap if policy is not None and policy.cap is not None else DEFAULT_CAP

    def daily(self, receiver: str) -> Daily | None:
        policy = self._policy(receiver)
        return policy.daily if policy is not None else None

    def _policy(self, receiver: str) -> ReceiverPolicy | None:
        named = {policy.name: policy for policy in self.policies}
        return named.get(receiver, named.get(_ALL))


def rulebook(book: ConfigBook) -> Rulebook:
    """The records of a book, and the rules that are built in."""
    return Rulebook(
        routes=trees(book.routes),
        silences=tuple(book.silences),
        maintenances=tuple(book.of_kind(Maintenance)),
        launches=tuple(book.of_kind(Launch)),
        inhibits=in_force(book.of_kind(Inhibit)),
        owners=tuple(book.of_kind(Owner)),
        policies=tuple(book.of_kind(ReceiverPolicy)),
        remarks=remarks(book),
    )
