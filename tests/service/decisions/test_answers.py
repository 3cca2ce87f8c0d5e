"""A question that is sent again, because its answer was lost, is answered as it was and counts once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway import Decision
from schemas.throttles import Cap
from service.decisions.answers import Answers
from service.decisions.question import AskedCall, Verdict, verdict
from tests.gateway.clock import HandClock
from tests.gateway.records import command, snapshot
from tests.service.decisions.support import ASKS, open_api

ASKED: dict[str, Any] = {"call_id": "a", "model": "m", "workflow": "w"}


async def test_a_question_sent_again_holds_nothing_more_and_has_the_same_ticket() -> None:
    async with open_api() as here:
        here.gate.take(snapshot(1, limit=1_000, reserve=400))
        first = await here.ask(ASKED, {**ASKED, "call_id": "b"})
        assert await here.ask(ASKED, {**ASKED, "call_id": "b"}) == first
        assert here.gate.left("b") == 200
        assert len(here.desk.tickets) == 2
        tickets = [{"ticket": decision["ticket"], "cost_nanos": 300} for decision in first]
        assert await here.settle(*tickets, *tickets) == [True, True, False, False]
        assert here.gate.left("b") == 400


async def test_a_question_sent_again_is_no_second_call_of_its_trace() -> None:
    async with open_api() as here:
        here.gate.obey(command(1, Cap(max_calls_per_trace=2)))
        traced = {**ASKED, "trace_id": "t"}
        for _ in range(3):
            assert [each["action"] for each in await here.ask(traced)] == ["allow"]
        second, third = await here.ask({**traced, "call_id": "b"}, {**traced, "call_id": "c"})
        assert (second["action"], third["action"]) == ("allow", "reject")


async def test_a_rejection_is_said_again_until_it_is_forgotten() -> None:
    async with open_api(remember_s=60) as here:
        here.gate.take(snapshot(1, limit=1_000, spent=1_000))
        (refused,) = await here.ask(ASKED)
        here.gate.end_budget("b")
        assert await here.ask(ASKED) == [refused]
        here.clock.advance(60)
        assert [each["action"] for each in await here.ask(ASKED)] == ["allow"]


async def test_without_an_id_every_question_counts() -> None:
    async with open_api() as here:
        here.gate.take(snapshot(1, limit=1_000, reserve=400))
        call = {"model": "m", "workflow": "w", "call_id": None}
        assert [each["action"] for each in await here.ask(call, call, call)] == ["allow", "allow", "reject"]
        assert len(here.desk.answers) == 0


async def test_another_call_under_the_same_id_is_decided_about() -> None:
    async with open_api() as here:
        here.gate.take(snapshot(1, limit=1_000, reserve=10))
        first, other = await here.ask(ASKED, {**ASKED, "estimate_nanos": 900})
        assert first["ticket"] != other["ticket"]
        assert here.gate.left("b") == 90


async def test_ids_are_the_tokens_own() -> None:
    async with open_api() as here:
        here.gate.take(snapshot(1, limit=1_000, reserve=400))
        (first,) = await here.ask(ASKED)
        here.client.headers["authorization"] = f"Bearer {ASKS}"
        (second,) = await here.ask(ASKED)
        assert first["ticket"] != second["ticket"]
        assert here.gate.left("b") == 200


class Plain:
    """What `Answers` should do, with nothing ever thrown away."""

    def __init__(self, remember_s: float) -> None:
        self.remember_s = remember_s
        self.given: dict[tuple[str, str], tuple[AskedCall, float, Verdict]] = {}

    def known(self, token: str, call: AskedCall, now: float) -> Verdict | None:
        asked, until, told = self.given.get((token, call.call_id or ""), (None, 0.0, None))
        return told if asked == call and now < until else None

    def give(self, token: str, call: AskedCall, told: Verdict, now: float) -> None:
        if call.call_id is not None:
            self.given[token, call.call_id] = call, now + self.remember_s, told


_calls = st.builds(
    AskedCall,
    call_id=st.sampled_from(["a", "b", "c", None]),
    model=st.sampled_from(["m", "n"]),
    estimate_nanos=st.sampled_from([None, 0, 1]),
)


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), _calls, st.integers(0, 4)), max_size=60))
def test_an_answer_is_remembered_exactly_as_long_as_it_should_be(
    asked: list[tuple[str, AskedCall, int]],
) -> None:
    answers, plain, clock = Answers(100, 5.0), Plain(5.0), HandClock()
    for number, (token, call, passed) in enumerate(asked):
        clock.advance(passed)
        known = answers.known(token, call, clock.elapsed)
        assert known == plain.known(token, call, clock.elapsed)
        if known is None:
            told = verdict(Decision(), str(number))
            for each in (answers, plain):
                each.give(token, call, told, clock.elapsed)


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=60))
def test_no_more_is_remembered_than_the_limit_nor_longer_than_its_time(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    answers, clock = Answers(limit, 10.0), HandClock()
    last: dict[str, float] = {}
    for number, passed in asked:
        clock.advance(passed)
        last[str(number)] = clock.elapsed
        answers.give("x", AskedCall(model="m", call_id=str(number)), verdict(Decision(), None), clock.elapsed)
        assert len(answers) <= min(limit, sum(at > clock.elapsed - 10 for at in last.values()))
