"""What an answer is about: one kind, one stretch of time, and what is hardly louder or dearer than was said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from schemas.control import Answer
from schemas.feedback import Worth
from service.rules.answers import TAKEN_OVER_S, is_meant, is_usual_now, learning, meaning, times
from service.rules.config import WorkflowConfig
from service.rules.lifecycle import ACCEPT_AFTER_S, Incident, Signal, advance

T0 = 1_767_225_600.0
DAY = 86_400.0
LOOP = Signal("cost", "retry_loop", "critical", "unit_cost", 2.0, 1.0, T0, 10**9, (), "", "calls_per_trace")


def answer(worth: Worth, after: float = 0.0, *, days: int = 7, **more: Any) -> Answer:
    fields: dict[str, Any] = {
        "fingerprint": "f",
        "kind": "retry_loop",
        "worth": worth,
        "author": "ada",
        "at": datetime.fromtimestamp(T0 + after, UTC),
        "days": days,
    }
    return Answer(**(fields | more))


def incident(signal: Signal = LOOP) -> Incident:
    found, _ = advance(None, signal, "chat", T0, WorkflowConfig())
    assert found is not None
    return found


def test_each_not_worth_it_doubles_the_dollars_three_times_at_most() -> None:
    said = [answer("not_worth_it")] * 5
    assert [times(said[:n], "retry_loop", T0) for n in range(6)] == [1, 2, 4, 8, 8, 8]
    assert times(said, "creep", T0) == 1
    assert times([answer("expected"), answer("real")], "retry_loop", T0) == 1


def test_an_answer_holds_from_its_own_time_to_its_end() -> None:
    said = [answer("expected", 10.0, days=1)]
    assert meaning(said, LOOP, T0 + 9.9) is None
    assert meaning(said, LOOP, T0 + 10.0) == said[0]
    assert meaning(said, LOOP, T0 + 10.0 + DAY) is None


def test_the_last_word_that_holds_is_what_it_means() -> None:
    said = [answer("expected"), answer("planned", 5.0, days=1), answer("not_worth_it", 6.0)]
    assert meaning(said, LOOP, T0 + 10.0) == said[1]
    assert meaning(said, LOOP, T0 + 2 * DAY) == said[0]


def test_planned_is_what_begins_within_a_day_of_the_word_and_expected_before_it_holds_again() -> None:
    said = [answer("expected"), answer("planned")]
    assert meaning(said, replace(LOOP, started=T0 + DAY - 1), T0 + 2 * DAY) == said[1]
    assert meaning(said, replace(LOOP, started=T0 + DAY), T0 + 2 * DAY) == said[0]


def test_expected_is_what_is_hardly_louder_and_planned_what_is_within_its_dollars() -> None:
    expected, planned = answer("expected", loudness=2.0), answer("planned", cap_usd=Decimal(1))
    assert is_meant(expected, replace(LOOP, score=3.0))
    assert not is_meant(expected, replace(LOOP, score=3.1))
    assert is_meant(planned, replace(LOOP, score=99.0))
    assert not is_meant(planned, replace(LOOP, excess_nanos=10**9 + 1))
    assert not is_meant(answer("planned"), replace(LOOP, excess_nanos=1))
    assert not is_meant(answer("real"), LOOP)


def test_what_an_incident_teaches_is_up_to_who_knows() -> None:
    one = incident()
    day, week = T0 + ACCEPT_AFTER_S, T0 + 7 * DAY
    assert [learning([], one, at) for at in (T0, day)] == ["spread", "all"]
    for worth in ("real", "planned"):
        assert [learning([answer(worth)], one, at) for at in (T0, day, week - 1, week)] == [
            *["nothing"] * 3,
            "all",
        ]
    assert learning([answer("expected", loudness=2.0)], one, T0) == "all"
    assert learning([answer("not_worth_it")], one, T0) == "spread"


def test_what_is_much_louder_than_the_expected_is_kept_from_the_usual_as_ever() -> None:
    one = incident(replace(LOOP, score=9.0))
    assert learning([answer("expected", loudness=2.0)], one, T0) == "spread"


@pytest.mark.parametrize("worth", ["real", "planned", "expected"])
def test_other_kinds_and_doubts_about_data_teach_as_ever(worth: Worth) -> None:
    said = [answer(worth), answer(worth, kind="data_quality")]
    assert learning(said, incident(replace(LOOP, kind="creep")), T0) == "spread"
    doubt = incident(replace(LOOP, family="data_quality", kind="data_quality"))
    assert learning(said, doubt, T0) == "all"


def test_only_the_incident_it_was_said_of_is_the_usual_at_once_and_only_for_an_hour() -> None:
    one = incident()
    assert one.status == "firing"
    said = [answer("expected", fingerprint=one.fingerprint)]
    assert is_usual_now(said, one, T0)
    assert not is_usual_now(said, one, T0 + TAKEN_OVER_S)
    assert not is_usual_now([answer("expected")], one, T0)
    assert not is_usual_now([*said, answer("real", 1.0)], one, T0 + 1.0)
