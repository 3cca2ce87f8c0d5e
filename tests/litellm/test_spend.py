"""Spend as ingest counts it from what the real proxy publishes, against the provider's own bill.

`TIDEGATE_LITELLM_CALLS` says how many calls. `make test-litellm` makes 5,000 and prints what docs/gateway.md says.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import pytest

from schemas.throttles import Block
from service.ingest.call import Call
from service.ingest.price import Pricer
from tests.litellm.calls import STOPPED_WORKFLOW, Ask, mixed
from tests.litellm.conftest import Surroundings
from tests.litellm.proxy import Client
from tests.litellm.records import command, counted, put
from tests.litellm.upstream import Bill
from tests.support.patience import until

pytestmark = pytest.mark.broker

CALLS: Final = int(os.environ.get("TIDEGATE_LITELLM_CALLS") or 100)
Found = TypeVar("Found")
_PRICES: Final = Pricer()
_EXPECTED: Final = {"bad": {"400"}, "down": {"500"}, "cut": {"APIError", "500"}}


async def test_what_is_counted_is_what_was_billed_to_the_nano_dollar(litellm: Surroundings) -> None:
    asks = [mixed(number) for number in range(CALLS)]
    async with Client(litellm.base_url) as client:
        await _stop(litellm, client)
        began = time.monotonic()
        told = await asyncio.gather(*map(client.ask, asks))
        took_s = time.monotonic() - began
    for ask, answer in zip(asks, told, strict=True):
        assert answer.outcome in _expected(ask), (ask, answer)
    calls = {ask.call for ask in asks}
    bills = _by_call((b for b in litellm.upstream.bills if b.call in calls), lambda bill: bill.call)
    events = [e for e in await _arrived(litellm, bills) if e.trace_id in calls]

    repeated = [i for i, times in Counter(e.event_id for e in events).items() if times > 1]
    assert repeated == [], "published once each"
    stopped = {ask.call for ask in asks if ask.workflow == STOPPED_WORKFLOW}
    assert not stopped & {event.trace_id for event in events}, "what was refused is not published"
    assert not stopped & set(litellm.upstream.tries), "and was not made"

    spent = _by_call((e for e in events if e.input_tokens), lambda event: str(event.trace_id))
    answered = [a.call for a in told if a.outcome == "ok"]
    for call in answered:
        (bill,), (event,) = bills[call], spent[call]
        assert bill.reported
        assert event.usage_source == "reported"
        assert _tokens(event) == (bill.input_tokens, bill.cached_tokens, bill.output_tokens)
        assert event.cost_nanos == bill.nanos
    # Of those that clients left some were read to their end nevertheless: exact, too. Of the rest LiteLLM guesses.
    unheard = sorted(set(bills) - set(answered))
    read = [call for call in unheard if any(e.usage_source == "reported" for e in spent[call])]
    for call in read:
        (bill,), (event,) = bills[call], spent[call]
        assert event.cost_nanos == bill.nanos
    cut = [call for call in unheard if call.startswith("cut-")]
    left = sorted(set(unheard) - set(read) - set(cut))
    compared = {
        "answered": _compared(answered, bills, spent),
        "left, and read to the end": _compared(read, bills, spent),
        "left": _compared(left, bills, spent),
        "broken off by the provider": _compared(cut, bills, spent),
    }
    line = {
        "calls": CALLS,
        "outcomes": dict(Counter(answer.outcome for answer in told)),
        "tries": sum(times for call, times in litellm.upstream.tries.items() if call in calls),
        "events": len(events),
        **compared,
        "calls_per_s": round(CALLS / took_s, 1),
    }
    print(json.dumps(line))
    for exact in ("answered", "left, and read to the end"):
        assert compared[exact]["billed_nanos"] == compared[exact]["counted_nanos"]
    assert compared["left"]["estimated"] == compared["left"]["calls"] - compared["left"]["untold"]


async def _stop(litellm: Surroundings, client: Client) -> None:
    """Block the workflow, and wait until the proxy knows."""
    await put(litellm.connection, command("workflow", STOPPED_WORKFLOW, Block(message="stopped: a loop")))
    tries = 0

    async def stopped() -> bool:
        nonlocal tries
        tries += 1
        # A call that is not billed, and so does not count, should the command be late.
        told = await client.ask(Ask(f"bad-first-{tries}", workflow=STOPPED_WORKFLOW))
        return told.outcome == "403"

    await until(stopped)


def _expected(ask: Ask) -> set[str]:
    if ask.workflow == STOPPED_WORKFLOW:
        return {"403"}
    if ask.leave_after_chunks or ask.leave_after_s:
        return {"left"}
    return _EXPECTED.get(ask.call.partition("-")[0], {"ok"})


def _by_call(found: Iterable[Found], name: Callable[[Found], str]) -> dict[str, list[Found]]:
    grouped: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        grouped[name(one)].append(one)
    return grouped


async def _arrived(litellm: Surroundings, bills: dict[str, list[Bill]]) -> list[Call]:
    """The events, once every billed call has one that says what it spent, or half a minute has brought no other."""
    events: list[Call] = []

    async def all_told() -> bool:
        nonlocal events
        events = await counted(litellm.connection)
        return set(bills) <= {event.trace_id for event in events if event.input_tokens}

    with suppress(TimeoutError):
        await until(all_told, within_s=30, every_s=1)
    return events


def _tokens(event: Call) -> tuple[int, int, int]:
    return event.input_tokens, event.cached_input_tokens, event.output_tokens


def _compared(
    calls: Sequence[str], bills: dict[str, list[Bill]], spent: dict[str, list[Call]]
) -> dict[str, int]:
    """What was billed of these calls and what is counted of them, in nano-dollars."""
    return {
        "calls": len(calls),
        "billed_nanos": sum(bill.nanos for call in calls for bill in bills[call]),
        "counted_nanos": sum(_PRICES.price_call(e).cost_nanos or 0 for call in calls for e in spent[call]),
        "estimated": sum(e.usage_source == "estimated" for call in calls for e in spent[call]),
        "untold": sum(not spent[call] for call in calls),
    }
