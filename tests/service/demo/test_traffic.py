"""The demo's traffic: recorded, seeded, in order, and of the size that is promised."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import decode
from schemas.events import CostEvent
from schemas.money import nanos
from schemas.reasons import Refused
from service.demo.call import Call, publish
from service.demo.event_clock import EventClock
from service.demo.faults import Faults
from service.demo.injections import ContextGrowth, DearerModel, Launch, RetryLoop, script
from service.demo.scenario import diurnal, usual_calls
from service.demo.traces import load_trace
from service.demo.traffic import Traffic
from service.demo.workflows import CHAT, REVIEW, SUMMARIES, SUPPORT, WORKFLOWS, Workflow
from service.ingest.price import Pricer

START = 1_790_000_000.0
HOUR = 3_600.0


def test_the_traces_are_those_that_the_readme_describes() -> None:
    code, chat = load_trace("azure2023_code"), load_trace("mooncake_conversation")
    assert (len(code), len(chat)) == (8_819, 12_031)
    assert all(row.cached <= row.tokens_in for row in chat)
    assert any(row.cached for row in chat)
    for rows in (code, chat):
        assert all(a.at <= b.at for a, b in pairwise(rows))


@pytest.mark.parametrize("name", ["azure2023_code", "mooncake_conversation"])
def test_a_trace_file_is_the_same_bytes_whenever_it_is_made(name: str) -> None:
    packed = (files("service.demo") / "data" / f"{name}.csv.gz").read_bytes()
    assert packed[3] == 0, "no name inside"
    assert packed[4:8] == bytes(4), "no time inside"
    assert gzip.decompress(packed).startswith(b"t_ms,tok_in,tok_out")


def test_origin_and_licence_lie_beside_the_traces() -> None:
    readme = (files("service.demo") / "data" / "README.md").read_text(encoding="utf-8")
    for word in ("Azure/AzurePublicDataset", "CC BY 4.0", "Splitwise", "kvcache-ai/Mooncake", "Apache"):
        assert word in readme


def test_the_same_seed_makes_the_same_calls() -> None:
    def first(seed: int) -> list[tuple[float, str, str, int]]:
        calls = Traffic(seed, START, START).take(START + 600)
        return [(c.at, c.workflow, c.trace_id, c.tokens_in) for c in calls]

    assert first(7) == first(7)
    assert first(7) != first(8)


def test_calls_come_in_order_of_time_however_they_are_taken() -> None:
    whole = [c.trace_id for c in Traffic(7, START, START).take(START + HOUR)]
    traffic = Traffic(7, START, START)
    pieces = [c for t in range(60) for c in traffic.take(START + 60.0 * (t + 1))]
    assert [c.trace_id for c in pieces] == whole
    assert all(a.at <= b.at for a, b in pairwise(pieces))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda w: w.name)
def test_a_workflow_makes_about_as_many_calls_as_it_says_at_the_busiest_hour(workflow: Workflow) -> None:
    calls = _until(usual_calls(workflow, 7, START, START + 2 * HOUR), START + 4 * HOUR)
    assert len(calls) / (4 * HOUR) == pytest.approx(workflow.calls_per_s, rel=0.2)


def test_runs_have_one_to_eight_calls_of_one_customer_and_one_model() -> None:
    runs = defaultdict(list)
    for call in Traffic(7, START, START).take(START + HOUR):
        runs[call.trace_id].append(call)
    assert {len(calls) for calls in runs.values()} <= set(range(1, 9))
    for calls in runs.values():
        assert len({(c.customer, c.model, c.workflow, c.session_id) for c in calls}) == 1


def test_there_are_fewer_calls_at_night() -> None:
    assert diurnal(START, START) == pytest.approx(1.0)
    assert diurnal(START + 12 * HOUR, START) == pytest.approx(0.4)


def test_every_call_becomes_an_event_that_ingest_takes_and_prices_the_same() -> None:
    ours, theirs, sources = Pricer(), Pricer(), Counter[str]()
    for number, call in enumerate(Traffic(7, START, START).take(START + HOUR)):
        sent = publish(call, f"e-{number}", ours)
        event = decode(CostEvent, sent.value)
        said = None if event.cost_usd is None else nanos(event.cost_usd)
        priced = theirs.price(event, round(event.occurred_at.timestamp() * 1_000_000), said)
        sources[priced.source] += 1
        assert priced.cost_nanos == sent.nanos
        assert said is None or said == sent.nanos
        assert isinstance(event, CostEvent)
    assert sources["gateway"] > 100
    assert sources["list"] > 100


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_malformed_record_is_refused_and_a_duplicate_is_the_same_bytes(seed: int) -> None:
    faults, pricer = Faults(seed), Pricer()
    sent: set[bytes] = set()
    found = Counter[str]()
    for number, call in enumerate(islice(Traffic(seed, START, START).take(START + HOUR), 1_500)):
        value = publish(call, f"e-{number}", pricer).value
        sent.add(value)
        for extra in faults.after(call.workflow, value):
            found[extra.what] += 1
            if extra.what == "duplicate":
                assert extra.value in sent
            else:
                with pytest.raises(Refused):
                    decode(CostEvent, extra.value)
    assert found["duplicate"] < 30
    assert found["malformed"] < 15


def test_a_loop_is_one_trace_that_burns_a_fifth_of_a_dollar_a_second() -> None:
    calls = list(RetryLoop("loop", SUPPORT.name, START, 20.0).calls())
    spent = sum(publish(c, f"e-{n}", Pricer()).nanos for n, c in enumerate(calls))
    assert len({c.trace_id for c in calls}) == 1
    assert len(calls) / 20 == pytest.approx(6, rel=0.1)
    assert spent / 20 > 200_000_000


def test_a_loop_ends_when_it_is_only_rejected() -> None:
    loop = RetryLoop("loop", SUPPORT.name, START, 600.0)
    assert loop.answered(accepted=False)
    assert loop.answered(accepted=True)
    rejections = next(n for n in range(1, 1_000) if not loop.answered(accepted=False))
    assert rejections == 60


def test_a_launch_is_twenty_times_the_calls_at_the_usual_cost_by_many_customers() -> None:
    pricer = Pricer()

    def cost_per_call(calls: list[Call]) -> float:
        return sum(publish(c, f"e-{n}", pricer).nanos for n, c in enumerate(calls)) / len(calls)

    usual = _until(usual_calls(CHAT, 7, START, START), START + HOUR)
    launch = list(Launch("launch", CHAT.name, START, 300.0, busiest=START).calls())
    inside = [c for c in launch if START + 10 <= c.at < START + 290]
    assert len(inside) / 280 == pytest.approx(19 * CHAT.calls_per_s, rel=0.15)
    assert cost_per_call(inside) == pytest.approx(cost_per_call(usual), rel=0.15)
    assert len({c.customer for c in launch}) > 200
    assert all(a.at <= b.at for a, b in pairwise(launch))


def test_a_change_touches_only_its_workflow_and_only_while_it_lasts() -> None:
    traffic = Traffic(7, START, START)
    traffic.inject(ContextGrowth("growth", REVIEW.name, START + 600, 600))
    traffic.inject(DearerModel("dearer", SUMMARIES.name, START + 600, 600))
    for call in traffic.take(START + 1_800):
        inside = START + 600 <= call.at < START + 1_200
        expected = {REVIEW.name: "growth", SUMMARIES.name: "dearer"}.get(call.workflow) if inside else None
        assert call.injection == expected
        if call.injection == "dearer":
            assert call.model == "claude-opus-4-5"


def test_a_short_demo_has_one_loop_and_one_launch_that_end_before_it_does() -> None:
    found = list(script(START, START, 60.0))
    assert [(i.kind, i.start - START) for i in found] == [("retry_loop", 9.0), ("launch", 18.0)]
    assert all(i.end < START + 60 for i in found)


def test_a_demo_without_an_end_shows_every_kind_again_and_again() -> None:
    found = list(islice(script(START, START, None), 10))
    assert {i.kind for i in found} == {"retry_loop", "launch", "context_growth", "dearer_calls"}
    assert len({i.name for i in found}) == 10
    assert all(a.start <= b.start for a, b in pairwise(found))


@given(
    speed=st.floats(0.1, 1_000),
    seconds=st.none() | st.floats(1, 3_600),
    elapsed=st.floats(0, 100_000),
)
def test_event_time_goes_on_at_its_speed_and_never_passes_the_wall(
    speed: float, seconds: float | None, elapsed: float
) -> None:
    clock = EventClock.begin(START, speed, seconds)
    at = clock.at(START + elapsed)
    assert at <= START + elapsed
    assert clock.at(START + elapsed + 1) >= at
    if seconds is not None and elapsed <= seconds:
        assert at - clock.base == pytest.approx(elapsed * speed, abs=1e-3)


def test_at_the_default_speed_event_time_is_the_wall_time() -> None:
    assert EventClock.begin(START, 1.0, None).at(START + 5) == START + 5


def _until(calls: Iterator[Call], end: float) -> list[Call]:
    return list(takewhile(lambda call: call.at < end, calls))
