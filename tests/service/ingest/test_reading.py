"""Records of other formats among cost events: what each holds, and that all of it or nothing counts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.reasons import Reason, Refused
from service.ingest.call import Call
from service.ingest.fold import Batch, Fold
from service.ingest.price import Pricer
from service.ingest.reading import Reader
from service.ingest.record import RawRecord
from service.settings import IngestSettings
from tests.service.ingest.events import T0_S, raw

PRICER = Pricer()


def cloudevent(tokens: int = 10, at: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "c-1",
        "source": "meter",
        "type": "prompt",
        "time": T0_S + at,
        "subject": "acme",
        "data": {"model": "gpt-4o", "provider": "openai", "tokens": tokens, "type": "input"},
        **more,
    }


def otlp(*tokens: int, model: str = "gpt-4o") -> dict[str, Any]:
    spans = [
        {
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": f"eee19b7ec3c1b1{i:02x}",
            "name": "chat",
            "kind": 3,
            "startTimeUnixNano": str(int(T0_S * 1e9)),
            "endTimeUnixNano": str(int((T0_S + 1) * 1e9)),
            "attributes": [
                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                {"key": "gen_ai.provider.name", "value": {"stringValue": "openai"}},
                {"key": "gen_ai.request.model", "value": {"stringValue": model}},
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(count)}},
            ],
        }
        for i, count in enumerate(tokens)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def record(offset: int, document: dict[str, Any], format_: str) -> RawRecord:
    return raw(offset, orjson.dumps(document))._replace(headers=[("tidegate-format", format_.encode())])


def folded(*records: RawRecord, **settings: Any) -> Batch:
    fold = Fold(0, 1, IngestSettings(**settings), PRICER)
    fold.take(records)
    return fold.drain()


def test_each_record_is_read_in_the_format_that_its_headers_name() -> None:
    traced = raw(1)._replace(headers=[("traceparent", b"00-01")])
    records = [raw(0), traced, record(2, otlp(5, 7), "otlp"), raw(3, b"{"), raw(4)]
    whose, outcomes = Reader("tidegate", 300.0).read(records)
    assert [r.offset for r in whose] == [0, 1, 2, 2, 3, 4]
    assert [o.input_tokens if isinstance(o, Call) else o.reason for o in outcomes] == [
        *(1_000, 1_000, 5, 7),
        Reason.INVALID_JSON,
        1_000,
    ]


def test_records_that_name_no_format_are_in_the_topics_own() -> None:
    document = cloudevent()
    del document["time"]
    document["time"] = "2026-01-31T09:30:00Z"
    batch = folded(raw(0, orjson.dumps(document)), adapter="cloudevents")
    assert (batch.events, batch.dead_letters) == (1, [])
    native = raw(1)._replace(headers=[("tidegate-format", b"tidegate")])
    assert folded(native, adapter="cloudevents").events == 1


def test_a_record_of_many_events_counts_each_and_again_none() -> None:
    batch = folded(record(0, otlp(5, 7, 9), "otlp"), record(1, otlp(5, 7, 9), "otlp"))
    assert (batch.records, batch.events, batch.duplicates, batch.surplus) == (2, 3, 3, 4)
    assert sum(rollup.calls for rollup in batch.rollups) == 3
    assert sum(rollup.input_tokens for rollup in batch.rollups) == 21


def test_a_record_that_holds_nothing_that_costs_is_accounted_for_by_its_offset() -> None:
    batch = folded(record(7, otlp(), "otlp"))
    assert (batch.records, batch.events, batch.surplus, batch.last_offset) == (1, 0, -1, 7)
    assert batch.dead_letters == []


@pytest.mark.parametrize("tokens", [(5, -1), (5, 2_000_000_000)])
def test_one_bad_event_refuses_its_whole_record(tokens: tuple[int, ...]) -> None:
    bad = record(0, otlp(*tokens), "otlp")
    batch = folded(bad)
    assert (batch.events, batch.surplus, batch.deltas) == (0, 0, [])
    (letter,) = batch.dead_letters
    assert letter.value == bad.value


def test_one_event_in_the_future_refuses_its_whole_record() -> None:
    late = record(0, otlp(5, 7), "otlp")._replace(timestamp=int((T0_S - 1_000) * 1_000))
    (letter,) = folded(late).dead_letters
    assert letter.reason is Reason.IN_THE_FUTURE


def test_an_unknown_format_is_refused_by_name() -> None:
    _, (outcome,) = Reader("tidegate", 300.0).read([record(0, {}, "xml")])
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.path) == (Reason.INVALID_VALUE, "headers.tidegate-format")


@pytest.mark.parametrize(("ahead_s", "refused"), [(299.9, False), (300.0, False), (300.1, True)])
def test_the_future_begins_at_the_records_own_broker_time_plus_the_allowance(
    ahead_s: float, refused: bool
) -> None:
    ahead = raw(0, at=ahead_s)._replace(timestamp=int(T0_S * 1_000))
    _, (outcome,) = Reader("tidegate", 300.0).read([ahead])
    assert isinstance(outcome, Refused) is refused
    if isinstance(outcome, Refused):
        assert (outcome.reason, outcome.path) == (Reason.IN_THE_FUTURE, "occurred_at")


def test_a_record_without_a_broker_time_has_no_future() -> None:
    _, (outcome,) = Reader("tidegate", 300.0).read([raw(0, at=1e8)._replace(timestamp=-1)])
    assert isinstance(outcome, Call)


@pytest.mark.parametrize("name", ["tidegate-format", "content-type", "ce_specversion"])
def test_a_header_without_a_value_is_refused(name: str) -> None:
    nothing: Any = None
    _, (outcome,) = Reader("tidegate", 300.0).read([raw(0)._replace(headers=[(name, nothing)])])
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.path) == (Reason.INVALID_VALUE, f"headers.{name}")
