"""Doubts about the numbers: told once, in words that can be checked, and over when they are refuted."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alerts import Alert
from schemas.decode import decode as read
from schemas.rollups import Rollup
from service.detect.quality import MAX_FAULTS, Quality, findings
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import NEVER, Effects, Moment, due, step
from service.notify import template
from service.rules.config import ConfigBook, WorkflowConfig
from service.rules.lifecycle import QUIET_S
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, played, rollup

AT = T0 + 34_200  # 09:30
CALLS = 10
ENFORCE = BOOK.apply(
    "rule/stop",
    json.dumps(
        {
            "kind": "rule",
            "name": "stop",
            "match": {"kinds": ["data_quality", "retry_loop"]},
            "action": {"action": "block", "message": "stopped"},
            "mode": "enforce",
        }
    ).encode(),
    1,
)
Record = Rollup | Moment


def tuned(book: ConfigBook = BOOK, **fields: Any) -> ConfigBook:
    record = {"kind": "tuning", "name": "t", "settings": fields}
    return book.apply("tuning/t", json.dumps(record).encode(), 7)


def calls(
    start: int,
    faulty: int = 0,
    *,
    kind: str = "unpriced",
    model: str = "gpt-9",
    provider: str = "openai",
    calls: int = CALLS,
    **more: Any,
) -> Rollup:
    """A delta of calls of one model, some of them with a fault."""
    doing = Doing(None, calls, 0 if kind == "unpriced" else calls * 1_000_000, 3_000, model=model)
    fields: dict[str, Any] = {"workflow": "chat"}
    if faulty:
        fault = {
            "kind": kind,
            "provider": provider,
            "model": model,
            "calls": faulty,
            "tokens": 3_000 * faulty,
        }
        if kind in ("off_list", "unknown_tier"):
            fault |= {"cost_nanos": 3_000_000 * faulty}
        if kind in ("off_list", "zero_cost"):
            fault |= {"list_nanos": 1_000_000 * faulty}
        fields["price_faults"] = [fault]
        if kind == "unpriced":
            fields |= {"unpriced_calls": faulty, "unpriced_tokens": 3_000 * faulty}
    return rollup(start, [doing], **(fields | more))


def minutes(start: int, count: float, faulty: int = CALLS, **more: Any) -> list[Record]:
    found: list[Record] = []
    for i in range(round(count * 6)):
        begins = start + i * BUCKET
        found += [calls(begins, faulty, **more), Moment(begins + 5.0)]
    return found


def told(state: WorkflowState, records: list[Record], book: ConfigBook = BOOK) -> list[Alert]:
    found = []
    for _, effects in played(state, records, book):
        for alert in effects.alerts:
            assert read(Alert, alert.to_json()) == alert
            found.append(alert)
    return found


def chat() -> WorkflowState:
    return WorkflowState.fresh("chat")


def test_calls_without_a_price_are_told_once_and_over_when_they_have_one() -> None:
    state = chat()
    found = told(state, minutes(AT, 12), ENFORCE)
    found += told(state, minutes(AT + 720, 12, 0), ENFORCE)
    assert {(a.kind, a.severity) for a in found} == {("data_quality", "warning")}
    assert len({a.fingerprint for a in found}) == 1
    assert [a.sequence for a in found] == list(range(1, len(found) + 1))
    assert [a.status for a in found].count("resolved") == 1
    first, *_, last = found
    assert first.status == "firing"
    assert first.started_at.timestamp() == AT
    assert (first.updated_at.timestamp() - AT) < 30, "twenty calls are enough"
    assert first.verdict.detector == "data_quality.unpriced"
    assert (first.verdict.score, first.verdict.threshold) == (1.0, 0.2)
    assert (first.excess_nanos, first.drivers) == (0, [])
    assert not any(a.pages for a in found)
    assert last.resolved_at is not None
    assert 290.0 <= last.resolved_at.timestamp() - (AT + 720) <= 320.0
    assert state.incidents == {}
    assert due(state, BOOK) == NEVER or due(state, BOOK) < AT + 2_000


def test_its_sentence_says_which_how_many_since_when_and_what_is_uncertain() -> None:
    state = chat()
    found = told(state, [*minutes(AT, 8, 9), *minutes(AT + 480, 8, 0)])
    firing = [a for a in found if a.status == "firing"]
    assert firing[6].summary == (
        "chat, since 09:30 UTC: 351 of 390 calls of openai/gpt-9 from 09:30 to 09:36 have no price; 1.05M tokens"
        " are counted with no cost. Publish cost_usd or a price record."
    )
    assert found[-1].summary == (
        "chat: not seen since 09:37 UTC, and so taken as over: 432 of 480 calls of openai/gpt-9 from 09:30 to 09:37"
        " have no price; 1.3M tokens are counted with no cost. Publish cost_usd or a price record."
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "zero_cost",
            "came with a cost of $0 for 180k tokens that cost $0.060 at list price. Check the gateway's prices.",
        ),
        (
            "off_list",
            "came with a cost of $0.180 in all where the list price makes it $0.060. Check the gateway's prices,"
            " or publish a price record.",
        ),
        (
            "unknown_tier",
            "were billed in a service tier whose price is not known; $0.180 is counted for 180k tokens as if in"
            " the standard one. Publish cost_usd.",
        ),
    ],
)
def test_sentences_of_other_faults(kind: str, expected: str) -> None:
    found = told(chat(), [calls(AT + i * BUCKET, CALLS, kind=kind) for i in range(6)], tuned(repeat_s=1.0))
    assert (
        found[-1].summary
        == f"chat, since 09:30 UTC: 60 of 60 calls of openai/gpt-9 from 09:30 to 09:30 {expected}"
    )
    assert found[-1].verdict.detector == f"data_quality.{kind}"


def test_a_gateway_that_publishes_twice_is_told() -> None:
    found = told(chat(), [calls(AT + i * BUCKET, duplicates=4) for i in range(40)])
    assert found[0].verdict.detector == "data_quality.duplicates"
    assert found[0].verdict.score == pytest.approx(4 / 14, abs=1e-4)
    assert "20 of 70 records from 09:30 to 09:30 repeated an event_id" in found[0].summary


def test_a_gateway_that_is_late_is_told() -> None:
    found = told(chat(), [calls(AT + i * BUCKET, late=5) for i in range(40)])
    assert found[0].verdict.detector == "data_quality.late"
    assert "20 of 40 calls from 09:30 to 09:30 came behind the watermark" in found[0].summary


@pytest.mark.parametrize(
    "records",
    [
        minutes(AT, 20, 1),  # one in ten: below a share of 0.2
        [calls(AT, 19), *minutes(AT + BUCKET, 20, 0)],  # 19: below twenty
        [calls(AT + i * 700, CALLS) for i in range(30)],  # never twenty within ten minutes
        [calls(AT + i * BUCKET, duplicates=2, late=1) for i in range(100)],
        minutes(AT, 20, 0),
    ],
)
def test_one_odd_call_does_not_speak(records: list[Record]) -> None:
    assert told(chat(), records) == []


def test_thresholds_are_tunable_and_can_be_switched_off() -> None:
    few = minutes(AT, 5, 1)
    assert told(chat(), few, tuned(data_quality_share=0.05, data_quality_min_calls=5))
    many = minutes(AT, 5)
    assert told(chat(), many, tuned(data_quality_min_calls=1_000)) == []
    assert told(chat(), many, tuned(data_quality_share=0.0)) == []
    assert told(chat(), many, tuned(enabled=False)) == []
    assert told(chat(), minutes(AT, 5, 9), tuned(data_quality_share=0.95)) == []


@pytest.mark.parametrize("off", [{"data_quality_share": 0.0}, {"enabled": False}])
def test_switching_it_off_ends_what_is_told(off: dict[str, Any]) -> None:
    state = chat()
    assert told(state, minutes(AT, 5))
    found = told(state, minutes(AT + 300, 10), tuned(**off))
    assert found[-1].status == "resolved"
    assert state.incidents == {}


def test_a_condition_that_must_hold_fires_only_then() -> None:
    (first, *_) = told(chat(), minutes(AT, 10), tuned(pending_s=120.0))
    assert 120.0 <= first.updated_at.timestamp() - AT <= 150.0
    assert first.started_at.timestamp() == AT


def test_silence_is_no_proof_that_prices_are_back() -> None:
    """A batch every hour, all of it without a price, is one incident and not one an hour."""
    state = chat()
    found = []
    for hour in range(6):
        found += told(state, minutes(AT + hour * 3_600, 5))
    assert len({a.fingerprint for a in found}) == 1
    assert "resolved" not in {a.status for a in found}
    end = AT + 5 * 3_600 + 300
    found = told(state, [Moment(end + QUIET_S - 60.0)])
    assert [a.status for a in found] == ["firing"]
    (last,) = told(state, [Moment(end + QUIET_S)])
    assert last.status == "resolved"


def mornings(state: WorkflowState, days: range, **faults: Any) -> list[Alert]:
    """Alerts that fired anew, of ten minutes of calls a day."""
    found = []
    for day in days:
        begins = AT + day * 86_400
        found += told(state, [*minutes(begins, 10, **faults), Moment(begins + 600 + QUIET_S)])
    return [a for a in found if a.sequence == 1]


def test_a_price_that_stays_wrong_is_not_told_every_morning() -> None:
    state = chat()
    assert len(mornings(state, range(7), kind="off_list")) == 1
    assert len(mornings(state, range(20, 27), kind="off_list")) == 1, "a reminder after a week without"


def test_another_doubt_and_one_that_was_mended_before_are_news() -> None:
    state = chat()
    mornings(state, range(2), kind="off_list")
    assert len(mornings(state, range(2, 3), kind="zero_cost")) == 1
    assert len(mornings(state, range(3, 4), kind="off_list", model="gpt-8")) == 1
    begins = AT + 4 * 86_400
    told(state, minutes(begins, 10, kind="off_list"))
    told(state, [*minutes(begins + 600, 10, 0), Moment(begins + 1_200 + QUIET_S)])
    assert len(mornings(state, range(5, 6), kind="off_list", model="gpt-8")) == 0
    state = chat()
    told(state, [*minutes(AT, 10, kind="off_list"), *minutes(AT + 600, 10, 0)])
    assert len(mornings(state, range(1, 2), kind="off_list")) == 1


def test_other_models_are_no_proof_that_this_one_has_a_price() -> None:
    state = chat()
    both = [calls(AT + i * BUCKET, model="gpt-5", kind="off_list", faulty=0) for i in range(200)]
    told(state, minutes(AT, 3))
    assert "resolved" not in {a.status for a in told(state, list(both[20:]))}
    found = told(state, [calls(AT + 2_010, 0, model="gpt-9", kind="off_list")])
    assert [a.status for a in found] == ["resolved"]


def test_one_model_of_many_is_judged_by_its_own_calls() -> None:
    """A hundredth of the workflow's calls, and all of those of the model."""
    state = chat()
    fault = {"kind": "unpriced", "provider": "openai", "model": "gpt-9", "calls": 3, "tokens": 60}
    mix = [Doing(None, 297, 10**9, model="gpt-5"), Doing(None, 3, 0, model="gpt-9")]
    records = [
        rollup(AT + i * BUCKET, mix, workflow="chat", price_faults=[fault], unpriced_calls=3)
        for i in range(9)
    ]
    (first, *_) = told(state, list(records))
    assert first.verdict.score == 1.0
    assert "21 of 21 calls of openai/gpt-9" in first.summary


