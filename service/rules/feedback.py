"""What people say alerts were worth, as a tuning record of the workflow with their answers in it. Pure.

The effect is a record of the config topic like any other: `config explain` shows it with who said what, `config
rollback` and `config delete` take it back, and each answer ends by itself. What each does, and only to incidents of
the kind it was said of, is in `service.rules.answers`; of all that was said within a month:

- of each alert the last word counts;
- `real` voids what was said before of that kind of incident;
- nothing is changed by what is said of budgets and throttles, which have records of their own;
- a doubt about data has no dollars to compare: what is `not_worth_it` there needs twice the calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from hashlib import sha256
from typing import Final

from schemas.alerts import Alert, Kind
from schemas.control import MAX_ANSWERS, Answer, Tuning, TuningScope, TuningSettings
from schemas.feedback import Feedback, Worth
from service.rules.answers import MOST
from service.rules.config import ConfigBook, WorkflowConfig

WINDOW: Final = timedelta(days=30)
"""For so long it counts what was `expected` and `not_worth_it`."""
MASKED: Final = timedelta(days=7)
"""… and what was `planned` or `real`: what goes on longer is learnt like anything else."""
_OF_OTHERS: Final[tuple[Kind, ...]] = ("budget_pace", "budget_exhausted", "throttle")
_MOST_CALLS: Final = 1_000_000
_MOST_USD: Final = 1_000_000
_MOST_LOUD: Final = 1e9
_TOLD: Final = 3
_NANOS: Final = Decimal(1_000_000_000)
_SAID: Final[dict[Worth, str]] = {
    "real": "real",
    "planned": "planned",
    "expected": "always like that",
    "not_worth_it": "not worth it",
}
_EFFECT: Final[dict[Worth, str]] = {
    "real": "not learning from {}",
    "planned": "not learning from {} nor paging for it",
    "expected": "learning {} as the usual",
    "not_worth_it": "quieter about {}",
}


def loudness(alert: Alert) -> float:
    """How loud an alert is, for what is said of it: its score over its threshold."""
    verdict = alert.verdict
    if verdict.threshold <= 0 or verdict.score <= 0:
        return 1.0
    return float(f"{min(verdict.score / verdict.threshold, _MOST_LOUD):.4g}")


def meant_usd(alert: Alert) -> int:
    """What may be spent over the usual on what is planned: twice what the day comes to."""
    day = Decimal(max(alert.projected_nanos, alert.cost_nanos, 0)) / _NANOS
    return min(max(int((2 * day).to_integral_value(ROUND_CEILING)), 1), _MOST_USD)


def tuning_name(workflow: str) -> str:
    """Of the record. `~` is behind all letters: among tunings of the same workflow the last name wins."""
    return f"~feedback-{sha256(workflow.encode()).hexdigest()[:16]}"


def valid(said: Iterable[Feedback], workflow: str, now: datetime) -> list[Feedback]:
    """What counts, oldest first: of each alert the last word, while it holds, and not what is void."""
    last: dict[str, Feedback] = {}
    for one in sorted(said, key=lambda one: (one.at, one.to_json())):
        if one.workflow == workflow and now < one.at + WINDOW and one.kind not in _OF_OTHERS:
            last[one.fingerprint] = one
    found: list[Feedback] = []
    for one in sorted(last.values(), key=lambda one: (one.at, one.to_json())):
        if one.worth == "real":
            found = [other for other in found if other.kind != one.kind]
        if now < one.at + _holds(one.worth) and (one.kind != "data_quality" or one.worth == "not_worth_it"):
            found.append(one)
    return found[-MAX_ANSWERS:]


def tuning(workflow: str, base: WorkflowConfig, said: Iterable[Feedback], now: datetime) -> Tuning | None:
    """The record that should stand; None: there should be none.

    Parameters
    ----------
    base : WorkflowConfig
        What holds for the workflow without that record.
    """
    found = valid(said, workflow, now)
    if not found:
        return None
    answers = [*base.answers, *map(_answer, found)][-MAX_ANSWERS:]
    doubts = min(sum(one.kind == "data_quality" for one in found), MOST)
    calls = min(base.data_quality_min_calls * 2**doubts, _MOST_CALLS)
    return Tuning(
        name=tuning_name(workflow),
        scope=TuningScope(workflow=workflow),
        settings=TuningSettings(answers=answers, data_quality_min_calls=calls if doubts else None),
        author=found[-1].author,
        reason=reason(answers),
        expires_at=max(_second(one.at + _holds(one.worth)) for one in found),
    )


def remarks(book: ConfigBook) -> dict[str, str]:
    """By workflow: what people said and what follows of it, as the end of `the workflow is …`."""
    found = {}
    for one in book.of_kind(Tuning):
        workflow = one.scope.workflow
        if workflow is not None and one.settings.answers and one.name == tuning_name(workflow):
            found[workflow] = reason(one.settings.answers)
    return found


def reason(answers: Sequence[Answer]) -> str:
    """`quieter about retry loop since ada said "not worth it" on 2026-11-20, until 2026-12-20`: the latest few."""
    latest: dict[tuple[Kind, Worth], Answer] = {}
    for one in answers:
        latest.pop((one.kind, one.worth), None)  # its place is that of the last word
        latest[one.kind, one.worth] = one
    told = list(reversed(latest.values()))
    parts = [
        f"{_EFFECT[one.worth].format(one.kind.replace('_', ' '))} since {one.author}"
        f' said "{_SAID[one.worth]}" on {one.at:%Y-%m-%d}, until {one.until:%Y-%m-%d}'
        for one in told[:_TOLD]
    ]
    more = len(told) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def _answer(said: Feedback) -> Answer:
    return Answer(
        fingerprint=said.fingerprint,
        kind=said.kind,
        worth=said.worth,
        author=said.author,
        at=said.at,
        days=_holds(said.worth).days,
        loudness=said.loudness,
        cap_usd=said.cap_usd if said.worth == "planned" else None,
    )


def _holds(worth: Worth) -> timedelta:
    return MASKED if worth in ("planned", "real") else WINDOW


def _second(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=0)
