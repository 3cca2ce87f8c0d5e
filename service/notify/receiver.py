"""What a receiver is to the rest of the stage: something that takes a notification and says how that went."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from service.notify.notification import Change, Notification


class Failure(StrEnum):
    """Why an attempt failed. Also the `reason` label of the metric."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """No connection: DNS, TCP, TLS or a broken answer."""
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    REJECTED = "rejected"
    """The receiver understood and refuses: wrong payload, wrong key, revoked webhook."""
    UNEXPECTED_ANSWER = "unexpected_answer"
    """A success that does not look like this vendor's: most likely not the vendor at all."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it and said so.

    Attributes
    ----------
    reference : str or None
        What it calls the incident from now on, if it has a name for it: every later notification of the incident
        carries it as `Notification.reference`, also after a restart and from another replica.
    """

    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The same request may succeed later.

    Attributes
    ----------
    detail : str
        For people; free of secrets.
    after_s : float or None
        How long the receiver asked to be left alone, by everybody and not only for this incident.
    """

    reason: Failure
    detail: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Final:
    """The same request will never succeed. `detail` is free of secrets."""

    reason: Failure
    detail: str


Result = Delivered | Retry | Final


class Receiver(Protocol):
    """One configured place to tell people.

    Attributes
    ----------
    vendor : str
    interval_s : float
        Least time between the end of one request and the start of the next; 0 for no limit.
    concurrency : int
        Most requests at a time.
    wants : frozenset of Change
        What it is told of: `NEWS`, or every `Change` for one that can update what it said.
    """

    @property
    def vendor(self) -> str: ...
    @property
    def interval_s(self) -> float: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def wants(self) -> frozenset[Change]: ...

    async def send(self, notification: Notification) -> Result:
        """One attempt. Bounded in time; raises nothing but what is a bug; never logs a secret.

        A notification that is tried again has the same incident and sequence, and perhaps newer numbers.
        """
        ...