def test_where_a_delta_does_not_tell_how_many_calls_a_model_had_neither_does_the_alert() -> None:
    dear = [Doing(None, 100, 10**9 + i, model=f"dear-{i}") for i in range(8)]
    fault = {"kind": "unpriced", "provider": "openai", "model": "gpt-9", "calls": 30, "tokens": 600}
    doings = [*dear, Doing(None, 40, 0, model="gpt-9")]
    (first,) = told(chat(), [rollup(AT, doings, workflow="chat", price_faults=[fault], unpriced_calls=30)])
    assert "30 calls of openai/gpt-9 from" in first.summary


def by_provider(azure: int, openai: int) -> dict[str, Any]:
    return {
        "dimension": "provider",
        "top": [
            {"value": "azure", "calls": azure, "cost_nanos": 0},
            {"value": "openai", "calls": openai, "cost_nanos": 0},
        ],
    }


def test_a_model_of_two_providers_is_not_thinned_by_the_other_one() -> None:
    """All of azure's calls, a tenth of the model's."""
    model = {"dimension": "model", "top": [{"value": "gpt-9", "calls": 400, "cost_nanos": 0}]}
    record = calls(AT, 40, provider="azure", calls=400, by_dimension=[model, by_provider(40, 360)])
    (first,) = told(chat(), [record])
    assert first.verdict.score == 1.0
    assert "40 of 40 calls of azure/gpt-9" in first.summary
    vague = calls(AT, 40, provider="azure", calls=400, by_dimension=[model, by_provider(100, 300)])
    (first,) = told(chat(), [vague])
    assert first.verdict.score == 0.4
    assert "chat, since 09:30 UTC: 40 calls of azure/gpt-9" in first.summary


