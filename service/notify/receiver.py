"""What a receiver is to the rest of the stage: something that takes an alert and says how that went."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from schemas.alerts import Alert


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
    """The receiver has it and said so."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The same request may succeed later.

    Attributes
    ----------
    detail : str
        For people; free of secrets.
    after_s : float or None
        How long the receiver asked to be left alone, by everybody and not only for this alert.
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
    """

    @property
    def vendor(self) -> str: ...
    @property
    def interval_s(self) -> float: ...
    @property
    def concurrency(self) -> int: ...

    async def send(self, alert: Alert) -> Result:
        """One attempt. Bounded in time; raises nothing but what is a bug; never logs a secret."""
        ...
