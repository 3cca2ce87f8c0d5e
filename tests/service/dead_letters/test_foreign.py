"""Records that an adapter reads are mended in their own terms and published as what the adapter makes of them."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from schemas.dead_letters import DeadLetter
from schemas.decode import decode
from schemas.events import CostEvent
from service.dead_letters.lookout import Lookout, Seen
from service.dead_letters.mend import Check, Edit, parse_set
from service.dead_letters.settle import Decision, Mending, Settler, Verdict, headers_of, mark_of
from tests.service.dead_letters.letters import AT_S, PREFIX, event, letter
from tests.service.ingest.adapters.golden_files import record

NOW = datetime.fromtimestamp(AT_S + 100_000, UTC)
ROWS = orjson.dumps(record("focus", "bad-row-of-a-batch-is-named"))
CALL = orjson.dumps(record("litellm", "negative-cost-is-refused"))
MEND_ROWS = parse_set('rows.1.ChargePeriodStart="2026-01-31T13:00:00Z"')
FOCUS, LITELLM = [("tidegate-format", b"focus")], [("Tidegate-Format", b"litellm"), ("trace", None)]


def decided(
    one: DeadLetter,
    *edits: Edit,
    counted: dict[tuple[str, str], str] | None = None,
    default: str = "tidegate",
) -> Decision:
    return Settler(Mending(PREFIX, Check(NOW, 300.0, default), edits), counted or {}).decide(one)


def ids(decision: Decision) -> list[str]:
    return [decode(CostEvent, value).event_id for value in decision.publish]


def test_a_foreign_record_is_mended_in_its_own_terms() -> None:
    foreign = letter(CALL, headers=LITELLM)
    assert decided(foreign).verdict is Verdict.REFUSED
    assert "response_cost" in decided(foreign).why
    mended = decided(foreign, parse_set("response_cost=0.01"))
    assert mended.verdict is Verdict.PUBLISH
    (value,) = mended.publish
    assert decode(CostEvent, value).cost_usd is not None
    # It is published as what it has become.
    assert headers_of(mended)[:2] == [("trace", None), ("tidegate-format", b"tidegate")]


def test_a_record_of_the_topics_own_format_needs_no_header() -> None:
    foreign = letter(CALL)
    assert decided(foreign, parse_set("response_cost=0.01")).verdict is Verdict.REFUSED
    assert decided(foreign, parse_set("response_cost=0.01"), default="litellm").verdict is Verdict.PUBLISH


def test_all_events_of_a_record_are_published_but_those_that_are_counted() -> None:
    foreign = letter(ROWS, headers=FOCUS)
    assert decided(foreign).verdict is Verdict.REFUSED
    whole = decided(foreign, MEND_ROWS)
    first, second = ids(whole)
    assert whole.why == f"as {first} and 1 more"
    rest = decided(foreign, MEND_ROWS, counted={("cost-events", first): "at 2@9"})
    assert ids(rest) == [second]
    assert rest.why == f"as {second}; 1 are counted already"
    none = decided(
        foreign, MEND_ROWS, counted=dict.fromkeys([("cost-events", one) for one in (first, second)], "x")
    )
    assert (none.verdict, none.publish) == (Verdict.COUNTED, ())
    assert mark_of(whole, NOW, None).content == mark_of(rest, NOW, None).content


def test_an_event_of_the_wire_format_may_be_written_in_place_of_a_foreign_record() -> None:
    foreign = letter(CALL, headers=LITELLM)
    mending = Mending(PREFIX, Check(NOW, 300.0), replacements={str(foreign.origin): event()})
    replaced = Settler(mending, {}).decide(foreign)
    assert ids(replaced) == ["e-1"]
    assert ("tidegate-format", b"tidegate") in headers_of(replaced)


def test_a_record_that_holds_nothing_that_costs_is_refused() -> None:
    assert "nothing that costs" in decided(letter(b'{"rows":[]}', headers=FOCUS)).why


def test_ids_are_found_in_foreign_records_too() -> None:
    mended = decided(letter(CALL, headers=LITELLM), parse_set("response_cost=0.01"))
    (wanted,) = ids(mended)
    lookout = Lookout({("cost-events", wanted)}, (), 300.0)
    good = CALL.replace(b'"response_cost":-0.01', b'"response_cost":0.02')
    at_ms = round(NOW.timestamp() * 1_000)
    lookout.see(Seen("cost-events", 0, 1, at_ms, CALL, LITELLM))
    assert lookout.counted == {}
    lookout.see(Seen("cost-events", 0, 2, at_ms, good, [("other", b"x")]))
    assert lookout.counted == {}
    lookout.see(Seen("cost-events", 0, 3, at_ms, good, LITELLM))
    assert lookout.counted == {("cost-events", wanted): "at 0@3"}