def test_a_flood_of_model_names_with_a_call_each_is_told_for_the_workflow() -> None:
    state = chat()
    found = []
    for i in range(30):
        names = [f"ft-{i}-{k}" for k in range(8)]
        fields: dict[str, Any] = {
            "price_faults": [
                {"kind": "unpriced", "provider": "x", "model": n, "calls": 1, "tokens": 100} for n in names
            ],
            "unpriced_calls": 20,
            "unpriced_tokens": 2_000,
        }
        record = rollup(AT + i * BUCKET, [Doing(None, 20, 0)], workflow="chat", **fields)
        found += told(state, [record])
        assert len(state.quality.faults) <= MAX_FAULTS
    assert len({a.fingerprint for a in found}) == 1
    assert "of x/ft-" in found[-1].summary
    assert "and others from" in found[-1].summary
    assert len(encode(state)) < 6_000


def test_several_faults_are_one_incident_that_names_them() -> None:
    state = chat()
    found = []
    for i in range(30):
        models = [("gpt-9", 10), ("glm-7", 9), ("ds-5", 8), ("kimi-4", 7), ("yi-3", 6)]
        faults = [
            {"kind": "unpriced", "provider": "p", "model": m, "calls": n, "tokens": 1} for m, n in models
        ]
        doings = [Doing(None, n, 0, model=m) for m, n in models]
        fields: dict[str, Any] = {"price_faults": faults, "unpriced_calls": 40, "unpriced_tokens": 5}
        found += told(state, [rollup(AT + i * BUCKET, doings, workflow="chat", **fields)])
    assert len({a.fingerprint for a in found}) == 1
    assert found[-1].summary.endswith(
        " Also p/glm-7 (unpriced), p/ds-5 (unpriced), p/kimi-4 (unpriced) and 1 more."
    )


