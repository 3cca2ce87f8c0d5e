"""Commands that gateways should have acknowledged: what is enforced and nobody applies stops nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.throttles import ThrottleAck, ThrottleCommand

_DETAIL: Final = 300


class Awaited(msgspec.Struct, array_like=True):
    """The last command for a scope. Times are epoch seconds.

    Attributes
    ----------
    since : float
        When the first command was sent that nobody has answered.
    problem : str
        What a gateway has answered that cannot hold it.
    """

    command_id: str
    fingerprint: str
    action: str
    since: float
    answered: bool = False
    problem: str = ""


class Unanswered(msgspec.Struct, array_like=True):
    """By scope key."""

    scopes: dict[str, Awaited] = {}

    def sent(self, command: ThrottleCommand, now: float) -> None:
        """A command goes out. A dry run, and a release, are awaited by nobody."""
        key = command.scope.key
        if command.mode != "enforce" or command.action.action == "release":
            self.scopes.pop(key, None)
            return
        before = self.scopes.get(key)
        still = before is not None and not before.answered
        since = before.since if before is not None and still else now
        # Renewed is not answered; and what could not be applied once still cannot.
        same = before is not None and before.action == command.action.action
        self.scopes[key] = Awaited(
            command.command_id,
            command.alert_fingerprint or "",
            command.action.action,
            since,
            problem=before.problem if before is not None and same else "",
        )

    def heard(self, ack: ThrottleAck) -> None:
        """An answer. To a command that another one has replaced it says nothing."""
        for awaited in self.scopes.values():
            if awaited.command_id != ack.command_id:
                continue
            if ack.result in ("failed", "unsupported"):
                said = f": {ack.detail}" if ack.detail else ""
                awaited.problem = f"{ack.gateway} answered {ack.result}{said}"[:_DETAIL]
            else:
                awaited.answered = True

    def late(self, now: float, wait_s: float) -> dict[str, str]:
        """Why the command for a scope cannot be relied on, by scope key."""
        return {
            key: awaited.problem or f"no gateway has answered for {now - awaited.since:.0f} s"
            for key, awaited in self.scopes.items()
            if awaited.problem or (not awaited.answered and now >= awaited.since + wait_s)
        }

    def due(self, now: float, wait_s: float) -> float:
        """When the next one will be late that is not yet."""
        return min(
            (
                late
                for a in self.scopes.values()
                if not a.answered and not a.problem and (late := a.since + wait_s) > now
            ),
            default=float("inf"),
        )
