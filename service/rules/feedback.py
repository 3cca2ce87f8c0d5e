"""What people say alerts were worth, as thresholds: a tuning record of the workflow. Pure.

The effect is a record of the config topic like any other: `config explain` shows it with who said what, `config
rollback` and `config delete` take it back, and it ends by itself a month after the last word. Of all that was said
within that month:

- `not_worth_it`: smaller excesses than twice those of before are not told, and pages get half as many; at most
  three times, so eight times at most;
- `expected`: pages get half as many, down to an eighth;
- `planned`: nothing. It says of one time that it was meant, which a launch record says beforehand;
- `real`: all that was said before is void.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Final

from schemas.control import Tuning, TuningScope, TuningSettings
from schemas.feedback import Feedback, Worth
from service.rules.config import ConfigBook, WorkflowConfig

WINDOW: Final = timedelta(days=30)
MOST: Final = 3
"""Halvings and doublings: an eighth, and eight times."""
_LEAST_PAGE_BUDGET: Final = 0.01
_MOST_USD: Final = Decimal(1_000_000)
_SAID: Final[dict[Worth, str]] = {
    "real": "real",
    "planned": "planned",
    "expected": "always like that",
    "not_worth_it": "not worth it",
}


def tuning_name(workflow: str) -> str:
    """Of the record. `~` is behind all letters: among tunings of the same workflow the last name wins."""
    return f"~feedback-{sha256(workflow.encode()).hexdigest()[:16]}"


def valid(said: Iterable[Feedback], workflow: str, now: datetime) -> list[Feedback]:
    """What counts, oldest first: of each alert the last word, within the window, since the last `real`."""
    last: dict[str, Feedback] = {}
    for one in sorted(said, key=lambda one: (one.at, one.to_json())):
        if one.workflow == workflow and now - WINDOW < one.at:
            last[one.fingerprint] = one
    found: list[Feedback] = []
    for one in sorted(last.values(), key=lambda one: (one.at, one.to_json())):
        if one.worth == "real":
            found.clear()
        elif one.worth != "planned":
            found.append(one)
    return found


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
    halved = min(len(found), MOST)
    doubled = min(sum(one.worth == "not_worth_it" for one in found), MOST)
    settings = TuningSettings(page_budget=max(base.page_budget / 2**halved, _LEAST_PAGE_BUDGET))
    if doubled:
        settings = settings.model_copy(
            update={
                "min_excess_usd": min(base.min_excess_usd * 2**doubled, _MOST_USD),
                "trace_min_usd": min(base.trace_min_usd * 2**doubled, _MOST_USD),
            }
        )
    last = found[-1]
    return Tuning(
        name=tuning_name(workflow),
        scope=TuningScope(workflow=workflow),
        settings=settings,
        author=last.author,
        reason=reason(found),
        expires_at=(last.at + WINDOW).astimezone(UTC).replace(microsecond=0),
    )


def remarks(book: ConfigBook) -> dict[str, str]:
    """By workflow: why it is quieter, of the records that hold."""
    found = {}
    for one in book.of_kind(Tuning):
        workflow = one.scope.workflow
        if workflow is not None and one.reason is not None and one.name == tuning_name(workflow):
            found[workflow] = one.reason
    return found


def reason(found: list[Feedback]) -> str:
    """`quieter since ada said "not worth it" on 2026-11-20, the last of 3 answers`."""
    last = found[-1]
    more = f", the last of {len(found)} answers" if len(found) > 1 else ""
    return f'quieter since {last.author} said "{_SAID[last.worth]}" on {last.at:%Y-%m-%d}{more}'