def test_no_rule_stops_traffic_for_what_is_not_known_of_it() -> None:
    book = BOOK.apply(
        "rule/wide",
        b'{"kind":"rule","name":"wide","action":{"action":"block","message":"m"},"mode":"enforce"}',
        1,
    )
    for each in (book, ENFORCE):
        state = chat()
        assert told(state, minutes(AT, 8), each)


def test_a_doubt_does_not_keep_detectors_from_learning_nor_hide_a_loop() -> None:
    state, other = chat(), chat()
    faulty, sound = minutes(AT, 8, CALLS, kind="off_list"), minutes(AT, 8, 0, kind="off_list")
    assert told(state, faulty)
    assert told(other, sound) == []
    assert {n: d.dump() for n, d in state.detectors.items()} == {
        n: d.dump() for n, d in other.detectors.items()
    }
    loop = rollup(AT + 480, [Doing("loop", 90, 60_000_000_000)], workflow="chat")
    kinds = {a.kind for e in [step(state, loop, BOOK)] for a in e.alerts}
    assert "data_quality" in state.incidents
    assert kinds >= {"runaway_trace"} or kinds >= {"retry_loop"}


def without_a_price(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if isinstance(record, Rollup):
            lives = [t.model_copy(update={"cost_nanos": 0}) for t in record.live_traces]
            free = {
                "cost_nanos": 0,
                "reference_cost_nanos": 0,
                "reference_output_nanos": 0,
                "live_traces": lives,
            }
            record = record.model_copy(update={**free, "unpriced_calls": record.calls})
        yield record


@pytest.mark.parametrize("before", [0, 2_500])
def test_a_price_that_is_published_at_last_is_no_rise_in_cost(before: int) -> None:
    """Seven hours without one, told as such; nothing of them is taken for the usual cost."""
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0)
    assert played(state, flow.records(T0, before)) == []
    since = T0 + before * BUCKET
    found = told(state, list(without_a_price(flow.records(since, 2_500))))
    found += told(state, list(flow.records(since + 25_000, 720)))
    assert {(a.kind, a.severity) for a in found} == {("data_quality", "warning")}
    assert found[-1].status == "resolved"


