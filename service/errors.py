"""Every error that Tidegate raises for people, and the exit status each of them ends a process with.

::

    Exception
      TidegateError            1   anything below; the command line prints one line, no traceback
        InvalidInput           1   a file, key or argument of the user cannot be read
        SettingsError          2   a setting is missing, unknown or wrong; lists every bad path
        BrokerUnavailable      3   no broker answers, or it refuses us (TLS, SASL, authorisation)
          TopicsMissing        3   … or lacks topics: run `tidegate topics create`
        TooManyDeadLetters     4   ingest refused more of its input than is plausible
        StateTooLarge          5   one workflow's state outgrew its hard cap
        Stalled                6   a loop or transaction made no progress for too long: restart
        TopicsDiffer           7   `tidegate topics check` or `config diff` found differences
        RoleDied               8   `tidegate up`: a role was killed; else its own status is passed on
        Fenced                 9   another worker took over a partition; only that lane is dropped
        ConfigChanged         10   the configuration is not the version that was expected; nothing is changed
        WorkerDied            11   a process that judged part of a history was killed; there is no result
"""

from __future__ import annotations

from collections.abc import Sequence


class TidegateError(Exception):
    """Something went wrong that a person can understand from one line.

    Attributes
    ----------
    exit_code : int
        What the process ends with when nobody handles it.
    """

    exit_code = 1


class InvalidInput(TidegateError):
    """What the user handed over cannot be read: says what, where and why."""


class SettingsError(TidegateError):
    """Settings that cannot be used.

    Attributes
    ----------
    problems : tuple of str
        Each as `SOURCE: dotted.path: why`; never holds a value, which may be a secret.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class BrokerUnavailable(TidegateError):
    """No Kafka broker answers at the configured address, or it turns this client away."""

    exit_code = 3


class TopicsMissing(BrokerUnavailable):
    """The broker answers but lacks topics that are needed."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"no such topic: {', '.join(names)} (run `tidegate topics create`)")
        self.names = tuple(names)


class TooManyDeadLetters(TidegateError):
    """More of the input is refused than bad gateways explain: a bad deploy must not empty the topic."""

    exit_code = 4


class StateTooLarge(TidegateError):
    """A workflow's state exceeds its hard cap and cannot be written."""

    exit_code = 5


class Stalled(TidegateError):
    """Something that should make progress has not for too long; only a restart can tell why."""

    exit_code = 6


class TopicsDiffer(TidegateError):
    """The broker's topics are not as the contract says."""

    exit_code = 7


class RoleDied(TidegateError):
    """A role that `tidegate up` started was killed."""

    exit_code = 8


class Fenced(TidegateError):
    """Another worker owns the partition now: nothing of ours is visible any more, drop the lane."""

    exit_code = 9


class ConfigChanged(TidegateError):
    """Somebody else has changed the configuration since it was looked at."""

    exit_code = 10


class WorkerDied(TidegateError):
    """A process that judged a share of a history has ended before its time: what it would have said is missing."""

    exit_code = 11
