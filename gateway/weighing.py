"""What the commands in force say of one call, added up."""

from __future__ import annotations

from typing import Final

from gateway.bucket import Bucket
from gateway.call import Call
from gateway.decision import Decision, Rejection
from gateway.throttles import Held, Throttles
from gateway.ticket import Ticket
from gateway.trace_calls import TraceCalls

_MAX_DOWNGRADES: Final = 4
"""A chain of downgrades ends here: more commands that pass a call on to one another are a mistake."""
_NO_LIMIT: Final = 1 << 63


class Weighing:
    """One call against every command about it, the narrowest scope first.

    The first rejection ends it. Of several downgrades the narrowest scope's holds, of several caps the smallest,
    of several delays the longest. The model comes last, for a downgrade may have changed it, and the model that
    it was changed to may be limited too. A dry run is noted at its command and changes nothing.

    Attributes
    ----------
    model : str
        What the call would be made with.
    would : int
        Dry runs that would have changed something.
    """

    __slots__ = (
        "_call",
        "_max_delay_s",
        "_now",
        "_traces",
        "delay_s",
        "model",
        "rejection",
        "tokens",
        "would",
    )

    def __init__(self, call: Call, traces: TraceCalls, max_delay_s: float, now: float) -> None:
        self._call = call
        self._traces = traces
        self._max_delay_s = max_delay_s
        self._now = now
        self.model = call.model
        self.tokens = call.max_output_tokens or _NO_LIMIT
        self.delay_s = 0.0
        self.rejection: Rejection | None = None
        self.would = 0

    def weigh(self, throttles: Throttles) -> list[Bucket]:
        """Ask every command. Returns the buckets that the call takes from if it is made."""
        slowed: list[Bucket] = []
        for held in throttles.about(self._call, self._now):
            self._add(held, slowed, may_change_model=self.model == self._call.model)
            if self.rejection is not None:
                return slowed
        for _ in range(_MAX_DOWNGRADES):
            model = self.model
            for held in throttles.about_model(model, self._call.workflow, self._now):
                self._add(held, slowed, may_change_model=self.model == model)
                if self.rejection is not None:
                    return slowed
            if self.model == model:
                break
        return slowed

    def decision(self, ticket: Ticket | None) -> Decision:
        """All of it, for a call that is not rejected."""
        return Decision(
            delay_s=self.delay_s,
            model=self.model if self.model != self._call.model else None,
            max_output_tokens=self.tokens
            if self.tokens < (self._call.max_output_tokens or _NO_LIMIT)
            else None,
            ticket=ticket,
        )

    def _add(self, held: Held, slowed: list[Bucket], *, may_change_model: bool) -> None:
        done, enforced = held.done, held.enforced
        changes = True
        delay = held.bucket.wait_s(self._now) if held.bucket is not None else 0.0
        rejection = self._rejection(held, delay)
        if rejection is not None:
            done.rejected += 1
            if enforced:
                self.rejection = rejection
        elif held.bucket is not None:
            changes = delay > 0
            done.delayed += changes
            if not enforced:
                held.bucket.take()
            else:
                slowed.append(held.bucket)
                if delay > self.delay_s:
                    self.delay_s = delay
        elif held.fallback is not None:
            changes = may_change_model and held.fallback != self.model
            done.downgraded += changes
            if enforced and changes:
                self.model = held.fallback
        else:
            changes = held.most_tokens is not None and held.most_tokens < self.tokens
            done.capped += changes
            if enforced and changes and held.most_tokens is not None:
                self.tokens = held.most_tokens
        self.would += changes and not enforced

    def _rejection(self, held: Held, delay: float) -> Rejection | None:
        if held.rejection is not None:
            return held.rejection
        if delay > self._max_delay_s:
            return held.reject("slowed", f"{held.key} is slowed, and too many of its calls wait already")
        trace_id = self._call.trace_id
        if held.most_calls is not None and trace_id is not None:
            calls = self._traces.of((self._call.workflow, trace_id))
            if calls >= held.most_calls:
                said = f"this trace has made {calls} calls, and {held.most_calls} are allowed"
                return held.reject("trace_calls_exceeded", said)
        return None