def test_a_charge_alone_neither_speaks_nor_refutes() -> None:
    state = chat()
    told(state, minutes(AT, 3))
    seats = {"charges": 1, "charge_nanos": 10**11, "cost_nanos": 10**11}
    found = told(state, [rollup(AT + 180 + i * 60, [], workflow="chat", **seats) for i in range(60)])
    assert {a.status for a in found} == {"firing"}


def test_a_receiver_can_say_it() -> None:
    (first, *_) = told(chat(), minutes(AT, 8))
    assert template.headline(first) == "WARNING: data quality in chat"
    assert template.sentence(first) == first.summary
    assert template.provenance(first).startswith("data_quality.unpriced 1 over 0.2 · config defaults")


def eventful(seed: int) -> list[Record]:
    dice = random.Random(seed)
    found: list[Record] = []
    start = AT
    for _ in range(dice.randint(2, 12)):
        part = dice.choice(["ok", "unpriced", "zero_cost", "off_list", "unknown_tier", "silence", "twice"])
        n = dice.randint(1, 60)
        model = f"m{dice.randrange(12)}"
        for i in range(0 if part == "silence" else n):
            faulty = 0 if part in ("ok", "twice") else dice.randint(0, CALLS)
            kind = "off_list" if part in ("ok", "twice") else part
            twice = 5 if part == "twice" else 0
            found.append(
                calls(start + i * BUCKET, faulty, kind=kind, model=model, duplicates=twice, late=twice)
            )
            found.append(Moment(start + i * BUCKET + 5.0))
        start += n * BUCKET * (dice.choice([1, 30]) if part == "silence" else 1)
    dice.shuffle(found[-6:])
    return found


def lines(effects: Effects) -> list[bytes]:
    return [record.to_json() for record in effects.alerts]


@settings(deadline=None, max_examples=max(10, settings().max_examples // 6))
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_same_records_tell_the_same_wherever_the_worker_restarts(seed: int, dice: random.Random) -> None:
    kept, carried = chat(), chat()
    for record in eventful(seed):
        assert lines(step(kept, record, BOOK)) == lines(step(carried, record, BOOK))
        if dice.random() < 0.3:
            carried = decode(encode(carried))
        if isinstance(record, Moment):
            assert due(kept, BOOK) > record.watermark
        assert len(kept.quality.faults) <= MAX_FAULTS
    assert encode(kept) == encode(carried)
    for _ in range(300):
        if (at := due(kept, BOOK)) == NEVER:
            break
        step(kept, Moment(at), BOOK)
    assert kept.incidents == {}


@settings(deadline=None, max_examples=max(10, settings().max_examples // 3))
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, CALLS), st.integers(0, 2)), max_size=40))
def test_what_is_found_is_what_happened_lately(steps: list[tuple[int, int, int]]) -> None:
    """Counts are sums over the deltas of some minutes, at least five: never more than came, nor less."""
    state, now, past = chat(), float(AT), []
    config = WorkflowConfig(data_quality_min_calls=1, data_quality_share=1e-9)
    for gap, faulty, model in steps:
        now += gap
        record = calls(int(now), faulty, model=f"m{model}")
        step(state, record, BOOK)
        past.append((now, faulty, f"openai/m{model}"))
        found = {f.name: f for f in findings(state.older_quality, state.quality, config)}
        for name in {n for _, _, n in past}:
            surely = sum(n for at, n, who in past if who == name and at > now - 300.0)
            at_most = sum(n for at, n, who in past if who == name and at >= now - 900.0)
            count = found[name].count if name in found else 0
            assert surely <= count <= at_most
            if name in found:
                assert 0.0 < found[name].share <= 1.0
                assert found[name].of <= sum(
                    CALLS for at, _, who in past if who == name and at >= now - 900.0
                )


def test_an_empty_time_finds_nothing() -> None:
    assert findings(Quality(), Quality(), WorkflowConfig()) == []
