"""What people said of alerts, as the judgement and the learning of later incidents of that kind obey it. Pure.

Every answer is about one kind of incident of one workflow, from the event time at which it was given to an end that
it names, so that a replay comes to the same. Of the answers on a kind that hold at an instant,

- each `not_worth_it` doubles the dollars that such an incident must exceed, up to eight times;
- the last of the others says what is learnt. `expected`: such incidents teach like any other time, and are a ticket
  unless they are half as loud again as the one that was told; the very incident that it was said of, if that goes
  on, is taken for the usual at once. `planned`: nothing is learnt while one goes on that
  began within a day of the word, and it is a ticket up to the dollars that were meant: it was meant this once, and
  not next week. `real`: nothing is learnt while one goes on, not after a day either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from schemas.control import Answer
from schemas.money import nanos
from service.rules.lifecycle import LOUDER, Incident, Signal

MOST: Final = 3
"""Doublings: eight times."""
TAKEN_OVER_S: Final = 3_600.0
"""An incident that is the usual is taken for it within this long: what it grows to later was not meant."""
PLANNED_S: Final = 86_400.0
"""What was planned begins within this long of the word, as what a launch is announced for by a button."""
_TINY: Final = 1e-9

Learning = Literal["all", "spread", "nothing"]
"""While an incident goes on: as at any time; only how far ratios stray; nothing."""


def in_force(answers: Sequence[Answer], kind: str, now: float) -> list[Answer]:
    """Those on a kind that hold at an instant (epoch seconds)."""
    return [one for one in answers if one.kind == kind and one.at.timestamp() <= now < one.until.timestamp()]


def times(answers: Sequence[Answer], kind: str, now: float) -> int:
    """By how much the dollars that such an incident must exceed are multiplied."""
    said = sum(one.worth == "not_worth_it" for one in in_force(answers, kind, now))
    return int(2 ** min(said, MOST))


def meaning(answers: Sequence[Answer], seen: Incident | Signal, now: float) -> Answer | None:
    """The last word on what such an incident, or signal of one, is; None: nobody said."""
    for one in reversed(in_force(answers, seen.kind, now)):
        meant = one.worth != "planned" or seen.started < one.at.timestamp() + PLANNED_S
        if one.worth != "not_worth_it" and meant:
            return one
    return None


def is_meant(answer: Answer, seen: Incident | Signal) -> bool:
    """Whether an incident or signal is no more than what was said of its kind: then it wakes nobody."""
    if answer.worth == "expected":
        return seen.score <= LOUDER * answer.loudness * max(seen.threshold, _TINY)
    return (
        answer.worth == "planned"
        and answer.cap_usd is not None
        and seen.excess_nanos <= nanos(answer.cap_usd)
    )


def learning(answers: Sequence[Answer], incident: Incident, now: float) -> Learning:
    """What is learnt while an incident goes on."""
    answer = meaning(answers, incident, now)
    if answer is not None and answer.worth in ("real", "planned"):
        return "nothing" if incident.masks else "all"
    if answer is not None and is_meant(answer, incident):
        return "all"
    return "spread" if incident.holds_baseline(now) else "all"


def is_usual_now(answers: Sequence[Answer], incident: Incident, now: float) -> bool:
    """Whether it was said lately of this very incident that it is the usual."""
    answer = meaning(answers, incident, now)
    return (
        answer is not None
        and answer.worth == "expected"
        and answer.fingerprint == incident.fingerprint
        and incident.status == "firing"
        and now < answer.at.timestamp() + TAKEN_OVER_S
    )
